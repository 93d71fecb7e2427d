"""What a step learns from: it depends on the seed and the step alone, and processes share it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import batches, toy_faces
from misf_lite.batches import Batches, open_batches
from misf_lite.datasets import open_dataset
from misf_lite.recipe import Recipe

TOY = Recipe.toy(steps=6, crops=(16, 32), batch=4)


@pytest.fixture
def album(tmp_path):
    """A folder of three pictures of noise."""
    folder = tmp_path / "album"
    folder.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 255, (40 + 10 * i, 60, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


def test_a_batch_depends_on_the_seed_and_the_step_alone():
    first, again, other = (open_batches(replace(TOY, seed=seed))[0][3] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_processes_share_a_batch_without_gaps():
    recipe = Recipe(batch=6, crops=(32,))
    pictures = [Image.new("RGB", (40, 40), (value, value, value)) for value in range(0, 250, 10)]
    whole = Batches(recipe, pictures)[0]
    shares = [Batches(recipe, pictures, rank=rank, processes=2)[0] for rank in range(2)]
    for all_of_it, halves in zip(whole, zip(*shares, strict=True), strict=True):
        assert torch.equal(all_of_it, torch.stack(halves, 1).flatten(0, 1))


def test_larger_crops_come_fewer_at_a_time():
    toy = open_batches(TOY)[0]
    assert {tuple(toy[step][0].shape) for step in range(20)} == {(4, 3, 16, 16), (1, 3, 32, 32)}


def test_photographs_are_cropped_to_the_wanted_size_and_others_held_out():
    photographs, held_out, notes = open_batches(Recipe(batch=2, crops=(32,)))
    image, mask = photographs[0]
    assert image.shape == (2, 3, 32, 32) and mask.shape == (2, 1, 32, 32)
    assert image.min() >= 0 and image.max() <= 1
    assert all(min(picture.shape[2:]) == 128 for picture in held_out)
    assert notes == ["pictures in photos: 200 to learn from, 17 held out"]


def test_toy_faces_are_learnt_whole_mirrored_or_not():
    toy = Batches(Recipe.toy(batch=8, crops=(32,)), open_dataset("toy", "train", shrink=32))
    toy.pictures.items = [7]  # always the same face
    face = (toy_faces(1, 32, seed=7)[0] * 255).round() / 255
    ways = {torch.equal(image, face) or -torch.equal(image, face.flip(2)) for image in toy[0][0]}
    assert ways == {True, -1}


def test_pictures_smaller_than_the_crop_are_counted(album):
    notes = open_batches(Recipe(data=str(album), crops=(32, 48), batch=3))[2]
    assert "smaller than the crop of 48 pixels, and so enlarged: 1 of 3 pictures" in notes


def test_what_is_odd_about_a_folder_is_told_once(album):
    (album / "notes.txt").write_text("no picture")
    notes = open_batches(Recipe(data=str(album), crops=(32,), batch=3))[2]
    assert len(notes) == 3 and "1 .txt" in "\n".join(notes) and "too few to hold some out" in "\n".join(notes)


def test_random_masks_are_of_the_kinds_that_the_recipe_names(monkeypatch):
    drawn = []

    def draw(size, band, kind, seed):
        drawn.append(kind)
        return torch.zeros(1, 1, size, size)

    monkeypatch.setattr(batches, "random_mask", draw)
    open_batches(replace(TOY, kinds=("text", "text", "box"), batch=100, crops=(16,)))[0][0]
    assert set(drawn) == {"text", "box"} and drawn.count("text") > drawn.count("box")


def test_masks_can_come_from_a_folder(tmp_path, album):
    folder = tmp_path / "masks"
    folder.mkdir()
    hole = np.zeros((20, 20), np.uint8)
    hole[:10] = 255  # half of it
    Image.fromarray(hole).save(folder / "half.png")
    masked, _, notes = open_batches(Recipe(data=str(album), masks=str(folder), crops=(32,), batch=3))
    assert masked[0][1].mean((1, 2, 3)).tolist() == [0.5] * 3
    assert "50% white" in notes[-1]
