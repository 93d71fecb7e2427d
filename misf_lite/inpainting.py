"""From a picture with a hole to a filled picture: any size, PIL in and out."""

import functools
import itertools
import math
import warnings

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from misf_lite.device import device
from misf_lite.images import Source, check_pair, from_pixels, open_image, open_mask, pixels, to_tensor
from misf_lite.masks import is_hole
from misf_lite.weights import load_pretrained

WHOLE = 1024 * 1024  # pixels; larger pictures are filled tile by tile
TILE = 512
PHASE = 16  # tiles begin at multiples of it, as the picture does: strides of 2 and 4 then fall on the same pixels


def inpaint(image: Source, mask: Source, model: nn.Module | None = None, tile: int | None = None) -> Image.Image:
    """Fill the hole of a picture.

    Args:
        image: a path, PIL image, array or tensor; see `misf_lite.images.open_image`.
        mask: the same, of the same size; what counts as hole is told in `misf_lite.images.open_mask`.
        model: the model to use, where it lies, also one of `misf_lite.load_released`; None loads the ``photos`` weights
            once, onto `misf_lite.device`.
        tile: side in pixels of the square tiles to work in, 64 or more. None works on the whole picture up to one
            megapixel, and on tiles of 512 beyond.

    Returns:
        A PIL image of the same size: L, LA, RGB, RGBA or I;16, as `open_image` gives it, 16-bit colour and metadata
        included. Known pixels are bit-identical to it; filled pixels are opaque.

    Raises:
        ValueError, OSError: an image, mask or pair that cannot be used, with what to do.
    """
    picture = open_image(image)
    hole = open_mask(mask)
    check_pair(picture, hole)
    if tile is not None and (not isinstance(tile, int) or tile < 64):
        raise ValueError(f"tile must be a whole number, at least 64 pixels to see the surroundings, got {tile!r}")
    if not (model is None or isinstance(model, nn.Module)):
        raise TypeError(f"model must be a MISF, got {model!r}: load one with misf_lite.load_pretrained(name)")
    if not hole.any():
        return picture
    model = _default_model() if model is None else model
    filled = fill(model, to_tensor(picture), hole, tile)

    # Into the picture's own mode: the N pixels of the hole, and no others.
    where = is_hole(hole)[0, 0].numpy()
    values = pixels(picture).copy()
    colour = filled[0].permute(1, 2, 0).numpy()[where]  # (N, 3)
    if picture.mode in ("L", "LA", "I;16"):
        colour = colour @ np.array([0.299, 0.587, 0.114], np.float32)  # luma, ITU-R BT.601
    if picture.mode in ("LA", "RGBA"):
        colour = np.column_stack([colour, np.ones(len(colour), np.float32)])  # opaque
    scale = np.iinfo(values.dtype).max
    values[where] = (colour * scale).round().clip(0, scale).astype(values.dtype)
    return from_pixels(values, picture.info)


@functools.cache
def _default_model() -> nn.Module:
    return load_pretrained("photos").to(device())


@torch.no_grad()
def fill(model: nn.Module, image: Tensor, mask: Tensor, tile: int | None = None) -> Tensor:
    """The image with its hole filled, as a tensor, at any size.

    Pictures of less than 16 pixels are enlarged by repeating their border; large ones are worked on in overlapping
    tiles that fade into each other. Tiles without a hole are left out.

    Args:
        model: the model to use, where it lies.
        image: ``(B, 3, H, W)`` in [0, 1]. mask: ``(B, 1, H, W)``, 1 = hole.
        tile: as for `inpaint`.

    Returns:
        ``(B, 3, H, W)`` in [0, 1], known pixels as they were.
    """
    training = model.training
    model.eval()
    try:
        H, W = image.shape[2:]
        small = (0, max(16 - W, 0), 0, max(16 - H, 0))
        x, m = (F.pad(t, small, mode="replicate") for t in (image, mask))
        if tile is None:
            tile = TILE if H * W > WHOLE else max(H, W)
        output = _run(model, x, m) if tile >= max(H, W) else _fill_tiles(model, x, m, tile)
        return torch.where(is_hole(mask), output[..., :H, :W], image)
    finally:
        model.train(training)


def _run(model: nn.Module, image: Tensor, mask: Tensor) -> Tensor:
    """The model's output, where the image lies. Raises FloatingPointError for one that is not finite."""
    weight = next(model.parameters())
    output = model(image.to(weight), mask.to(weight)).to(image)
    if not output.isfinite().all():
        raise FloatingPointError("the model's output is not finite: its weights, or the picture, cannot be used")
    return output


def _fill_tiles(model: nn.Module, image: Tensor, mask: Tensor, tile: int) -> Tensor:
    total = torch.zeros_like(image)
    weights = torch.zeros_like(mask)
    blind = 0
    H, W = image.shape[2:]
    tiles = itertools.product(_overlapping(H, tile), _overlapping(W, tile))
    windows = [window for window in tiles if is_hole(mask[..., *window]).any()]
    for rows, columns in tqdm(windows, desc="tiles", leave=False, disable=None):  # quiet where nobody watches
        x, m = image[..., rows, columns], mask[..., rows, columns]
        blind += bool(is_hole(m).all())
        fade = (_fade(x.shape[2], tile)[:, None] * _fade(x.shape[3], tile)).to(image)
        total[..., rows, columns] += _run(model, x, m) * fade
        weights[..., rows, columns] += fade
    if blind:
        told = f"{blind} tiles of {tile} pixels hold no known pixel and are guesses"
        warnings.warn(f"{told}: use larger tiles, or a smaller picture", stacklevel=4)
    return total / weights  # 0 / 0 where no tile is: there is no hole either


def _overlapping(n: int, tile: int) -> list[slice]:
    """Tiles along a side of n pixels; they overlap by at least a quarter, and the last may be a little smaller."""
    last = math.ceil(max(0, n - tile) / PHASE)
    count = 1 + math.ceil(last / (3 * tile // 4 // PHASE))
    starts = np.linspace(0, last, count).astype(int) * PHASE
    return [slice(start, min(start + tile, n)) for start in starts.tolist()]


def _fade(n: int, tile: int) -> Tensor:
    """1 in the middle of a tile, falling towards both ends over a quarter of it."""
    steps = torch.arange(n) + 0.5
    return (torch.minimum(steps, n - steps) / (tile / 4)).clamp(max=1)
