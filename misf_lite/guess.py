"""A smooth first guess for a hole: a spline in tension, which learns nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor

TENSION = 0.15  # docs/training-notes.md: 0.1 to 0.35 are alike, 0 and 1 lose 0.3 to 1.5 dB
CYCLES, STEPS = 2, 4
COARSEST = 16  # pixels; smaller grids take time, and what they add is not seen in the PSNR of what is filled


def smooth_guess(
    image: Tensor, mask: Tensor, tension: float = TENSION, cycles: int = CYCLES, steps: int = STEPS
) -> Tensor:
    """Fill a hole as smoothly as a thin plate that is also pulled tight.

    A plate (``tension=0``, the biharmonic equation) goes on in the direction of the rim and overshoots in wide holes; a
    soap film (``tension=1``, the Laplace equation) never overshoots and has a crease all along the rim. In between, the
    hole minimises (1 - tension) (Δu)² + tension |∇u|². (Smith & Wessel, *Gridding with continuous curvature splines in
    tension*, 1990.)

    Args:
        image: ``(B, 3, H, W)`` in [0, 1], any size. What lies under the hole is never looked at.
        mask: ``(B, 1, H, W)``, 1 = hole.
        tension: from 0, a plate, to 1, a film.
        cycles: multigrid V-cycles. steps: of conjugate gradients, twice per cycle and size.

    Returns:
        ``(B, 3, H, W)`` in [0, 1], known pixels as they were; mid-grey where a picture is all hole.
    """
    hole = mask >= 0.5
    # In half precision the steps would go astray.
    known = image.masked_fill(hole, 0).to(torch.promote_types(image.dtype, torch.float32))
    u, inside = _coarse_to_fine(known, hole), hole.to(known)
    rest = -_equation(u, inside, tension)
    for _ in range(cycles):
        step, rest = _cycle(rest, inside, tension, steps)
        u = u + step
    return torch.where(hole, u.clamp(0, 1).to(image), image)


def _coarse_to_fine(known: Tensor, hole: Tensor) -> Tensor:
    """Where to start: the hole from a picture of half the size, whose pixels are the means of the known ones."""
    H, W = known.shape[2:]
    there = (~hole).to(known)
    if min(H, W) == 1:
        mean = known.sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1)
        return torch.where(hole, torch.where(hole.all(3, True).all(2, True), 0.5, mean), known)
    share = F.avg_pool2d(there, 2, ceil_mode=True)
    half = _coarse_to_fine(F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1 / 8), share == 0)
    return torch.where(hole, _twice(half, hole), known)


def _cycle(rest: Tensor, inside: Tensor, tension: float, steps: int) -> tuple[Tensor, Tensor]:
    """A step that takes most of what is left of the equation, and what is left then.

    A few conjugate gradients, a correction from half the size, and a few again.
    """
    u, rest = _conjugate_gradients(rest, inside, tension, steps)
    if min(inside.shape[2:]) > COARSEST:
        within = -F.max_pool2d(-inside, 2, ceil_mode=True)  # where all four pixels are
        # On a grid twice as wide Δ² weighs a 16th and Δ a quarter.
        weight, tighter = (1 + 3 * tension) / 16, 4 * tension / (1 + 3 * tension)
        coarse = F.avg_pool2d(rest, 2, ceil_mode=True) * within / weight
        direction = _twice(_cycle(coarse, within, tighter, steps)[0], inside) * inside
        change = _equation(direction, inside, tension)
        length = _dot(direction, rest) / _dot(direction, change).clamp(min=1e-20)
        u, rest = u.addcmul(length, direction), rest.addcmul(length, change, value=-1)
    step, rest = _conjugate_gradients(rest, inside, tension, steps)
    return u + step, rest


def _conjugate_gradients(rest: Tensor, inside: Tensor, tension: float, steps: int) -> tuple[Tensor, Tensor]:
    u, direction, before = torch.zeros_like(rest), torch.zeros_like(rest), 1.0
    for _ in range(steps):
        size = _dot(rest, rest).clamp(min=1e-20)
        direction = rest.addcmul(size / before, direction)
        change = _equation(direction, inside, tension)
        length = size / _dot(direction, change).clamp(min=1e-20)
        u.addcmul_(length, direction)
        rest, before = rest.addcmul(length, change, value=-1), size
    return u, rest


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.flatten(1)[:, None] @ b.flatten(1)[:, :, None])[:, None]


def _equation(u: Tensor, inside: Tensor, tension: float) -> Tensor:
    """(1 - tension) Δ²u - tension Δu in the hole, 0 outside."""
    bend = _around(u).sub_(u, alpha=4)  # Δu
    # (1 - tension) Δbend - tension bend, where Δbend is what is around it less four times itself
    return _around(bend).mul_(1 - tension).sub_(bend, alpha=4 - 3 * tension).mul_(inside)


def _twice(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear")[..., : like.shape[2], : like.shape[3]]


def _around(v: Tensor) -> Tensor:
    """The sum of the four neighbours; a picture goes on beyond its edge as it ends."""
    padded = F.pad(v, (1, 1, 1, 1), mode="replicate")
    total = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    total += padded[:, :, :-2, 1:-1]
    total += padded[:, :, 2:, 1:-1]
    return total
