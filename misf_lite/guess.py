"""A smooth first guess for a hole: a spline in tension, which learns nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor

TENSION = 0.15  # measured on the validation split: 0.1 to 0.35 are alike, 0 and 1 lose 0.3 to 1.3 dB
STEPS = 8, 15  # of conjugate gradients: at the picture's own size, and at each coarser one


def smooth_guess(image: Tensor, mask: Tensor, tension: float = TENSION, steps: tuple[int, int] = STEPS) -> Tensor:
    """Fill a hole as smoothly as a thin plate that is also pulled tight.

    A plate (``tension=0``, the biharmonic equation) goes on in the direction of the rim and overshoots in wide holes; a
    soap film (``tension=1``, the Laplace equation) never overshoots and has a crease all along the rim. In between, the
    hole minimises (1 - tension) (Δu)² + tension |∇u|². (Smith & Wessel, *Gridding with continuous curvature splines in
    tension*, 1990.) It is solved from coarse to fine: each picture starts from one of half its size, whose pixels are
    the means of the known ones, and takes a few steps of conjugate gradients.

    Args:
        image: ``(B, 3, H, W)`` in [0, 1], any size. What lies under the hole is never looked at.
        mask: ``(B, 1, H, W)``, 1 = hole.
        tension: from 0, a plate, to 1, a film.
        steps: of conjugate gradients, at the picture's own size and at each coarser one.

    Returns:
        ``(B, 3, H, W)`` in [0, 1], known pixels as they were; mid-grey where a picture is all hole.
    """
    hole = mask >= 0.5
    # In half precision the steps would go astray.
    known = image.masked_fill(hole, 0).to(torch.promote_types(image.dtype, torch.float32))
    return torch.where(hole, _spline(known, hole, tension, *steps).clamp(0, 1).to(image), image)


def _spline(known: Tensor, hole: Tensor, tension: float, steps: int, coarser_steps: int) -> Tensor:
    H, W = known.shape[2:]
    there = (~hole).to(known)
    if min(H, W) == 1:
        mean = known.sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1)
        return torch.where(hole, torch.where(hole.all(3, True).all(2, True), 0.5, mean), known)
    share = F.avg_pool2d(there, 2, ceil_mode=True)
    half = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1 / 8)
    # On a grid twice as wide the film's equation weighs four times as much.
    tighter = 4 * tension / (1 + 3 * tension)
    half = _spline(half, share == 0, tighter, coarser_steps, coarser_steps)
    start = torch.where(hole, F.interpolate(half, scale_factor=2, mode="bilinear")[..., :H, :W], known)
    return _relax(start, hole, tension, steps)


def _relax(u: Tensor, hole: Tensor, tension: float, steps: int) -> Tensor:
    """Steps of conjugate gradients towards (1 - tension) Δ²u - tension Δu = 0 in the hole."""

    def equation(v: Tensor) -> Tensor:
        bend = _laplace(v)
        return ((1 - tension) * _laplace(bend) - tension * bend).masked_fill(~hole, 0)

    residual = direction = -equation(u)
    size = residual.square().sum((1, 2, 3), keepdim=True)
    for _ in range(steps):
        change = equation(direction)
        step = size / (direction * change).sum((1, 2, 3), keepdim=True).clamp(min=1e-20)
        u = u + step * direction
        residual = residual - step * change
        size, before = residual.square().sum((1, 2, 3), keepdim=True), size
        direction = residual + size / before.clamp(min=1e-20) * direction
    return u


def _laplace(v: Tensor) -> Tensor:
    """The four neighbours minus four times the pixel; a picture goes on beyond its edge as it ends."""
    down, right = v[:, :, 1:] - v[:, :, :-1], v[:, :, :, 1:] - v[:, :, :, :-1]
    return F.pad(down, (0, 0, 0, 1)) - F.pad(down, (0, 0, 1, 0)) + F.pad(right, (0, 1)) - F.pad(right, (1, 0))
