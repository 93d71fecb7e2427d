"""Training, at toy size and for a few steps: it learns, it can be stopped anywhere, nothing is lost."""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import MISF, MISFConfig, load_weights, training
from misf_lite.batches import Batches, open_batches
from misf_lite.files import claim
from misf_lite.lite import LiteConfig, LiteMISF
from misf_lite.losses import hole_weighted_l1
from misf_lite.recipe import LOSSES, Recipe
from misf_lite.training import LOG_EVERY, train
from misf_lite.weights import checkpoints, load_checkpoint

CONFIG = MISFConfig.toy(width=2, blocks=(1, 1))
RECIPE = Recipe.toy(steps=6, crops=(16, 32), batch=4)


def run(folder, recipe=RECIPE, **options):
    return train(CONFIG, recipe, folder, **{"every": 2, "workers": 0} | options)


def losses(folder):
    """From the log of a run, one loss for each validation."""
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(autouse=True)
def two_held_out(monkeypatch):
    """Two pictures to validate with are enough, except where it is said otherwise."""

    def open_few(*given):
        batches, held_out, notes = open_batches(*given)
        return batches, held_out[:2], notes

    monkeypatch.setattr(training, "open_batches", open_few)


def assert_same(model, other):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def assert_same_values(one, other):
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        assert_same_values(list(one.values()), list(other.values()))
    elif isinstance(one, list | tuple):
        for pair in zip(one, other, strict=True):
            assert_same_values(*pair)
    else:
        assert one == other


# In a process of its own, which trains in copies of itself: 20 steps, every 3 a checkpoint. A copy kills itself while
# it draws a batch, or after a checkpoint was written and before it got its name; the last one of each folder does not.
KILLED = """
import os, signal, sys, traceback
from misf_lite import MISFConfig, batches, files
from misf_lite.recipe import Recipe
from misf_lite.training import train

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def go(folder, at):
    draw = batches.Batches.__getitem__
    batches.Batches.__getitem__ = lambda self, step: die() if at == str(step) else draw(self, step)
    if at == "renaming":
        files.os.replace = die
    recipe = Recipe.toy(steps=20, crops=(16, 32), batch=2)
    train(MISFConfig.toy(width=2, blocks=(1, 1)), recipe, folder, every=3, workers=0)

for attempt in sys.argv[1:]:
    child = os.fork()
    if child == 0:
        try:
            go(*attempt.split(","))
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    expected = 0 if attempt.endswith(",never") else signal.SIGKILL
    assert status == expected, f"{attempt} ended with status {status}"
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")
def test_a_run_killed_five_times_at_random_ends_in_the_weights_of_one_that_was_not(tmp_path):
    steps = sorted(random.sample(range(20), 4))
    print("killed at", steps)
    moments = [*steps[:2], "renaming", *steps[2:], "never"]
    attempts = [f"{tmp_path}/straight,never", *(f"{tmp_path}/killed,{at}" for at in moments)]
    done = subprocess.run([sys.executable, "-c", KILLED, *attempts], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    straight, killed = (load_weights(tmp_path / folder / "weights.safetensors") for folder in ("straight", "killed"))
    assert_same(straight, killed)


@pytest.mark.parametrize("number", training.SIGNALS)
def test_an_interrupt_saves_and_returns_and_the_run_goes_on_to_the_same_weights(tmp_path, capsys, number):
    recipe = replace(RECIPE, steps=3 * LOG_EVERY)
    straight = run(tmp_path / "straight", recipe, every=LOG_EVERY)
    seen = []

    def interrupt(progress):
        seen.append(progress.step)
        if len(seen) == 1:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    returned = run(tmp_path / "stopped", recipe, every=LOG_EVERY, watch=interrupt)
    assert isinstance(returned, MISF) and not (tmp_path / "stopped" / "weights.safetensors").exists()
    assert "interrupted after step 11; it is saved" in capsys.readouterr().out
    assert signal.getsignal(number) is before
    assert_same(straight, run(tmp_path / "stopped", recipe, every=LOG_EVERY))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_what_nohup_wishes_is_respected(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run(tmp_path, watch=lambda progress: signal.raise_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "weights.safetensors").exists()


def test_weights_that_are_not_finite_are_not_saved_by_an_interrupt_either(tmp_path, monkeypatch):
    learn = training.Run.learn

    def ruined(self, image, mask):
        learn(self, image, mask)
        if self.step == 3:
            next(self.net.parameters()).data[0] = float("nan")
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.Run, "learn", ruined)
    with pytest.raises(FloatingPointError, match="the weights are no longer finite after step 3"):
        run(tmp_path, every=2)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-0000002.pt"]


def test_a_second_interrupt_does_not_wait(tmp_path):
    def interrupt(progress):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, watch=interrupt)


def test_a_run_beside_the_main_thread_learns_the_same_without_catching_interrupts(tmp_path):
    with ThreadPoolExecutor(1) as pool:
        model = pool.submit(run, tmp_path / "thread").result()
    assert_same(model, run(tmp_path / "main"))


# One of several processes.
SHARING = """
import sys
from misf_lite import MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.training import train

recipe = Recipe.toy(crops=(32, 64), batch=8, adversarial=0.1, steps=8)
train(MISFConfig.toy(), recipe, sys.argv[1], every=2, workers=0)
"""


def test_two_processes_learn_what_one_learns(tmp_path, capsys):
    """To 0.1 %: floats are added in another order, and the discriminator makes more of it."""
    (tmp_path / "sharing.py").write_text(SHARING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, str(tmp_path / "sharing.py"), str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MISF_LITE_DEVICE": "cpu"})
    assert done.returncode == 0, done.stderr
    assert "in 2 processes" in done.stdout
    recipe = Recipe.toy(crops=(32, 64), batch=8, adversarial=0.1, steps=8)
    train(MISFConfig.toy(), recipe, tmp_path / "one", every=2, workers=0)
    assert "in 2 processes" not in capsys.readouterr().out
    one, two = (losses(tmp_path / folder) for folder in ("one", "two"))
    assert len(one) == 4 and one == pytest.approx(two, rel=1e-3)


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


def test_the_network_for_photographs_trains_on_photographs(tmp_path):
    config = LiteConfig.lite(width=2, blocks=(1, 1))
    model = train(config, Recipe(steps=2, batch=2, crops=(32,)), tmp_path, every=2, workers=0)
    assert isinstance(model, LiteMISF) and model.config == config
    assert_same(model, load_weights(tmp_path / "weights.safetensors"))


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
    run(tmp_path, replace(RECIPE, steps=2 * LOG_EVERY), every=2 * LOG_EVERY)
    told = capsys.readouterr().out
    assert "training on cpu, because" in told and "pictures in toy: 2,147,483,648 to learn from, 32 held out" in told
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
    recipe = Recipe.toy(steps=60, crops=(16,), batch=8)
    trained = run(tmp_path, recipe, every=60)
    torch.manual_seed(0)
    image, mask = open_batches(replace(recipe, seed=1, steps=1000))[0][999]
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


def test_mixed_precision_trains(tmp_path):
    for precision in ("float32", "bf16"):
        run(tmp_path / precision, replace(RECIPE, precision=precision))
    full, half = losses(tmp_path / "float32"), losses(tmp_path / "bf16")
    assert half == pytest.approx(full, rel=0.02) and half != full


def test_a_run_can_start_from_weights(tmp_path):
    run(tmp_path / "first")
    start = str(tmp_path / "first" / "weights.safetensors")
    still = replace(RECIPE, start=start, lr=1e-12, steps=1)
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
        train(MISFConfig.toy(width=3, blocks=(1, 1)), RECIPE, tmp_path)


def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path):
    run(tmp_path)
    (tmp_path / "checkpoint-0000006.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint-0000006\.pt is damaged .*delete it to go on from .*0000004"):
        run(tmp_path)


def test_a_flipped_bit_in_a_checkpoint_is_noticed_wherever_it_would_change_anything(tmp_path):
    run(tmp_path, every=6)
    (path,) = checkpoints(tmp_path)
    saved, whole = load_checkpoint(tmp_path, {}), path.read_bytes()
    refused = 0
    for i in random.Random(0).sample(range(len(whole)), 60):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        try:
            assert_same_values(load_checkpoint(tmp_path, {}), saved)  # it lay in what only fills up
        except ValueError as error:
            assert "checkpoint-0000006.pt is damaged" in str(error) and "choose another folder" in str(error)
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("content", [b"hello", [1, 2], {"config": 3}, argparse.Namespace()])
def test_a_file_that_is_no_checkpoint_is_named_without_advice_to_trust_it(tmp_path, content):
    path = tmp_path / "checkpoint-0000001.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="choose another folder") as raised:
        run(tmp_path)
    assert "checkpoint-0000001.pt" in str(raised.value) or "another config" in str(raised.value)
    assert "weights_only" not in str(raised.value) and "option" not in str(raised.value)


def test_a_copy_of_a_checkpoint_under_another_name_is_not_the_newest_and_stays(tmp_path):
    run(tmp_path, keep=1)
    copy = shutil.copy(checkpoints(tmp_path)[0], tmp_path / "checkpoint-best.pt")
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-0000006.pt"]
    run(tmp_path, keep=1)
    assert copy.exists()


@pytest.mark.parametrize("options", [{"keep": 0}, {"keep": -1}, {"every": 0}])
def test_every_and_keep_are_at_least_one(tmp_path, options):
    with pytest.raises(ValueError, match="every and keep are 1 or more"):
        run(tmp_path / "run", **options)


def test_a_run_knows_its_pictures_masks_and_first_weights_by_what_they_are(tmp_path, album, monkeypatch):
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.eye(20, dtype=np.uint8) * 255).save(tmp_path / "masks" / "m.png")
    run(tmp_path / "first")
    start = shutil.copy(tmp_path / "first" / "weights.safetensors", tmp_path / "start.safetensors")
    recipe = Recipe(steps=2, crops=(16,), batch=2)

    def again(data, masks, start):
        run(tmp_path / "run", replace(recipe, data=str(data), masks=str(masks), start=str(start)))

    again(album, tmp_path / "masks", start)
    monkeypatch.chdir(tmp_path)
    again("album/", "./masks/", "start.safetensors")  # the same, spelt in another way
    Image.new("L", (20, 20), 255).save("masks/all.png")
    Image.fromarray(np.tri(20, dtype=np.uint8) * 255).save("masks/m.png")
    with pytest.raises(ValueError, match=r"another data \(masks is"):
        again("album", "masks", "start.safetensors")
    Image.new("RGB", (60, 40)).save("album/nested/0.png")
    with pytest.raises(ValueError, match=r"another data \(pictures is 'sha256 .*' there and 'sha256 .*' here"):
        again("album", "masks", "start.safetensors")


def test_without_instructions_for_bf16_a_person_is_told_and_float32_is_offered(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MISF_LITE_DEVICE", "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False, "amx_bf16": False})
    run(tmp_path, replace(RECIPE, precision="bf16", steps=1))
    assert "no instructions for bf16, which is slower here: choose precision float32" in capsys.readouterr().out
    with pytest.raises(ValueError, match="fp16 needs a GPU: choose precision float32"):
        run(tmp_path / "other", replace(RECIPE, precision="fp16"))


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
        "from pathlib import Path; from misf_lite.weights import save_checkpoint; import torch\n"
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
    recipe = Recipe.toy(steps=30, crops=(16,), batch=2, lr=1e30)
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


def test_fp16_on_a_cpu_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MISF_LITE_DEVICE", "cpu")
    with pytest.raises(ValueError, match="fp16 needs a GPU: choose precision bf16"):
        run(tmp_path, replace(RECIPE, precision="fp16"))


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        run(tmp_path / "file")


def test_workers_draw_the_same_batches(tmp_path):
    assert_same(run(tmp_path / "none"), run(tmp_path / "two", workers=2))


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
    assert "broken.jpg" in told and "smaller than the crop" in told and "too few to hold some out" in told
