"""MISF: the paper's table, every ablation, any size, and a flow that reads and replaces what passes."""

from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from misf_lite import MISF, Flow, MISFConfig, filter2d
from misf_lite.model import identity

SMALL = {"width": 2, "blocks": (1, 1), "outer_kernel": 3}


def picture(H=18, W=22, B=1, seed=0):
    rng = torch.Generator().manual_seed(seed)
    image = torch.rand(B, 3, H, W, generator=rng)
    return image, (torch.rand(B, 1, H, W, generator=rng) > 0.6).float()


def shaken(config):
    """A model away from its starting point, so that nothing is hidden behind zero weights."""
    torch.manual_seed(0)
    model = MISF(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def test_the_paper_preset_has_the_parameters_of_table_1():
    def conv(size, c_in, c_out):
        return size * size * c_in * c_out + c_out

    block = 2 * conv(3, 256, 256)
    ups = conv(4, 256, 128) + conv(4, 128, 64)
    sifb = conv(7, 4, 64) + conv(4, 64, 128) + conv(4, 128, 256) + 8 * block + ups + conv(7, 64, 3)
    kpb = conv(7, 4, 64) + conv(4, 64, 128) + conv(4, 256, 256) + 8 * block + ups + conv(7, 64, 3 * 9)
    k3 = conv(1, 256, 256 * 9)
    model = MISF(MISFConfig.paper())
    assert sum(p.numel() for p in model.parameters()) == sifb + kpb + k3 == 22_740_894


def test_the_paper_preset_has_the_shapes_of_table_1():
    flow = Flow.of(MISF(MISFConfig.paper(blocks=(0, 0))), *picture(32, 48))
    assert {name: tuple(x.shape[1:]) for name, x in flow.items()} == {
        "seen": (3, 32, 48),
        **{"E1": (64, 32, 48), "E2": (128, 16, 24), "E3": (256, 8, 12)},
        **{"F1": (64, 32, 48), "F2": (128, 16, 24), "F3": (256, 8, 12), "link": (128, 16, 24)},
        **{"K3": (256, 9, 8, 12), "F3_hat": (256, 8, 12), "K": (3, 9, 32, 48)},
        **{"decoded": (3, 32, 48), "picture": (3, 32, 48), "output": (3, 32, 48), "filled": (3, 32, 48)},
    }


ABLATIONS = {
    "levels": [(), (0,), (3,), (1,), (2,), (0, 2, 3), (0, 1, 2, 3)],
    "interactive": [True, False],
    "composite": [True, False],
    "kernel_size": [(3, 3), (5, 3), (7, 7)],
    "shared": [(False, False), (True, False), (True, True)],
    "softmax": [(False, False), (True, False), (True, True)],
    "norm": [True, False],
    "width": [2, 4],
    "blocks": [(0, 0), (2, 1)],
    "outer_kernel": [3, 7],
}


def works(**changes):
    config = MISFConfig(**{**SMALL, **changes})
    model = shaken(config)
    image, mask = picture()
    output = model(image, mask)
    assert output.shape == image.shape and output.isfinite().all() and output.min() >= 0 and output.max() <= 1
    output.sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert not idle, f"{config}: no gradient reaches {idle}"


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in ABLATIONS.items() for v in values])
def test_every_ablation_works_alone_and_no_weight_is_idle(name, value):
    works(**{name: value})


def test_every_field_of_the_config_is_covered_by_the_ablations():
    assert set(ABLATIONS) == {f.name for f in fields(MISFConfig)}


@settings(max_examples=40, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in ABLATIONS.items()}))
def test_any_ablations_work_together(changes):
    works(**changes)


@settings(max_examples=40, deadline=None)
@given(H=st.integers(16, 49), W=st.integers(16, 49), preset=st.sampled_from(["lite", "toy", "paper"]))
def test_any_size_from_16_up_gives_a_picture_of_the_same_size(H, W, preset):
    config = getattr(MISFConfig, preset)(width=2, blocks=(1, 1))
    output = shaken(config)(*picture(H, W))
    assert output.shape == (1, 3, H, W) and output.isfinite().all() and output.min() >= 0 and output.max() <= 1


def test_untrained_raw_kernels_leave_pictures_and_features_alone():
    flow = Flow.of(MISF(MISFConfig(levels=(0, 1, 2, 3), **SMALL)), *picture())
    assert torch.equal(flow["output"], flow["decoded"])
    for level in (1, 2, 3):
        assert torch.equal(flow[f"F{level}"], flow[f"F{level}_hat"])


@pytest.mark.parametrize("shared", [True, False])
def test_untrained_softmax_kernels_are_the_mean(shared):
    config = MISFConfig(softmax=(True, True), shared=(shared, shared), **SMALL)
    flow = Flow.of(MISF(config), *picture())
    mean = F.avg_pool2d(F.pad(flow["decoded"], (1, 1, 1, 1), mode="reflect"), 3, 1)
    torch.testing.assert_close(flow["output"], mean)


def test_softmax_kernels_are_positive_and_sum_to_one():
    flow = Flow.of(shaken(MISFConfig(softmax=(True, True), **SMALL)), *picture())
    for name in ("K", "K3"):
        assert flow[name].min() >= 0
        torch.testing.assert_close(flow[name].sum(2), torch.ones_like(flow[name].sum(2)))


def test_softmax_kernels_sum_to_one_in_half_precision_too():
    with torch.autocast("cpu", torch.bfloat16):
        kernels = Flow.of(shaken(MISFConfig.lite(width=2, blocks=(1, 1))), *picture())["K"]
    torch.testing.assert_close(kernels.sum(2), torch.ones_like(kernels.sum(2)), rtol=0, atol=1e-6)


def test_the_image_filter_acts_on_the_decoders_picture():
    flow = Flow.of(shaken(MISFConfig(**SMALL)), *picture())
    assert torch.equal(flow["picture"], flow["decoded"])
    assert torch.equal(flow["output"], filter2d(flow["decoded"], flow["K"]).clamp(0, 1))


def test_in_the_composite_real_pixels_stand_around_the_hole_and_stay_as_they_are():
    image, mask = picture()
    flow = Flow.of(shaken(MISFConfig(composite=True, **SMALL)), image, mask)
    assert torch.equal(flow["picture"], torch.where(mask > 0, flow["decoded"], image))
    assert torch.equal(flow["output"], flow["filled"]) and not torch.equal(flow["filled"], flow["picture"])


def test_without_any_filtering_there_is_only_the_encoder_decoder():
    model = MISF(MISFConfig(levels=(), **SMALL))
    assert {name.partition(".")[0] for name, _ in model.named_parameters()} == {"F1", "F2", "F3", "decoder"}


def test_the_kernel_branch_is_as_deep_as_the_kernels_that_are_asked_for():
    model = MISF(MISFConfig(levels=(2,), **SMALL))
    parts = {name.partition(".")[0] for name, _ in model.named_parameters()}
    assert parts == {"E1", "E2", "F1", "F2", "F3", "decoder", "heads"}


@pytest.mark.parametrize("preset", ["lite", "toy", "paper"])
def test_what_lies_under_the_hole_is_never_looked_at(preset):
    model = shaken(getattr(MISFConfig, preset)(width=2, blocks=(1, 1)))
    image, mask = picture()
    expected = model(image, mask)
    for junk in (torch.rand_like(image), torch.full_like(image, torch.nan)):
        assert torch.equal(expected, model(torch.where(mask > 0, junk, image), mask))


def test_a_mask_is_hole_from_a_half_on():
    model, (image, mask) = shaken(MISFConfig.toy()), picture()
    assert torch.equal(model(image, mask), model(image, 0.3 + 0.2 * mask))


@pytest.mark.parametrize("interactive", [True, False])
def test_kernels_depend_on_sifb_only_through_the_link(interactive):
    model = shaken(MISFConfig(interactive=interactive, **SMALL))
    before = Flow.of(model, *picture())
    with torch.no_grad():
        model.F2[0].bias.add_(1)
    after = Flow.of(model, *picture())
    assert torch.equal(before["K"], after["K"]) == torch.equal(before["K3"], after["K3"]) == (not interactive)


def test_a_pixel_clamped_at_white_still_receives_a_gradient():
    model = MISF(MISFConfig(levels=(), **SMALL))
    with torch.no_grad():
        model.decoder[-1].bias.fill_(9)
    output = model(*picture())
    assert output.min() == 1
    output.sum().backward()
    assert model.decoder[-1].bias.grad.abs().min() > 0


def test_a_batch_gives_what_its_pictures_give_alone():
    model, (image, mask) = shaken(MISFConfig.toy()), picture(B=3)
    with torch.no_grad():
        together = model(image, mask)
        alone = torch.cat([model(image[i : i + 1], mask[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


# The flow


def test_reading_changes_nothing():
    model, (image, mask) = shaken(MISFConfig(**SMALL)), picture()
    flow = Flow.of(model, image, mask)
    assert torch.equal(flow["output"], model(image, mask))
    assert torch.equal(flow["filled"], torch.where(mask > 0, flow["output"], image))


def test_filtered_features_are_the_features_filtered():
    flow = Flow.of(shaken(MISFConfig(levels=(0, 1, 2, 3), **SMALL)), *picture(19, 25))
    for level in (1, 2, 3):
        torch.testing.assert_close(flow[f"F{level}_hat"], filter2d(flow[f"F{level}"], flow[f"K{level}"]))


def test_identity_kernels_switch_a_filter_off():
    model, (image, mask) = shaken(MISFConfig(**SMALL)), picture()
    off = Flow.of(model, image, mask, K3=identity, K=identity)
    assert torch.equal(off["F3_hat"], off["F3"]) and torch.equal(off["output"], off["decoded"])
    plain = MISF(MISFConfig(levels=(), **SMALL))
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith(("F", "decoder"))})
    with torch.no_grad():
        torch.testing.assert_close(plain(image, mask), off["output"])


def test_a_replaced_tensor_reaches_all_that_comes_after_it_and_nothing_before():
    model, pair = shaken(MISFConfig(**SMALL)), picture()
    whole, cut = Flow.of(model, *pair), Flow.of(model, *pair, link=torch.zeros_like)
    assert {name for name in whole if torch.equal(whole[name], cut[name])} == {*["seen", "F1", "F2", "F3", "E1", "E2"]}


def test_a_flow_lets_gradients_through():
    model, flow = shaken(MISFConfig(**SMALL)), Flow(link=torch.detach)
    model(*picture(), flow)
    reached = torch.autograd.grad(flow["K"].square().sum(), [model.E2[0].weight, model.F2[0].weight], allow_unused=True)
    assert reached[0] is not None and reached[1] is None


def test_replacing_what_does_not_pass_is_refused_with_what_does():
    with pytest.raises(ValueError, match="no 'K2' passes through this model: choose from seen, E1, "):
        Flow.of(shaken(MISFConfig(**SMALL)), *picture(), K2=identity)


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": (4, 3)}, "odd sides"),
        ({"kernel_size": 3}, "takes a pair"),
        ({"shared": (True, True, True)}, "takes a pair"),
        ({"levels": (4,)}, "any of 0 .* 1, 2, 3"),
        ({"width": 0}, "width is from 1 to 4096"),
        ({"blocks": (1, -1)}, "blocks are from 0 to 100"),
        ({"outer_kernel": 2}, "odd sides"),
    ],
)
def test_a_field_with_an_impossible_value_is_refused_with_what_is_possible(changes, message):
    with pytest.raises(ValueError, match=message):
        MISFConfig(**changes)


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((1, 3, 32, 32), (1, 1, 32, 31), "expects image"),
        ((1, 4, 32, 32), (1, 1, 32, 32), "expects image"),
        ((3, 32, 32), (1, 32, 32), "expects image"),
        ((2, 3, 32, 32), (1, 1, 32, 32), "expects image"),
        ((1, 3, 15, 32), (1, 1, 15, 32), "at least 16×16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(image, mask, message):
    with pytest.raises(ValueError, match=message):
        MISF(MISFConfig.toy())(torch.zeros(image), torch.zeros(mask))
