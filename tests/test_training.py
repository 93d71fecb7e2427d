"""Training, at toy size and for a few steps: it learns, it can be interrupted, nothing is lost."""

import json

import pytest
import torch

from misf_lite import MISFConfig, load_weights
from misf_lite.training import Recipe, batch, hole_weighted_l1, train

CONFIG = MISFConfig.toy(width=2, blocks=1)
RECIPE = Recipe(data="toy", steps=6, crops=(16, 32), batch=4)


def test_an_interrupted_run_ends_in_the_weights_of_an_uninterrupted_one(tmp_path, monkeypatch):
    straight = train(CONFIG, RECIPE, tmp_path / "straight", every=2)

    steps = []

    def stopping(recipe, draw, step):
        steps.append(step)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return batch(recipe, draw, step)

    monkeypatch.setattr("misf_lite.training.batch", stopping)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG, RECIPE, tmp_path / "stopped", every=2)
    resumed = train(CONFIG, RECIPE, tmp_path / "stopped", every=2)
    assert steps == [0, 1, 2, 3, 2, 3, 4, 5]  # goes on after the last checkpoint
    for name, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_run_leaves_weights_that_load_and_a_log(tmp_path):
    model = train(CONFIG, RECIPE, tmp_path, every=3)
    again = load_weights(tmp_path / "weights.safetensors")
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [3, 6] and all(len(line["psnr_hole"]) == 3 for line in log)


def test_training_lowers_the_loss(tmp_path):
    recipe = Recipe(data="toy", steps=40, crops=(16,), batch=8)
    train(CONFIG, recipe, tmp_path, every=20)
    before, after = MISFConfig.toy(width=2, blocks=1), load_weights(tmp_path / "weights.safetensors")
    torch.manual_seed(0)
    from misf_lite import MISF, toy_faces

    losses = []
    for model in (MISF(before), after):
        image, mask = batch(recipe, lambda n, crop, rng: toy_faces(n, crop, 3 * 2**30), step=999)
        with torch.no_grad():
            losses.append(hole_weighted_l1(model(image, mask), image, mask, 6.0).item())
    assert losses[1] < 0.9 * losses[0]


def test_a_run_of_another_recipe_is_not_continued(tmp_path):
    train(CONFIG, RECIPE, tmp_path, every=6)
    with pytest.raises(ValueError, match="another config or recipe"):
        train(CONFIG, Recipe(data="toy", steps=8, crops=(16, 32), batch=4), tmp_path)


def test_a_damaged_checkpoint_is_named_with_the_remedy(tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"checkpoint\.pt is damaged .*delete it"):
        train(CONFIG, RECIPE, tmp_path)


def test_weights_that_explode_are_never_saved(tmp_path):
    recipe = Recipe(data="toy", steps=30, crops=(16,), batch=2, rate=1e30)
    with pytest.raises(FloatingPointError, match="smaller rate than 1e"):
        train(CONFIG, recipe, tmp_path, every=10)
    assert not (tmp_path / "checkpoint.pt").exists() and not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be more than 0"),
        ({"batch": 0}, "batch must be more than 0"),
        ({"rate": -1.0}, "rate must be more than 0"),
        ({"crops": (8,)}, "16 pixels or more"),
        ({"seed": -1}, "seed must be from 0"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**change)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file"):
        train(CONFIG, RECIPE, tmp_path / "file")


def test_unknown_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="choose 'photos' or 'toy'"):
        train(CONFIG, Recipe(data="faces"), tmp_path)


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    def draw(count, crop, rng):
        return torch.from_numpy(rng.random((count, 3, crop, crop)))

    first, again = (batch(RECIPE, draw, 3) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    image, mask = first
    assert mask.shape == (len(image), 1, *image.shape[2:]) and image.shape[2] in RECIPE.crops


def test_larger_crops_come_fewer_at_a_time():
    def draw(count, crop, rng):
        return torch.zeros(count, 3, crop, crop)

    sizes = {tuple(batch(RECIPE, draw, step)[0].shape) for step in range(20)}
    assert sizes == {(4, 3, 16, 16), (1, 3, 32, 32)}


def test_photographs_are_cropped_to_the_wanted_size():
    from misf_lite.training import _data

    image, mask = batch(Recipe(batch=2, crops=(32,)), _data(Recipe())[0], 0)
    assert image.shape == (2, 3, 32, 32) and mask.shape == (2, 1, 32, 32)
    assert image.min() >= 0 and image.max() <= 1


def test_a_pixel_in_the_hole_weighs_as_much_as_it_was_told():
    target, output = torch.zeros(1, 3, 1, 2), torch.tensor([0.1, 0.7]).expand(1, 3, 1, 2)
    mask = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    # (1 · 0.1 + 6 · 0.7) / (1 + 6)
    assert hole_weighted_l1(output, target, mask, 6.0).item() == pytest.approx(4.3 / 7)
