"""The authors' released generator: equal to what it gave, right where it was wrong, never with random weights."""

import json
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

import misf_lite as ml
from experiments.kernels import show_kernel_field
from misf_lite.recipe import Recipe
from misf_lite.released import ReleasedMISF
from misf_lite.training import train
from misf_lite.weights import find_weights
from misf_lite.widgets import Ablation, FeatureBrowser, KernelExplorer

DATA = Path(__file__).parent / "data" / "released"
SHAPES = json.loads((DATA / "state_dict.json").read_text())


def filled(name, shape):
    """As the parameters were filled when the fixture's output was made."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    return values * (values[0].numel() ** -0.5 if len(shape) > 1 else 0.1)


@pytest.fixture(scope="module")
def state():
    return {name: filled(name, shape) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def model(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "generator.pth"
    torch.save({"generator": state, "iteration": 350_000}, path)
    model = ml.load_released(path)
    path.unlink()
    return model


def picture(H, W, B=1):
    rng = torch.Generator().manual_seed(0)
    return torch.rand(B, 3, H, W, generator=rng), (torch.rand(B, 1, H, W, generator=rng) > 0.6).float()


@torch.no_grad()
def test_it_gives_what_the_released_program_gives(model):
    with np.load(DATA / "fixture.npz") as fixture:
        image, mask, output = (torch.from_numpy(fixture[name]) for name in ("image", "mask", "output"))
    assert (model(image, mask) - output).abs().max() <= 1e-5


def test_its_parameters_are_the_released_ones_and_as_in_the_file(model, state):
    assert {name: list(tensor.shape) for name, tensor in model.state_dict().items()} == SHAPES
    assert sum(p.numel() for p in model.parameters()) == 23_059_493 and not model.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@torch.no_grad()
def test_a_turned_picture_gives_the_turned_output_with_turned_weights():
    def turned(name, tensor):
        if "core_img" in name:
            return tensor.unflatten(0, (3, 3, 3)).transpose(1, 2).flatten(0, 2)
        return tensor.mT if tensor.dim() == 4 else tensor

    state = {name: filled(name, shape) for name, shape in SHAPES.items()}
    for part in ("weight", "bias"):  # as taps share their numbers, a turned kernel can only be one of equal taps
        numbers = state[f"kpn_model.kernels.{part}"].unflatten(0, (64, 9))
        numbers[:] = numbers[:, :1].clone()  # nine for four channels: those have the same kernel
    upright, lying = ReleasedMISF(), ReleasedMISF()
    upright.load_state_dict(state)
    lying.load_state_dict({name: turned(name, tensor) for name, tensor in state.items()})
    image, mask = picture(24, 40)
    expected = upright(image, mask)
    assert (lying(image.mT, mask.mT) - expected.mT).abs().max() <= 1e-4
    assert (upright(image.mT, mask.mT) - expected.mT).abs().max() > 0.01  # what the weights would do as they are


@torch.no_grad()
def test_each_number_of_a_semantic_kernel_serves_four_taps_in_a_row(model):
    heard = []
    hook = model.kpn_model.kernels.register_forward_hook(lambda module, inputs, output: heard.append(output))
    kernels = ml.Flow.of(model, *picture(24, 40))["K3"]
    hook.remove()
    numbers = heard[0][0].numpy()
    expected = [[numbers[(9 * c + t) // 4] for t in range(9)] for c in range(256)]
    assert np.array_equal(kernels[0].numpy(), expected)


@pytest.mark.parametrize("size", [(17, 30), (31, 18), (16, 16)])
def test_a_size_that_does_not_divide_by_4_is_mirrored_to_one_that_does(model, size):
    (H, W), (image, mask) = size, picture(*size)
    bigger = [(0, 0), (0, 0), (0, -H % 4), (0, -W % 4)]
    mirrored = (torch.from_numpy(np.pad(x, bigger, mode="reflect")) for x in (image, mask))
    flow, wide = ml.Flow.of(model, image, mask), ml.Flow.of(model, *mirrored)
    torch.testing.assert_close(flow["picture"], wide["picture"][..., :H, :W])
    torch.testing.assert_close(flow["K"], wide["K"][..., :H, :W])
    inner = (..., slice(H - 1), slice(W - 1))  # what lies beyond the border itself is zero
    torch.testing.assert_close(flow["output"][inner], wide["output"][inner])


@settings(max_examples=8, deadline=None)
@given(H=st.integers(16, 40), W=st.integers(16, 40))
def test_any_size_from_16_up_gives_a_picture_of_the_same_size(model, H, W):
    with torch.no_grad():
        output = model(*picture(H, W))
    assert output.shape == (1, 3, H, W) and output.min() >= 0 and output.max() <= 1 and output.std() > 0.01


def test_a_flow_repeats_both_filterings_and_the_output(model):
    image, mask = picture(19, 26, B=2)
    flow = ml.Flow.of(model, image, mask)
    assert flow["K3"].shape == (2, 256, 9, 5, 7) and flow["K"].shape == (2, 3, 9, 19, 26)
    assert torch.equal(flow["F3_hat"], ml.filter2d(flow["F3"], flow["K3"], padding="zeros"))
    assert torch.equal(flow["picture_hat"], ml.filter2d(flow["picture"], flow["K"], padding="zeros"))
    torch.testing.assert_close(
        flow["output"], torch.sigmoid(2 * flow["picture_hat"])
    )  # the same curve as (tanh + 1) / 2
    with torch.no_grad():
        assert torch.equal(flow["output"], model(image, mask))


@torch.no_grad()
def test_what_lies_under_the_hole_is_never_looked_at(model):
    image, mask = picture(24, 20)
    expected = model(image, mask)
    for junk in (torch.rand_like(image), torch.full_like(image, torch.nan)):
        assert torch.equal(expected, model(torch.where(mask > 0, junk, image), mask))
    assert not torch.equal(expected, model(image.flip(3), mask))


@torch.no_grad()
def test_a_mask_is_hole_from_a_half_up(model):
    image, mask = picture(16, 20)
    assert torch.equal(model(image, mask), model(image, 0.3 + 0.2 * mask))


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ((1, 3, 32, 32), (1, 1, 32, 31), "expects image"),
        ((1, 4, 32, 32), (1, 1, 32, 32), "expects image"),
        ((1, 3, 15, 32), (1, 1, 15, 32), "at least 16×16"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(model, image, mask, message):
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(image), torch.zeros(mask))


# In the place of a MISF


def test_inpaint_fills_the_hole_with_what_it_gives(model):
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    mask = np.zeros((21, 34), bool)
    mask[5:12, 20:30] = True
    with torch.no_grad():
        output = model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, torch.from_numpy(mask)[None, None].float())
    expected = np.where(mask[..., None], (output[0].permute(1, 2, 0) * 255).round().numpy(), image)
    assert np.array_equal(np.array(ml.inpaint(image, mask, model)), expected)


def test_its_kernels_are_drawn(model):
    image, _ = picture(32, 32)
    mask = ml.random_mask((32, 32), (0, 0.2), "strokes", 0)
    assert len(show_kernel_field(model, image, mask).subfigs) == 3


def test_the_explorer_shows_sums_over_zeros_beyond_the_border_and_the_last_curve(model):
    image, mask = picture(20, 30)
    explorer = KernelExplorer(image, mask, model)
    assert explorer.data["tanh"] and [level["number"] for level in explorer.data["levels"]] == [0, 3]
    for level in explorer.data["levels"]:
        C, (h, w) = len(level["channels"]), level["size"]
        kernels = torch.from_numpy(np.frombuffer(level["kernels"], "<f2").astype(np.float32)).view(-1, 9, h, w)
        before = torch.from_numpy(np.frombuffer(level["before"], "<f2").astype(np.float32)).view(1, C, h, w)
        after = explorer.flow["F3_hat" if level["number"] else "picture_hat"][:, level["channels"]]
        sums = ml.filter2d(before, kernels[None, level["group"]], padding=level["padding"])
        assert (sums - after).abs().max() / after.abs().max() < 1 / 255


def test_the_feature_browser_shows_its_features(model):
    assert [level["number"] for level in FeatureBrowser(*picture(20, 30), model).data["levels"]] == [3]


def test_what_asks_for_the_parts_of_a_misf_refuses_it(model, tmp_path):
    with pytest.raises(ValueError, match="model must be a MISF, got ReleasedMISF"):
        Ablation(*picture(16, 16), model)
    with pytest.raises(TypeError, match="got ReleasedMISF"):
        ml.save_weights(model, tmp_path / "weights.safetensors")
    assert not any(tmp_path.iterdir())


# Checkpoints


@pytest.fixture
def small():
    """A state dict whose file is small, as all numbers of a tensor are one."""
    return {name: torch.full((1,), 0.5).expand(shape) for name, shape in SHAPES.items()}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "generator.pth"


def test_names_that_dataparallel_prefixed_are_understood(small, path):
    torch.save({"generator": {f"module.{name}": tensor for name, tensor in small.items()}}, path)
    loaded = ml.load_released(path)
    assert all((parameter == 0.5).all() for parameter in loaded.parameters())


def test_half_precision_and_the_older_file_format_are_understood(small, path):
    state = {name: tensor.half() for name, tensor in small.items()}
    torch.save({"generator": state}, path, _use_new_zipfile_serialization=False)
    assert {parameter.dtype for parameter in ml.load_released(path).parameters()} == {torch.float32}


def test_a_missing_checkpoint_is_told_with_its_path_and_where_to_find_one(path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*generator\.pth: download .* authors"):
        ml.load_released(path)


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, -1])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_checkpoint_is_refused(path, kept, zipped):
    torch.save({"generator": {"a": torch.rand(1000)}}, path, _use_new_zipfile_serialization=zipped)
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r"generator\.pth is damaged or not a PyTorch checkpoint"):
        ml.load_released(path)


def test_a_page_that_was_downloaded_instead_is_refused(path):
    path.write_text("<!DOCTYPE html><title>Quota exceeded</title>")
    with pytest.raises(ValueError, match="is damaged or not a PyTorch checkpoint: download it anew"):
        ml.load_released(path)


def test_a_checkpoint_that_could_run_code_is_refused_and_does_not(path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(path.with_name("trapped")),)

    torch.save({"generator": Trap()}, path)
    with pytest.raises(ValueError, match=r"mkdir, and loading that could run code .* refused") as refused:
        ml.load_released(path)
    assert not path.with_name("trapped").exists() and "weights_only" not in str(refused.value)


def test_safetensors_are_sent_to_load_weights(path):
    save_file({"encoder0.1.bias": torch.zeros(64)}, path)
    with pytest.raises(ValueError, match=r"misf_lite\.load_weights for safetensors"):
        ml.load_released(path)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"discriminator": {}, "iteration": 3}, "holds no 'generator', but 'discriminator', 'iteration'"),
        ({}, "holds no 'generator', but nothing"),
        ([1, 2], "holds list, expected a dict"),
        ({"generator": 3}, "no dict of tensors"),
        ({"generator": {"encoder0.1.weight": [1.0]}}, "no dict of tensors"),
    ],
)
def test_a_file_without_a_generator_is_refused_with_what_it_holds(path, saved, message):
    torch.save(saved, path)
    with pytest.raises(ValueError, match=message):
        ml.load_released(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder.7.bias": None}, r"released generator: decoder\.7\.bias is missing$"),
        ({"attention.weight": (3, 3)}, r"released generator: attention\.weight is not part of it$"),
        ({"encoder1.0.weight": (128, 64, 3, 3)}, r"\(128, 64, 3, 3\) instead of \(128, 64, 4, 4\)$"),
        (dict.fromkeys(SHAPES), r"decoder\.0\.bias is missing; decoder\.0\.weight is missing; .*; and 89 more$"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_by_name(small, path, change, message):
    for name, shape in change.items():
        small.pop(name, None)
        if shape:
            small[name] = torch.zeros(shape)
    torch.save({"generator": small}, path)
    with pytest.raises(ValueError, match=message):
        ml.load_released(path)


def test_weights_that_end_in_pth_are_the_authors(path, small):
    torch.save({"generator": small}, path)
    assert isinstance(find_weights(str(path)), ReleasedMISF)
    with pytest.raises(ValueError, match="which is not trained here"):
        train(ml.MISFConfig.paper(), Recipe(start=str(path), data="toy"), path.with_name("run"))
