"""The measures: against scikit-image, torchmetrics and SciPy, and by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
import torchvision
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.util import compare_images
from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

from misf_lite.features import Features
from misf_lite.metrics import feature_distance, gradient_energy, l1, open_frechet, open_lpips, psnr, ssim


def test_psnr_agrees_with_scikit_image():
    a, b = torch.rand(3, 3, 11, 13), torch.rand(3, 3, 11, 13)
    for got, x, y in zip(psnr(a, b), a, b, strict=True):
        assert got.item() == pytest.approx(peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=1), abs=1e-4)


def test_psnr_of_two_by_two_pixels_by_hand():
    target, output = torch.zeros(1, 1, 2, 2), torch.tensor([[0.0, 0.1], [0.2, 0.1]]).view(1, 1, 2, 2)
    # mean of 0, 0.01, 0.04, 0.01 is 0.015; of the hole's 0.04 and 0.01 it is 0.025
    mask = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).view(1, 1, 2, 2)
    assert psnr(output, target).item() == pytest.approx(-10 * math.log10(0.015), abs=1e-4)
    assert psnr(output, target, mask).item() == pytest.approx(-10 * math.log10(0.025), abs=1e-4)


def test_ssim_agrees_with_scikit_image():
    a = torch.rand(3, 3, 16, 21)
    b = (a + 0.3 * torch.rand(3, 3, 16, 21)).clamp(0, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    for got, x, y in zip(ssim(a, b), a, b, strict=True):
        wanted = structural_similarity(x.numpy(), y.numpy(), channel_axis=0, **options)
        assert got.item() == pytest.approx(wanted, abs=1e-4)


def test_ssim_of_two_grey_pictures_by_hand():
    # without variance only the means count: (2·0.2·0.6 + 0.0001) / (0.04 + 0.36 + 0.0001)
    a, b = (torch.full((1, 1, 11, 11), value, dtype=torch.float64) for value in (0.2, 0.6))
    assert ssim(a, b).item() == pytest.approx(0.2401 / 0.4001) and ssim(a, a).item() == pytest.approx(1)


def test_equal_pictures_have_infinite_psnr():
    assert psnr(torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)).item() == math.inf


def test_l1_is_a_percentage_of_the_whole_or_of_the_hole():
    target, output = torch.zeros(1, 1, 2, 2), torch.tensor([[0.0, 0.1], [0.2, 0.1]]).view(1, 1, 2, 2)
    mask = torch.tensor([[0.0, 0.0], [1.0, 1.0]]).view(1, 1, 2, 2)
    assert l1(output, target).item() == pytest.approx(10)  # (0 + 0.1 + 0.2 + 0.1) / 4
    assert l1(output, target, mask).item() == pytest.approx(15)  # (0.2 + 0.1) / 2


def test_l1_agrees_with_scikit_image():
    a, b = torch.rand(3, 3, 11, 13), torch.rand(3, 3, 11, 13)
    for got, x, y in zip(l1(a, b), a, b, strict=True):
        differences = compare_images(x.numpy(), y.numpy(), method="diff")
        assert got.item() == pytest.approx(100 * differences.mean(), abs=1e-4)


def test_ssim_of_the_hole_is_the_mean_of_scikit_images_map_over_its_pixels():
    a = torch.rand(1, 3, 24, 21)
    b, mask = (a + 0.3 * torch.rand_like(a)).clamp(0, 1), (torch.rand(1, 1, 24, 21) > 0.7).float()
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1}
    _, likeness = structural_similarity(a[0].numpy(), b[0].numpy(), channel_axis=0, full=True, **options)
    inside = mask[0, 0, 5:-5, 5:-5].numpy() > 0
    assert ssim(a, b, mask).item() == pytest.approx(likeness[:, 5:-5, 5:-5][:, inside].mean(), abs=1e-4)


@pytest.mark.parametrize("measure", [psnr, l1, ssim])
def test_an_empty_hole_has_no_value(measure):
    output, target, mask = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    assert measure(output, target, mask).isnan().all()


def test_ssim_of_a_hole_without_a_window_is_not_a_number():
    a, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., :3, :] = 1
    assert ssim(a, a, mask).isnan().all()


def test_gradient_energy_by_hand():
    ramp = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 3, 8, 8) / 10
    steeper = ramp + torch.arange(8.0).view(1, 1, 8, 1) / 5  # 0.1 to the right and 0.2 down, instead of 0.1
    assert gradient_energy(steeper, ramp).item() == pytest.approx(3)
    assert gradient_energy(ramp, ramp).item() == 1 and gradient_energy(0 * ramp, ramp).item() == 0


def test_gradient_energy_of_the_hole_leaves_out_the_rest():
    target, mask = torch.rand(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., :8] = 1
    half_flat = target.clone()
    half_flat[..., :9] = 0.5
    assert gradient_energy(half_flat, target, mask).item() == 0 and gradient_energy(half_flat, target).item() > 0.3


def test_feature_distance_by_hand():
    def features(x):
        return [x[:, :2], x[:, 2:] * 7]

    a = torch.tensor([3.0, 4.0, 2.0]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    b = a.clone()
    b[..., 1] = torch.tensor([4.0, 3.0, -2.0]).view(1, 3, 1)
    # On the right (0.6, 0.8) meets (0.8, 0.6): 0.08; and 1 meets -1: 4. On the left all is equal.
    assert feature_distance(features, a, b).item() == pytest.approx((0.08 + 4) / 2 / 2)
    right = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2)
    assert feature_distance(features, a, b, right).item() == pytest.approx((0.08 + 4) / 2)
    assert feature_distance(features, a, a).item() == 0


def test_the_efflite_distance_prefers_a_texture_to_a_blur_where_psnr_prefers_the_blur():
    rng = torch.Generator().manual_seed(0)
    texture, other = (0.5 + 0.2 * torch.randn(1, 3, 64, 64, generator=rng).clamp(-2, 2) for _ in range(2))
    flat = torch.full_like(texture, 0.5)
    efflite = Features("efflite1")
    assert psnr(flat, texture) > psnr(other, texture)
    assert feature_distance(efflite, other, texture) < feature_distance(efflite, flat, texture)


def test_lpips_says_how_to_get_its_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"weights of alexnet should be in .*alexnet-owt.*\. To download them"):
        open_lpips()


@pytest.mark.filterwarnings("ignore")  # torchmetrics's own
def test_lpips_is_torchmetricss(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    file = Path(tmp_path, "hub", "checkpoints", Path(torchvision.models.AlexNet_Weights.IMAGENET1K_V1.url).name)
    file.parent.mkdir(parents=True)
    monkeypatch.setattr(torch.nn.Linear, "reset_parameters", lambda self: None)  # 55 million numbers, never used
    torch.save(torchvision.models.alexnet().state_dict(), file)  # random weights: the arithmetic is the same
    a, b = torch.rand(2, 2, 3, 64, 64)
    lpips = open_lpips()
    assert lpips(a, a) == 0 and lpips(a, b) > 0
    for x, y in zip(a.split(1), b.split(1), strict=True):  # each by itself, whatever came before
        wanted = learned_perceptual_image_patch_similarity(x, y, "alex", normalize=True)
        torch.testing.assert_close(lpips(x, y), wanted)


def test_the_frechet_distance_is_that_of_two_normal_distributions():
    class Seen(torch.nn.Conv2d):
        def forward(self, image):
            return [super().forward(image)]

    seen = Seen(3, 112, 3)
    a, b = torch.rand(300, 3, 8, 8), torch.rand(300, 3, 8, 8) * 0.5
    distance = open_frechet(seen)
    distance.update(a, real=True)
    distance.update(b, real=False)
    with torch.no_grad():
        x, y = (seen(pictures)[0].mean((2, 3)).double().numpy() for pictures in (a, b))
    both = scipy.linalg.sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    means = ((x.mean(0) - y.mean(0)) ** 2).sum()
    wanted = means + np.trace(np.cov(x.T) + np.cov(y.T) - 2 * both)
    assert distance.compute().item() == pytest.approx(wanted, rel=1e-3)
