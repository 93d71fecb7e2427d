"""PSNR against scikit-image and by hand; evaluation under its protocol."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from misf_lite.evaluation import evaluate
from misf_lite.masks import BANDS
from misf_lite.metrics import CLASSICAL, mean_fill, psnr, ssim


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


def test_mean_fill_paints_the_mean_of_the_known_pixels():
    image = torch.tensor([0.2, 0.4, 0.9]).view(1, 1, 1, 3).expand(1, 3, 1, 3)
    mask = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3)
    torch.testing.assert_close(mean_fill(image, mask)[0, 0, 0], torch.tensor([0.2, 0.4, 0.3]))


def test_evaluation_composites_rounds_and_keeps_the_bands_apart():
    images = [torch.full((1, 3, 32, 32), 128 / 255) for _ in range(2)]
    seen = []

    def grey(image, mask):
        seen.append(mask.mean().item())
        return torch.full_like(image, 153.4 / 255)  # also wrong outside the hole, where it must not count

    rows = evaluate({"grey": grey}, images)["grey"]
    areas = [seen[b::3] for b in range(3)]
    for (low, high), shares, row in zip(BANDS, areas, rows, strict=True):
        assert all(low <= share <= high for share in shares)
        assert row["psnr_hole"] == pytest.approx(-20 * math.log10((153 - 128) / 255), abs=1e-3)
        assert row["psnr"] > row["psnr_hole"]


def test_evaluation_gives_every_method_the_same_holes():
    seen = {"a": [], "b": []}

    def method(name):
        def fill(image, mask):
            seen[name].append(mask)
            return image

        return fill

    evaluate({name: method(name) for name in seen}, [torch.rand(1, 3, 20, 20)])
    assert all(torch.equal(a, b) for a, b in zip(seen["a"], seen["b"], strict=True)) and len(seen["a"]) == 3


@pytest.mark.parametrize("method", CLASSICAL.values(), ids=CLASSICAL)
def test_classical_methods_continue_a_gradient_and_keep_what_is_known(method):
    ramp = torch.linspace(0.2, 0.8, 40).round(decimals=2).expand(1, 3, 30, 40) * torch.tensor([1, 0.7, 0.4]).view(
        1, 3, 1, 1
    )
    ramp = (ramp * 255).round() / 255
    mask = torch.zeros(1, 1, 30, 40)
    mask[..., 12:18, 4:10] = 1
    filled = method(ramp, mask)
    torch.testing.assert_close(filled * (1 - mask), ramp * (1 - mask))
    assert (filled - ramp).abs().max() < 0.08 and psnr(filled, ramp, mask) > 10 + psnr(
        mean_fill(ramp, mask), ramp, mask
    )
