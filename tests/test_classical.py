"""Methods that have learnt nothing: the spline against a direct solver, the others for what they promise."""

import sys

import numpy as np
import pytest
import scipy.sparse as sparse
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import spsolve

from misf_lite.classical import CLASSICAL, mean_fill, patchmatch, smooth_guess
from misf_lite.masks import random_mask
from misf_lite.metrics import psnr


def solved(image, hole, tension):
    """The spline in tension of one channel by scipy's direct solver: image and hole (H, W)."""
    H, W = hole.shape

    def second_difference(n):
        matrix = sparse.diags([np.ones(n - 1), -2 * np.ones(n), np.ones(n - 1)], [-1, 0, 1]).tolil()
        matrix[0, 0] = matrix[-1, -1] = -1
        return matrix

    laplace = sparse.kron(sparse.eye(H), second_difference(W)) + sparse.kron(second_difference(H), sparse.eye(W))
    equation = ((1 - tension) * laplace @ laplace - tension * laplace).tocsr()
    inside, result = hole.ravel(), image.ravel().copy()
    result[inside] = spsolve(equation[inside][:, inside].tocsc(), -equation[inside][:, ~inside] @ result[~inside])
    return result.reshape(H, W)


@pytest.mark.parametrize("tension", [0.0, 0.15, 1.0])
def test_the_guess_is_a_spline_in_tension(tension):
    waves = torch.linspace(0, 3, 30).sin()[:, None] * torch.linspace(0, 4, 41).cos() * 0.4 + 0.5
    image, mask = waves.expand(1, 3, 30, 41), random_mask((30, 41), (0.2, 0.4), "blobs", 3)
    expected = solved(waves.double().numpy(), mask[0, 0].numpy() > 0, tension)
    guess = smooth_guess(image.double(), mask, tension, cycles=60)
    np.testing.assert_allclose(guess[0, 1].numpy(), expected.clip(0, 1), atol=1e-6)


def test_the_few_steps_of_the_default_come_close():
    waves = torch.linspace(0, 3, 64).sin()[:, None] * torch.linspace(0, 4, 64).cos() * 0.4 + 0.5
    mask = random_mask(64, (0.2, 0.4), "strokes", 3)
    expected = solved(waves.double().numpy(), mask[0, 0].numpy() > 0, 0.15)
    guess = smooth_guess(waves.expand(1, 3, 64, 64), mask)[0, 0].numpy()
    assert np.abs(guess - expected).mean() < 0.1 * np.abs(0.5 - expected).mean()


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.01, 0.99), st.integers(0, 99))
def test_known_pixels_stay_and_the_hole_stays_in_range(H, W, share, seed):
    rng = torch.Generator().manual_seed(seed)
    image, hole = torch.rand(2, 3, H, W, generator=rng), torch.rand(2, 1, H, W, generator=rng) < share
    guess = smooth_guess(image, hole.float())
    assert guess.isfinite().all() and guess.min() >= 0 and guess.max() <= 1
    assert torch.equal(guess.masked_fill(hole, 0), image.masked_fill(hole, 0))


def test_what_lies_under_the_hole_is_never_looked_at():
    image, mask = torch.rand(1, 3, 24, 31), random_mask((24, 31), (0.2, 0.4), "strokes", 1)
    other = torch.where(mask > 0, torch.rand_like(image), image)
    inside = mask.expand_as(image) > 0
    assert torch.equal(smooth_guess(image, mask)[inside], smooth_guess(other, mask)[inside])


def test_without_any_known_pixel_the_guess_is_grey():
    hole = torch.ones(2, 1, 17, 16)
    hole[1, 0, 0, 0] = 0
    guess = smooth_guess(torch.full((2, 3, 17, 16), 0.2), hole)
    assert torch.allclose(guess[0], torch.tensor(0.5)) and torch.allclose(guess[1], torch.tensor(0.2))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_guess_of_float32_rounded(dtype):
    image, mask = torch.rand(1, 3, 32, 32).to(dtype), random_mask(32, (0.2, 0.4), "strokes", 1)
    assert torch.equal(smooth_guess(image, mask), smooth_guess(image.float(), mask).to(dtype))


# The others


def test_mean_fill_paints_the_mean_of_the_known_pixels():
    image = torch.tensor([0.2, 0.4, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    mask = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3)
    torch.testing.assert_close(mean_fill(image, mask)[0, 0, 0], torch.tensor([0.2, 0.4, 0.3]))


def test_patchmatch_copies_patches_and_keeps_known_pixels():
    rows, columns = torch.meshgrid(torch.arange(48), torch.arange(48), indexing="ij")
    image = ((rows // 4 + columns // 4) % 2).float().expand(1, 3, 48, 48) * 0.6 + 0.2
    mask = torch.zeros(1, 1, 48, 48)
    mask[..., 18:30, 18:30] = 1
    filled = patchmatch(image.masked_fill(mask > 0, 0), mask)
    known = (mask == 0).expand_as(image)
    assert (filled - image)[known].abs().max() < 1 / 255
    assert filled[~known].unique().numel() <= 20  # its colours are those of the board, not between them
    assert psnr(filled, image, mask) > psnr(mean_fill(image, mask), image, mask)


@pytest.mark.parametrize("method", CLASSICAL.values(), ids=CLASSICAL)
def test_classical_methods_continue_a_gradient_and_keep_what_is_known(method):
    colours = torch.tensor([1, 0.7, 0.4]).view(1, 3, 1, 1)
    ramp = torch.linspace(0.2, 0.8, 40).expand(1, 3, 30, 40) * colours
    ramp = (ramp * 255).round() / 255
    mask = torch.zeros(1, 1, 30, 40)
    mask[..., 12:18, 4:10] = 1
    filled = method(ramp, mask)
    torch.testing.assert_close(filled * (1 - mask), ramp * (1 - mask))
    assert (filled - ramp).abs().max() < 0.08
    assert psnr(filled, ramp, mask) > 10 + psnr(mean_fill(ramp, mask), ramp, mask)


@pytest.mark.parametrize(
    ("method", "package", "extra"),
    [
        ("Telea", "cv2", "classical"),
        ("biharmonic", "skimage.restoration", "classical"),
        ("PatchMatch", "patchmatch", "evaluation"),
    ],
)
def test_a_method_whose_package_is_missing_says_what_to_install(monkeypatch, method, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package} .*pip install 'misf-lite\[{extra}\]'"):
        (CLASSICAL | {"PatchMatch": patchmatch})[method](torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16))


def test_a_surface_without_a_rim_is_refused_in_words():
    with pytest.raises(ValueError, match="nothing but hole"):
        CLASSICAL["biharmonic"](torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16))
