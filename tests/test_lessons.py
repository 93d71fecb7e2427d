"""What the lessons write out is what the package does: the notebooks' own definitions against the package's."""

from pathlib import Path

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import misf_lite as ml

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


def definitions(notebook, *ids):
    """The names that the cells of these ids define."""
    cells = {cell.id: cell.source for cell in nbformat.read(NOTEBOOKS / notebook, as_version=4).cells}
    scope = {"torch": torch, "nn": nn, "F": F, "ml": ml}
    for i in ids:
        exec(cells[i], scope)
    return scope


@pytest.fixture(scope="module")
def lesson_03():
    model = ("bricks", "residual", "decoder", "sifb", "kpb", "as-kernels", "note", "misf", "copy")
    return definitions("03_interactive_misf.ipynb", *model)


def random_weights(config):
    """A model away from its starting point, so that nothing is hidden behind zero weights."""
    torch.manual_seed(0)
    model = ml.MISF(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def picture(H, W):
    image = torch.rand(2, 3, H, W, generator=torch.Generator().manual_seed(H))
    masks = [ml.random_mask((H, W), (0.2, 0.4), kind, seed=W) for kind in ("strokes", "box")]
    return image, torch.cat(masks)


PAPER = {"width": 4, "blocks": 1}
CONFIGS = {
    "toy": ml.MISFConfig.toy(),
    "toy without the link": ml.MISFConfig.toy(interactive=False),
    "toy, decoded": ml.MISFConfig.toy(filtered="decoded", blocks=(1, 2)),
    "toy, other kernels": ml.MISFConfig.toy(kernel_size=(3, 3, 3, 5), kernel_groups=(3, 1, 1, 4), kernel_norm="raw"),
    "paper, narrow": ml.MISFConfig.paper(**PAPER),
    "paper, composite": ml.MISFConfig.paper(**PAPER, filtered="composite"),
    "paper without the link": ml.MISFConfig.paper(**PAPER, interactive=False),
}


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (21, 16)], ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_the_model_of_lesson_03_is_the_package_s(lesson_03, config, size):
    theirs = random_weights(config)
    ours = lesson_03["with_weights_of"](theirs)
    image, mask = picture(*size)
    flow = lesson_03["Flow"]()
    with torch.no_grad():
        output, expected = ours(image, mask, flow), theirs(image, mask)
    assert expected.std() > 0.01
    torch.testing.assert_close(output, expected, rtol=0, atol=2e-5)
    assert ("link" in flow) == config.interactive
    trace = theirs.trace(image, mask)
    torch.testing.assert_close(flow["F3"], trace.before[3], rtol=0, atol=1e-5)
    torch.testing.assert_close(flow["K3"], trace.kernels[3], rtol=0, atol=1e-5)


def test_the_model_of_lesson_03_never_looks_under_the_hole(lesson_03):
    ours = lesson_03["with_weights_of"](random_weights(ml.MISFConfig.toy()))
    image, mask = picture(24, 28)
    with torch.no_grad():
        assert torch.equal(ours(image, mask), ours(torch.where(mask > 0, 9.0, image), mask))


def test_a_swap_of_lesson_03_replaces_what_passes_and_remembers_it(lesson_03):
    ours = lesson_03["with_weights_of"](random_weights(ml.MISFConfig.toy()))
    image, mask = picture(24, 28)
    with torch.no_grad():
        whole, cut = lesson_03["Flow"](), lesson_03["Flow"](link=torch.zeros_like)
        ours(image, mask, whole)
        ours(image, mask, cut)
    assert not cut["link"].any() and torch.equal(cut["F3"], whole["F3"])
    assert not torch.allclose(cut["K3"], whole["K3"]) and not torch.allclose(cut["output"], whole["output"])
