"""How close a filled picture is to the real one; and the classical methods that a network has to beat.

Every measure gives one value per picture, of the whole of it or, with a mask, of the hole alone. Each method takes
image ``(1, 3, H, W)`` in [0, 1] and mask ``(1, 1, H, W)``, and returns the filled image.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from torchmetrics import Metric


def psnr(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in decibels, ``-10·log10(mean squared error)``, one value per picture.

    Args:
        output, target: ``(B, C, H, W)`` in [0, 1].
        mask: ``(B, 1, H, W)``; where given, only its hole (1) counts.

    Returns:
        ``(B,)``; infinite where they are equal (or the hole is empty).
    """
    return -10 * _mean((output - target) ** 2, mask).log10()


def l1(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean absolute error in percent of the range, ``(B,)``: the L1 % of the paper's tables. Arguments as for psnr."""
    return 100 * _mean((output - target).abs(), mask)


def _mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean of each picture, or of its hole; 0 where the hole is empty."""
    if mask is None:
        return x.mean((1, 2, 3))
    weight = mask.expand_as(x)
    return (x * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)


def ssim(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Structural similarity (Wang et al. 2004), one value per picture: how alike are means, contrasts and patterns.

    Gaussian windows of sigma 1.5 and 11 pixels, K1 = 0.01, K2 = 0.03; windows that do not fit are left out.

    Args:
        output, target: ``(B, C, H, W)`` in [0, 1], H and W 11 or more.
        mask: ``(B, 1, H, W)``; where given, only windows around a pixel of its hole count.

    Returns:
        ``(B,)``, 1 where they are equal; NaN where no window counts.
    """
    steps = torch.arange(-5.0, 6.0, device=output.device, dtype=output.dtype)
    bell = (-(steps**2) / (2 * 1.5**2)).exp()
    bell = bell / bell.sum()

    def mean(x: Tensor) -> Tensor:
        """The weighted mean in the window around each pixel."""
        x = F.conv2d(x.flatten(0, 1)[:, None], bell.view(1, 1, 11, 1))
        return F.conv2d(x, bell.view(1, 1, 1, 11)).unflatten(0, output.shape[:2])

    mx, my = mean(output), mean(target)
    vx, vy, xy = mean(output**2) - mx**2, mean(target**2) - my**2, mean(output * target) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * mx * my + c1) * (2 * xy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    likeness = likeness.squeeze(2)  # (B, C, H - 10, W - 10)
    if mask is None:
        return likeness.mean((1, 2, 3))
    inside = mask[:, :, 5:-5, 5:-5].expand_as(likeness)
    return (likeness * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))


def feature_distance(
    features: Callable[[Tensor], list[Tensor]], output: Tensor, target: Tensor, mask: Tensor | None = None
) -> Tensor:
    """How differently a network sees two pictures, after LPIPS (Zhang et al. 2018) but without learnt weights.

    The squared distance between the features of each place, scaled to length 1; the mean over places, then over layers.
    It minds texture that is missing more than texture that lies elsewhere, which is what PSNR does the other way round.

    Args:
        features: such as ``misf_lite.losses.Features("efflite")``, which makes it the *EffLite distance*.
        output, target: ``(B, 3, H, W)`` in [0, 1].
        mask: ``(B, 1, H, W)``; where given, places count by their share of hole.

    Returns:
        ``(B,)``, from 0 (equal) to 4 (opposite).
    """
    distances = []
    for a, b in zip(features(output), features(target), strict=True):
        squared = ((F.normalize(a) - F.normalize(b)) ** 2).sum(1, keepdim=True)
        weight = torch.ones_like(squared) if mask is None else F.interpolate(mask, squared.shape[2:], mode="area")
        distances.append((squared * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1e-9))
    return torch.stack(distances).mean(0)


class PooledFeatures(nn.Module):
    """The last features of a network, averaged over the picture: what `open_frechet` compares."""

    num_features = 112  # of EffLite's last stage

    def __init__(self, features: nn.Module) -> None:
        super().__init__()
        self.features = features

    def forward(self, image: Tensor) -> Tensor:
        return self.features(image)[-1].mean((2, 3))


def open_frechet(features: nn.Module) -> "Metric":
    """The Fréchet distance between two sets of pictures (Heusel et al. 2017), torchmetrics's, but on EffLite.

    How far apart are the means and the covariances of what a network sees in them. No filled picture is compared with
    its own original: what counts is whether they look like pictures of that kind. It takes many, `ENOUGH` at least, and
    grows when there are fewer, so that only distances of equally many may be compared; and none with a published FID.

    Args:
        features: ``misf_lite.losses.Features("efflite")``.

    Returns:
        A torchmetrics metric: ``update(pictures, real=True or False)``, then ``compute()``.

    Raises:
        ImportError: torchmetrics is missing.
    """
    fid = _package("torchmetrics.image.fid", "evaluation")
    return fid.FrechetInceptionDistance(PooledFeatures(features), normalize=True)


ENOUGH = 2 * PooledFeatures.num_features  # pictures for a covariance of so many features


def open_lpips() -> Callable[[Tensor, Tensor], Tensor]:
    """True LPIPS (Zhang et al. 2018) on AlexNet, torchmetrics's: a function of output and target that gives ``(B,)``.

    Pictures of at least 63 × 63 pixels. Nothing is ever downloaded.

    Raises:
        ImportError: torchmetrics or torchvision is missing. FileNotFoundError: AlexNet's weights are.
    """
    lpip, models = (_package(name, "evaluation") for name in ("torchmetrics.image.lpip", "torchvision.models"))
    path = Path(torch.hub.get_dir(), "checkpoints", Path(models.AlexNet_Weights.IMAGENET1K_V1.url).name)
    if not path.is_file():
        raise FileNotFoundError(
            f"the weights of AlexNet should be in {path}. To download them (244 MB): "
            "python -c \"import torchvision; torchvision.models.alexnet(weights='IMAGENET1K_V1')\". "
            "Without a network, the EffLite distance works as it is."
        )
    lpips = lpip.LearnedPerceptualImagePatchSimilarity("alex", normalize=True)

    def measure(output: Tensor, target: Tensor) -> Tensor:
        lpips.to(output.device).reset()
        return torch.stack([lpips(a[None], b[None]) for a, b in zip(output, target, strict=True)])

    return measure


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The humblest method: every hole gets the mean colour of the known pixels.

    Args:
        image: ``(B, 3, H, W)``. mask: ``(B, 1, H, W)``, 1 = hole.

    Returns:
        ``(B, 3, H, W)``, known pixels as they were.
    """
    hole = mask >= 0.5
    mean = image.masked_fill(hole, 0).sum((2, 3), keepdim=True) / (~hole).sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean, image)


def telea(image: Tensor, mask: Tensor) -> Tensor:
    """Fast marching from the rim inwards (Telea 2004), OpenCV's, radius 3."""
    return _opencv(image, mask, "INPAINT_TELEA")


def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """Isophotes flow into the hole (Bertalmio et al. 2001), OpenCV's, radius 3."""
    return _opencv(image, mask, "INPAINT_NS")


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """The smoothest surface through the rim, scikit-image's."""
    restoration = _package("skimage.restoration", "classical")
    pixels = image[0].permute(1, 2, 0).double().cpu().numpy()
    filled = restoration.inpaint_biharmonic(pixels, mask[0, 0].cpu().numpy() > 0, channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image).clamp(0, 1)


def patchmatch(image: Tensor, mask: Tensor) -> Tensor:
    """Copies of the patches of 7 × 7 that fit best (Barnes et al. 2009), pypatchmatch's: sharp, and often wrong."""
    patch_match = _package("patchmatch", "evaluation").patch_match
    pixels, hole = _pixels(image, mask)
    patch_match.set_random_seed(0)
    filled = patch_match.inpaint(pixels, hole, patch_size=3)
    return torch.from_numpy(filled.copy()).permute(2, 0, 1)[None].to(image) / 255


def _opencv(image: Tensor, mask: Tensor, method: str) -> Tensor:
    cv2 = _package("cv2", "classical")
    filled = cv2.inpaint(*_pixels(image, mask), 3, getattr(cv2, method))
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image) / 255


def _pixels(image: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(H, W, 3)`` and ``(H, W)`` uint8; black under the hole, so that nothing can be looked up there."""
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    hole = (mask[0, 0] > 0).byte().cpu().numpy()
    return pixels * (1 - hole[..., None]), hole


def _package(name: str, extra: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(f"this needs {name} ({error}): run pip install 'misf-lite[{extra}]'") from error


CLASSICAL = {"Telea": telea, "Navier–Stokes": navier_stokes, "biharmonic": biharmonic}
