"""Methods that fill a hole without having learnt anything: what a network has to beat, and where one may start.

Each fills an image ``(1, 3, H, W)`` in [0, 1] where a mask ``(1, 1, H, W)`` is 1, and never looks under the hole.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.extras import import_or_explain
from misf_lite.masks import is_hole

STEPS = 4  # of conjugate gradients, twice per V-cycle and size
COARSEST = 16  # pixels; smaller grids take time, and what they add is not seen in the PSNR of what is filled


def mean_fill(image: Tensor, mask: Tensor) -> Tensor:
    """The humblest method: every hole gets the mean colour of the known pixels. Also for batches."""
    hole = is_hole(mask)
    total = image.masked_fill(hole, 0).sum((2, 3), keepdim=True)
    mean = total / (~hole).sum((2, 3), keepdim=True).clamp(min=1)
    return torch.where(hole, mean, image)


def telea(image: Tensor, mask: Tensor) -> Tensor:
    """Fast marching from the rim inwards (Telea 2004), OpenCV's, radius 3."""
    cv2 = import_or_explain("cv2", "classical")
    return _in_8_bit(image, mask, partial(cv2.inpaint, inpaintRadius=3, flags=cv2.INPAINT_TELEA))


def navier_stokes(image: Tensor, mask: Tensor) -> Tensor:
    """Isophotes flow into the hole (Bertalmio et al. 2001), OpenCV's, radius 3."""
    cv2 = import_or_explain("cv2", "classical")
    return _in_8_bit(image, mask, partial(cv2.inpaint, inpaintRadius=3, flags=cv2.INPAINT_NS))


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """The smoothest surface through the rim, scikit-image's. Raises ValueError for a picture that is all hole."""
    restoration = import_or_explain("skimage.restoration", "classical")
    if is_hole(mask).all():
        raise ValueError("the biharmonic method starts from known pixels, and this mask is nothing but hole")
    pixels = image[0].permute(1, 2, 0).double().cpu().numpy()
    filled = restoration.inpaint_biharmonic(pixels, is_hole(mask)[0, 0].cpu().numpy(), channel_axis=-1)
    return torch.from_numpy(filled).permute(2, 0, 1)[None].to(image).clamp(0, 1)


def patchmatch(image: Tensor, mask: Tensor) -> Tensor:
    """Copies of the patches of 7 × 7 that fit best (Barnes et al. 2009), pypatchmatch's: sharp, and often wrong."""
    patch_match = import_or_explain("patchmatch", "evaluation").patch_match
    patch_match.set_random_seed(0)
    return _in_8_bit(image, mask, partial(patch_match.inpaint, patch_size=3))


def _in_8_bit(image: Tensor, mask: Tensor, method: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Tensor:
    """``method`` takes ``(H, W, 3)`` and ``(H, W)`` uint8, black under the hole: nothing can be looked up there."""
    pixels = (image.masked_fill(is_hole(mask), 0)[0].permute(1, 2, 0) * 255).round().byte().cpu().numpy()
    filled = method(pixels, is_hole(mask)[0, 0].byte().cpu().numpy())
    return torch.from_numpy(filled.copy()).permute(2, 0, 1)[None].to(image) / 255


def smooth_guess(image: Tensor, mask: Tensor, tension: float = 0.15, cycles: int = 2) -> Tensor:
    """Fill a hole as smoothly as a thin plate that is also pulled tight: a spline in tension.

    A plate (``tension=0``, the biharmonic equation) goes on in the direction of the rim and overshoots in wide holes; a
    soap film (``tension=1``, the Laplace equation) never overshoots and has a crease all along the rim. In between, the
    hole minimises (1 - tension) (Δu)² + tension |∇u|². (Smith & Wessel, *Gridding with continuous curvature splines in
    tension*, 1990.)

    Also for batches of any size. Known pixels stay as they were, and a picture that is all hole becomes mid-grey.
    Tensions of 0.1 to 0.35 are alike on photographs (docs/training-notes.md); ``cycles`` are multigrid V-cycles.
    """
    hole = is_hole(mask)
    known = image.masked_fill(hole, 0).to(torch.promote_types(image.dtype, torch.float32))  # in half it goes astray
    inside = hole.to(known)
    u = coarse_to_fine(known, hole)
    residual = -apply_operator(u, inside, tension)
    for _ in range(cycles):
        step, residual = v_cycle(residual, inside, tension)
        u = u + step
    return torch.where(hole, u.clamp(0, 1).to(image), image)


def coarse_to_fine(known: Tensor, hole: Tensor) -> Tensor:
    """Where to start: the hole from a picture of half the size, whose pixels are the means of the known ones."""
    if min(known.shape[2:]) == 1:
        return mean_fill(known, hole).masked_fill(hole.all(3, True).all(2, True), 0.5)
    there = (~hole).to(known)
    share = F.avg_pool2d(there, 2, ceil_mode=True)
    half_known = F.avg_pool2d(known, 2, ceil_mode=True) / share.clamp(min=1 / 8)
    half = coarse_to_fine(half_known, share == 0)
    return torch.where(hole, upsample(half, hole), known)


def v_cycle(residual: Tensor, inside: Tensor, tension: float) -> tuple[Tensor, Tensor]:
    """A few conjugate gradients, a correction from half the size, a few again: the step, and what is left then."""
    u, residual = conjugate_gradients(residual, inside, tension)
    if min(inside.shape[2:]) > COARSEST:
        within = -F.max_pool2d(-inside, 2, ceil_mode=True)  # where all four pixels are
        # On a grid twice as wide Δ² weighs a 16th and Δ a quarter.
        weight = (1 + 3 * tension) / 16
        tighter = 4 * tension / (1 + 3 * tension)
        coarse = F.avg_pool2d(residual, 2, ceil_mode=True) * within / weight
        direction = upsample(v_cycle(coarse, within, tighter)[0], inside) * inside
        change = apply_operator(direction, inside, tension)
        alpha = dot(direction, residual) / dot(direction, change).clamp(min=1e-20)
        u = u.addcmul(alpha, direction)
        residual = residual.addcmul(alpha, change, value=-1)
    step, residual = conjugate_gradients(residual, inside, tension)
    return u + step, residual


def conjugate_gradients(residual: Tensor, inside: Tensor, tension: float) -> tuple[Tensor, Tensor]:
    u = torch.zeros_like(residual)
    direction = torch.zeros_like(residual)
    previous: Tensor | float = 1.0
    for _ in range(STEPS):
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
    """(1 - tension) Δ(Δu) - tension Δu in the hole, 0 outside; Δ is the neighbours less four times the pixel."""
    laplacian = neighbours(u).sub_(u, alpha=4)
    return neighbours(laplacian).mul_(1 - tension).sub_(laplacian, alpha=4 - 3 * tension).mul_(inside)


def upsample(x: Tensor, like: Tensor) -> Tensor:
    """Twice the size, cut to that of ``like``."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")[..., : like.shape[2], : like.shape[3]]


def neighbours(v: Tensor) -> Tensor:
    """The sum of the four neighbours; a picture goes on beyond its edge as it ends."""
    padded = F.pad(v, (1, 1, 1, 1), mode="replicate")
    sides = padded[:, :, 1:-1, :-2] + padded[:, :, 1:-1, 2:]
    return sides.add_(padded[:, :, :-2, 1:-1]).add_(padded[:, :, 2:, 1:-1])


Fill = Callable[[Tensor, Tensor], Tensor]
CLASSICAL: dict[str, Fill] = {"Telea": telea, "Navier–Stokes": navier_stokes, "biharmonic": biharmonic}
