"""Toy faces, drawn on demand: endless, free of any licence, and simple enough to learn in minutes."""

import math

import torch
from torch import Tensor

Amount = Tensor | float
SKINS = ((0.98, 0.86, 0.76), (0.91, 0.72, 0.57), (0.76, 0.55, 0.40), (0.55, 0.37, 0.26), (0.36, 0.24, 0.17))
DARK_HAIRS = ((0.10, 0.08, 0.07), (0.30, 0.18, 0.10), (0.55, 0.33, 0.15))
HAIRS = (*DARK_HAIRS, (0.85, 0.68, 0.38), (0.62, 0.60, 0.58), (0.62, 0.22, 0.10))
EYES = ((0.25, 0.15, 0.08), (0.20, 0.42, 0.65), (0.25, 0.50, 0.30), (0.45, 0.42, 0.40))


def toy_faces(n: int, size: int = 64, seed: int = 0) -> Tensor:
    """Draw n toy faces, the same ones at every size for the same seed.

    Skin, hair, eyes, brows, mouth, glasses, clothes, background and pose vary; the two eyes of a face always match,
    so an eye under a hole can be known from the other.

    Returns:
        ``(n, 3, size, size)`` float32 in [0, 1].

    Raises:
        ValueError: no face, less than 8 pixels, or a seed outside 0 to 2**32 - 1.
    """
    if n < 1 or size < 8 or not 0 <= seed < 2**32:  # torch takes a seed modulo 2**32: two would draw the same
        wanted = "at least 1 face of at least 8 pixels, with a seed from 0 to 2**32 - 1"
        raise ValueError(f"toy_faces draws {wanted}; got n = {n}, size = {size}, seed = {seed}")
    rng = torch.Generator().manual_seed(seed)

    def vary(low: float, high: float) -> Tensor:
        return torch.empty(n, 1, 1).uniform_(low, high, generator=rng)

    def one_of(colours: tuple[tuple[float, float, float], ...]) -> Tensor:
        chosen = torch.tensor(colours)[torch.randint(len(colours), (n,), generator=rng)]
        light = torch.randn(n, 1, 1, 1, generator=rng)
        tint = torch.randn(n, 3, 1, 1, generator=rng)
        return (chosen[:, :, None, None] + 0.04 * light + 0.015 * tint).clamp(0, 1)

    def any_colour() -> Tensor:
        return torch.rand(n, 3, 1, 1, generator=rng)

    # The head's own coordinates, x to the right, y down, the head about one unit high; -1 … 1 is the picture.
    ticks = (torch.arange(size) + 0.5) / size * 2 - 1
    X, Y = ticks, ticks[:, None]
    roll, scale = vary(-0.12, 0.12), vary(0.95, 1.08)
    dx, dy = X - vary(-0.06, 0.06), Y - vary(-0.03, 0.06)
    x = (dx * roll.cos() + dy * roll.sin()) / scale
    y = (dy * roll.cos() - dx * roll.sin()) / scale
    pixel = 2 / size / scale
    turn = vary(-0.06, 0.06)  # the face looks left or right: its parts shift together

    # The background.
    angle = vary(0, 2 * math.pi)
    ramp = (0.5 + 0.35 * (X * angle.cos() + Y * angle.sin())).unsqueeze(1).clamp(0, 1)
    picture = any_colour() * ramp + any_colour() * (1 - ramp)

    # Every part is a distance, negative inside; where it crosses 0 the edge is a pixel wide.
    def ellipse(cx: Amount, cy: Amount, rx: Amount, ry: Amount) -> Tensor:
        u, v = (x - cx) / rx, (y - cy) / ry
        return ((u * u + v * v).sqrt() - 1) * torch.minimum(torch.as_tensor(rx), torch.as_tensor(ry))

    def bar(x0: Amount, y0: Amount, x1: Amount, y1: Amount, radius: Amount) -> Tensor:
        """A line with round ends."""
        ux, uy = x1 - x0, y1 - y0
        t = (((x - x0) * ux + (y - y0) * uy) / (ux * ux + uy * uy)).clamp(0, 1)
        return torch.hypot(x - x0 - t * ux, y - y0 - t * uy) - radius

    def paint(distance: Tensor, colour: Amount, shown: Amount = 1.0) -> None:
        nonlocal picture
        cover = ((0.5 - distance / pixel).clamp(0, 1) * shown).unsqueeze(1)
        picture = picture * (1 - cover) + colour * cover

    # Hair behind the head, clothes, neck, ears, head, fringe.
    skin, hair, iris = one_of(SKINS), one_of(HAIRS), one_of(EYES)
    shade = skin * 0.82
    width, long = vary(0.42, 0.50), vary(0.55, 1.25)
    paint(ellipse(0, 0.12 - 0.6 + long * 0.5, width + 0.12, 0.25 + long * 0.5), hair)
    paint(ellipse(0, 1.28, 0.85, 0.55), any_colour())
    paint(bar(0, 0.4, 0, 0.78, 0.17), shade)
    for side in (-1, 1):
        paint(ellipse(side * width, 0.02, 0.09, 0.13), shade)
    paint(ellipse(0, 0, width, 0.62), skin)
    below = y + vary(0.28, 0.40) + vary(-0.3, 0.3) * (x - turn) - 0.4 * x * x
    paint(torch.maximum(ellipse(0, -0.03, width + 0.03, 0.64), below), hair)

    # Eyes, which match: lid, iris, pupil, rim, brow; glasses on three faces of ten.
    eye_x, eye_y, eye_height = vary(0.18, 0.22), vary(-0.10, -0.02), vary(0.07, 0.12)
    look_x, look_y, iris_r = vary(-0.04, 0.04), vary(-0.02, 0.02), vary(0.06, 0.08)
    brow_y, brow_tilt, brow_w = vary(0.16, 0.20), vary(-0.04, 0.04), vary(0.016, 0.032)
    glasses = (torch.rand(n, 1, 1, generator=rng) < 0.3).float()
    frame = any_colour() * 0.4
    for side in (-1, 1):
        cx, end = turn + side * eye_x, side * 0.12
        lid = ellipse(cx, eye_y, 0.14, eye_height)
        paint(lid, 0.97)
        paint(torch.maximum(ellipse(cx + look_x, eye_y + look_y, iris_r, iris_r), lid), iris)
        paint(torch.maximum(ellipse(cx + look_x, eye_y + look_y, iris_r / 2, iris_r / 2), lid), 0.03)
        paint(lid.abs() - 0.008, shade * 0.6)
        paint(bar(cx - end, eye_y - brow_y + brow_tilt, cx + end, eye_y - brow_y - brow_tilt, brow_w), hair * 0.8)
        paint(ellipse(cx, eye_y, 0.17, 0.15).abs() - 0.014, frame, glasses)
    paint(bar(turn - eye_x + 0.165, eye_y, turn + eye_x - 0.165, eye_y, 0.014), frame, glasses)

    # Nose and mouth.
    nose = turn * 1.4
    paint(bar(turn, 0.05, nose, 0.17, 0.02), shade)
    paint(ellipse(nose, 0.18, 0.06, 0.03), shade)
    smile, mouth_w, mouth_y, lips = vary(-2, 5), vary(0.11, 0.19), vary(0.34, 0.38), vary(0.014, 0.035)
    u = x - turn
    curve = (y - mouth_y - smile * (mouth_w * mouth_w / 2 - u * u)).abs() - lips
    paint(torch.maximum(curve, u.abs() - mouth_w), torch.tensor((0.72, 0.30, 0.30)).view(3, 1, 1) * skin.sqrt())
    return picture.clamp(0, 1)
