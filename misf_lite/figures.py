"""One visual language for all lessons: functions that take axes and return them; showing is the caller's choice.

The hole is orange, a chosen pixel is marked in pink; kernels are red where positive, blue where negative, white at
zero, with numbers in the cells when they fit.
"""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from torch import Tensor

HOLE = "#E69F00"  # Okabe and Ito's palette, safe for colour-blind readers
MARK = "#CC79A7"
KERNEL_COLOURS = "RdBu_r"
MAP_COLOURS = "cividis"


def picture(x: Tensor) -> np.ndarray:
    """``(1, C, H, W)`` or ``(C, H, W)`` to what matplotlib shows: ``(H, W, 3)`` or ``(H, W)``."""
    x = x.detach().cpu().float()
    x = x[0] if x.dim() == 4 else x
    return x[0].numpy() if len(x) == 1 else x.permute(1, 2, 0).numpy()


def with_hole(image: Tensor, mask: Tensor) -> Tensor:
    """The image ``(1, 3, H, W)`` with its hole painted in the colour that means hole everywhere."""
    colour = image.new_tensor(to_rgb(HOLE)).view(1, 3, 1, 1)
    return image * (1 - mask) + colour * mask


def show_images(images: Mapping[str, Tensor], axes: Sequence[Axes] | None = None) -> np.ndarray:
    """Pictures in a row, each under its title; one-channel ones in grey from 0 to 1."""
    H, W = next(iter(images.values())).shape[-2:]
    axes = new_row(len(images), H / W) if axes is None else np.atleast_1d(axes)
    for ax, (title, image) in zip(axes, images.items(), strict=True):
        ax.imshow(picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set_title(title)
        ax.set_axis_off()
    return axes


def new_row(columns: int, aspect: float = 1.0, width: float = 8) -> np.ndarray:
    """A new figure with a row of axes, each ``aspect`` times as high as it is wide; ``width`` in inches for all."""
    figure = plt.figure(figsize=(width, width / columns * aspect + 0.4), layout="constrained")
    return np.atleast_1d(figure.subplots(1, columns))


def show_kernel(kernel: Tensor, ax: Axes | None = None, title: str = "kernel", limit: float | None = None) -> Axes:
    """One N×N kernel: colours centred on zero, numbers in the cells when they fit, the centre framed.

    Args:
        kernel: N² taps, in the order of `filter2d`, any shape.
        limit: the weight of the strongest colour; None takes the largest of this kernel. Give one limit to kernels
            that are to be compared.
    """
    side = round(kernel.numel() ** 0.5)
    grid = kernel.detach().cpu().float().reshape(side, side).numpy()
    limit = limit or max(float(np.abs(grid).max()), 1e-6)
    ax = show_cells(grid, ax, title, cmap=KERNEL_COLOURS, vmin=-limit, vmax=limit)
    ax.add_patch(Rectangle((side // 2 - 0.5, side // 2 - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5))
    return ax


def show_cells(grid: np.ndarray, ax: Axes | None = None, title: str = "", **colours) -> Axes:
    """A small grid of numbers, coloured, with the numbers in the cells up to 7×7. ``colours`` go to ``imshow``."""
    ax = new_row(1, width=3)[0] if ax is None else ax
    shown = ax.imshow(grid, interpolation="nearest", **colours)
    if max(grid.shape) <= 7:
        for (row, column), value in np.ndenumerate(grid):
            red, green, blue, _ = shown.to_rgba(value)
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            ink = "white" if dark else "black"
            number = f"{value:.2f}" if abs(value) >= 0.005 else "0"
            ax.text(column, row, number, ha="center", va="center", color=ink, fontsize=7)
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def mark_pixel(ax: Axes, row: int, column: int, reach: int = 0, label: str | None = None) -> Axes:
    """Frame a pixel, or the window of ``reach`` pixels around it."""
    side = 2 * reach + 1
    box = Rectangle((column - reach - 0.5, row - reach - 0.5), side, side, fill=False, edgecolor=MARK, linewidth=2)
    ax.add_patch(box)
    if label:
        ax.annotate(label, (column + reach, row - reach), (3, 3), textcoords="offset points", color="white",
                    bbox={"boxstyle": "round,pad=0.15", "color": MARK})  # fmt: skip
    return ax


def show_map(
    values: Tensor, ax: Axes | None = None, title: str = "", limits: tuple[float, float] | None = None
) -> Axes:
    """One number per pixel ``(H, W)``, with its colour bar."""
    ax = new_row(1, values.shape[0] / values.shape[1], width=5)[0] if ax is None else ax
    low, high = limits or (None, None)
    shown = ax.imshow(values.detach().cpu().numpy(), cmap=MAP_COLOURS, vmin=low, vmax=high, interpolation="nearest")
    ax.figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set_title(title)
    ax.set_axis_off()
    return ax
