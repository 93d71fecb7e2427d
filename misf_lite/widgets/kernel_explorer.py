"""Put the pointer on a pixel and see the kernel that was predicted for it."""

import math
import uuid
from dataclasses import dataclass
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from misf_lite import figures
from misf_lite.filtering import filter2d
from misf_lite.flow import Flow
from misf_lite.kernels import centre_of_mass, entropy, hole_share, regions
from misf_lite.lite import LiteConfig
from misf_lite.masks import is_hole
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
        flow: the `Flow` that is shown, on the CPU; None for kernels made by hand.

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
        model: base.Model | None = None,
        *,
        kernels: Tensor | None = None,
        dilation: int = 1,
        padding: str = "reflect",
        pixel: tuple[int, int] | None = None,
    ) -> None:
        base.check_pair(image, mask, "KernelExplorer")
        start = start_pixel(image, mask, pixel)
        self._picture = image.detach().cpu()
        self._mask = None if mask is None else mask.detach().cpu()
        self.flow: Flow | None = None
        if model is not None and kernels is None:
            data = self._of_model(model, image)
        elif kernels is not None and model is None:
            data = self._by_hand(kernels.detach().cpu().float(), dilation, padding)
        else:
            raise ValueError(
                "KernelExplorer shows the kernels of a model or those made by hand: "
                "give one of KernelExplorer(image, mask, model) and KernelExplorer(image, mask, kernels=kernels)"
            )
        super().__init__(data={**data, "link": uuid.uuid4().hex}, pixel=start)

    def _of_model(self, model: base.Model, image: Tensor) -> dict[str, Any]:
        base.check_model(model, base.Model)
        if self._mask is None:
            raise ValueError("a model fills a hole: give KernelExplorer(image, mask, model) a mask (1, 1, H, W)")
        config = model.config
        if not config.levels:
            raise ValueError("this model filters nothing, there are no kernels to show: its config says levels=()")
        released = isinstance(model, ReleasedMISF)
        padding = "zeros" if released else "reflect"
        self.flow = flow = base.flow_of(model, image, self._mask)
        data = {
            "picture": "output",
            **_pictures(self._picture, self._mask, flow["output"]),
            "tanh": released,
            "added": _added(flow, self._mask),
            "levels": [],
        }
        self._picture = flow["filled"]
        if 0 in config.levels:
            passes = config.passes if isinstance(config, LiteConfig) else 1
            title = f"image, the last of {passes} passes" if passes > 1 else "image"
            room = base.BUDGET - base.size_of(data)
            shown = Shown(0, title, flow["picture"], flow["K"], self._mask, [0, 1, 2], padding)
            data["levels"].append(shown.payload(room))
        semantic = [level for level in config.levels if level]
        room = base.BUDGET - base.size_of(data)
        for level in semantic:
            before, kernels = flow[f"F{level}"], flow[f"K{level}"]
            hole = base.mask_of_level(self._mask, level, (before.shape[2], before.shape[3]))
            order, _ = base.most_changed(before, flow[f"F{level}_hat"], hole)
            shown = Shown(level, f"features F{level}", before, kernels, hole, order, padding)
            data["levels"].append(shown.payload(room / len(semantic)))
        return data

    def _by_hand(self, kernels: Tensor, dilation: int, padding: str) -> dict[str, Any]:
        image = self._picture.float()
        after = filter2d(image, kernels, dilation=dilation, padding=padding)  # refuses what does not fit
        if kernels.shape[2] > 11 * 11:
            raise ValueError(
                f"KernelExplorer shows kernels up to 11×11, got {kernels.shape[2]} taps: explore a smaller one"
            )
        data = {"picture": "filtered", **_pictures(image, self._mask, after), "tanh": False, "added": []}
        shown = Shown(0, "image", image, kernels, self._mask, [0, 1, 2], padding, dilation)
        return {**data, "levels": [shown.payload(base.BUDGET - base.size_of(data))]}

    def still(self) -> Figure:
        """The picture with its pixel marked, and the kernel there: the first one that the browser shows."""
        row, column = self.pixel
        H, W = self._picture.shape[2:]
        figure = base.new_figure(7, min(7, 3.8 * H / W + 0.5))
        picture, kernel = figure.subplots(1, 2, width_ratios=(3, 2))
        figures.show_images({"filled" if self.flow else "the picture": self._picture}, [picture])
        if self._mask is not None and is_hole(self._mask).any():
            picture.contour(self._mask[0, 0], levels=[0.5], colors=figures.HOLE, linewidths=1)
        level = self.data["levels"][0]
        N, scale = level["N"], level["scale"]
        kernels = torch.frombuffer(bytearray(level["kernels"]), dtype=torch.float16).view(-1, N * N, *level["size"])
        taps = kernels[level["group"][0], :, row // scale, column // scale].float()
        figures.mark_pixel(picture, row, column, reach=scale * level["dilation"] * (N // 2))
        where = f"\nchannel {level['channels'][0]} of F{level['number']}" if level["number"] else ""
        figures.show_kernel(taps, kernel, f"kernel at row {row}, column {column}{where}")
        return figure


def _pictures(image: Tensor, mask: Tensor | None, output: Tensor) -> dict[str, Any]:
    return {
        "size": list(image.shape[2:]),
        "image": base.pixels(image),
        "mask": None if mask is None else base.holes(mask),
        "output": base.pixels(output),
    }


def _added(flow: Flow, mask: Tensor) -> list[dict[str, Any]]:
    """What is added after the filter, at the pixels of the hole: nothing is to any other."""
    hole = is_hole(mask)[0, 0]
    names = {"given_back": "what the pass gives back", "added": "what the decoder adds"}
    return [
        {"name": words, "values": base.float16_bytes(flow[name][0][:, hole])}
        for name, words in names.items()
        if name in flow
    ]


@dataclass
class Shown:
    """One filtered level."""

    number: int  # 0 the picture, 1 to 3 the features
    title: str
    before: Tensor  # (1, C, h, w), what is filtered
    kernels: Tensor  # (1, G, N*N, h, w)
    mask: Tensor | None  # (1, 1, h, w)
    order: list[int]  # channels; of features as many are sent as fit, so the first matter most
    padding: str
    dilation: int = 1

    def payload(self, room: float) -> dict[str, Any]:
        """What the browser needs, in at most ``room`` bytes. Raises ValueError where that is too little."""
        h, w = self.before.shape[2:]
        channels = self.fitting(room)
        groups = self.groups(channels)
        chosen, features = self.kernels[:, groups], self.before[0, channels]
        return {
            "number": self.number,
            "title": self.title,
            "size": [h, w],
            "scale": 2 ** max(self.number - 1, 0),
            "N": round(self.kernels.shape[2] ** 0.5),
            "dilation": self.dilation,
            "padding": self.padding,
            "channels": channels,
            "group": [groups.index(self.group(channel)) for channel in channels],
            "ranges": [[x.min().item(), x.max().item()] for x in features],
            "limit": _limit(chosen),
            "kernels": base.float16_bytes(chosen),
            "before": base.float16_bytes(features),
            "mask": base.holes(self.mask) if self.number and self.mask is not None else None,  # else the picture's
            "maps": self.maps(chosen),
        }

    def group(self, channel: int) -> int:
        """Which of the kernels of a pixel serves a channel."""
        return channel * self.kernels.shape[1] // self.before.shape[1]

    def groups(self, channels: list[int]) -> list[int]:
        return sorted({self.group(channel) for channel in channels})

    def fitting(self, room: float) -> list[int]:
        """As many channels as fit, in their order; of a picture all or none."""
        taps, h, w = self.kernels.shape[2:]

        def size(channels: list[int]) -> int:
            numbers = len(channels) + taps * len(self.groups(channels))
            return (2 * numbers + PER_PIXEL + (self.number > 0)) * h * w

        fewest = 1 if self.number else len(self.order)
        for count in range(len(self.order), fewest - 1, -1):
            if size(self.order[:count]) <= room:
                return self.order[:count]
        least = self.order[:fewest]
        raise ValueError(
            f"the kernels of this picture take {size(least) / 1e6:.1f} MB of the "
            f"{max(room, 0) / 1e6:.1f} MB that a notebook can bear beside the picture "
            f"({h}×{w} pixels, {len(self.groups(least))}×{taps} taps): "
            "explore a smaller picture, or a part, image[..., :256, :256]"
        )

    def maps(self, kernels: Tensor) -> list[dict[str, Any]]:
        """One number per pixel each, the mean over the kernels' groups, as bytes between low and high."""
        taps = kernels.shape[2]
        total = kernels.sum(2)
        low, high = total.min().item(), total.max().item()
        if high - low < 1e-3:  # softmax: 1 everywhere
            low, high = min(0.0, low), max(1.0, high)
        far = max(self.dilation * (round(taps**0.5) // 2), 1e-6)
        dy, dx = centre_of_mass(kernels, self.dilation).nan_to_num(0)[0].unbind(1)
        maps = [
            _map("sum", "kernel sum", total[0], low, high),
            _map("entropy", "entropy", entropy(kernels)[0], 0, math.log(taps)),
            _map("dy", "", dy, -far, far),
            _map("dx", "", dx, -far, far),
        ]
        if self.mask is not None:
            share = hole_share(kernels, self.mask, dilation=self.dilation, padding=self.padding)
            maps.insert(2, _map("hole", "weight taken from the hole", share[0], 0, 1))
        return maps


def _map(name: str, title: str, values: Tensor, low: float, high: float) -> dict[str, Any]:
    data = base.uint8_bytes(values.nan_to_num(0).mean(0), low, high)
    return {"name": name, "title": title, "low": low, "high": high, "hidden": not title, "values": data}


def _limit(kernels: Tensor) -> float:
    """Where the colours of kernels end: at their largest weights, but for the odd one."""
    some = kernels.abs().flatten()[:: max(1, kernels.numel() // 100_000)]
    return max(some.quantile(0.999).item(), 1e-6)


def start_pixel(image: Tensor, mask: Tensor | None, pixel: tuple[int, int] | None = None) -> tuple[int, int]:
    """The pixel given, if it lies in the picture; where none is, one at the border of the hole."""
    H, W = image.shape[2:]
    if pixel is None:
        border = [] if mask is None else regions(mask.detach().cpu())["border"][0, 0].nonzero().tolist()
        return tuple(border[len(border) // 2]) if border else (H // 2, W // 2)
    row, column = (int(n) for n in pixel)
    if not (0 <= row < H and 0 <= column < W):
        raise ValueError(f"pixel must be (row, column) inside the picture of {H}×{W} pixels, got {(row, column)}")
    return row, column
