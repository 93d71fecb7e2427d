"""Holes to fill: random masks whose area is inside a chosen band, guaranteed.

Every kind is drawn the same way: a *field* that says in which order pixels would join the hole, in coordinates that
do not depend on the size; then the first pixels of that order are taken until the wanted area is reached. So the
area is exact, whatever the shape, and the same seed gives the same hole at every size.
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import scipy  # loads scipy.ndimage when it is first used: not every `import misf_lite` should wait 0.1 s for it
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Chance = np.random.Generator
BANDS = ((0.0, 0.2), (0.2, 0.4), (0.4, 0.6))  # the paper's three, by the hole's share of the area


def is_hole(mask: Tensor) -> Tensor:
    """The one rule: a pixel is hole from 0.5 on. A mask of any float dtype as bool, in the same shape."""
    return mask >= 0.5


def random_mask(
    size: int | Sequence[int], band: tuple[float, float] = (0.2, 0.4), kind: str = "strokes", seed: int = 0
) -> Tensor:
    """A random mask, ``(1, 1, H, W)`` float32 of zeros and ones, 1 = hole.

    Args:
        size: side in pixels, or (height, width).
        band: smallest and largest share of the area that is hole; the share is drawn evenly between them.
        kind: "strokes" (a broad brush), "box" (boxes), "blobs" (clouds), "text" (letters) or "thin" (scratches).
        seed: from 0 on; the same seed gives the same hole, at any size.

    Raises:
        ValueError: one of these is out of range, or no whole number of pixels can meet the band.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown kind of mask {kind!r}: choose one of {', '.join(KINDS)}")
    try:
        H, W = (operator.index(n) for n in (size if isinstance(size, Sequence) else (size, size)))
        low, high = (float(share) for share in band)
        possible = min(H, W) >= 1 and 0 <= low <= high <= 1 and seed >= 0
    except (TypeError, ValueError):
        possible = False
    if not possible:
        expected = "a side or (height, width) of at least 1 × 1, a band 0 <= low <= high <= 1 and a seed from 0 on"
        raise ValueError(f"random_mask takes {expected}; got size {size}, band {band}, seed {seed}")
    least = math.ceil(low * H * W - 1e-9)
    most = math.floor(high * H * W + 1e-9)
    if least > most:
        raise ValueError(f"no whole number of the {H}×{W} pixels lies in the band {band}: widen it")
    rng = np.random.default_rng(seed)
    share = rng.uniform(low, high)
    field = KINDS[kind](rng, H, W, share).ravel()
    order = np.argsort(field, kind="stable")
    # Pixels of equal field (an edge of a box) join the hole together where the band allows it.
    ends = np.flatnonzero(np.diff(field[order], append=np.inf)) + 1
    ends = ends[(ends >= least) & (ends <= most)]
    wanted = min(max(round(share * H * W), least), most)
    count = int(ends[np.abs(ends - wanted).argmin()]) if len(ends) else wanted
    mask = np.zeros(H * W, np.float32)
    mask[order[:count]] = 1
    return torch.from_numpy(mask).view(1, 1, H, W)


def fit_mask(mask: np.ndarray, size: int, rng: Chance) -> Tensor:
    """A mask at another size (nearest neighbour), mirrored and turned by quarters at random.

    Takes ``(H, W)`` bool, True = hole, and stretches what is not square to ``(1, 1, size, size)`` float32 of zeros and
    ones, with at least one of each. Raises ValueError if ``mask`` has not one of each, or ``size`` is below 2.
    """
    if size < 2 or mask.all() or not mask.any():
        raise ValueError(f"fit_mask needs both hole and known pixels and size >= 2, got {mask.mean():.0%} hole, {size}")
    mask = np.rot90(mask, int(rng.integers(4)))
    mask = mask[:, ::-1] if rng.random() < 0.5 else mask
    fitted = np.array(Image.fromarray(mask).resize((size, size), Image.Resampling.NEAREST))
    if fitted.all() or not fitted.any():  # what is thinner than the steps between samples: keep one pixel of it
        lost = not fitted[0, 0]
        y, x = rng.choice(np.argwhere(mask == lost))
        fitted[y * size // mask.shape[0], x * size // mask.shape[1]] = lost
    return torch.from_numpy(fitted.astype(np.float32))[None, None]


def _box(rng: Chance, H: int, W: int, share: float) -> np.ndarray:
    """One to four boxes that grow together."""
    side = min(H, W)  # the unit of length; the middle of the picture is at (0, 0)
    y = (np.arange(H)[:, None] + 0.5 - H / 2) / side
    x = (np.arange(W) + 0.5 - W / 2) / side
    field = np.full((H, W), np.inf)
    for _ in range(rng.integers(1, 5)):
        cy, cx = rng.uniform(-0.5, 0.5, 2) * (H / side, W / side)
        half_height, half_width = rng.uniform(0.5, 1.5, 2)
        field = np.minimum(field, np.maximum(abs(y - cy) / half_height, abs(x - cx) / half_width))
    return field


def _blobs(rng: Chance, H: int, W: int, share: float) -> np.ndarray:
    """The low ground of a smooth random landscape."""
    cells = int(rng.integers(4, 10))
    landscape = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(landscape.resize((W, H), Image.Resampling.BICUBIC), np.float64)


def _text(rng: Chance, H: int, W: int, share: float) -> np.ndarray:
    """Lines of letters over the whole picture, made bolder until the area is reached."""
    page = Image.new("L", (256, 256))
    pen = ImageDraw.Draw(page)
    size = int(rng.integers(22, 56))
    font = ImageFont.load_default(size)
    top = -float(rng.integers(0, 12))
    while top < 256:
        line = "".join(chr(c) for c in rng.integers(ord("A"), ord("Z") + 1, 24))
        pen.text((-int(rng.integers(0, 20)), top), line, fill=255, font=font)
        top += size * 1.2
    ink = np.asarray(page) > 127
    distance = scipy.ndimage.distance_transform_edt
    outline = Image.fromarray((distance(~ink) - distance(ink)).astype(np.float32))  # negative inside a letter
    return np.asarray(outline.resize((W, H), Image.Resampling.BICUBIC), np.float64)


def _brush(rng: Chance, H: int, W: int, share: float, widths: tuple[float, float], turn: float) -> np.ndarray:
    """When a wandering brush first covers each pixel; pixels it never covers follow, the nearest first."""
    side = min(H, W)
    steps: list[tuple[float, ...]] = []
    painted = 0.0
    enough = -2.5 * math.log(1 - 0.98 * share)  # strokes overlap: a share s needs -ln(1 - s) of paint and more
    while painted < enough and len(steps) < 20_000:
        width, length = rng.uniform(*widths), rng.uniform(0.06, 0.14)
        y, x = rng.uniform(0, 1, 2) * (H / side, W / side)
        angle = rng.uniform(0, 2 * math.pi)
        for _ in range(rng.integers(4, 12)):
            angle += rng.normal(0, turn)
            x1 = x + length * math.cos(angle)
            y1 = y + length * math.sin(angle)
            steps.append((x, y, x1, y1, width))
            x, y = x1, y1
            painted += width * length * side * side / (H * W)
    time = Image.new("I", (W, H), len(steps))
    pen = ImageDraw.Draw(time)
    for i in reversed(range(len(steps))):  # the earliest is painted last, over the later ones
        x0, y0, x1, y1, width = (v * side for v in steps[i])
        pen.line((x0, y0, x1, y1), fill=i, width=max(1, round(width)))
        for x, y in ((x0, y0), (x1, y1)) if width >= 3 else ():  # round ends
            pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=i)
    field = np.asarray(time, np.float64)
    return field + scipy.ndimage.distance_transform_edt(field == len(steps))


KINDS: dict[str, Callable[[Chance, int, int, float], np.ndarray]] = {
    "strokes": partial(_brush, widths=(0.08, 0.22), turn=0.9),
    "box": _box,
    "blobs": _blobs,
    "text": _text,
    "thin": partial(_brush, widths=(0.012, 0.03), turn=0.25),
}
