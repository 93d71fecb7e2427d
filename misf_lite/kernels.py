"""Reading kernels: what a field of kernels says, pixel by pixel.

Kernels are ``(B, G, N², H, W)``, as `filter2d` takes them and a `Trace` holds them. Each tap counts with its share
``|k| / Σ|k|``, so neither the scale nor the sign of the weights matters; where all of them are zero, results are NaN.
An image that is filtered several times meets the same kernels in each pass: what is told here is told of one pass.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.filtering import filter2d
from misf_lite.masks import BANDS, random_mask
from misf_lite.model import MISF


def shares(kernels: Tensor) -> Tensor:
    """The share of each tap in the weight of its kernel, ``|k| / Σ|k|``.

    Args:
        kernels: ``(B, G, N², H, W)``, N odd.

    Returns:
        The same shape, float32 or wider, in [0, 1], with a sum of 1 over the taps.

    Raises:
        ValueError: another shape.
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
    """How widely a kernel spreads its weight: ``-Σ s·ln s`` of the shares, ``(B, G, H, W)``.

    From 0 (one tap has it all) to ``ln N²`` (all have the same).
    """
    return torch.special.entr(shares(kernels)).sum(2)


def reach(kernels: Tensor, dilation: int = 1) -> Tensor:
    """How far away a kernel looks in one pass: the mean distance of its taps from the centre, in pixels.

    Returns:
        ``(B, G, H, W)``, from 0 to ``dilation * (N // 2) * √2``, the distance of a corner.
    """
    distance = _offsets(kernels, dilation).norm(dim=0)
    return torch.einsum("bgthw,t->bghw", shares(kernels), distance)


def centre_of_mass(kernels: Tensor, dilation: int = 1) -> Tensor:
    """Where a kernel looks in one pass: the mean (dy, dx) of its taps in pixels, down and right: ``(B, G, 2, H, W)``.

    Weights that cancel out in opposite directions give 0, as the identity does: read it beside `reach`.
    """
    return torch.einsum("bgthw,dt->bgdhw", shares(kernels), _offsets(kernels, dilation))


def hole_share(kernels: Tensor, mask: Tensor, *, dilation: int = 1, padding: str = "reflect") -> Tensor:
    """How much of a kernel's weight is taken from the hole: ``(B, G, H, W)`` in [0, 1].

    Args:
        mask: ``(B, 1, H, W)`` of the kernels' own size, 1 = hole.
        dilation, padding: as the kernels are applied, see `filter2d`.

    Raises:
        ValueError: shapes that do not fit.
    """
    weight = shares(kernels)
    B, G, _, H, W = kernels.shape
    if mask.shape != (B, 1, H, W):
        raise ValueError(f"expected a mask {(B, 1, H, W)} for kernels {tuple(kernels.shape)}, got {tuple(mask.shape)}")
    hole = (mask >= 0.5).to(weight).expand(B, G, H, W)
    return filter2d(hole, weight, dilation=dilation, padding=padding)


def _offsets(kernels: Tensor, dilation: int) -> Tensor:
    """How far (dy, dx) each tap looks: ``(2, N²)``."""
    radius = math.isqrt(kernels.shape[2]) // 2
    line = torch.arange(-radius, radius + 1) * float(dilation)
    dtype = torch.promote_types(kernels.dtype, torch.float32)
    return torch.stack(torch.meshgrid(line, line, indexing="ij")).flatten(1).to(kernels.device, dtype)


def regions(mask: Tensor, border: int = 2) -> dict[str, Tensor]:
    """Where a pixel lies: three bool masks ``(B, 1, H, W)`` that share out the picture.

    ``"inside"`` the hole, at its ``"border"`` (hole pixels with a known one at most ``border`` pixels away in both
    directions: in the window of a kernel of side ``2 * border + 1``), and ``"outside"``.

    Args:
        mask: ``(B, 1, H, W)``, 1 = hole.
    """
    hole = mask >= 0.5
    near = F.max_pool2d((~hole).float(), 2 * border + 1, 1, border) > 0  # what is beyond the picture is not known
    return {"inside": hole & ~near, "border": hole & near, "outside": ~hole}


@torch.no_grad()
def kernel_statistics(
    model: MISF, images: Iterable[Tensor], *, kind: str = "strokes", seed: int = 0, border: int = 2
) -> dict[str, dict[str, float]]:
    """What the image-level kernels of one pass are like inside holes, at their border, and outside.

    Args:
        images: each ``(1, 3, H, W)`` in [0, 1], where the model lies.
        kind, seed: the masks, one per picture and band, the same as `misf_lite.evaluation.evaluate` draws.
        border: see `regions`.

    Returns:
        For each of the `regions` the mean ``centre_share``, ``entropy`` and ``reach`` over its pixels in all pictures
        together, and over the groups; NaN where a region has no pixel.

    Raises:
        ValueError: no image, or a model that does not filter the image.
    """
    if not model.config.image:
        raise ValueError("this model has no image-level kernels to read: its config says image=False")
    measures = {
        "centre_share": centre_share,
        "entropy": entropy,
        "reach": lambda kernels: reach(kernels, model.config.dilation[0]),
    }
    sums, pixels = {}, {}
    for i, image in enumerate(images):
        for b, band in enumerate(BANDS):
            mask = random_mask(tuple(image.shape[2:]), band, kind, seed + 1000 * b + i).to(image.device)
            kernels = model.trace(image, mask).kernels[0]
            maps = torch.stack([measure(kernels).mean(1, keepdim=True) for measure in measures.values()], -1)
            for region, where in regions(mask, border).items():
                sums[region] = sums.get(region, 0) + maps[where].sum(0).cpu().double()
                pixels[region] = pixels.get(region, 0) + where.sum().item()
    if not sums:
        raise ValueError("nothing to read: give at least one image")
    return {region: dict(zip(measures, (sums[region] / pixels[region]).tolist(), strict=True)) for region in sums}
