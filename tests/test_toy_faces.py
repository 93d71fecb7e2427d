"""Toy faces: seeded, the same at every size, anti-aliased, with eyes that match."""

import pytest
import torch
import torch.nn.functional as F

from misf_lite import toy_faces


def test_toy_faces_are_seeded_and_differ():
    a, b = toy_faces(8, 32, seed=3), toy_faces(8, 32, seed=3)
    assert torch.equal(a, b) and a.shape == (8, 3, 32, 32)
    assert a.min() >= 0 and a.max() <= 1
    assert not torch.equal(a, toy_faces(8, 32, seed=4))
    assert (a[:-1] - a[1:]).abs().mean((1, 2, 3)).min() > 0.05


def test_a_toy_face_is_the_same_at_every_size():
    small, large = toy_faces(16, 64, seed=1), toy_faces(16, 256, seed=1)
    assert (F.avg_pool2d(large, 4) - small).abs().mean() < 0.01


def test_toy_faces_are_anti_aliased():
    # With hard edges a face would hold little more than its dozen of flat colours and a gradient.
    face = (toy_faces(1, 64, seed=2)[0] * 255).round().flatten(1).T
    assert len(face.unique(dim=0)) > 500


def flat_colours(patch, at_least):
    colours, counts = (patch * 255).round().flatten(1).T.unique(dim=0, return_counts=True)
    return {tuple(colour.tolist()) for colour, count in zip(colours, counts, strict=True) if count >= at_least}


def test_the_two_eyes_of_a_face_have_the_same_size_and_colours():
    for face in toy_faces(12, 256, seed=5):
        rows, columns = torch.where(((face - 0.97).abs() < 1e-4).all(0))  # the white of both eyes
        middle = (columns.min() + columns.max()) / 2
        left, right = (columns < middle), (columns > middle)
        assert 0.7 < left.sum() / right.sum() < 1.4
        patches = [
            face[:, rows[side].min() : rows[side].max(), columns[side].min() : columns[side].max()]
            for side in (left, right)
        ]
        assert flat_colours(patches[0], 40) <= flat_colours(patches[1], 1)
        assert flat_colours(patches[1], 40) <= flat_colours(patches[0], 1)


def test_a_seed_that_would_be_taken_for_another_is_refused():
    with pytest.raises(ValueError, match=r"from 0 to 2\*\*32 - 1"):
        toy_faces(1, seed=2**32)


@pytest.mark.parametrize("arguments", [(0,), (1, 4)])
def test_no_face_or_too_small_a_face_is_refused(arguments):
    with pytest.raises(ValueError, match="at least 1 face of at least 8 pixels"):
        toy_faces(*arguments)
