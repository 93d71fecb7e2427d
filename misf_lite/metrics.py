"""How close a filled picture is to the real one: one value per picture, of the whole or, with a mask, of the hole.

Each takes output and target, ``(B, C, H, W)`` in [0, 1], and perhaps a mask ``(B, 1, H, W)``, 1 = hole, and returns
``(B,)``: NaN where the hole is empty.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misf_lite.extras import import_or_explain, torchvision_weights


def psnr(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in decibels, ``-10·log10(mean squared error)``; infinite if they are equal."""
    return -10 * _mean((output - target) ** 2, mask).log10()


def l1(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error in percent of the range: the L1 % of the paper's tables."""
    return 100 * _mean((output - target).abs(), mask)


def _mean(x: Tensor, weight: Tensor | None) -> Tensor:
    """The mean of each picture, or the mean weighted with ``(B, 1, H, W)``; NaN where nothing counts."""
    if weight is None:
        return x.mean((1, 2, 3))
    weight = weight.expand_as(x)
    return (x * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))


def ssim(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004): how alike are means, contrasts and patterns; 1 where they are equal.

    Gaussian windows of sigma 1.5 and 11 pixels, K1 = 0.01, K2 = 0.03, around each pixel (of the hole); those that do
    not fit into the picture, of 11 × 11 pixels or more, are left out: a hole may be empty without them.
    """
    steps = torch.arange(-5.0, 6.0, device=output.device, dtype=output.dtype)
    bell = (-(steps**2) / (2 * 1.5**2)).exp()
    bell = bell / bell.sum()

    def mean(x: Tensor) -> Tensor:
        """The weighted mean in the window around each pixel."""
        x = F.conv2d(x.flatten(0, 1)[:, None], bell.view(1, 1, 11, 1))
        return F.conv2d(x, bell.view(1, 1, 1, 11)).unflatten(0, output.shape[:2])

    mx, my = mean(output), mean(target)
    vx, vy = mean(output**2) - mx**2, mean(target**2) - my**2
    xy = mean(output * target) - mx * my
    above = (2 * mx * my + 0.01**2) * (2 * xy + 0.03**2)
    below = (mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2)
    likeness = (above / below).squeeze(2)  # (B, C, H - 10, W - 10)
    return _mean(likeness, None if mask is None else mask[:, :, 5:-5, 5:-5])


def gradient_energy(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """How much detail there is, right or wrong: the mean of |gradient| as a share of the target's; 1 is as sharp.

    The gradient is that of differences to the pixel below and to the right. Infinite or NaN where the target is flat.
    """
    mask = mask if mask is None else mask[..., :-1, :-1]
    return _mean(_gradient(output), mask) / _mean(_gradient(target), mask)


def _gradient(x: Tensor) -> Tensor:
    here = x[..., :-1, :-1]
    return (x[..., 1:, :-1] - here).abs() + (x[..., :-1, 1:] - here).abs()


def feature_distance(
    features: Callable[[Tensor], list[Tensor]], output: Tensor, target: Tensor, mask: Tensor | None = None
) -> Tensor:
    """How differently a network sees two pictures, from 0 (equal) to 4 (opposite); LPIPS without its learnt weights.

    The squared distance between the features of each place, scaled to length 1; the mean over places, then over layers.
    Missing texture costs more than texture in the wrong place; with PSNR it is the other way round.

    Args:
        features: such as ``misf_lite.features.Features("efflite1")``, which makes it the *EffLite distance*.
        mask: where given, places count by their share of hole.
    """
    return between_features(features(output), features(target), mask)


def between_features(a: list[Tensor], b: list[Tensor], mask: Tensor | None = None) -> Tensor:
    """`feature_distance` of features that are there already: lists of ``(B, C, h, w)``, from fine to coarse."""
    distances = []
    for x, y in zip(a, b, strict=True):
        squared = ((F.normalize(x.float()) - F.normalize(y.float())) ** 2).sum(1, keepdim=True)
        distances.append(over_places(squared, mask))
    return torch.stack(distances).mean(0)


def over_places(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of ``(B, C, h, w)``, fewer places than pixels, in which a place counts by its share of the hole."""
    return _mean(values, None if mask is None else F.interpolate(mask, values.shape[2:], mode="area"))


class PooledFeatures(nn.Module):
    """The last of a network's features, averaged over the picture."""

    num_features = 112  # of EffLite's last stage

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)[-1].mean((2, 3))


ENOUGH = 2 * PooledFeatures.num_features  # pictures for a covariance of so many features


def open_frechet(features: nn.Module) -> Any:
    """The Fréchet distance between two sets of pictures (Heusel et al. 2017), torchmetrics's, but on EffLite.

    It compares means and covariances of what a network sees in them: not whether a filled picture is like its original,
    but whether all look like pictures of that kind. With fewer pictures it grows: compare only distances of equally
    many, `ENOUGH` at least, and none with a published FID. First ``update(pictures, real=True or False)``, then
    ``compute()``.
    """
    fid = import_or_explain("torchmetrics.image.fid", "evaluation")
    return fid.FrechetInceptionDistance(PooledFeatures(features), normalize=True)


def open_lpips() -> Any:
    """True LPIPS (Zhang et al. 2018) on AlexNet, torchmetrics's: a function of output and target, from 31×31 pixels on.

    Raises:
        ImportError: torchmetrics is missing; and as `torchvision_weights`.
    """
    lpip = import_or_explain("torchmetrics.image.lpip", "evaluation")
    torchvision_weights("alexnet")
    return lpip.LearnedPerceptualImagePatchSimilarity("alex", normalize=True)
