"""Methods that fill a hole without having learnt anything: what a network has to beat, and where one may start.

Each takes an image ``(1, 3, H, W)`` in [0, 1] and a mask ``(1, 1, H, W)``, 1 = hole, and returns the filled image. None
looks under the hole.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.extras import import_or_explain
from misf_lite.masks import is_hole

COARSEST = 16  # pixels; smaller grids take time, and what they add is not seen in the PSNR of what is filled


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The humblest method: every hole gets the mean colour of the known pixels. Also for batches."""
    hole = is_hole(mask)
    total = image.masked_fill(hole, 0).sum((2, 3), keepdim=True)
    mean = total / (~hole).sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean, image)


def telea(image: Tensor, mask: Tensor) -> Tensor:
    """Fast marching from the rim inwards (Telea 2004), OpenCV's, radius 3."""
    return _opencv(image, mask, "INPAINT_TELEA")


def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """Isophotes flow into the hole (Bertalmio et al. 2001), OpenCV's, radius 3."""
    return _opencv(image, mask, "INPAINT_NS")


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """The smoothest surface through the rim, scikit-image's."""
    restoration = import_or_explain("skimage.restoration", "classical")
    pixels = image[0].permute(1, 2, 0).double().cpu().numpy()
    filled = restoration.inpaint_biharmonic(pixels, is_hole(mask)[0, 0].cpu().numpy(), channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image).clamp(0, 1)


def patchmatch(image: Tensor, mask: Tensor) -> Tensor:
    """Copies of the patches of 7 × 7 that fit best (Barnes et al. 2009), pypatchmatch's: sharp, and often wrong."""
    patch_match = import_or_explain("patchmatch", "evaluation").patch_match
    pixels, hole = _pixels(image, mask)
    patch_match.set_random_seed(0)
    filled = patch_match.inpaint(pixels, hole, patch_size=3)
    return torch.from_numpy(filled.copy()).permute(2, 0, 1)[None].to(image) / 255


def _opencv(image: Tensor, mask: Tensor, method: str) -> Tensor:
    cv2 = import_or_explain("cv2", "classical")
    filled = cv2.inpaint(*_pixels(image, mask), 3, getattr(cv2, method))
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image) / 255


def _pixels(image: Tensor, mask: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """``(H, W, 3)`` and ``(H, W)`` uint8; black under the hole, so that nothing can be looked up there."""
    pixels = (image[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    hole = is_hole(mask)[0, 0].byte().cpu().numpy()
    return pixels * (1 - hole[..., None]), hole


def smooth_guess(image: Tensor, mask: Tensor, tension: float = 0.15, cycles: int = 2, steps: int = 4) -> Tensor:
    """Fill a hole as smoothly as a thin plate that is also pulled tight: a spline in tension.

    A plate (``tension=0``, the biharmonic equation) goes on in the direction of the rim and overshoots in wide holes; a
    soap film (``tension=1``, the Laplace equation) never overshoots and has a crease all along the rim. In between, the
    hole minimises (1 - tension) (Δu)² + tension |∇u|². (Smith & Wessel, *Gridding with continuous curvature splines in
    tension*, 1990.)

    Args:
        image: ``(B, 3, H, W)`` in [0, 1], any size. What lies under the hole is never looked at.
        mask: ``(B, 1, H, W)``, 1 = hole.
        tension: from 0, a plate, to 1, a film; 0.1 to 0.35 are alike on photographs (docs/training-notes.md).
        cycles: multigrid V-cycles. steps: of conjugate gradients, twice per cycle and size.

    Returns:
        ``(B, 3, H, W)`` in [0, 1], known pixels as they were; mid-grey where a picture is all hole.
    """
    hole = is_hole(mask)
    # In half precision the steps would go astray.
    known = image.masked_fill(hole, 0).to(torch.promote_types(image.dtype, torch.float32))
    inside = hole.to(known)
    u = coarse_to_fine(known, hole)
    residual = -apply_operator(u, inside, tension)
    for _ in range(cycles):
        step, residual = v_cycle(residual, inside, tension, steps)
        u = u + step
    return torch.where(hole, u.clamp(0, 1).to(image), image)


def coarse_to_fine(known: Tensor, hole: Tensor) -> Tensor:
    """Where to start: the hole from a picture of half the size, whose pixels are the means of the known ones."""
    there = (~hole).to(known)
    if min(known.shape[2:]) == 1:
        mean = known.sum((2, 3), keepdim=True) / there.sum((2, 3), keepdim=True).clamp(min=1)
        is_all_hole = hole.all(3, True).all(2, True)
        return torch.where(hole, torch.where(is_all_hole, 0.5, mean), known)
    share = F.avg_pool2d(there, 2, ceil_mode=True)
    half_known = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1 / 8)
    half = coarse_to_fine(half_known, share == 0)
    return torch.where(hole, upsample(half, hole), known)


def v_cycle(residual: Tensor, inside: Tensor, tension: float, steps: int) -> tuple[Tensor, Tensor]:
    """A few conjugate gradients, a correction from half the size, a few again: the step, and what is left then."""
    u, residual = conjugate_gradients(residual, inside, tension, steps)
    if min(inside.shape[2:]) > COARSEST:
        within = -F.max_pool2d(-inside, 2, ceil_mode=True)  # where all four pixels are
        # On a grid twice as wide Δ² weighs a 16th and Δ a quarter.
        weight = (1 + 3 * tension) / 16
        tighter = 4 * tension / (1 + 3 * tension)
        coarse = F.avg_pool2d(residual, 2, ceil_mode=True) * within / weight
        direction = upsample(v_cycle(coarse, within, tighter, steps)[0], inside) * inside
        change = apply_operator(direction, inside, tension)
        alpha = dot(direction, residual) / dot(direction, change).clamp(min=1e-20)
        u = u.addcmul(alpha, direction)
        residual = residual.addcmul(alpha, change, value=-1)
    step, residual = conjugate_gradients(residual, inside, tension, steps)
    return u + step, residual


def conjugate_gradients(residual: Tensor, inside: Tensor, tension: float, steps: int) -> tuple[Tensor, Tensor]:
    u = torch.zeros_like(residual)
    direction = torch.zeros_like(residual)
    previous: Tensor | float = 1.0
    for _ in range(steps):
        norm = dot(residual, residual).clamp(min=1e-20)
        direction = residual.addcmul(norm / previous, direction)
        change = apply_operator(direction, inside, tension)
        alpha = norm / dot(direction, change).clamp(min=1e-20)
        u.addcmul_(alpha, direction)
        residual = residual.addcmul(alpha, change, value=-1)
        previous = norm
    return u, residual


def dot(a: Tensor, b: Tensor) -> Tensor:
    """Of each picture, ``(B, 1, 1, 1)``."""
    return (a.flatten(1)[:, None] @ b.flatten(1)[:, :, None])[:, None]


def apply_operator(u: Tensor, inside: Tensor, tension: float) -> Tensor:
    """(1 - tension) Δ²u - tension Δu in the hole, 0 outside."""
    laplacian = neighbours(u).sub_(u, alpha=4)
    # (1 - tension) Δ(Δu) - tension Δu, where Δ is the sum of the neighbours less four times the pixel
    return neighbours(laplacian).mul_(1 - tension).sub_(laplacian, alpha=4 - 3 * tension).mul_(inside)


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Twice the size, cut to that of ``like``."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")[..., : like.shape[2], : like.shape[3]]


def neighbours(v: Tensor) -> Tensor:
    """The sum of the four neighbours; a picture goes on beyond its edge as it ends."""
    padded = F.pad(v, (1, 1, 1, 1), mode="replicate")
    total = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    total += padded[:, :, :-2, 1:-1]
    total += padded[:, :, 2:, 1:-1]
    return total


Fill = Callable[[Tensor, Tensor], Tensor]
CLASSICAL: dict[str, Fill] = {"Telea": telea, "Navier–Stokes": navier_stokes, "biharmonic": biharmonic}
