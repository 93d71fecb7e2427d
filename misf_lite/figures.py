"""One visual language for all lessons: functions that take axes and return them; showing is the caller's choice.

The hole is orange, a chosen pixel is marked in pink; kernels are red where positive, blue where negative, white at
zero, with numbers in the cells when they fit.
"""

import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from misf_lite.evaluation import summarise
from misf_lite.images import save_image
from misf_lite.kernels import centre_share, entropy, reach, regions
from misf_lite.masks import BANDS
from misf_lite.model import MISF

HOLE = "#E69F00"  # Okabe and Ito's palette, safe for colour-blind readers
MARK = "#CC79A7"
LINES = ("#0072B2", "#D55E00", "#009E73")  # for curves: blue, vermilion, green
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


def show_strips(strips: Mapping[str, Tensor]) -> Figure:
    """Batches ``(B, C, H, W)`` below each other, each a strip of its pictures with its name on the left."""
    B, _, H, W = next(iter(strips.values())).shape
    figure = plt.figure(figsize=(8, 8 * H / W / B * len(strips)), layout="constrained")
    for ax, (name, x) in zip(figure.subplots(len(strips), 1), strips.items(), strict=True):
        ax.imshow(picture(torch.cat([*x], 2)), interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    return figure


def save_figure(figure: Figure, path: Path, *, overwrite: bool = False) -> Path:
    """Write a figure with the care and the errors of `save_image`, and close it."""
    file = io.BytesIO()
    figure.savefig(file, dpi=160)
    plt.close(figure)
    save_image(Image.open(file).convert("RGB"), path, overwrite=overwrite)
    return path


def new_row(columns: int, aspect: float = 1.0, width: float = 8) -> np.ndarray:
    """A new figure with a row of axes, each ``aspect`` times as high as it is wide; ``width`` in inches for all."""
    figure = plt.figure(figsize=(width, width / columns * aspect + 0.4), layout="constrained")
    return np.atleast_1d(figure.subplots(1, columns))


PARTS = (
    "input", "encoder", "semantic filter", "decoder", "image filter", "output",
    "kernel encoder", "link", "semantic kernels", "kernel decoder", "image kernels",
)  # fmt: skip


def show_where(parts: Collection[str], ax: Axes | None = None, notes: Mapping[str, str] | None = None) -> Axes:
    """Where a lesson is in the whole of MISF: its data flow, the given parts in colour and the rest pale.

    The upper row filters (SIFB), the lower one predicts the kernels (KPB)::

        input -> encoder (F1 F2 F3) ------> semantic filter -> decoder -----> image filter -> output
                         | link                  ^                                 ^
        input -> kernel encoder (E1 E2 E3) -> semantic kernels (K3); kernel decoder -> image kernels (K)

    Args:
        parts: any of `PARTS`: the names in the drawing above.
        notes: what to write beside a box, such as a shape: I, F1, F2, F3, D (SIFB's decoder), O (the output), E1, E2,
            E3, K3, KD (KPB's decoder) or K -> a short text.

    Raises:
        ValueError: a part that is not one of them, or a note on no box.
    """
    if unknown := set(parts) - set(PARTS):
        raise ValueError(f"unknown part {sorted(unknown)[0]!r}: choose from {', '.join(PARTS)}")
    ax = plt.figure(figsize=(8, 3.7), layout="constrained").subplots() if ax is None else ax
    blue, red, green = LINES
    top, middle, bottom = 5.0, 3.0, 1.0
    nodes = {  # name: part, what is written on it, where, width, height, colour
        "I": ("input", "image\n+ mask", 1.0, middle, 1.9, 1.5, "0.25"),
        "F1": ("encoder", "$F_1$", 3.2, top, 0.9, 1.7, blue),
        "F2": ("encoder", "$F_2$", 4.6, top, 0.9, 1.4, blue),
        "F3": ("encoder", "$F_3$", 6.0, top, 0.9, 1.1, blue),
        "SF": ("semantic filter", "⊛", 8.1, top, 1.0, 1.0, blue),
        "D": ("decoder", "decoder", 10.5, top, 2.1, 1.4, blue),
        "IF": ("image filter", "⊛", 13.2, top, 1.0, 1.0, blue),
        "O": ("output", r"$\hat{I}$", 15.4, top, 1.4, 1.5, "0.25"),
        "E1": ("kernel encoder", "$E_1$", 3.2, bottom, 0.9, 1.7, red),
        "E2": ("kernel encoder", "$E_2$", 4.6, bottom, 0.9, 1.4, red),
        "E3": ("kernel encoder", "$E_3$", 6.0, bottom, 0.9, 1.1, red),
        "K3": ("semantic kernels", "$K_3$", 8.1, middle, 1.0, 1.0, red),
        "KD": ("kernel decoder", "decoder", 10.5, bottom, 2.1, 1.4, red),
        "K": ("image kernels", "$K$", 13.2, middle, 1.0, 1.0, red),
    }
    notes = notes or {}
    if unknown := set(notes) - set(nodes):
        raise ValueError(f"no box {sorted(unknown)[0]!r} to write on: choose from {', '.join(nodes)}")
    for name, (part, label, x, y, width, height, colour) in nodes.items():
        on = part in parts
        round_ = "round,pad=0,rounding_size=" + ("0.5" if name in ("SF", "IF") else "0.12")
        box = FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=round_, linewidth=1.5,
                             facecolor=colour if on else "0.96", edgecolor=colour if on else "0.75")  # fmt: skip
        ax.add_patch(box)
        size = 16 if label == "⊛" else 13 if label.startswith("$") else 11
        ax.text(x, y, label, ha="center", va="center", color="white" if on else "0.45", fontsize=size)
    flows = "I F1,F1 F2,F2 F3,F3 SF,SF D,D IF,IF O,I E1,E1 E2,E2 E3,E3 K3,K3 SF,E3 KD,KD K,K IF,F2 E3"
    for flow in flows.split(","):
        start, end = (nodes[name] for name in flow.split())
        (_, _, x0, y0, w0, h0, _), (_, _, x1, y1, w1, h1, _) = start, end
        link, upright = flow == "F2 E3", x0 == x1
        on = "link" in parts if link else start[0] in parts and end[0] in parts
        tail = (x0, y0 + h0 / 2 if y1 > y0 else y0 - h0 / 2) if upright or link else (x0 + w0 / 2, y0)
        head = (x1, y1 - h1 / 2 if y1 > y0 else y1 + h1 / 2) if upright or link else (x1 - w1 / 2, y1)
        colour = "0.75" if not on else green if link else "0.15"
        arrow = FancyArrowPatch(tail, head, arrowstyle="-|>", mutation_scale=11, shrinkA=1, shrinkB=1,
                                linewidth=2.2 if on else 1.2, color=colour)  # fmt: skip
        ax.add_patch(arrow)
    captions = {  # where, and how it is aligned
        "semantic filter": (8.1, 5.7, "center", "bottom"),
        "image filter": (13.2, 5.7, "center", "bottom"),
        "semantic kernels": (8.8, middle, "left", "center"),
        "image kernels": (13.9, middle, "left", "center"),
        "link": (5.0, middle, "right", "center"),
    }
    for part, (x, y, across, along) in captions.items():
        ink, weight = ("black", "bold") if part in parts else ("0.45", "normal")
        ax.text(x, y, part.replace(" ", "\n"), ha=across, va=along, color=ink, fontweight=weight, fontsize=10)
    for name, note in notes.items():
        _, _, x, y, width, height, _ = nodes[name]
        if name in ("K3", "K"):  # under the caption
            ax.text(x + 0.7, y - 0.6, note, ha="left", va="top", color="0.15", fontsize=8)
        else:
            below, gap = y == bottom, height / 2 + 0.08
            up = "top" if below else "bottom"
            ax.text(x, y - gap if below else y + gap, note, ha="center", va=up, color="0.15", fontsize=8)
    above = 6.9 if notes else 6.2
    ax.text(2.7, above, "SIFB: filters", ha="left", va="bottom", color="0.3", fontsize=10)
    ax.text(2.7, 6 - above, "KPB: predicts the kernels", ha="left", va="top", color="0.3", fontsize=10)
    ax.set(xlim=(-0.1, 16.3), ylim=(5.4 - above, above + 0.7), aspect="equal")
    ax.set_axis_off()
    return ax


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


def show_training(
    history: Sequence[Mapping], sample: Tensor, kernel: Tensor | None = None, axes: Sequence[Axes] | None = None
) -> np.ndarray:
    """How a training run comes along: the loss, the PSNR in the holes, a picture filled so far, and one kernel.

    Args:
        history: of a `misf_lite.training.Progress`; may be empty.
        sample: ``(1, 3, H, W)``. kernel: N² taps; None leaves its place empty.
        axes: four; None makes a new figure.
    """
    if axes is None:
        axes = plt.figure(figsize=(8, 5.6), layout="constrained").subplots(2, 2, height_ratios=(2, 3)).ravel()
    loss, decibels, filled, taps = axes
    steps = [line["step"] for line in history]
    loss.plot(steps, [line["loss"] for line in history], "o-", color=LINES[0], markersize=3)
    loss.axhline(0, color="0.8", linewidth=0.8)  # so that its height can be judged
    loss.set(xlabel="step", ylabel="loss", title="loss, mean since the last check")
    scores = [line["psnr_hole"] for line in history]
    for i, ((low, high), style) in enumerate(zip(BANDS, ("o-", "s--", "^:"), strict=True)):
        label = f"hole {low:.0%} to {high:.0%}"
        decibels.plot(steps, [row[i] for row in scores], style, color=LINES[i], markersize=3, label=label)
    decibels.set(xlabel="step", ylabel="dB", title="PSNR in held-out holes")
    decibels.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, frameon=False)
    step = f"after step {steps[-1]}" if steps else "before training"
    show_images({f"filled {step}": sample}, [filled])
    if kernel is None:
        taps.set_axis_off()
    else:
        show_kernel(kernel, taps, "the kernel at the pink pixel")
    return axes


def show_differences(rows: Sequence[dict], baseline: str, ax: Axes | None = None) -> Axes:
    """How far each method is from a baseline in the PSNR of the hole, by band, with 95 % intervals over the pictures.

    Methods that are more than 6 dB away would squeeze all others; they are left out, and named.

    Args:
        rows: of `misf_lite.evaluation.read_results`.
    """
    table = summarise(rows, "psnr_hole", baseline)
    gaps = {name: cells for name, cells in table.items() if name != baseline}
    far = [name for name, cells in gaps.items() if max(abs(cell["difference"]) for cell in cells) > 6]
    names = sorted(set(gaps) - set(far), key=lambda name: gaps[name][-1]["difference"])
    ax = new_row(1, 0.16 + 0.09 * len(names), 7)[0] if ax is None else ax
    for b, (low, high) in enumerate(BANDS):
        cells = [gaps[name][b] for name in names]
        centres = np.array([cell["difference"] for cell in cells])
        arms = np.abs(np.array([[cell["low"], cell["high"]] for cell in cells]).T - centres)
        places = np.arange(len(names)) + (1 - b) * 0.22
        label = f"hole {low:.0%} to {high:.0%}"
        ax.errorbar(centres, places, xerr=arms, fmt="os^"[b], color=LINES[b], capsize=3, markersize=5, label=label)
    ax.axvline(0, color="0.4", linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel(
        f"difference to {baseline} in dB, PSNR in the hole" + (f" (not shown: {', '.join(far)})" if far else "")
    )
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize="small", frameon=False)
    return ax


def show_cells(grid: np.ndarray, ax: Axes | None = None, title: str = "", **colours) -> Axes:
    """A small grid of numbers, coloured, with the numbers in the cells up to 8×8. ``colours`` go to ``imshow``."""
    ax = new_row(1, width=3)[0] if ax is None else ax
    shown = ax.imshow(grid, interpolation="nearest", **colours)
    if max(grid.shape) <= 8:
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


def show_kernel_field(
    model: MISF, image: Tensor, mask: Tensor, pixels: Mapping[str, tuple[int, int]] | None = None
) -> Figure:
    """A picture and the image-level kernels predicted for it: three maps, and single kernels at marked pixels.

    Args:
        image, mask: ``(1, 3, H, W)`` and ``(1, 1, H, W)``, 1 = hole, where the model lies.
        pixels: name -> (row, column) of each kernel to show; None takes `typical_pixels`.

    Returns:
        A new figure. Where the channels have kernels of their own, they are those of red.

    Raises:
        ValueError: a model that does not filter the image.
    """
    config = model.config
    if not config.image:
        raise ValueError("this model has no image-level kernels to show: its config says image=False")
    pixels = typical_pixels(mask) if pixels is None else pixels
    trace = model.trace(image, mask)
    kernels, N, dilation = trace.kernels[0][:, :1], config.kernel_size[0], config.dilation[0]
    (H, W), most, corner = image.shape[2:], 2 * np.log(N), dilation * (N // 2) * 2**0.5

    heights = [4 * H / W + 0.3, 8 / 3 * 0.8 * H / W + 0.3, 8 / max(len(pixels), 4) + 0.3]
    figure = plt.figure(figsize=(8, sum(heights) + 0.4), layout="constrained")
    figure.get_layout_engine().set(wspace=0.06)
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=heights)
    pictures = top.subplots(1, 2)
    show_images({"with a hole": with_hole(image, mask), "filled": trace.composite}, pictures)
    maps = {
        "centre share": (centre_share(kernels), 1),
        f"entropy, up to {most:.2f}": (entropy(kernels), most),
        f"reach, up to {corner:.1f} px": (reach(kernels, dilation), corner),
    }
    for ax, (title, (values, largest)) in zip(middle.subplots(1, 3), maps.items(), strict=True):
        show_map(values[0, 0], ax, title, limits=(0, largest))
    axes = np.atleast_1d(bottom.subplots(1, len(pixels)))
    shown = {name: kernels[0, 0, :, row, column] for name, (row, column) in pixels.items()}
    limit = max(kernel.abs().max().item() for kernel in shown.values())
    for number, (name, (row, column)) in enumerate(pixels.items(), 1):
        mark_pixel(pictures[0], row, column, reach=dilation * (N // 2), label=str(number))
        show_kernel(shown[name], axes[number - 1], f"{number}: {name}", limit)
    passes = "once" if config.passes == 1 else f"{config.passes} times"
    whose = "Kernels" if trace.kernels[0].shape[1] == 1 else "Red's kernels"
    figure.suptitle(f"{whose} of one pass, {N}×{N}; the picture is filtered {passes} with them")
    return figure


def typical_pixels(mask: Tensor) -> dict[str, tuple[int, int]]:
    """(row, column) of a pixel far outside the hole, at its border, inside, and of its deepest one; those there are.

    Args:
        mask: ``(1, 1, H, W)``, 1 = hole.
    """

    def deepest(area: np.ndarray) -> tuple[int, int]:
        depth = distance_transform_edt(area)
        return tuple(int(n) for n in np.unravel_index(depth.argmax(), depth.shape))

    where = {name: region[0, 0].cpu() for name, region in regions(mask).items()}
    pixels = {}
    if where["outside"].any():
        row, column = deepest(np.pad(where["outside"], 1))  # the picture's edge counts, too: not in a corner
        pixels["outside"] = (row - 1, column - 1)
    for name in ("border", "inside"):
        if where[name].any():
            candidates = where[name].nonzero().tolist()
            pixels[name] = tuple(candidates[len(candidates) // 2])
    if where["inside"].any():
        pixels["deep inside"] = deepest(~where["outside"].numpy())
    return pixels
