"""Training, at toy size and for a few steps: it learns, it can be stopped anywhere, nothing is lost."""

import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import MISF, MISFConfig, load_weights, training
from misf_lite.checkpoints import checkpoints, claim
from misf_lite.losses import hole_weighted_l1
from misf_lite.training import LOOK, LOSSES, Batches, Objective, Recipe, open_batches, train

CONFIG = MISFConfig.toy(width=2, blocks=1)
RECIPE = Recipe.toy(steps=6, crops=(16, 32), batch=4)


def run(folder, recipe=RECIPE, **options):
    return train(CONFIG, recipe, folder, **{"every": 2, "workers": 0} | options)


def assert_same(model, other):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


# In a process of its own: `steps` steps, every 3 a checkpoint, and if asked it kills itself while it draws a batch, or
# after a checkpoint was written and before it got its name.
KILLED = """
import os, signal, sys
import misf_lite.checkpoints, misf_lite.training as training
from misf_lite import MISFConfig

folder, at = sys.argv[1:]
def die(): os.kill(os.getpid(), signal.SIGKILL)
draw = training.Batches.__getitem__
def drawing(self, step):
    if at == str(step): die()
    return draw(self, step)
training.Batches.__getitem__ = drawing
if at == "renaming": misf_lite.checkpoints.os.replace = lambda *names: die()
recipe = training.Recipe.toy(steps=20, crops=(16, 32), batch=2)
training.train(MISFConfig.toy(width=2, blocks=1), recipe, folder, every=3, workers=0)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_a_run_killed_five_times_at_random_ends_in_the_weights_of_one_that_was_not(tmp_path):
    def go(folder, at):
        command = [sys.executable, "-c", KILLED, tmp_path / folder, str(at)]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})

    done = go("straight", "never")
    assert done.returncode == 0, done.stderr
    steps = sorted(random.sample(range(20), 4))
    print("killed at", steps)
    for at in (*steps[:2], "renaming", *steps[2:]):
        killed = go("killed", at)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    done = go("killed", "never")
    assert done.returncode == 0, done.stderr
    assert_same(*(load_weights(tmp_path / folder / "weights.safetensors") for folder in ("straight", "killed")))


def test_an_interrupt_saves_and_returns_and_the_run_goes_on_to_the_same_weights(tmp_path, capsys):
    recipe = replace(RECIPE, steps=3 * LOOK)
    straight = run(tmp_path / "straight", recipe, every=LOOK)
    seen = []

    def interrupt(progress):
        seen.append(progress.step)
        if len(seen) == 1:
            signal.raise_signal(signal.SIGINT)

    returned = run(tmp_path / "stopped", recipe, every=LOOK, watch=interrupt)
    assert isinstance(returned, MISF) and not (tmp_path / "stopped" / "weights.safetensors").exists()
    assert "interrupted after step 20; it is saved" in capsys.readouterr().out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert_same(straight, run(tmp_path / "stopped", recipe, every=LOOK))


def test_a_second_interrupt_does_not_wait(tmp_path):
    def interrupt(progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, watch=interrupt)


def test_two_processes_learn_what_one_learns(tmp_path):
    """To 0.1 %: floats are added in another order, and the discriminator makes more of it."""
    losses = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "--no-python"]
        launch += [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "-m", "misf_lite", "train"]
        recipe = ["--preset", "toy", "--crops", "32", "64", "--batch", "8", "--adversarial", "0.1"]
        recipe += ["--steps", "8", "--every", "2", "--workers", "0"]
        quiet = os.environ | {"OMP_NUM_THREADS": "1", "MISF_LITE_DEVICE": "cpu"}
        command = [sys.executable, *launch, *recipe, "-o", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, env=quiet)
        assert done.returncode == 0, done.stderr
        assert ("in 2 processes" in done.stdout) == (processes == 2)
        losses.append([json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()])
    assert len(losses[0]) == 4 and losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_leaves_weights_that_load_and_a_log(tmp_path):
    model = run(tmp_path, every=3)
    assert_same(model, load_weights(tmp_path / "weights.safetensors"))
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [3, 6] and all(len(line["psnr_hole"]) == 3 for line in log)
    assert all(line["loss"] == line["l1"] > 0 and line["images_per_second"] > 0 for line in log)


@pytest.mark.parametrize("steps", [1, 2, 10, 11])
def test_a_run_may_be_short(tmp_path, steps):
    run(tmp_path, Recipe.toy(steps=steps, crops=(16,), batch=1), every=20)
    assert (tmp_path / "weights.safetensors").exists()


def test_a_complete_run_is_not_trained_further(tmp_path):
    model, steps = run(tmp_path), []
    assert_same(model, run(tmp_path, watch=lambda progress: steps.append(progress.step)))
    assert not steps


def test_whoever_watches_sees_the_history_and_the_averaged_model(tmp_path):
    seen = []
    model = run(tmp_path, watch=seen.append)
    assert [progress.step for progress in seen] == [2, 4, 6] and seen[-1].steps == 6
    assert [line["step"] for line in seen[-1].history] == [2, 4, 6]
    assert_same(seen[-1].model, model)


def test_a_person_is_told_the_device_the_reason_the_time_and_the_scores(tmp_path, capsys):
    run(tmp_path, replace(RECIPE, steps=2 * LOOK), every=2 * LOOK)
    told = capsys.readouterr().out
    assert "training on cpu, because" in told and "minutes to go" in told
    assert "images/s" in told and "PSNR in holes" in told and "weights.safetensors" in told


def test_a_tensorboard_log_is_written_when_asked(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(tmp_path, tensorboard=True)
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    log = EventAccumulator(str(events.parent)).Reload()
    assert [event.step for event in log.Scalars("loss")] == [2, 4, 6]
    assert "psnr_hole/0%-20%" in log.Tags()["scalars"]


def test_the_last_checkpoints_are_kept(tmp_path):
    run(tmp_path, every=1, keep=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-0000005.pt", "checkpoint-0000006.pt"]


def test_training_lowers_the_loss(tmp_path):
    recipe = Recipe.toy(steps=120, crops=(16,), batch=8)
    trained = run(tmp_path, recipe, every=20)
    torch.manual_seed(0)
    image, mask = Batches(replace(recipe, seed=1, steps=1000), None)[999]
    with torch.no_grad():
        before, after = (hole_weighted_l1(m(image, mask), image, mask) for m in (MISF(CONFIG), trained))
    assert after < 0.9 * before


@pytest.mark.parametrize("loss", LOSSES)
def test_each_loss_can_be_used_alone(tmp_path, loss):
    weights = dict.fromkeys(LOSSES, 0.0) | {loss: 1.0}
    first = MISF(CONFIG)
    model = run(tmp_path, Recipe.toy(steps=2, crops=(32,), batch=2, **weights))
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert line["loss"] == pytest.approx(line[loss], abs=1e-5)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), model.parameters(), strict=True))


def test_losses_are_added_with_their_weights(tmp_path):
    run(tmp_path, Recipe.toy(steps=1, crops=(32,), batch=2, l1=2.0, perceptual=0.5, style=3.0, adversarial=0.25))
    line = json.loads((tmp_path / "log.jsonl").read_text())
    parts = 2 * line["l1"] + 0.5 * line["perceptual"] + 3 * line["style"] + 0.25 * line["adversarial"]
    assert line["loss"] == pytest.approx(parts, abs=1e-4)


def test_the_discriminator_and_the_generator_never_receive_each_others_gradients():
    from accelerate import Accelerator

    recipe = Recipe.toy(crops=(32,), batch=2, l1=0.0, adversarial=1.0)
    objective = Objective(recipe, torch.device("cpu"))
    accelerator = Accelerator(cpu=True)
    objective.prepare(accelerator)
    image, mask = Batches(recipe, None)[0]
    output = torch.full_like(image, 0.5, requires_grad=True)
    objective(output, image, mask)["loss"].backward()
    assert output.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in objective.discriminator.parameters())
    output.grad = None
    objective.learn(accelerator, output, image, mask)
    assert output.grad is None
    assert all(parameter.grad is not None for parameter in objective.discriminator.parameters())


def test_mixed_precision_trains(tmp_path):
    losses = {}
    for precision in ("float32", "bf16"):
        run(tmp_path / precision, replace(RECIPE, precision=precision))
        line = json.loads((tmp_path / precision / "log.jsonl").read_text().splitlines()[-1])
        losses[precision] = line["loss"]
    assert losses["bf16"] == pytest.approx(losses["float32"], rel=0.02) and losses["bf16"] != losses["float32"]


def test_a_run_can_start_from_weights(tmp_path):
    run(tmp_path / "first")
    start = str(tmp_path / "first" / "weights.safetensors")
    still = replace(RECIPE, start=start, rate=1e-12, steps=1)
    for (name, tensor), other in zip(
        load_weights(start).state_dict().items(), run(tmp_path / "second", still).state_dict().values(), strict=True
    ):
        assert torch.allclose(tensor, other, atol=1e-6), name
    with pytest.raises(ValueError, match="another architecture"):
        train(MISFConfig.toy(), still, tmp_path / "third")


def test_a_run_of_another_recipe_is_not_continued(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match=r"another recipe \(steps is 6 there and 8 here\): choose another folder"):
        run(tmp_path, replace(RECIPE, steps=8))
    with pytest.raises(ValueError, match=r"another config \(width is 2 there and 3 here\)"):
        train(MISFConfig.toy(width=3, blocks=1), RECIPE, tmp_path)


def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path):
    run(tmp_path)
    (tmp_path / "checkpoint-0000006.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint-0000006\.pt is damaged .*delete it to go on from .*0000004"):
        run(tmp_path)


def test_two_runs_never_share_a_folder(tmp_path):
    with claim(tmp_path), pytest.raises(BlockingIOError, match=r"another run is training in .*choose another folder"):
        run(tmp_path)
    run(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_disk_that_fills_up_keeps_the_checkpoint_before(tmp_path):
    import resource

    run(tmp_path, every=2, keep=1)
    whole = checkpoints(tmp_path)[0].read_bytes()
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "from pathlib import Path; from misf_lite.checkpoints import save_checkpoint; import torch\n"
        "save_checkpoint(Path(sys.argv[1]), {'step': 8, 'model': torch.zeros(10_000)}, 1)"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert resource and "OSError" in done.stderr and "checkpoint-0000006.pt is whole" in done.stderr
    assert [path.name for path in sorted(tmp_path.iterdir())] == [
        ".lock",
        "checkpoint-0000006.pt",
        "log.jsonl",
        "weights.safetensors",
    ]
    assert checkpoints(tmp_path)[0].read_bytes() == whole


def test_a_loss_that_is_no_longer_finite_stops_with_the_step_and_the_last_good_checkpoint(tmp_path, monkeypatch):
    draw = Batches.__getitem__
    nan = lambda self, step: tuple(t * (float("nan") if step == 4 else 1) for t in draw(self, step))  # noqa: E731
    monkeypatch.setattr(Batches, "__getitem__", nan)
    with pytest.raises(FloatingPointError, match=r"no longer finite at step 5 .*checkpoint-0000004\.pt.*smaller rate"):
        run(tmp_path)
    assert len(checkpoints(tmp_path)) == 2 and not (tmp_path / "weights.safetensors").exists()


def test_weights_that_explode_are_never_saved(tmp_path):
    recipe = Recipe.toy(steps=30, crops=(16,), batch=2, rate=1e30)
    with pytest.raises(FloatingPointError, match=r"before the first checkpoint.*smaller rate"):
        run(tmp_path, recipe, every=10)
    assert not checkpoints(tmp_path) and not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(("batch", "advice"), [(8, "try batch 4"), (1, "try crops 16")])
def test_out_of_memory_names_what_was_tried_and_what_to_try(tmp_path, monkeypatch, batch, advice):
    def full(self, image, mask):
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(MISF, "forward", full)
    with pytest.raises(MemoryError, match=rf"step 1 with {batch} pictures of 32×32 .*{advice}"):
        run(tmp_path, Recipe.toy(crops=(32,), batch=batch))


def test_the_papers_recipe_is_the_papers():
    """Section 4.1: L1 + 0.1 adversarial + 0.1 perceptual + 250 style; Adam (0, 0.9), 1e-4; 256², 350,000 steps."""
    recipe = Recipe.paper()
    assert (recipe.l1, recipe.adversarial, recipe.perceptual, recipe.style) == (1.0, 0.1, 0.1, 250.0)
    assert (recipe.rate, recipe.discriminator_rate, recipe.betas) == (1e-4, 1e-5, (0.0, 0.9))
    assert (recipe.crops, recipe.steps, recipe.schedule, recipe.features) == ((256,), 350_000, "constant", "vgg19")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be more than 0"),
        ({"batch": 0}, "batch must be more than 0"),
        ({"rate": -1.0}, "rate must be more than 0"),
        ({"clip": 0.0}, "clip must be more than 0"),
        ({"crops": (8,)}, "16 pixels or more"),
        ({"seed": -1}, "seed must be from 0"),
        ({"average": 1.0}, "average must be from 0 to below 1"),
        ({"l1": 0.0}, "one of them more than 0"),
        ({"style": -1.0}, "must be 0 or more"),
        ({"schedule": "cosine"}, "one of one-cycle, constant, got 'cosine'"),
        ({"precision": "int8"}, "one of float32, bf16, fp16"),
        ({"features": "resnet"}, "one of efflite, vgg19"),
        ({"kinds": ("strokes", "zigzag")}, "kinds must be of strokes, box, blobs, text, thin"),
        ({"kinds": ()}, "at least one"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_fp16_on_a_cpu_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MISF_LITE_DEVICE", "cpu")
    with pytest.raises(ValueError, match="fp16 needs a GPU: choose precision bf16"):
        run(tmp_path, replace(RECIPE, precision="fp16"))


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        run(tmp_path / "file")


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    first, again, other = (Batches(replace(RECIPE, seed=seed), None)[3] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_workers_draw_the_same_batches(tmp_path):
    assert_same(run(tmp_path / "none"), run(tmp_path / "two", workers=2))


def test_processes_share_a_batch_without_gaps():
    recipe = Recipe(batch=6, crops=(32,))
    pictures = [Image.fromarray(np.full((40, 40, 3), value, np.uint8)) for value in range(0, 250, 10)]
    whole = Batches(recipe, pictures)[0]
    shares = [Batches(recipe, pictures, rank=rank, processes=2)[0] for rank in range(2)]
    for all_of_it, halves in zip(whole, zip(*shares, strict=True), strict=True):
        assert torch.equal(all_of_it, torch.stack(halves, 1).flatten(0, 1))


def test_larger_crops_come_fewer_at_a_time():
    sizes = {tuple(Batches(RECIPE, None)[step][0].shape) for step in range(20)}
    assert sizes == {(4, 3, 16, 16), (1, 3, 32, 32)}


def test_photographs_are_cropped_to_the_wanted_size():
    batches, held_out, notes = open_batches(Recipe(batch=2, crops=(32,)))
    image, mask = batches[0]
    assert image.shape == (2, 3, 32, 32) and mask.shape == (2, 1, 32, 32)
    assert image.min() >= 0 and image.max() <= 1
    assert all(min(picture.shape[2:]) == 128 for picture in held_out) and "200 to learn from" in notes[0]


@pytest.fixture
def album(tmp_path):
    folder = tmp_path / "album"
    (folder / "nested").mkdir(parents=True)
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (40 + 10 * i, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / "nested" / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"not a picture")
    return folder


def test_an_own_folder_with_fewer_pictures_than_a_batch_trains_and_tells_what_it_left_out(tmp_path, album, capsys):
    run(tmp_path / "run", Recipe(data=str(album), steps=2, crops=(48,), batch=8))
    told = capsys.readouterr().out
    assert "broken.jpg" in told and "smaller than the crop" in told and "3, too few to hold some out" in told


def test_random_masks_are_of_the_kinds_that_the_recipe_names(monkeypatch):
    drawn, draw = [], training.random_mask
    monkeypatch.setattr(training, "random_mask", lambda *given: drawn.append(given[2]) or draw(*given))
    Batches(replace(RECIPE, kinds=("text", "text", "box"), batch=100, crops=(16,)), None)[0]
    assert set(drawn) == {"text", "box"} and drawn.count("text") > drawn.count("box")


def test_masks_can_come_from_a_folder(tmp_path, album):
    folder = tmp_path / "masks"
    folder.mkdir()
    hole = np.zeros((20, 20), np.uint8)
    hole[:10] = 255  # half of it
    Image.fromarray(hole).save(folder / "half.png")
    batches, _, _ = open_batches(Recipe(data=str(album), masks=str(folder), crops=(32,), batch=3))
    assert batches[0][1].mean((1, 2, 3)).tolist() == [0.5] * 3
