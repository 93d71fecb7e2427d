"""Figures: drawn on axes; the same colours for the same things, and numbers where they fit."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.patches import FancyArrowPatch

from misf_lite import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def ax():
    return figures.new_row(1, width=3)[0]


def numbers(ax):
    return [text.get_text() for text in ax.texts]


def test_a_kernel_shows_its_weights_and_is_centred_on_zero(ax):
    figures.show_kernel(torch.tensor([0.5, -0.25, 0, 0, 0.001, 0, 0, 0, 0.75]), ax)
    assert numbers(ax) == ["0.50", "-0.25", "0", "0", "0", "0", "0", "0", "0.75"]
    assert ax.images[0].get_clim() == (-0.75, 0.75)


def test_kernels_that_are_compared_share_one_limit():
    axes = figures.new_row(2)
    for ax, scale in zip(axes, (1, 0.1), strict=True):
        figures.show_kernel(scale * torch.rand(3, 3), ax, limit=1)
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim() == (-1, 1)


def test_large_kernels_are_drawn_without_numbers(ax):
    figures.show_kernel(torch.rand(11 * 11), ax)
    assert len(ax.images) == 1 and numbers(ax) == []


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_numbers_can_be_read_on_every_colour(value, ax):
    figures.show_kernel(torch.full((1,), value), ax, limit=1)
    paper = np.array(ax.images[0].to_rgba(value)[:3]) @ [0.299, 0.587, 0.114]
    ink = np.array(to_rgb(ax.texts[0].get_color())) @ [0.299, 0.587, 0.114]
    assert abs(paper - ink) > 0.45


def test_the_hole_has_its_colour_and_the_rest_stays():
    image, mask = torch.rand(1, 3, 6, 8), torch.zeros(1, 1, 6, 8)
    mask[..., 2:4, 3:5] = 1
    shown = figures.with_hole(image, mask)
    assert torch.equal(shown[..., :2, :], image[..., :2, :])
    torch.testing.assert_close(shown[0, :, 2, 3], torch.tensor(to_rgb(figures.HOLE)), atol=1e-6, rtol=0)


def test_pictures_are_drawn_under_their_titles_on_given_or_new_axes():
    images = {"one": torch.rand(1, 3, 6, 8), "two": torch.rand(1, 1, 6, 8)}
    axes = figures.new_row(2)
    for shown in (figures.show_images(images), figures.show_images(images, axes)):
        assert [ax.get_title() for ax in shown] == ["one", "two"]
        assert [ax.images[0].get_array().shape for ax in shown] == [(6, 8, 3), (6, 8)]


def test_batches_are_drawn_as_strips_with_their_names_on_the_left():
    figure = figures.show_strips({"one": torch.rand(4, 3, 6, 8), "two": torch.rand(4, 3, 6, 8)})
    assert [ax.get_ylabel() for ax in figure.axes] == ["one", "two"]
    assert [ax.images[0].get_array().shape for ax in figure.axes] == [(6, 4 * 8, 3)] * 2


def test_a_marked_pixel_lies_in_the_middle_of_its_frame(ax):
    figures.mark_pixel(ax, row=10, column=20, reach=2, label="a")
    frame = ax.patches[0]
    assert (frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2) == (20, 10)
    assert frame.get_width() == 5 and numbers(ax) == ["a"]


def test_a_map_has_the_limits_it_was_given_and_a_colour_bar(ax):
    figures.show_map(torch.rand(6, 8), ax, "share", limits=(0, 1))
    assert ax.images[0].get_clim() == (0, 1) and len(ax.figure.axes) == 2 and ax.get_title() == "share"


BANDS = ("0% to 20%", "20% to 40%", "40% to 60%")
HISTORY = [{"step": 10 * i, "loss": 1 / i, "psnr_hole": [20 + i, 18 + i, 17 + i]} for i in (1, 2, 3)]


@pytest.mark.parametrize("history", [[], HISTORY])
@pytest.mark.parametrize("kernel", [None, torch.rand(25)])
def test_a_training_run_is_shown_on_four_labelled_axes(history, kernel):
    loss, decibels, filled, taps = figures.show_training(history, torch.rand(1, 3, 16, 16), kernel)
    assert list(loss.lines[0].get_ydata()) == [line["loss"] for line in history]
    assert [line.get_label() for line in decibels.lines] == [f"hole {b}" for b in BANDS]
    assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_title() for ax in (loss, decibels))
    assert filled.get_title() == ("filled after step 30" if history else "filled before training")
    assert len(numbers(taps)) == (0 if kernel is None else 25)


def rows(**scores):
    """A table of results, with one PSNR for each picture of each band."""
    lines = [
        {"method": method, "band": band, "picture": f"{picture}.jpg", "hole": 0.2 * band + 0.1, "psnr_hole": value}
        for method, values in scores.items()
        for band in range(3)
        for picture, value in enumerate(values)
    ]
    return pd.DataFrame(lines)


def test_methods_are_drawn_at_their_distance_from_the_baseline_the_best_on_top():
    ax = figures.show_differences(rows(ours=[20, 22, 24], better=[21, 24, 24], worse=[19, 21, 23]), "ours")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["worse", "better"]
    for bars in ax.containers:
        points = bars.lines[0]
        assert list(points.get_xdata()) == pytest.approx([-1, 1])
        (left, right), *_ = [line.get_segments()[1][:, 0] for line in bars.lines[2]]
        assert 0 <= left < 1 < right <= 2
    assert ax.get_xlabel() == "difference to ours in dB, PSNR in the hole"


def test_a_method_that_is_far_away_is_named_and_not_drawn():
    ax = figures.show_differences(rows(ours=[20, 22], near=[21, 22], black=[5, 6]), "ours")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["near"]
    assert ax.get_xlabel().endswith("(not shown: black)")


def test_where_we_are_colours_the_parts_it_is_given_and_leaves_the_rest_pale():
    ax = figures.show_where(["image kernels", "image filter", "link"])
    assert {"$K$", "$K_3$", "$F_2$", "$E_3$", "image\nkernels", "semantic\nfilter"} <= set(numbers(ax))
    ink = {text.get_text(): text for text in ax.texts}
    assert ink["image\nkernels"].get_weight() == ink["link"].get_weight() == "bold"
    assert ink["semantic\nkernels"].get_weight() == "normal"
    assert ink["$K$"].get_color() == "white" != ink["$K_3$"].get_color()


def test_an_arrow_is_lit_where_both_of_its_ends_are():
    def lit(parts):
        arrows = [patch for patch in figures.show_where(parts).patches if isinstance(patch, FancyArrowPatch)]
        return sum(arrow.get_linewidth() > 2 for arrow in arrows), len(arrows)

    assert lit([]) == (0, 16)
    assert lit(["image kernels", "image filter"]) == (1, 16)
    assert lit(["image kernels", "link"]) == (1, 16)
    assert lit(figures.PARTS) == (16, 16)


def test_a_part_of_misf_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"unknown part 'kernels': choose from input, .*, link"):
        figures.show_where(["kernels"])


def test_where_we_are_takes_notes_beside_its_boxes():
    ax = figures.show_where(figures.PARTS, notes={"F2": "16×32×32", "K": "1×25×64×64"})
    assert {"16×32×32", "1×25×64×64"} <= set(numbers(ax))
    with pytest.raises(ValueError, match="no box 'F4'"):
        figures.show_where(figures.PARTS, notes={"F4": "?"})


@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: figures.show_kernel(torch.ones(9), ax),
        lambda ax: figures.show_cells(np.eye(3), ax),
        lambda ax: figures.show_map(torch.rand(4, 5), ax),
        lambda ax: figures.mark_pixel(ax or figures.new_row(1)[0], 2, 2),
    ],
)
def test_what_draws_returns_the_axes_it_was_given_or_new_ones(ax, draw):
    assert draw(ax) is ax and draw(None) is not ax
    plt.close("all")
