"""Losses by hand, against numpy and against torch's own; the frozen networks that see features; the discriminator."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from misf_lite.features import Features
from misf_lite.losses import (
    FeatureDiscriminator,
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
from misf_lite.metrics import feature_distance, psnr
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


def test_the_discriminator_of_features_gives_one_logit_per_place_of_each_layer():
    features = [torch.rand(2, 3, 8, 9), torch.rand(2, 5, 4, 5)]
    assert [x.shape for x in FeatureDiscriminator((3, 5), 4)(features)] == [(2, 1, 8, 9), (2, 1, 4, 5)]


def test_the_discriminator_of_features_does_not_mind_the_scale_of_a_layer():
    discriminator = FeatureDiscriminator((3,), 4).eval()
    features = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(discriminator([features]), discriminator([1000 * features]), atol=1e-4, rtol=1e-3)


def test_with_a_mask_only_places_in_the_hole_are_judged_and_every_picture_counts_once():
    fake, real = torch.randn(2, 2, 1, 2, 2)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, :, :4, :4] = 1  # one place of the first picture, and two of the second
    mask[1, :, 4:] = 1
    by_hand = (F.softplus(-fake[0, 0, 0, 0]) + F.softplus(-fake[1, 0, 1]).mean()) / 2
    torch.testing.assert_close(generator_loss(fake, mask), by_hand)
    both = F.softplus(-real) + F.softplus(fake)
    torch.testing.assert_close(discriminator_loss(real, fake, mask), (both[0, 0, 0, 0] + both[1, 0, 1].mean()) / 2)


def test_everything_trains_in_bfloat16(efflite):
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    patches, places = PatchDiscriminator(2), FeatureDiscriminator(efflite.channels, 2)
    with torch.autocast("cpu", torch.bfloat16):
        seen, wanted = efflite(image), efflite(torch.rand(1, 3, 32, 32))
        adversarial = [generator_loss(logits) for logits in (patches(image), *places(seen))]
        loss = sum(adversarial) + perceptual(seen, wanted) + style(seen, wanted)
    loss.backward()
    assert image.grad.isfinite().all()
    assert all((p.grad != 0).any() for d in (patches, places) for p in d.parameters())


# All of them together


def test_losses_are_added_with_their_weights():
    weights = dict(zip(LOSSES, (2.0, 0.5, 0.1, 0.5, 3.0, 0.7, 0.25), strict=True))
    objective = Objective(Recipe(**weights), CPU)
    losses = objective(*pictures(H=32, W=32))
    assert list(losses) == ["loss", *LOSSES]
    parts = sum(objective.weights[name] * losses[name] for name in LOSSES)
    assert losses["loss"].item() == pytest.approx(parts.item())


def test_features_and_discriminator_see_the_picture_filled():
    objective = Objective(Recipe(l1=0.0, perceptual=1.0, style=1.0), CPU)
    output, target, mask = pictures(H=32, W=32)
    wrong_outside = torch.where(mask.bool(), target, output)
    assert objective(wrong_outside, target, mask)["loss"].item() == pytest.approx(0, abs=1e-6)


def test_the_feature_distance_is_that_of_the_metrics_up_to_where_the_network_looks():
    objective = Objective(Recipe(l1=0.0, feature_distance=1.0), CPU)
    output, target, mask = pictures(H=64, W=64)
    filled = torch.where(mask.bool(), output, target)
    expected = feature_distance(objective.features, filled, target, mask).mean().item()
    losses = [objective(output, target, mask)["feature_distance"].item() for _ in range(4)]
    assert losses == pytest.approx([expected] * 4, rel=0.2) and len(set(losses)) > 1


@pytest.mark.parametrize("discriminator", ["patches", "features"])
def test_the_discriminator_and_the_generator_never_receive_each_others_gradients(discriminator):
    from accelerate import Accelerator

    recipe, accelerator = Recipe(l1=0.0, adversarial=1.0, discriminator=discriminator), Accelerator(cpu=True)
    objective = Objective(recipe, CPU)
    objective.prepare(accelerator)
    output, target, mask = pictures(H=32, W=32)
    output.requires_grad_()
    objective(output, target, mask)["loss"].backward()
    assert output.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in objective.discriminator.parameters())
    output.grad = None
    objective.learn(accelerator)
    assert output.grad is None
    assert all(parameter.grad is not None for parameter in objective.discriminator.parameters())


def test_a_discriminator_of_features_learns_to_tell_a_blur_from_the_real_picture():
    from accelerate import Accelerator

    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    objective = Objective(Recipe(l1=0.0, adversarial=1.0, discriminator="features", discriminator_lr=5e-3), CPU)
    objective.prepare(accelerator)
    _, target, mask = pictures(H=32, W=32)
    blurred = F.avg_pool2d(target, 5, 1, 2)
    told = []
    for _ in range(40):
        objective(blurred, target, mask)
        told.append(objective.learn(accelerator)["discriminator"].item())
    assert told[-1] < 0.75 * told[0]
