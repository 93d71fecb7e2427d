"""How close a filled picture is to the real one; and the classical methods that a network has to beat.

Each method takes image ``(1, 3, H, W)`` in [0, 1] and mask ``(1, 1, H, W)``, and returns the filled image.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def psnr(output: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """Peak signal-to-noise ratio in decibels, ``-10·log10(mean squared error)``, one value per picture.

    Args:
        output, target: ``(B, C, H, W)`` in [0, 1].
        mask: ``(B, 1, H, W)``; where given, only its hole (1) counts.

    Returns:
        ``(B,)``; infinite where they are equal (or the hole is empty).
    """
    weight = output.new_ones(1) if mask is None else mask
    weight = weight.expand_as(output)
    squared = ((output - target) ** 2 * weight).sum((1, 2, 3))
    return -10 * (squared / weight.sum((1, 2, 3)).clamp(min=1)).log10()


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), one value per picture: how alike are means, contrasts and patterns.

    Gaussian windows of sigma 1.5 and 11 pixels, K1 = 0.01, K2 = 0.03; windows that do not fit are left out.

    Args:
        output, target: ``(B, C, H, W)`` in [0, 1], H and W 11 or more.

    Returns:
        ``(B,)``, 1 where they are equal.
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
    return likeness.mean((1, 2, 3, 4))


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
    from skimage.restoration import inpaint_biharmonic

    pixels = image[0].permute(1, 2, 0).double().cpu().numpy()
    filled = inpaint_biharmonic(pixels, mask[0, 0].cpu().numpy() > 0, channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image).clamp(0, 1)


def _opencv(image: Tensor, mask: Tensor, method: str) -> Tensor:
    import cv2

    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    hole = (mask[0, 0] > 0).byte().cpu().numpy()
    filled = cv2.inpaint(pixels, hole, 3, getattr(cv2, method))
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image) / 255


CLASSICAL = {"Telea": telea, "Navier–Stokes": navier_stokes, "biharmonic": biharmonic}
