"""How close a filled picture is to the real one."""

import torch
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
