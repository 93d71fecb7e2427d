"""What the image-level kernels of a network are like: in numbers, and as a figure."""

import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from misf_lite import figures
from misf_lite.evaluation import holes
from misf_lite.flow import Flow
from misf_lite.images import save_image
from misf_lite.kernels import centre_share, entropy, reach, regions

MEASURES = {"centre_share": centre_share, "entropy": entropy, "reach": reach}


@torch.no_grad()
def kernel_statistics(
    model: nn.Module, images: Iterable[Tensor], *, kind: str = "strokes", seed: int = 0, border: int = 2
) -> dict[str, dict[str, float]]:
    """What the image-level kernels of one pass are like inside holes, at their border, and outside.

    Args:
        images: each ``(1, 3, H, W)`` in [0, 1], where the model lies.
        kind, seed: the masks, one per picture and band, the same as `misf_lite.evaluation.evaluate` draws.
        border: see `misf_lite.kernels.regions`.

    Returns:
        For each of the regions the mean ``centre_share``, ``entropy`` and ``reach`` over its pixels in all pictures
        together, and over the groups; NaN where a region has no pixel.

    Raises:
        ValueError: no image, or a model that does not filter the image.
    """
    sums: dict[str, Tensor] = {}
    pixels: dict[str, int] = {}
    for i, image in enumerate(images):
        for _, mask in holes(image, i, kind, seed):
            kernels = image_kernels(Flow.of(model, image, mask))
            maps = torch.stack([measure(kernels).mean(1, keepdim=True) for measure in MEASURES.values()], -1)
            for region, where in regions(mask, border).items():
                total = maps[where].sum(0).cpu().double()  # one number per measure
                sums[region] = sums.get(region, torch.zeros_like(total)) + total
                pixels[region] = pixels.get(region, 0) + int(where.sum())
    if not sums:
        raise ValueError("nothing to read: give at least one image")
    return {region: dict(zip(MEASURES, (sums[region] / pixels[region]).tolist(), strict=True)) for region in sums}


def image_kernels(flow: Flow) -> Tensor:
    if "K" not in flow:
        raise ValueError("this model has no image-level kernels to read: its config's levels have no 0")
    return flow["K"]


def show_kernel_field(
    model: nn.Module, image: Tensor, mask: Tensor, pixels: Mapping[str, tuple[int, int]] | None = None
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
    flow = Flow.of(model, image, mask)
    kernels = image_kernels(flow)[:, :1]
    pixels = typical_pixels(mask) if pixels is None else pixels
    H, W = image.shape[2:]
    N = math.isqrt(kernels.shape[2])
    most = 2 * math.log(N)
    corner = N // 2 * 2**0.5

    heights = [4 * H / W + 0.3, 8 / 3 * 0.8 * H / W + 0.3, 8 / max(len(pixels), 4) + 0.3]
    figure = plt.figure(figsize=(8, sum(heights) + 0.4))
    figure.set_layout_engine("constrained", wspace=0.06)
    top, middle, bottom = np.ravel(figure.subfigures(3, 1, height_ratios=heights))
    pictures = top.subplots(1, 2)
    figures.show_images({"with a hole": figures.with_hole(image, mask), "filled": flow["filled"]}, pictures)
    maps = {
        "centre share": (centre_share(kernels), 1),
        f"entropy, up to {most:.2f}": (entropy(kernels), most),
        f"reach, up to {corner:.1f} px": (reach(kernels), corner),
    }
    for ax, (title, (values, largest)) in zip(middle.subplots(1, 3), maps.items(), strict=True):
        figures.show_map(values[0, 0], ax, title, limits=(0, largest))
    limit = max(kernels[0, 0, :, row, column].abs().max().item() for row, column in pixels.values())
    axes = np.atleast_1d(bottom.subplots(1, len(pixels)))
    for number, (name, (row, column)) in enumerate(pixels.items(), 1):
        figures.mark_pixel(pictures[0], row, column, reach=N // 2, label=str(number))
        figures.show_kernel(kernels[0, 0, :, row, column], axes[number - 1], f"{number}: {name}", limit)
    passes = getattr(model.config, "passes", 1)  # only a LiteConfig has them
    times = "once" if passes == 1 else f"{passes} times"
    whose = "Kernels" if flow["K"].shape[1] == 1 else "Red's kernels"
    figure.suptitle(f"{whose} of one pass, {N}×{N}; the picture is filtered {times} with them")
    return figure


def typical_pixels(mask: Tensor) -> dict[str, tuple[int, int]]:
    """(row, column) of a pixel far outside the hole, at its border, inside, and of its deepest one; those there are.

    Args:
        mask: ``(1, 1, H, W)``, 1 = hole.
    """
    where = {name: region[0, 0].cpu() for name, region in regions(mask).items()}
    pixels = {}
    if where["outside"].any():
        row, column = deepest(np.pad(where["outside"], 1))  # the picture's edge counts, too: not in a corner
        pixels["outside"] = (row - 1, column - 1)
    for name in ("border", "inside"):
        if where[name].any():
            candidates = where[name].nonzero().tolist()
            row, column = candidates[len(candidates) // 2]
            pixels[name] = (row, column)
    if where["inside"].any():
        pixels["deep inside"] = deepest(~where["outside"].numpy())
    return pixels


def deepest(area: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(distance_transform_edt(area).argmax(), area.shape)
    return int(row), int(column)


def save_figure(figure: Figure, path: Path, *, overwrite: bool = False) -> Path:
    """Write a figure with the care and the errors of `save_image`, and close it."""
    file = io.BytesIO()
    figure.savefig(file, dpi=160)
    plt.close(figure)
    save_image(Image.open(file).convert("RGB"), path, overwrite=overwrite)
    return path
