"""Put the pointer on a pixel and see the kernel that was predicted for it."""

import uuid

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from misf_lite import figures
from misf_lite.filtering import filter2d
from misf_lite.kernels import centre_of_mass, entropy, hole_share
from misf_lite.model import MISF, MISFConfig, Trace
from misf_lite.released import ReleasedMISF
from misf_lite.widgets import base

PER_PIXEL = 5  # the maps of a level, one byte each; features have a mask, too


class KernelExplorer(base.Widget):
    """The picture; and for the pixel under the pointer its kernels, the window they multiply, products and sum.

    Arrow keys move the pixel (with Shift ten at a time), Enter or a click pins it. In the browser no Python is asked,
    so it also works on a page without a kernel.

    Args:
        image: ``(1, 3, H, W)`` in [0, 1].
        mask: ``(1, 1, H, W)``, 1 = hole; None where there is none (only with ``kernels``).
        model: whose kernels are shown, at all levels that it filters; where it lies, image and mask are moved. Also one
            of `misf_lite.load_released`.
        kernels: or kernels made by hand, ``(1, G, N*N, H, W)`` as `filter2d` takes them; N up to 11.
        dilation, padding: how kernels made by hand are applied, see `filter2d`.
        pixel: (row, column) to start with; None takes one at the border of the hole.

    Attributes:
        pixel: (row, column) last pinned.
        trace: the `Trace` that is shown, on the CPU; None for kernels made by hand.

    Raises:
        ValueError: shapes that do not fit, neither or both of ``model`` and ``kernels``, or a picture so large that
            its kernels take more than 8 MB.
    """

    _esm = base.script("kernel_explorer")
    data = traitlets.Dict().tag(sync=True)
    pixel = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    summary = "KernelExplorer: run the notebook to put the pointer on a pixel"

    def __init__(
        self,
        image: Tensor,
        mask: Tensor | None = None,
        model: MISF | ReleasedMISF | None = None,
        *,
        kernels: Tensor | None = None,
        dilation: int = 1,
        padding: str = "reflect",
        pixel: tuple[int, int] | None = None,
    ) -> None:
        base.check_pair(image, mask, "KernelExplorer")
        if (model is None) == (kernels is None):
            raise ValueError(
                "KernelExplorer shows the kernels of a model or those made by hand: "
                "give one of KernelExplorer(image, mask, model) and KernelExplorer(image, mask, kernels=kernels)"
            )
        if kernels is not None:
            self.trace, data = None, _by_hand(image, mask, kernels, dilation, padding)
        else:
            self.trace, data = _of_model(image, mask, model)
        self._picture = image.detach().cpu() if self.trace is None else self.trace.composite
        self._mask = None if mask is None else mask.detach().cpu()
        super().__init__(data=data | {"link": uuid.uuid4().hex}, pixel=start_pixel(image, self._mask, pixel))

    def still(self) -> Figure:
        """The picture with its pixel marked, and the kernel there: the first one that the browser shows."""
        row, column = self.pixel
        H, W = self._picture.shape[2:]
        figure = base.new_figure(7, min(7, 3.8 * H / W + 0.5))
        picture, kernel = figure.subplots(1, 2, width_ratios=(3, 2))
        figures.show_images({"filled" if self.trace else "the picture": self._picture}, [picture])
        if self._mask is not None and self._mask.any():
            picture.contour(self._mask[0, 0], levels=[0.5], colors=figures.HOLE, linewidths=1)
        level = self.data["levels"][0]
        N, scale = level["N"], level["scale"]
        kernels = torch.frombuffer(bytearray(level["kernels"]), dtype=torch.float16).view(-1, N * N, *level["size"])
        taps = kernels[level["group"][0], :, row // scale, column // scale].float()
        figures.mark_pixel(picture, row, column, reach=scale * level["dilation"] * (N // 2))
        where = f"\nchannel {level['channels'][0]} of F{level['number']}" if level["number"] else ""
        figures.show_kernel(taps, kernel, f"kernel at row {row}, column {column}{where}")
        return figure


def _of_model(image: Tensor, mask: Tensor | None, model: MISF | ReleasedMISF) -> tuple[Trace, dict]:
    base.check_model(model, MISF | ReleasedMISF)
    if mask is None:
        raise ValueError("a model fills a hole: give KernelExplorer(image, mask, model) a mask (1, 1, H, W)")
    config, released = model.config, isinstance(model, ReleasedMISF)
    padding = "zeros" if released else "reflect"
    if not config.levels:
        raise ValueError("this model filters nothing, there are no kernels to show: its config says image=False too")
    trace = traced(model, image, mask)
    data = _picture(trace.image, trace.mask, trace.output)
    data |= {"picture": "output", "tanh": released, "added": _added(config, trace)}
    room = base.BUDGET - sum(map(len, (data["image"], data["mask"], data["output"])))
    room -= sum(len(part["values"]) for part in data["added"])
    levels = []
    if config.image:
        title = f"image, the last of {config.passes} passes" if config.passes > 1 else "image"
        levels.append(_level(0, title, trace, config.dilation[0], padding, room))
        room -= levels[0].pop("bytes")
    semantic = [level for level in config.levels if level]
    for level in semantic:
        levels.append(_level(level, f"features F{level}", trace, config.dilation[level], padding, room / len(semantic)))
        levels[-1].pop("bytes")
    return trace, data | {"levels": levels}


def traced(model: MISF, image: Tensor, mask: Tensor) -> Trace:
    """`MISF.trace` where the model lies, in eval mode; the result on the CPU."""
    weight = next(model.parameters())
    training = model.training
    with base.INFERENCE:
        model.eval()
        try:
            trace = model.trace(image.to(weight), mask.to(weight))
        finally:
            model.train(training)
    cpu = {}
    for name, value in vars(trace).items():
        if isinstance(value, dict):
            value = {level: tensor.cpu() for level, tensor in value.items()}
        cpu[name] = value.cpu() if isinstance(value, Tensor) else value
    return Trace(**cpu)


def _by_hand(image: Tensor, mask: Tensor | None, kernels: Tensor, dilation: int, padding: str) -> dict:
    image, kernels = image.detach().cpu().float(), kernels.detach().cpu().float()
    after = filter2d(image, kernels, dilation=dilation, padding=padding)  # refuses what does not fit
    if kernels.shape[2] > 11 * 11:
        raise ValueError(
            f"KernelExplorer shows kernels up to 11×11, got {kernels.shape[2]} taps: explore a smaller one"
        )
    mask = None if mask is None else mask.detach().cpu()
    trace = Trace(image, mask, {0: image}, {0: kernels}, {0: after})
    data = _picture(image, mask, after)
    level = _level(0, "image", trace, dilation, padding, base.BUDGET - len(data["image"]) - len(data["output"]))
    del level["bytes"]
    return data | {"picture": "filtered", "added": [], "levels": [level]}


def _added(config: MISFConfig, trace: Trace) -> list[dict]:
    """What is added after the filter, of the pixels in the hole: to no other pixel anything is."""
    parts = {
        "the bend of the smooth guess": trace.bend,
        "what the decoder adds": trace.decoded if config.adds else None,
    }
    hole = trace.mask[0, 0] >= 0.5
    return [{"name": name, "values": base.halves(part[0][:, hole])} for name, part in parts.items() if part is not None]


def _picture(image: Tensor, mask: Tensor | None, output: Tensor) -> dict:
    data = {"size": list(image.shape[2:]), "image": base.pixels(image), "output": base.pixels(output), "mask": None}
    return data if mask is None else data | {"mask": base.holes(mask)}


def _level(number: int, title: str, trace: Trace, dilation: int, padding: str, room: float) -> dict:
    """What the browser needs of one filtered level; of features the channels that changed most, as many as fit."""
    before, kernels, after = trace.before[number], trace.kernels[number], trace.after[number]
    (_, C, h, w), (_, G, taps, _, _) = before.shape, kernels.shape
    N = round(taps**0.5)
    mask = None if trace.mask is None else base.mask_of_level(trace.mask, number, (h, w))
    order = list(range(C))
    if number:
        order = base.most_changed(before, after, mask)[0]
        for fitting in range(C, 0, -1):
            groups = {c * G // C for c in order[:fitting]}
            if 2 * h * w * (fitting + taps * len(groups)) + (PER_PIXEL + 1) * h * w <= room:
                break
        order = order[:fitting]
    groups = sorted({c * G // C for c in order})
    size = 2 * h * w * (len(order) + taps * len(groups)) + (PER_PIXEL + bool(number)) * h * w
    if size > room:
        raise ValueError(
            f"the kernels of this picture take {size / 1e6:.1f} MB of the {room / 1e6:.1f} MB that a notebook can bear "
            f"({h}×{w} pixels, {len(groups)}×{taps} taps): explore a smaller picture, or a part, image[..., :256, :256]"
        )
    chosen, features = kernels[:, groups], before[0, order]
    return {
        "number": number,
        "title": title,
        "size": [h, w],
        "scale": 2 ** max(number - 1, 0),
        "N": N,
        "dilation": dilation,
        "padding": padding,
        "channels": order,
        "group": [groups.index(c * G // C) for c in order],
        "ranges": [[x.min().item(), x.max().item()] for x in features],
        "limit": max(chosen.abs().flatten()[:: max(1, chosen.numel() // 100_000)].quantile(0.999).item(), 1e-6),
        "kernels": base.halves(chosen),
        "before": base.halves(features),
        "mask": None if mask is None or not number else base.holes(mask),  # the image's is the picture's
        "maps": _maps(chosen, mask, N, dilation, padding),
        "bytes": size,
    }


def _maps(kernels: Tensor, mask: Tensor | None, N: int, dilation: int, padding: str) -> list[dict]:
    """One number per pixel each, the mean over the kernels' groups, as bytes between low and high."""
    total = kernels.sum(2)
    far = max(dilation * (N // 2), 1e-6)
    low, high = total.min().item(), total.max().item()
    if high - low < 1e-3:  # softmax: 1 everywhere
        low, high = min(0.0, low), max(1.0, high)
    dy, dx = centre_of_mass(kernels, dilation).nan_to_num(0)[0].unbind(1)
    most = float(torch.tensor(float(N * N)).log())
    maps = [
        ("sum", "kernel sum", total[0], low, high),
        ("entropy", "entropy", entropy(kernels)[0], 0.0, most),
        ("dy", "", dy, -far, far),
        ("dx", "", dx, -far, far),
    ]
    if mask is not None:
        share = hole_share(kernels, mask, dilation=dilation, padding=padding)
        maps.insert(2, ("hole", "weight taken from the hole", share[0], 0.0, 1.0))
    return [
        {"name": name, "title": title, "low": a, "high": b, "hidden": not title,
         "values": base.eighths(values.nan_to_num(0).mean(0), a, b)}
        for name, title, values, a, b in maps
    ]  # fmt: skip


def start_pixel(image: Tensor, mask: Tensor | None, pixel: tuple[int, int] | None = None) -> tuple[int, int]:
    """The pixel given, if it lies in the picture; where none is, one at the border of the hole."""
    H, W = image.shape[2:]
    if pixel is None:
        typical = {} if mask is None else figures.typical_pixels(mask)
        return typical.get("border", (H // 2, W // 2))
    row, column = (int(n) for n in pixel)
    if not (0 <= row < H and 0 <= column < W):
        raise ValueError(f"pixel must be (row, column) inside the picture of {H}×{W} pixels, got {(row, column)}")
    return row, column
