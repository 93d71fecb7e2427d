"""Reading kernels: values by hand, what must not matter, and where a pixel lies."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from misf_lite.kernels import centre_of_mass, centre_share, entropy, hole_share, reach, regions, shares

IDENTITY = [0.0] * 4 + [1.0] + [0.0] * 4
MEAN = [1 / 9] * 9
UP_AND_RIGHT = [0, 3, 0, 0, 0, -1, 0, 0, 0]  # three quarters from above, a quarter (negative) from the right


def field(*kernels, height=4, width=5):
    """Each kernel in a group of its own, the same at every pixel."""
    return torch.tensor(kernels).float()[None, :, :, None, None].expand(-1, -1, -1, height, width)


def values(result):
    """One number per group, after a check that it is the same at every pixel."""
    assert result.shape[-2:] == (4, 5) and torch.allclose(result, result[..., :1, :1], atol=1e-6)
    return result[0, ..., 0, 0].tolist()


def test_kernels_measured_by_hand():
    kernels = field(IDENTITY, MEAN, UP_AND_RIGHT)
    assert values(centre_share(kernels)) == pytest.approx([1, 1 / 9, 0])
    mixed = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert values(entropy(kernels)) == pytest.approx([0, math.log(9), mixed], abs=1e-6)
    assert values(reach(kernels)) == pytest.approx([0, (4 + 4 * math.sqrt(2)) / 9, 1])
    assert values(centre_of_mass(kernels)) == [
        pytest.approx(mean, abs=1e-6) for mean in ([0, 0], [0, 0], [-0.75, 0.25])
    ]


def test_dilation_takes_the_taps_further_away():
    kernels = field(MEAN, UP_AND_RIGHT)
    torch.testing.assert_close(reach(kernels, 3), 3 * reach(kernels))
    torch.testing.assert_close(centre_of_mass(kernels, 3), 3 * centre_of_mass(kernels))


def test_a_corner_is_as_far_as_a_kernel_reaches():
    corner = field([1.0] + [0.0] * 24)
    assert values(reach(corner)) == pytest.approx([2 * math.sqrt(2)])
    assert values(centre_of_mass(corner)) == [pytest.approx([-2, -2])]


def test_the_weight_taken_from_the_hole():
    mask = torch.zeros(1, 1, 4, 5)
    mask[..., 1, 2:] = 1
    share = hole_share(field(IDENTITY, MEAN, UP_AND_RIGHT), mask)
    assert torch.equal(share[:, :1], mask)
    assert share[0, :, 2, 2].tolist() == pytest.approx([0, 2 / 9, 3 / 4])  # above and above right
    assert share[0, :, 1, 1].tolist() == pytest.approx([0, 1 / 9, 1 / 4])  # to the right
    assert hole_share(field(UP_AND_RIGHT), mask, dilation=2)[0, 0, 3, 2] == 3 / 4
    assert hole_share(field(UP_AND_RIGHT), mask, padding="zeros")[0, 0, 0, 2] == 0  # reflected, it would be the hole
    assert hole_share(field(UP_AND_RIGHT), mask)[0, 0, 0, 2] == 3 / 4


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.sampled_from([1, 3, 5]), scale=st.floats(1e-3, 1e3))
def test_neither_scale_nor_sign_matters_and_every_measure_keeps_its_range(seed, side, scale):
    rng = torch.Generator().manual_seed(seed)
    kernels = torch.randn(2, 3, side * side, 2, 4, generator=rng, dtype=torch.float64)
    mask = (torch.rand(2, 1, 2, 4, generator=rng) < 0.5).float()
    signs = torch.randn(kernels.shape, generator=rng).sign()
    limits = {centre_share: 1, entropy: math.log(side**2), reach: side // 2 * math.sqrt(2)}
    for measure in (*limits, centre_of_mass, lambda k: hole_share(k, mask)):
        torch.testing.assert_close(measure(scale * kernels * signs), measure(kernels))
        assert measure(kernels).abs().max() <= limits.get(measure, side) + 1e-9
    torch.testing.assert_close(shares(kernels).sum(2), torch.ones(2, 3, 2, 4, dtype=torch.float64))
    assert torch.all(centre_of_mass(kernels).norm(dim=2) <= reach(kernels) + 1e-9)


def test_half_precision_is_measured_in_single():
    assert all(f(field(MEAN).half()).dtype == torch.float32 for f in (centre_share, entropy, reach, centre_of_mass))


def test_a_kernel_of_zeros_has_no_shares():
    assert all(f(torch.zeros(1, 1, 9, 2, 2)).isnan().all() for f in (centre_share, entropy, reach))


@pytest.mark.parametrize("shape", [(9, 4, 4), (1, 1, 4, 4, 4), (1, 1, 8, 4, 4), (1, 1, 0, 4, 4)])
@pytest.mark.parametrize("measure", [shares, centre_share, entropy, reach, centre_of_mass])
def test_what_is_not_a_kernel_field_is_refused(measure, shape):
    with pytest.raises(ValueError, match="N odd"):
        measure(torch.ones(shape))


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"mask \(1, 1, 4, 5\).*got \(1, 1, 8, 10\)"):
        hole_share(field(MEAN), torch.zeros(1, 1, 8, 10))


def test_regions_share_out_the_picture():
    hole = torch.zeros(1, 1, 9, 12)
    hole[..., 1:8, :9] = 1  # goes to the left edge: what is beyond the picture is not known
    where = regions(hole)
    assert torch.equal(sum(region.int() for region in where.values()), torch.ones_like(hole, dtype=torch.int32))
    assert torch.equal(where["outside"], hole == 0)
    inside = torch.zeros(9, 12, dtype=torch.bool)
    inside[3:6, :7] = True
    assert torch.equal(where["inside"][0, 0], inside)
    assert regions(hole, border=1)["inside"].sum() == 5 * 8
    assert not regions(torch.zeros(1, 1, 4, 4))["border"].any() and regions(torch.ones(1, 1, 4, 4))["inside"].all()
