"""MISF: the paper's table, every ablation, any size."""

import json
from dataclasses import asdict, fields
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from misf_lite import MISF, MISFConfig, Trace, filter2d
from misf_lite.guess import smooth_guess
from misf_lite.model import FILTERED, GUESSES

SMALL = {"width": 2, "blocks": 1, "outer_kernel": 3}


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
    image, mask = picture(32, 48)
    trace = MISF(MISFConfig.paper(blocks=0)).trace(image, mask)
    assert trace.before[3].shape == trace.after[3].shape == (1, 256, 8, 12)
    assert trace.kernels[3].shape == (1, 256, 9, 8, 12)
    assert trace.kernels[0].shape == (1, 3, 9, 32, 48)


ABLATIONS = {
    "semantic": [True, False],
    "image": [True, False],
    "interactive": [True, False],
    "semantic_levels": [(1,), (2,), (3,), (1, 2), (1, 2, 3)],
    "filtered": FILTERED,
    "passes": [1, 3],
    "guess": GUESSES,
    "kernel_size": [1, 3, (7, 3, 5, 3)],
    "kernel_groups": [None, 1, (3, 2, 4, 8)],
    "kernel_norm": ["raw", "softmax", ("softmax", "raw", "raw", "softmax")],
    "dilation": [1, 2, (3, 1, 2, 1)],
    "norm": ["none", "instance"],
    "width": [2, 4],
    "blocks": [0, 2],
    "outer_kernel": [3, 7],
}


def works(**changes):
    config = MISFConfig(**SMALL | changes)
    model = shaken(config)
    image, mask = picture()
    output = model(image, mask)
    assert output.shape == image.shape and output.isfinite().all() and output.min() >= 0 and output.max() <= 1
    output.sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None]
    assert not idle, f"{config}: no gradient reaches {idle}"


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, values in ABLATIONS.items() for v in values])
def test_every_ablation_works_alone(name, value):
    works(**{name: value})


def test_every_field_of_the_config_is_covered_by_the_ablations():
    assert set(ABLATIONS) == {f.name for f in fields(MISFConfig)}


def test_the_switches_work_in_every_combination():
    names = ("semantic", "image", "interactive", "filtered")
    for values in product(*(ABLATIONS[name] for name in names)):
        works(**dict(zip(names, values, strict=True)))


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in ABLATIONS.items()}))
def test_any_ablations_work_together(changes):
    works(**changes)


@settings(max_examples=40, deadline=None)
@given(H=st.integers(16, 49), W=st.integers(16, 49), preset=st.sampled_from(["lite", "toy", "paper"]))
def test_any_size_from_16_up_gives_a_picture_of_the_same_size(H, W, preset):
    config = getattr(MISFConfig, preset)(width=2, blocks=1)
    output = shaken(config)(*picture(H, W))
    assert output.shape == (1, 3, H, W) and output.isfinite().all() and output.min() >= 0 and output.max() <= 1


@pytest.mark.parametrize("groups", [None, 1])
def test_untrained_raw_kernels_return_the_picture_with_its_hole(groups):
    config = MISFConfig(semantic=False, filtered="input", kernel_groups=groups, kernel_size=5, **SMALL)
    image, mask = picture()
    with torch.no_grad():
        assert torch.equal(MISF(config)(image, mask), image * (1 - mask))


@pytest.mark.parametrize("groups", [None, 1])
def test_untrained_softmax_kernels_are_the_mean(groups):
    image, mask = picture()
    trace = MISF(MISFConfig(kernel_norm="softmax", kernel_groups=groups, **SMALL)).trace(image, mask)
    mean = F.avg_pool2d(F.pad(trace.decoded, (1, 1, 1, 1), mode="reflect"), 3, 1)
    torch.testing.assert_close(trace.output, mean)


@pytest.mark.parametrize("norm", ["raw", "softmax"])
@pytest.mark.parametrize("filtered", ["input", "composite"])
def test_known_pixels_stay_as_they_are_where_the_filter_sees_them(norm, filtered):
    image, mask = picture()
    model = shaken(MISFConfig(filtered=filtered, kernel_norm=norm, passes=3, **SMALL))
    with torch.no_grad():
        output = model(image, mask)
    assert torch.equal(output * (1 - mask), image * (1 - mask)) and not torch.equal(output, image)


def test_the_decoders_output_is_added_to_the_filtered_input():
    image, mask = picture()
    trace = shaken(MISFConfig(filtered="input", passes=2, **SMALL)).trace(image, mask)
    torch.testing.assert_close(trace.output, (trace.after[0] + mask * trace.decoded).clamp(0, 1))


def test_every_pass_uses_the_same_kernels():
    image, mask = picture()
    model = shaken(MISFConfig(passes=3, **SMALL))
    trace = model.trace(image, mask)
    y = trace.decoded
    for _ in range(3):
        y = filter2d(y, trace.kernels[0])
    torch.testing.assert_close(trace.output, y.clamp(0, 1))


def test_softmax_kernels_sum_to_one_in_half_precision_too():
    image, mask = picture()
    model = shaken(MISFConfig.lite(width=2, blocks=1))
    with torch.autocast("cpu", torch.bfloat16):
        kernels = model.trace(image, mask).kernels[0]
    torch.testing.assert_close(kernels.sum(2), torch.ones_like(kernels.sum(2)), rtol=0, atol=1e-6)


def test_an_untrained_correction_of_the_smooth_guess_is_the_smooth_guess():
    image, mask = picture()
    trace = MISF(MISFConfig(guess="smooth", **SMALL)).trace(image, mask)
    assert torch.equal(trace.decoded, smooth_guess(image, mask))


def test_an_untrained_lite_fills_the_hole_with_the_smooth_guess():
    image, mask = picture(37, 50)
    trace = MISF(MISFConfig.lite(width=2)).trace(image, mask)
    torch.testing.assert_close(trace.output, smooth_guess(image, mask))
    torch.testing.assert_close(trace.output, (trace.after[0] + trace.bend + trace.decoded).clamp(0, 1))


@pytest.mark.parametrize("levels", [(1,), (3,), (1, 2, 3)])
def test_untrained_semantic_kernels_leave_features_alone(levels):
    trace = MISF(MISFConfig(semantic_levels=levels, **SMALL)).trace(*picture())
    for level in levels:
        assert torch.equal(trace.before[level], trace.after[level])


def test_without_a_decoder_there_is_only_the_kernel_prediction_branch():
    model = MISF(MISFConfig(semantic=False, filtered="input", **SMALL))
    assert model.sifb is None and model.kpb is not None


def test_without_any_filtering_there_is_only_the_encoder_decoder():
    model = MISF(MISFConfig(semantic=False, image=False, **SMALL))
    assert model.kpb is None and model.sifb is not None


@pytest.mark.parametrize("preset", ["lite", "toy", "paper"])
def test_what_lies_under_the_hole_is_never_looked_at(preset):
    model = shaken(getattr(MISFConfig, preset)(width=2, blocks=1))
    image, mask = picture()
    expected = model(image, mask)
    for junk in (torch.rand_like(image), torch.full_like(image, torch.nan)):
        assert torch.equal(expected, model(torch.where(mask > 0, junk, image), mask))


@pytest.mark.parametrize("interactive", [True, False])
def test_kernels_depend_on_sifb_only_through_the_link(interactive):
    model = shaken(MISFConfig(interactive=interactive, **SMALL))
    before = model.trace(*picture()).kernels[0]
    with torch.no_grad():
        model.sifb.encoder[1][0].bias.add_(1)
    assert torch.equal(before, model.trace(*picture()).kernels[0]) == (not interactive)


@pytest.mark.parametrize("filtered", FILTERED)
def test_a_trace_repeats_every_filtering_and_the_output(filtered):
    config = MISFConfig(
        filtered=filtered, semantic_levels=(1, 2, 3), kernel_size=(5, 3, 5, 3), dilation=(2, 1, 1, 2), **SMALL
    )
    model, (image, mask) = shaken(config), picture(19, 25)
    trace = model.trace(image, mask)
    assert isinstance(trace, Trace) and set(trace.kernels) == set(config.levels) == {0, 1, 2, 3}
    for level in config.levels:
        after = filter2d(trace.before[level], trace.kernels[level], dilation=config.dilation[level])
        torch.testing.assert_close(after, trace.after[level])
    assert torch.equal(trace.output, model(image, mask))
    assert torch.equal(trace.composite, trace.output * mask + image * (1 - mask))


def test_image_level_filtering_acts_on_what_the_config_says():
    image, mask = picture()
    known = image * (1 - mask)
    assert torch.equal(shaken(MISFConfig(filtered="input", **SMALL)).trace(image, mask).before[0], known)
    trace = shaken(MISFConfig(filtered="decoded", **SMALL)).trace(image, mask)
    assert torch.equal(trace.before[0], trace.decoded)
    trace = shaken(MISFConfig(filtered="composite", **SMALL)).trace(image, mask)
    assert torch.equal(trace.before[0], trace.decoded * mask + known)


def test_softmax_kernels_are_positive_and_sum_to_one():
    kernels = shaken(MISFConfig(kernel_norm="softmax", **SMALL)).trace(*picture()).kernels
    for k in kernels.values():
        assert k.min() >= 0
        torch.testing.assert_close(k.sum(2), torch.ones_like(k.sum(2)))


def test_a_pixel_clamped_at_white_still_receives_a_gradient():
    model = MISF(MISFConfig(semantic=False, image=False, **SMALL))
    with torch.no_grad():
        model.sifb.decoder[-1].bias.fill_(9)
    output = model(*picture())
    assert output.min() == 1
    output.sum().backward()
    assert model.sifb.decoder[-1].bias.grad.abs().min() > 0


def test_a_batch_gives_what_its_pictures_give_alone():
    model, (image, mask) = shaken(MISFConfig.toy()), picture(B=3)
    with torch.no_grad():
        together = model(image, mask)
        alone = torch.cat([model(image[i : i + 1], mask[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be odd"),
        ({"kernel_size": (3, 3)}, "one value, or four"),
        ({"kernel_norm": "sigmoid"}, "'raw' or 'softmax'"),
        ({"kernel_groups": 2}, "divisor of level 0's 3 channels"),
        ({"dilation": 0}, "dilation must be 1 or more"),
        ({"semantic_levels": (4,)}, "any of 1, 2, 3"),
        ({"semantic_levels": ()}, "semantic=False"),
        ({"filtered": "output"}, "filtered must be one of"),
        ({"norm": "batch"}, "norm must be"),
        ({"width": 0}, "width must be 1 or more"),
        ({"blocks": -1}, "blocks must be 0 or more"),
        ({"blocks": (1, 2, 3)}, "blocks takes one number, or two"),
        ({"width": 4.0}, "width takes whole numbers"),
        ({"kernel_size": "3"}, "kernel_size takes whole numbers"),
        ({"dilation": None}, "dilation takes whole numbers"),
        ({"semantic_levels": "3"}, "semantic_levels takes whole numbers"),
        ({"outer_kernel": 2}, "outer_kernel must be odd"),
    ],
)
def test_a_field_with_an_impossible_value_is_refused_with_what_is_possible(changes, message):
    with pytest.raises(ValueError, match=message):
        MISFConfig(**changes)


def test_numpy_and_json_values_make_the_same_config():
    config = MISFConfig(semantic_levels=(2, 3), kernel_size=5, width=8)
    numpy = MISFConfig(semantic_levels=np.array([3, 2]).tolist(), kernel_size=np.int64(5), width=np.int64(8))
    again = MISFConfig(**json.loads(json.dumps(asdict(numpy))))
    assert config == numpy == again and MISFConfig(semantic_levels=3) == MISFConfig()


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((1, 3, 32, 32), (1, 1, 32, 31), "expects image"),
        ((1, 4, 32, 32), (1, 1, 32, 32), "expects image"),
        ((3, 32, 32), (1, 32, 32), "expects image"),
        ((2, 3, 32, 32), (1, 1, 32, 32), "expects image"),
        ((1, 3, 15, 32), (1, 1, 15, 32), "at least 16 × 16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(image, mask, message):
    with pytest.raises(ValueError, match=message):
        MISF(MISFConfig.toy())(torch.zeros(image), torch.zeros(mask))
