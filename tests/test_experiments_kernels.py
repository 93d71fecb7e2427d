"""Kernels of a whole network: numbers by region, the figure, and the command that prints and draws them."""

import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

import misf_lite as ml
from experiments.__main__ import main
from experiments.kernels import kernel_statistics, show_kernel_field, typical_pixels
from misf_lite.evaluation import evaluate
from misf_lite.kernels import entropy, reach, regions
from misf_lite.lite import LiteConfig, LiteMISF

IDENTITY = [0.0] * 4 + [1.0] + [0.0] * 4
MEAN = [1 / 9] * 9


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


class Reader(torch.nn.Module):
    """A stand-in for a model, with one kernel for a whole picture."""

    def __init__(self, kernels_of):
        super().__init__()
        self.kernels_of = kernels_of
        self.seen = []
        self.config = SimpleNamespace(levels=(0,))

    def forward(self, image, mask, flow):
        self.seen.append(mask)
        kernels = torch.tensor(self.kernels_of(image))[None, :, :, None, None]
        flow("K", kernels.expand(-1, -1, -1, *image.shape[2:]))
        return image


def test_the_untrained_model_averages_in_the_hole_and_copies_outside():
    torch.manual_seed(0)
    model = ml.MISF(ml.MISFConfig.toy(width=2, blocks=(0, 0)))
    rows = kernel_statistics(model, torch.rand(2, 3, 32, 40).split(1))
    assert rows["outside"] == {"centre_share": 1, "entropy": 0, "reach": 0}
    mean = reach(torch.ones(1, 1, 25, 1, 1)).item()
    for region in ("inside", "border"):
        assert rows[region] == pytest.approx({"centre_share": 1 / 25, "entropy": math.log(25), "reach": mean}, rel=1e-4)


def test_every_pixel_counts_the_same_in_all_pictures_and_so_does_every_group():
    images = [torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 32, 32)]
    model = Reader(lambda image: [IDENTITY if image.any() else MEAN, MEAN])
    row = kernel_statistics(model, images)["outside"]
    small, large = (sum((mask == 0).sum().item() for mask in masks) for masks in (model.seen[:3], model.seen[3:]))
    share = large / (small + large)  # of the known pixels that lie in the larger picture
    assert row["centre_share"] == pytest.approx(share * (1 + 1 / 9) / 2 + (1 - share) / 9)


def test_the_holes_are_those_of_the_evaluation():
    images, expected = torch.rand(2, 3, 20, 24).split(1), []
    evaluate({"": lambda image, mask: (expected.append(mask), image)[1]}, images, seed=7, kind="box")
    model = Reader(lambda _: [MEAN])
    kernel_statistics(model, images, seed=7, kind="box")
    assert len(model.seen) == 6 and all(torch.equal(a, b) for a, b in zip(model.seen, expected, strict=True))


def test_there_must_be_something_to_read():
    with pytest.raises(ValueError, match="at least one image"):
        kernel_statistics(Reader(lambda _: [MEAN]), [])
    blind = ml.MISF(ml.MISFConfig.toy(width=2, blocks=(0, 0), levels=(3,)))
    image, mask = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    for function in (lambda: kernel_statistics(blind, [image]), lambda: show_kernel_field(blind, image, mask)):
        with pytest.raises(ValueError, match="no image-level kernels to read: its config's levels have no 0"):
            function()


@pytest.mark.parametrize("model", ["many passes", "own kernels"])
def test_the_figure_shows_maps_and_kernels_at_the_marked_pixels(model):
    torch.manual_seed(0)
    if model == "many passes":
        network = LiteMISF(LiteConfig(width=2, blocks=(0, 0)))
    else:
        network = ml.MISF(ml.MISFConfig.toy(width=2, blocks=(0, 0), kernel_size=(3, 3), shared=(False, False)))
    torch.nn.init.normal_(network.heads["K"][-1].weight)
    image, mask = torch.rand(1, 3, 24, 32), torch.zeros(1, 1, 24, 32)
    mask[..., 4:16, 8:24] = 1
    pixels = {"known": (20, 3), "rim": (4, 9), "deep": (10, 15)}
    figure = show_kernel_field(network, image, mask, pixels)
    said = figure.get_suptitle()
    assert ("16 times" in said) == (model == "many passes") and ("Red's" in said) == (model == "own kernels")
    titles = [ax.get_title() for ax in figure.axes]
    named = {title: ax for title, ax in zip(titles, figure.axes, strict=True) if title}
    maps = ["centre share", "entropy, up to 2.20", "reach, up to 1.4 px"]
    assert list(named) == ["with a hole", "filled", *maps, "1: known", "2: rim", "3: deep"]
    assert titles.count("") == 3  # the colour bars
    limits = [named[title].images[0].get_clim() for title in maps]
    assert [round(high, 4) for low, high in limits if low == 0] == [1, 2.1972, 1.4142]
    kernels = ml.Flow.of(network, image, mask)["K"]
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
    pixels = typical_pixels(mask)
    assert list(pixels) == ["outside", "border", "inside", "deep inside"]
    for name, where in regions(mask).items():
        assert where[0, 0][pixels[name]]
    row, column = pixels["deep inside"]
    assert row in (19, 20) and 29 <= column <= 34
    assert 5 <= pixels["outside"][0] <= 34 and 5 <= pixels["outside"][1] <= 14  # not at the picture's edge
    island = torch.ones(1, 1, 12, 16)
    island[..., 2:5, 6:9] = 0
    assert typical_pixels(island)["outside"] == (3, 7)
    assert list(typical_pixels(torch.zeros(1, 1, 20, 20))) == ["outside"]
    mask[..., 12:, :] = 0
    assert list(typical_pixels(mask)) == ["outside", "border"]


def test_the_command_prints_a_table_and_draws_a_picture_that_it_does_not_replace(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    ml.save_weights(ml.MISF(ml.MISFConfig.toy(width=2, blocks=(0, 0))), "small.safetensors")
    command = ["kernels", "--weights", "small.safetensors", "--size", "32", "--count", "1", "-o", "kernels.png"]
    assert main(command) == 0
    said = capsys.readouterr().out
    for part in ("1 photographs of the test split", "5×5 kernels, one pass (of 1)", "≤ 3.22", "kernels.png"):
        assert part in said
    rows = {line.split()[0]: [float(n) for n in line.split()[1:]] for line in said.splitlines()[2:5]}
    assert set(rows) == {"inside", "border", "outside"} and rows["outside"] == [1, 0, 0]
    with Image.open("kernels.png") as picture:
        assert picture.width > 1000
    assert main(command) == 1 and "exists; pass --force" in capsys.readouterr().err
