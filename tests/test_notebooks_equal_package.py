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
    model = ("bricks", "residual", "decoder", "kernel-head", "as-kernels", "note", "misf", "copy")
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


PAPER = {"width": 4, "blocks": (1, 1)}
CONFIGS = {
    "toy": ml.MISFConfig.toy(),
    "toy without the link": ml.MISFConfig.toy(interactive=False),
    "toy, other kernels": ml.MISFConfig.toy(kernel_size=(3, 5), shared=(False, True), softmax=(False, True)),
    "paper, narrow": ml.MISFConfig.paper(**PAPER),
    "paper, composite": ml.MISFConfig.paper(**PAPER, composite=True),
}


@pytest.mark.parametrize("size", [(64, 64), (33, 50), (21, 16)], ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_all_that_passes_through_the_model_of_lesson_03_is_the_package_s(lesson_03, config, size):
    theirs = random_weights(config)
    ours = lesson_03["with_weights_of"](theirs)
    flow, expected = lesson_03["Flow"](), ml.Flow()
    with torch.no_grad():
        output = ours(*picture(*size), flow)
        theirs(*picture(*size), expected)
    assert torch.equal(output, flow["output"]) and output.std() > 0.01
    assert list(flow) == list(expected) and ("link" in flow) == config.interactive
    for name, tensor in expected.items():
        torch.testing.assert_close(flow[name], tensor, rtol=1e-5, atol=2e-5, msg=name)


def test_the_model_of_lesson_03_never_looks_under_the_hole(lesson_03):
    ours = lesson_03["with_weights_of"](random_weights(ml.MISFConfig.toy()))
    image, mask = picture(24, 28)
    with torch.no_grad():
        assert torch.equal(ours(image, mask), ours(torch.where(mask > 0, 9.0, image), mask))


def test_a_flow_of_lesson_03_swaps_in_the_package_s_model_what_the_package_s_own_does(lesson_03):
    model = random_weights(ml.MISFConfig.toy())
    image, mask = picture(24, 28)
    swaps = {"K3": lesson_03["identity"], "link": torch.zeros_like}
    whole, cut = lesson_03["Flow"](), lesson_03["Flow"](**swaps)
    with torch.no_grad():
        model(image, mask, whole)
        model(image, mask, cut)
    assert not cut["link"].any() and torch.equal(cut["F3"], whole["F3"]) and torch.equal(cut["F3_hat"], cut["F3"])
    assert not torch.allclose(cut["K"], whole["K"]) and not torch.allclose(cut["output"], whole["output"])
    packages = ml.Flow.of(model, image, mask, K3=ml.model.identity, link=torch.zeros_like)
    assert all(torch.equal(packages[name], tensor) for name, tensor in cut.items())
