"""Random masks: area in the band, seeded, the same at every size."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from misf_lite import random_mask
from misf_lite.masks import BANDS, KINDS, fit_mask, is_hole

kinds = st.sampled_from(sorted(KINDS))
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_pixel_is_hole_from_one_half_on(dtype):
    mask = torch.tensor([[0.0, 0.25, 0.5, 1.0]], dtype=dtype)
    assert is_hole(mask).tolist() == [[False, False, True, True]]


@settings(max_examples=150, deadline=None)
@given(
    kind=kinds, seed=seeds, H=st.integers(1, 97), W=st.integers(1, 97), ends=st.tuples(st.floats(0, 1), st.floats(0, 1))
)
def test_the_area_is_inside_any_band_that_some_number_of_pixels_can_meet(kind, seed, H, W, ends):
    low, high = sorted(ends)
    if np.ceil(low * H * W - 1e-9) > np.floor(high * H * W + 1e-9):
        with pytest.raises(ValueError, match="no whole number"):
            random_mask((H, W), (low, high), kind, seed)
        return
    mask = random_mask((H, W), (low, high), kind, seed)
    assert mask.shape == (1, 1, H, W) and mask.dtype == torch.float32
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    assert low * H * W - 1e-6 <= mask.sum().item() <= high * H * W + 1e-6


@given(kind=kinds, seed=seeds)
@settings(max_examples=25, deadline=None)
def test_the_same_seed_gives_the_same_mask(kind, seed):
    assert torch.equal(random_mask(40, kind=kind, seed=seed), random_mask(40, kind=kind, seed=seed))


@pytest.mark.parametrize("kind", KINDS)
def test_other_seeds_give_other_masks(kind):
    masks = {random_mask(48, kind=kind, seed=seed).numpy().tobytes() for seed in range(20)}
    assert len(masks) == 20


@pytest.mark.parametrize("kind", KINDS)
def test_the_hole_has_the_same_shape_at_every_size(kind):
    agreement = []
    for seed in range(6):
        small = random_mask((64, 96), kind=kind, seed=seed)
        large = random_mask((256, 384), kind=kind, seed=seed)
        agreement.append((F.avg_pool2d(large, 4).round() == small).float().mean().item())
    # Outlines are a pixel of the small mask wide, and thin scratches are little else; chance would give 0.55.
    assert np.mean(agreement) > (0.85 if kind == "thin" else 0.93)


@pytest.mark.parametrize("kind", KINDS)
def test_areas_spread_over_the_band(kind):
    areas = [random_mask(64, (0.2, 0.4), kind, seed).mean().item() for seed in range(40)]
    assert min(areas) < 0.25 and max(areas) > 0.35


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("band", "area"), [((0, 0), 0), ((1, 1), 1), ((0.5, 0.5), 0.5)])
def test_empty_full_and_exact_areas_can_be_had(kind, band, area):
    assert random_mask(20, band, kind).mean().item() == area


def rim(mask):
    """Share of the hole's pixels with a known neighbour to the right or below."""
    m = mask[0, 0]
    return ((m.diff(dim=0) != 0).sum() + (m.diff(dim=1) != 0).sum()).item() / m.sum().item()


def test_thin_and_text_holes_have_more_rim_than_broad_ones():
    rims = {kind: np.mean([rim(random_mask(128, kind=kind, seed=s)) for s in range(8)]) for kind in KINDS}
    assert min(rims["thin"], rims["text"]) > 2 * max(rims["strokes"], rims["box"], rims["blobs"])


def test_a_box_mask_is_made_of_boxes():
    # A union of upright boxes has only right-angled corners: every 2×2 block of pixels with exactly one or three hole
    # pixels is a corner, and there are at most a handful.
    for seed in range(20):
        blocks = F.avg_pool2d(random_mask(64, BANDS[1], "box", seed), 2, stride=1) * 4
        corners = ((blocks == 1) | (blocks == 3)).sum().item()
        assert corners <= 16


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": 64, "kind": "stars"}, "choose one of strokes, box, blobs, text, thin"),
        ({"size": 0}, "at least 1 × 1.*got size 0"),
        ({"size": 6.4}, r"a side or \(height, width\).*got size 6\.4"),
        ({"size": 64, "band": 0.2}, r"a band 0 <= low <= high <= 1.*got size 64, band 0\.2"),
        ({"size": 64, "band": BANDS}, r"a band 0 <= low <= high <= 1.*band \(\("),
        ({"size": 64, "seed": -1}, "a seed from 0 on.*seed -1"),
        ({"size": 64, "band": (0.4, 0.2)}, "0 <= low <= high <= 1"),
        ({"size": 64, "band": (0.2, 1.2)}, "0 <= low <= high <= 1"),
        ({"size": 2, "band": (0.3, 0.4)}, "no whole number of the 2×2 pixels"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_can(arguments, message):
    with pytest.raises(ValueError, match=message):
        random_mask(**arguments)


# Masks made elsewhere, fitted to a size


def test_a_fitted_mask_is_the_mask_at_the_new_size_turned_or_mirrored():
    corner = np.zeros((30, 30), bool)
    corner[:10, :20] = True  # none of the eight ways to turn and mirror it looks like another
    ways = {
        np.kron(way, np.ones((2, 2), np.float32)).tobytes()
        for turned in (np.rot90(corner, k) for k in range(4))
        for way in (turned, turned.T)
    }
    fitted = [fit_mask(corner, 60, np.random.default_rng(seed)) for seed in range(80)]
    assert {mask.shape for mask in fitted} == {(1, 1, 60, 60)} and fitted[0].dtype == torch.float32
    assert {mask.numpy().tobytes() for mask in fitted} == ways and len(ways) == 8


def test_a_mask_that_is_not_square_is_stretched():
    left = np.zeros((10, 40), bool)
    left[:, :10] = True
    assert all(fit_mask(left, 16, np.random.default_rng(seed)).mean() == 0.25 for seed in range(8))


@settings(max_examples=150, deadline=None)
@given(H=st.integers(1, 60), W=st.integers(1, 60), size=st.integers(2, 40), seed=seeds, inverse=st.booleans())
def test_a_fitted_mask_always_has_both_hole_and_known_pixels(H, W, size, seed, inverse):
    rng = np.random.default_rng(seed)
    dot = np.zeros((H, max(W, 2)), bool)
    dot[rng.integers(H), rng.integers(W)] = True
    assert fit_mask(dot ^ inverse, size, rng).unique().tolist() == [0, 1]


def test_a_dot_too_small_to_be_sampled_stays_where_it_was():
    dot = np.zeros((90, 90), bool)
    dot[2, 67] = True
    for seed in range(20):
        at_90, at_9 = (fit_mask(dot, size, np.random.default_rng(seed))[0, 0].nonzero() for size in (90, 9))
        assert torch.equal(at_90 // 10, at_9)


@pytest.mark.parametrize(
    ("mask", "size"), [(np.eye(4, dtype=bool), 1), (np.ones((4, 4), bool), 4), (np.zeros((4, 4), bool), 4)]
)
def test_a_size_of_one_pixel_or_a_mask_of_one_kind_is_refused(mask, size):
    with pytest.raises(ValueError, match="both hole and known pixels"):
        fit_mask(mask, size, np.random.default_rng(0))


@pytest.mark.parametrize("kind", ["strokes", "thin"])
@pytest.mark.parametrize("share", [0.001, 0.005, 0.02, 0.05])
def test_a_small_hole_is_part_of_a_stroke_and_not_the_first_rows(kind, share):
    for seed in range(20):
        rows, columns = torch.where(random_mask(128, (share, 1.1 * share), kind, seed)[0, 0] > 0)
        spread = max(rows.max() - rows.min(), columns.max() - columns.min()) + 1
        assert not (rows.max() < 8 and len(columns.unique()) == 128)
        assert len(rows) < 0.8 * 128 * spread
