"""Reading kernels: what a field of kernels says, pixel by pixel.

Kernels are ``(B, G, N², H, W)``, as `filter2d` takes them. Each tap counts with its share ``|k| / Σ|k|``, so neither
the scale nor the sign of the weights matters; where all of them are zero, results are NaN. What is measured is one
pass, even if a model filters its picture several times with the same kernels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.filtering import filter2d
from misf_lite.masks import is_hole


def shares(kernels: Tensor) -> Tensor:
    """The share of each tap in the weight of its kernel: in [0, 1], ``(B, G, N², H, W)``, in float32 or wider.

    Raises:
        ValueError: kernels of another shape, or N is not odd.
    """
    side = math.isqrt(kernels.shape[2]) if kernels.dim() == 5 else 0
    if side % 2 == 0 or side * side != kernels.shape[2]:
        raise ValueError(f"expected kernels (B, G, N*N, H, W) with N odd, got {tuple(kernels.shape)}")
    weight = kernels.abs().to(torch.promote_types(kernels.dtype, torch.float32))
    return weight / weight.sum(2, keepdim=True)


def centre_share(kernels: Tensor) -> Tensor:
    """How much of a pixel stays where it is: the centre's share, ``(B, G, H, W)`` in [0, 1]; the mean's is 1 / N²."""
    return shares(kernels)[:, :, kernels.shape[2] // 2]


def entropy(kernels: Tensor) -> Tensor:
    """How widely a kernel spreads its weight: ``-Σ s·ln s`` of the shares, ``(B, G, H, W)``, from 0 to ``ln N²``."""
    return torch.special.entr(shares(kernels)).sum(2)


def reach(kernels: Tensor, dilation: int = 1) -> Tensor:
    """How far a kernel looks: the mean distance of its taps in pixels, ``(B, G, H, W)``, at most that of a corner."""
    weight = shares(kernels)
    return torch.einsum("bgthw,t->bghw", weight, offsets(weight, dilation).norm(dim=0))


def centre_of_mass(kernels: Tensor, dilation: int = 1) -> Tensor:
    """Where a kernel looks: the mean (dy, dx) of its taps in pixels, down and right, ``(B, G, 2, H, W)``.

    Weights that cancel out in opposite directions give 0, as the identity does: read it beside `reach`.
    """
    weight = shares(kernels)
    return torch.einsum("bgthw,dt->bgdhw", weight, offsets(weight, dilation))


def offsets(weight: Tensor, dilation: int) -> Tensor:
    """How far (dy, dx) each tap looks: ``(2, N²)``."""
    radius = math.isqrt(weight.shape[2]) // 2
    line = dilation * torch.arange(-radius, radius + 1).to(weight)
    return torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1)


def hole_share(kernels: Tensor, mask: Tensor, *, dilation: int = 1, padding: str = "reflect") -> Tensor:
    """How much of a kernel's weight is taken from the hole, if it is applied like this: ``(B, G, H, W)`` in [0, 1].

    Args:
        mask: ``(B, 1, H, W)`` of the kernels' own size, 1 = hole.
        dilation, padding: see `filter2d`.

    Raises:
        ValueError: shapes that do not fit.
    """
    weight = shares(kernels)
    B, G, _, H, W = kernels.shape
    if mask.shape != (B, 1, H, W):
        raise ValueError(f"expected a mask {(B, 1, H, W)} for kernels {tuple(kernels.shape)}, got {tuple(mask.shape)}")
    return filter2d(is_hole(mask).to(weight).expand(B, G, H, W), weight, dilation=dilation, padding=padding)


def regions(mask: Tensor, border: int = 2) -> dict[str, Tensor]:
    """Where a pixel lies: three bool masks that share out the picture, ``(B, 1, H, W)`` like the mask, 1 = hole.

    ``"inside"`` the hole, at its ``"border"`` (hole pixels with a known one in the window of a kernel of side
    ``2 * border + 1``), and ``"outside"``.
    """
    hole = is_hole(mask)
    near = F.max_pool2d((~hole).float(), 2 * border + 1, 1, border) > 0  # what is beyond the picture is not known
    return {"inside": hole & ~near, "border": hole & near, "outside": ~hole}
