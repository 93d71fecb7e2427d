"""Figures: axes in, axes out, the same colours for the same things, numbers where they fit."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from misf_lite import figures


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def numbers(ax):
    return [text.get_text() for text in ax.texts]


def test_a_kernel_shows_its_weights_and_is_centred_on_zero():
    kernel = torch.tensor([0.5, -0.25, 0, 0, 0.001, 0, 0, 0, 0.75])
    ax = figures.show_kernel(kernel)
    assert numbers(ax) == ["0.50", "-0.25", "0", "0", "0", "0", "0", "0", "0.75"]
    assert ax.images[0].get_clim() == (-0.75, 0.75)


def test_kernels_that_are_compared_share_one_limit():
    axes = figures.new_row(2)
    for ax, scale in zip(axes, (1, 0.1), strict=True):
        assert figures.show_kernel(scale * torch.rand(3, 3), ax, limit=1) is ax
    assert axes[0].images[0].get_clim() == axes[1].images[0].get_clim() == (-1, 1)


def test_large_kernels_are_drawn_without_numbers():
    assert numbers(figures.show_kernel(torch.rand(11 * 11))) == []


@pytest.mark.parametrize("value", [-1.0, -0.5, 0.0, 0.5, 1.0])
def test_numbers_can_be_read_on_every_colour(value):
    ax = figures.show_kernel(torch.full((1,), value), limit=1)
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


def test_a_marked_pixel_lies_in_the_middle_of_its_frame():
    ax = figures.mark_pixel(figures.new_row(1)[0], row=10, column=20, reach=2, label="a")
    frame = ax.patches[0]
    assert (frame.get_x() + frame.get_width() / 2, frame.get_y() + frame.get_height() / 2) == (20, 10)
    assert frame.get_width() == 5 and numbers(ax) == ["a"]


def test_a_map_has_the_limits_it_was_given_and_a_colour_bar():
    ax = figures.show_map(torch.rand(6, 8), title="share", limits=(0, 1))
    assert ax.images[0].get_clim() == (0, 1) and len(ax.figure.axes) == 2 and ax.get_title() == "share"


BANDS = ("0% to 20%", "20% to 40%", "40% to 60%")
HISTORY = [{"step": 10 * i, "loss": 1 / i, "psnr_hole": [20 + i, 18 + i, 17 + i]} for i in (1, 2, 3)]


@pytest.mark.parametrize("history", [[], HISTORY])
@pytest.mark.parametrize("kernel", [None, torch.rand(25)])
def test_a_training_run_is_shown_on_four_labelled_axes(history, kernel):
    axes = figures.show_training(history, torch.rand(1, 3, 16, 16), kernel)
    assert figures.show_training(history, torch.rand(1, 3, 16, 16), kernel, axes) is axes
    loss, decibels, filled, taps = axes
    assert [list(line.get_ydata()) for line in loss.lines[:1]] == [[line["loss"] for line in history]]
    assert [line.get_label() for line in decibels.lines[:3]] == [f"hole {b}" for b in BANDS]
    assert all(ax.get_xlabel() and ax.get_ylabel() and ax.get_title() for ax in (loss, decibels))
    assert filled.get_title() == ("filled after step 30" if history else "filled before training")
    assert len(numbers(taps)) == (0 if kernel is None else 50)


def test_where_we_are_colours_the_parts_it_is_given_and_leaves_the_rest_pale():
    ax = figures.show_where(["image kernels", "image filter", "link"])
    assert {"$K$", "$K_3$", "$F_2$", "$E_3$", "image\nkernels", "semantic\nfilter"} <= set(numbers(ax))
    ink = {text.get_text(): text for text in ax.texts}
    assert ink["image\nkernels"].get_weight() == ink["link"].get_weight() == "bold"
    assert ink["semantic\nkernels"].get_weight() == "normal"
    assert ink["$K$"].get_color() == "white" != ink["$K_3$"].get_color()
    again = figures.new_row(1)[0]
    assert figures.show_where(figures.PARTS, again) is again


def test_a_part_of_misf_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(ValueError, match=r"unknown part 'kernels': choose from input, .*, image kernels"):
        figures.show_where(["kernels"])
