"""One visual language for all lessons: functions that draw on axes; showing is the caller's choice.

The hole is orange, a chosen pixel pink; kernels are red where positive, blue where negative and white at zero.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from torch import Tensor

from misf_lite.masks import is_hole
from misf_lite.statistics import LABELS, summarise

HOLE = "#E69F00"  # Okabe and Ito's palette, safe for colour-blind readers
MARK = "#CC79A7"
LINES = BLUE, RED, GREEN = ("#0072B2", "#D55E00", "#009E73")  # for curves
KERNEL_COLOURS = "RdBu_r"
MAP_COLOURS = "cividis"


def picture(x: Tensor) -> np.ndarray:
    """``(1, C, H, W)`` or ``(C, H, W)`` to what matplotlib shows: ``(H, W, 3)`` or ``(H, W)``."""
    return x.detach().cpu().float().flatten(0, -3).movedim(0, 2).squeeze(2).numpy()


def with_hole(image: Tensor, mask: Tensor) -> Tensor:
    """The image ``(B, 3, H, W)`` with its hole painted in the colour that means hole everywhere."""
    return torch.where(is_hole(mask), image.new_tensor(to_rgb(HOLE)).view(3, 1, 1), image)


def new_row(columns: int, aspect: float = 1.0, width: float = 8) -> np.ndarray:
    """A new figure with a row of axes, each ``aspect`` times as high as it is wide; ``width`` in inches for all."""
    figure = plt.figure(figsize=(width, width / columns * aspect + 0.4), layout="constrained")
    return np.ravel(figure.subplots(1, columns))


def show_images(images: Mapping[str, Tensor], axes: Sequence[Axes] | np.ndarray | None = None) -> Iterable[Axes]:
    """Pictures in a row, each under its title; one-channel ones in grey from 0 to 1."""
    H, W = next(iter(images.values())).shape[-2:]
    row = new_row(len(images), H / W) if axes is None else axes
    for ax, (title, image) in zip(row, images.items(), strict=True):
        ax.imshow(picture(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        ax.set(title=title, xticks=[], yticks=[], frame_on=False)
    return row


def show_strips(strips: Mapping[str, Tensor]) -> Figure:
    """Batches ``(B, C, H, W)`` below each other, each a strip of its pictures with its name on the left."""
    B, _, H, W = next(iter(strips.values())).shape
    figure = plt.figure(figsize=(8, 8 * H / W / B * len(strips)), layout="constrained")
    for ax, (name, x) in zip(np.ravel(figure.subplots(len(strips))), strips.items(), strict=True):
        ax.imshow(picture(torch.cat([*x], 2)), interpolation="nearest")
        ax.set(xticks=[], yticks=[], frame_on=False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


TOP, MIDDLE, BOTTOM = 5.0, 3.0, 1.0
BOXES = {  # name -> part, label, x and y of the centre, width, height, colour where it is lit, size of the letters
    "I": ("input", "image\n+ mask", 1.0, MIDDLE, 1.9, 1.5, "0.25", 11),
    "F1": ("encoder", "$F_1$", 3.2, TOP, 0.9, 1.7, BLUE, 13),
    "F2": ("encoder", "$F_2$", 4.6, TOP, 0.9, 1.4, BLUE, 13),
    "F3": ("encoder", "$F_3$", 6.0, TOP, 0.9, 1.1, BLUE, 13),
    "SF": ("semantic filter", "⊛", 8.1, TOP, 1.0, 1.0, BLUE, 16),
    "D": ("decoder", "decoder", 10.5, TOP, 2.1, 1.4, BLUE, 11),
    "IF": ("image filter", "⊛", 13.2, TOP, 1.0, 1.0, BLUE, 16),
    "O": ("output", r"$\hat{I}$", 15.4, TOP, 1.4, 1.5, "0.25", 13),
    "E1": ("kernel encoder", "$E_1$", 3.2, BOTTOM, 0.9, 1.7, RED, 13),
    "E2": ("kernel encoder", "$E_2$", 4.6, BOTTOM, 0.9, 1.4, RED, 13),
    "E3": ("kernel encoder", "$E_3$", 6.0, BOTTOM, 0.9, 1.1, RED, 13),
    "K3": ("semantic kernels", "$K_3$", 8.1, MIDDLE, 1.0, 1.0, RED, 13),
    "KD": ("kernel decoder", "decoder", 10.5, BOTTOM, 2.1, 1.4, RED, 11),
    "K": ("image kernels", "$K$", 13.2, MIDDLE, 1.0, 1.0, RED, 13),
}
ARROWS = "I F1, F1 F2, F2 F3, F3 SF, SF D, D IF, IF O, I E1, E1 E2, E2 E3, E3 K3, K3 SF, E3 KD, KD K, K IF, F2 E3"
CAPTIONS = {  # where, and how it is aligned
    "semantic filter": (8.1, 5.7, "center", "bottom"),
    "image filter": (13.2, 5.7, "center", "bottom"),
    "semantic kernels": (8.8, MIDDLE, "left", "center"),
    "image kernels": (13.9, MIDDLE, "left", "center"),
    "link": (5.0, MIDDLE, "right", "center"),
}
PARTS = (*dict.fromkeys(box[0] for box in BOXES.values()), "link")


def show_where(parts: Collection[str], notes: Mapping[str, str] | None = None) -> Axes:
    """Where a lesson is in the whole of MISF: its data flow, the given of its `PARTS` in colour and the rest pale.

    ``notes`` are short texts, such as shapes, to write beside some of its `BOXES`.

    Raises:
        ValueError: a part that is not one of them, or a note on no box.
    """
    notes = notes or {}
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"unknown part {min(unknown)!r}: choose from {', '.join(PARTS)}")
    if unknown := set(notes) - set(BOXES):
        raise ValueError(f"no box {min(unknown)!r} to write on: choose from {', '.join(BOXES)}")
    ax = plt.figure(figsize=(8, 3.7), layout="constrained").subplots()
    drawn = {}
    for name, (part, label, x, y, width, height, colour, size) in BOXES.items():
        face, edge, ink = (colour, colour, "white") if part in parts else ("0.96", "0.75", "0.45")
        corner = (x - width / 2, y - height / 2)
        style = f"round,pad=0,rounding_size={0.5 if label == '⊛' else 0.12}"  # a filter is a circle
        drawn[name] = FancyBboxPatch(corner, width, height, style, linewidth=1.5, facecolor=face, edgecolor=edge)
        ax.add_patch(drawn[name])
        ax.text(x, y, label, ha="center", va="center", color=ink, fontsize=size)
        note = notes.get(name, "")
        if "kernels" in part:  # under the caption
            ax.text(x + 0.7, y - 0.6, note, ha="left", va="top", color="0.15", fontsize=8)
        elif y == BOTTOM:
            ax.text(x, y - height / 2 - 0.08, note, ha="center", va="top", color="0.15", fontsize=8)
        else:
            ax.text(x, y + height / 2 + 0.08, note, ha="center", va="bottom", color="0.15", fontsize=8)
    for arrow in ARROWS.split(", "):
        start, end = arrow.split()
        is_link = arrow == "F2 E3"
        needed = {"link"} if is_link else {BOXES[start][0], BOXES[end][0]}
        if needed <= set(parts):
            look = {"linewidth": 2.2, "color": GREEN if is_link else "0.15"}
        else:
            look = {"linewidth": 1.2, "color": "0.75"}
        tail, head = (drawn[name].get_bbox().get_points().mean(0) for name in (start, end))
        line = FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=11, shrinkA=1, shrinkB=1)
        line.set(patchA=drawn[start], patchB=drawn[end], **look)
        ax.add_patch(line)
    for part, (x, y, across, along) in CAPTIONS.items():
        ink, weight = ("black", "bold") if part in parts else ("0.45", "normal")
        ax.text(x, y, part.replace(" ", "\n"), ha=across, va=along, fontsize=10, color=ink, fontweight=weight)
    above = 6.9 if notes else 6.2
    ax.text(2.7, above, "SIFB: filters", ha="left", va="bottom", color="0.3", fontsize=10)
    ax.text(2.7, 6 - above, "KPB: predicts the kernels", ha="left", va="top", color="0.3", fontsize=10)
    ax.set(xlim=(-0.1, 16.3), ylim=(5.4 - above, above + 0.7), aspect="equal", xticks=[], yticks=[], frame_on=False)
    return ax


def show_kernel(kernel: Tensor, ax: Axes | None = None, title: str = "", limit: float | None = None) -> Axes:
    """One N×N kernel: colours centred on zero, numbers in the cells where they fit, the centre framed.

    Args:
        kernel: N² taps, in the order of `filter2d`, any shape.
        limit: the weight of the strongest colour, one for kernels that are compared; None takes this kernel's largest.
    """
    side = round(kernel.numel() ** 0.5)
    grid = picture(kernel.reshape(1, side, side))
    limit = limit or max(np.abs(grid).max(), 1e-6)
    ax = show_cells(grid, ax, title, cmap=KERNEL_COLOURS, vmin=-limit, vmax=limit)
    ax.add_patch(Rectangle((side // 2 - 0.5, side // 2 - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.5))
    return ax


def show_cells(grid: np.ndarray, ax: Axes | None = None, title: str = "", **colours: Any) -> Axes:
    """A small grid of numbers, coloured, with the numbers in the cells up to 8×8. ``colours`` go to ``imshow``."""
    ax = new_row(1, width=3)[0] if ax is None else ax
    shown = ax.imshow(grid, interpolation="nearest", **colours)
    if max(grid.shape) <= 8:
        for (row, column), value in np.ndenumerate(grid):
            brightness = np.array(shown.to_rgba(value)[:3]) @ [0.299, 0.587, 0.114]
            ink = "white" if brightness < 0.5 else "black"
            number = f"{value:.2f}" if abs(value) >= 0.005 else "0"
            ax.text(column, row, number, ha="center", va="center", color=ink, fontsize=7)
    ax.set(xticks=[], yticks=[], title=title)
    return ax


def show_map(values: Tensor, ax: Axes | None = None, title: str = "", limits: tuple = (None, None)) -> Axes:
    """One number per pixel ``(H, W)``, with its colour bar; a limit of None is the smallest or largest value."""
    ax = new_row(1, values.shape[0] / values.shape[1], width=5)[0] if ax is None else ax
    shown = ax.imshow(values.detach().cpu().numpy(), cmap=MAP_COLOURS, clim=limits, interpolation="nearest")
    ax.figure.colorbar(shown, ax=ax, shrink=0.8)
    ax.set(title=title, xticks=[], yticks=[], frame_on=False)
    return ax


def mark_pixel(ax: Axes, row: float, column: float, reach: float = 0, label: str | None = None) -> Axes:
    """Frame a pixel, or the window of ``reach`` pixels around it."""
    corner = (column - reach - 0.5, row - reach - 0.5)
    ax.add_patch(Rectangle(corner, 2 * reach + 1, 2 * reach + 1, fill=False, edgecolor=MARK, linewidth=2))
    if label:
        paper = {"boxstyle": "round,pad=0.15", "color": MARK}
        ax.annotate(label, (column + reach, row - reach), (3, 3), textcoords="offset points", color="white", bbox=paper)
    return ax


def show_training(history: Sequence[Mapping], sample: Tensor, kernel: Tensor | None = None) -> np.ndarray:
    """How a training run is coming along, on four axes: the loss, the PSNR in the holes, a picture and one kernel.

    Args:
        history: of a `misf_lite.training.Progress`; may be empty.
        sample: ``(1, 3, H, W)``, filled so far. kernel: N² taps; None leaves its place empty.
    """
    axes = plt.figure(figsize=(8, 5.6), layout="constrained").subplots(2, 2, height_ratios=(2, 3)).ravel()
    loss, decibels, filled, taps = axes
    steps = [line["step"] for line in history]
    loss.plot(steps, [line["loss"] for line in history], "o-", color=BLUE, markersize=3)
    loss.axhline(0, color="0.8", linewidth=0.8)  # so that its height can be judged
    loss.set(xlabel="step", ylabel="loss", title="loss, mean since the last check")
    for i, style in enumerate(("o-", "s--", "^:")):
        scores = [line["psnr_hole"][i] for line in history]
        decibels.plot(steps, scores, style, color=LINES[i], markersize=3, label=f"hole {LABELS[i]}")
    decibels.set(xlabel="step", ylabel="dB", title="PSNR in held-out holes")
    decibels.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    show_images({f"filled after step {steps[-1]}" if steps else "filled before training": sample}, [filled])
    if kernel is None:
        taps.set_axis_off()
    else:
        show_kernel(kernel, taps, "the kernel at the pink pixel")
    return axes


def show_differences(rows: pd.DataFrame, baseline: str) -> Axes:
    """How far each method is from a baseline in the PSNR of the hole, by band, with 95 % intervals over the pictures.

    Methods more than 6 dB away would squeeze all others: they are only named. ``rows`` as of `read_results`.
    """
    table = summarise(rows, "psnr_hole", baseline).drop(baseline, level="method")
    gaps = table["difference"].unstack()  # methods × bands
    is_far = gaps.abs().max(axis=1) > 6
    names = gaps[~is_far].sort_values(2).index
    ax = new_row(1, 0.16 + 0.09 * len(names), 7)[0]
    for band, label in enumerate(LABELS):
        cells = table.xs(band, level="band").loc[names]
        arms = [cells["difference"] - cells["low"], cells["high"] - cells["difference"]]
        places = np.arange(len(names)) + (1 - band) * 0.22
        look = {"fmt": "os^"[band], "color": LINES[band], "capsize": 3, "markersize": 5}
        ax.errorbar(cells["difference"], places, xerr=arms, label=f"hole {label}", **look)
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    left_out = f" (not shown: {', '.join(gaps[is_far].index)})" if is_far.any() else ""
    ax.set_xlabel(f"difference to {baseline} in dB, PSNR in the hole{left_out}")
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small", frameon=False)
    return ax
