"""Reading kernels: values by hand, what must not matter, regions, statistics, and the command that prints them."""

import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import misf_lite as ml
from misf_lite import figures
from misf_lite.cli import main
from misf_lite.evaluation import evaluate
from misf_lite.kernels import (
    centre_of_mass,
    centre_share,
    entropy,
    hole_share,
    kernel_statistics,
    reach,
    regions,
    shares,
)

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


def test_the_untrained_model_averages_in_the_hole_and_copies_outside():
    torch.manual_seed(0)
    model = ml.MISF(ml.MISFConfig.toy(width=2, blocks=0, dilation=(2, 1, 1, 1)))
    rows = kernel_statistics(model, torch.rand(2, 3, 32, 40).split(1))
    assert rows["outside"] == {"centre_share": 1, "entropy": 0, "reach": 0}
    mean = reach(torch.ones(1, 1, 25, 1, 1), 2).item()
    for region in ("inside", "border"):
        assert rows[region] == pytest.approx({"centre_share": 1 / 25, "entropy": math.log(25), "reach": mean}, rel=1e-4)


def reader(kernel_of, seen=None):
    """A stand-in for a model, with one kernel for a whole picture."""

    def trace(image, mask):
        if seen is not None:
            seen.append(mask)
        return SimpleNamespace(kernels={0: field(*kernel_of(image), height=image.shape[2], width=image.shape[3])})

    return SimpleNamespace(config=ml.MISFConfig(), trace=trace)


def test_every_pixel_counts_the_same_in_all_pictures_and_so_does_every_group():
    images = [torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 32, 32)]
    row = kernel_statistics(reader(lambda image: [IDENTITY if image.any() else MEAN, MEAN]), images)["outside"]
    # The share of the known pixels that lie in the larger picture.
    masks = [[ml.random_mask(n, band, seed=1000 * b + i) for b, band in enumerate(ml.masks.BANDS)]
             for i, n in enumerate((16, 32))]  # fmt: skip
    small, large = (sum((mask == 0).sum().item() for mask in picture) for picture in masks)
    share = large / (small + large)
    assert row["centre_share"] == pytest.approx(share * (1 + 1 / 9) / 2 + (1 - share) / 9)


def test_the_holes_are_those_of_the_evaluation():
    images, seen, expected = torch.rand(2, 3, 20, 24).split(1), [], []
    evaluate({"": lambda image, mask: (expected.append(mask), image)[1]}, images, seed=7, kind="box")
    kernel_statistics(reader(lambda _: [MEAN], seen), images, seed=7, kind="box")
    assert len(seen) == 6 and all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


def test_there_must_be_something_to_read():
    with pytest.raises(ValueError, match="at least one image"):
        kernel_statistics(reader(lambda _: [MEAN]), [])
    blind = ml.MISF(ml.MISFConfig.toy(width=2, blocks=0, image=False))
    for function in (lambda: kernel_statistics(blind, []), lambda: figures.show_kernel_field(blind, None, None)):
        with pytest.raises(ValueError, match="image=False"):
            function()


@pytest.fixture
def closed():
    yield
    plt.close("all")


@pytest.mark.usefixtures("closed")
@pytest.mark.parametrize(("groups", "passes"), [(1, 16), (None, 1)])
def test_the_figure_shows_maps_and_kernels_at_the_marked_pixels(groups, passes):
    torch.manual_seed(0)
    changes = {"width": 2, "blocks": 0, "passes": passes, "kernel_size": 3, "kernel_groups": (groups, *[None] * 3)}
    model = ml.MISF(ml.MISFConfig.toy(**changes))
    torch.nn.init.normal_(model.kpb.heads["0"][-1].weight)
    image, mask = torch.rand(1, 3, 24, 32), torch.zeros(1, 1, 24, 32)
    mask[..., 4:16, 8:24] = 1
    pixels = {"known": (20, 3), "rim": (4, 9), "deep": (10, 15)}
    figure = figures.show_kernel_field(model, image, mask, pixels)
    said = figure.get_suptitle()
    assert ("once" if passes == 1 else "16 times") in said and ("Red's" in said) == (groups is None)
    titles = [ax.get_title() for ax in figure.axes]
    named = {title: ax for title, ax in zip(titles, figure.axes, strict=True) if title}
    assert list(named) == ["with a hole", "filled", "centre share", "entropy, up to 2.20", "reach, up to 1.4 px",
                           "1: known", "2: rim", "3: deep"]  # fmt: skip
    assert titles.count("") == 3  # the colour bars
    limits = [named[title].images[0].get_clim() for title in list(named)[2:5]]
    assert [round(high, 4) for low, high in limits if low == 0] == [1, 2.1972, 1.4142]
    kernels = model.trace(image, mask).kernels[0]
    shown = named["entropy, up to 2.20"].images[0].get_array()
    assert torch.allclose(torch.tensor(shown), entropy(kernels)[0, 0], atol=1e-6)
    for number, (name, (row, column)) in enumerate(pixels.items(), 1):
        frame = named["with a hole"].patches[number - 1]
        assert (frame.get_y() + 1.5, frame.get_x() + 1.5) == (row, column)
        drawn = named[f"{number}: {name}"].images[0]
        assert torch.allclose(torch.tensor(drawn.get_array()).flatten(), kernels[0, 0, :, row, column])
        assert drawn.get_clim() == (-1, 1)  # one limit for all: the known pixel's identity is the largest


def test_typical_pixels_lie_where_they_are_said_to():
    mask = torch.zeros(1, 1, 40, 48)
    mask[..., 10:30, 20:44] = 1
    pixels = figures.typical_pixels(mask)
    assert list(pixels) == ["outside", "border", "inside", "deep inside"]
    for name, where in regions(mask).items():
        assert where[0, 0][pixels[name]]
    row, column = pixels["deep inside"]
    assert row in (19, 20) and 29 <= column <= 34
    assert 5 <= pixels["outside"][0] <= 34 and 5 <= pixels["outside"][1] <= 14  # not at the picture's edge
    island = torch.ones(1, 1, 12, 16)
    island[..., 2:5, 6:9] = 0
    assert figures.typical_pixels(island)["outside"] == (3, 7)
    assert list(figures.typical_pixels(torch.zeros(1, 1, 20, 20))) == ["outside"]
    mask[..., 12:, :] = 0
    assert list(figures.typical_pixels(mask)) == ["outside", "border"]


@pytest.mark.usefixtures("closed")
def test_the_command_prints_a_table_and_draws_a_picture_that_it_does_not_replace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    ml.save_weights(ml.MISF(ml.MISFConfig.toy(width=2, blocks=0)), "small.safetensors")
    command = ["kernels", "--weights", "small.safetensors", "--size", "32", "--count", "1", "-o", "kernels.png"]
    assert main(command) == 0
    said = capsys.readouterr().out
    for part in ("1 photographs of the test split", "5×5 kernels, one pass (of 1)", "≤ 3.22", "kernels.png"):
        assert part in said
    rows = {line.split()[0]: [float(n) for n in line.split()[1:]] for line in said.splitlines()[2:5]}
    assert rows["outside"] == [1, 0, 0] and rows["inside"] == rows["border"] == [0.04, 3.22, 1.87]
    with Image.open("kernels.png") as picture:
        assert picture.width == 1280
    assert main(command) == 1 and "--force" in capsys.readouterr().err
