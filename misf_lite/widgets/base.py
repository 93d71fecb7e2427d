"""What all widgets share: their script, how tensors travel to the browser, a still picture, models at work.

The browser gets its data once and answers the pointer by itself: no Python is asked while the mouse moves, so a page
without a kernel can do the same. Numbers travel as float16: with 8 bits the sum shown would be off by 2 grey levels.
"""

import base64
import io
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, ClassVar

import anywidget
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn

from misf_lite import figures
from misf_lite.datasets import check_shape
from misf_lite.flow import Flow
from misf_lite.lite import ImageFilter
from misf_lite.masks import is_hole
from misf_lite.model import MISF
from misf_lite.released import ReleasedMISF

HERE = Path(__file__).parent
Model = MISF | ImageFilter | ReleasedMISF  # those whose kernels can be shown
BUDGET = 7_900_000  # bytes of data per widget; with its script that stays below 8 MB
INFERENCE = threading.Lock()  # one model at work at a time: several would only wait for each other's threads


def script(name: str) -> str:
    """The JavaScript of a widget: the colours of `misf_lite.figures`, what all share, its own."""
    palette = {"hole": figures.HOLE, "mark": figures.MARK}
    for use, colours in {"kernel": figures.KERNEL_COLOURS, "map": figures.MAP_COLOURS, "grey": "gray"}.items():
        table = matplotlib.colormaps[colours](np.arange(256), bytes=True)
        palette[use] = table[:, :3].tobytes().hex()
    shared = (HERE / "common.js").read_text(encoding="utf-8")
    own = (HERE / f"{name}.js").read_text(encoding="utf-8")
    return f"const PALETTE = {json.dumps(palette)};\n{shared}\n{own}"


class Widget(anywidget.AnyWidget):
    """A widget that leaves a picture where nothing can run: `still` draws it."""

    summary = "a widget of misf_lite"
    _made_by: ClassVar[dict[str, tuple[str, list["Widget"]]]] = {}  # cell id -> run of the cell, its widgets

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        cell, run = _running_cell()
        if cell is None:
            return
        last, widgets = self._made_by.get(cell, ("", []))
        if last != run:  # left open, they would take their megabytes again with each run, until no reload finds any
            for widget in widgets:
                widget.close()
            widgets = []
        self._made_by[cell] = run, [*widgets, self]

    def still(self) -> Figure:
        """A picture of the widget as it is now."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> tuple[dict, dict] | None:
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:
            return None
        data, metadata = bundle
        file = io.BytesIO()
        self.still().savefig(file, format="png")
        data["image/png"] = base64.b64encode(file.getvalue()).decode()
        data["text/plain"] = self.summary
        return data, metadata


def _running_cell() -> tuple[str | None, str]:
    """Which cell of a notebook is running, and which run of it this is; None where there is no notebook."""
    try:
        from IPython import get_ipython

        parent = get_ipython().get_parent()
        return parent["metadata"].get("cellId"), parent["header"]["msg_id"]
    except (ImportError, AttributeError, KeyError, LookupError):  # no IPython, none running, or a plain one
        return None, ""


def new_figure(width: float, height: float) -> Figure:
    """A figure of its own, in inches: pyplot, which is not made for threads, never hears of it."""
    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def float16_bytes(x: Tensor) -> bytes:
    """Little-endian; what is beyond the range of float16 becomes its largest number."""
    largest = torch.finfo(torch.float16).max
    return x.detach().cpu().float().clamp(-largest, largest).numpy().astype("<f2").tobytes()


def uint8_bytes(x: Tensor, low: float, high: float) -> bytes:
    """0 for ``low`` and 255 for ``high``: for colours, not for arithmetic."""
    scaled = (x.detach().cpu().float() - low) / max(high - low, 1e-12)
    return (scaled.clamp(0, 1) * 255).round().to(torch.uint8).numpy().tobytes()


def holes(mask: Tensor) -> bytes:
    """A mask as one byte per pixel, 1 = hole."""
    return is_hole(mask).to(torch.uint8).cpu().numpy().tobytes()


def pixels(image: Tensor) -> bytes:
    """``(1, 3, H, W)`` in [0, 1] as RGB bytes, row by row."""
    return uint8_bytes(image[0].permute(1, 2, 0), 0, 1)


def from_pixels(data: bytes | memoryview, size: tuple[int, int]) -> Tensor:
    """The picture that `pixels` sent: ``(1, 3, H, W)`` in [0, 1]."""
    array = np.frombuffer(data, np.uint8).reshape(*size, 3).copy()
    return torch.from_numpy(array).permute(2, 0, 1)[None] / 255


def from_mask(data: bytes | memoryview, size: tuple[int, int]) -> Tensor:
    """The mask that `holes` sent: ``(1, 1, H, W)`` of zeros and ones."""
    array = np.frombuffer(data, np.uint8).reshape(1, 1, *size).copy()
    return torch.from_numpy(array).float()


def size_of(data: Any) -> int:
    """How many bytes of pictures and numbers a payload holds."""
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, dict):
        data = list(data.values())
    return sum(map(size_of, data)) if isinstance(data, list) else 0


def check_pair(image: Tensor, mask: Tensor | None, who: str) -> None:
    """Raises ValueError for anything but one image ``(1, 3, H, W)`` and one mask ``(1, 1, H, W)``, or none."""
    shape = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
    if not isinstance(image, Tensor) or image.dim() != 4 or image.shape[:2] != (1, 3):
        raise ValueError(f"{who} expects one image (1, 3, H, W), got {shape}: pass image[:1] of a batch")
    check_shape((image.shape[3], image.shape[2]), f"the picture of {who}")
    if mask is not None and (not isinstance(mask, Tensor) or mask.shape != (1, 1, *image.shape[2:])):
        given = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(f"{who} expects a mask (1, 1, H, W) of the image's size {shape}, got {given}")


def check_model(model: object, kind: type[nn.Module] | UnionType) -> None:
    """Raises ValueError for anything else."""
    if not isinstance(model, kind):
        raise ValueError(f"model must be a MISF, got {type(model).__name__}: load one with misf_lite.load_pretrained()")


def flow_of(model: Model, image: Tensor, mask: Tensor, **swaps: Callable[[Tensor], Tensor]) -> Flow:
    """`Flow.of` in eval mode, where the model lies; its tensors on the CPU."""
    weight = next(model.parameters())
    training = model.training
    with INFERENCE:
        model.eval()
        try:
            flow = Flow.of(model, image.to(weight), mask.to(weight), **swaps)
        finally:
            model.train(training)
    for name, x in flow.items():
        flow[name] = x.cpu()
    return flow


def mask_of_level(mask: Tensor, level: int, size: tuple[int, int]) -> Tensor:
    """The mask at the size of a feature map: a feature pixel is hole where half of its pixels or more are."""
    scale = 2 ** max(level - 1, 0)
    beyond = (0, size[1] * scale - mask.shape[3], 0, size[0] * scale - mask.shape[2])
    share = F.avg_pool2d(F.pad(mask, beyond, mode="replicate"), scale)
    return is_hole(share).to(mask)


def most_changed(before: Tensor, after: Tensor, mask: Tensor) -> tuple[list[int], list[float]]:
    """Channels by how much a filter changed them, most first, and the mean change of each (in that order).

    Args:
        before, after: ``(1, C, h, w)``. mask: ``(1, 1, h, w)``, 1 = hole: where it has one, only that counts.
    """
    where = is_hole(mask)[0, 0]
    if not where.any():
        where = ~where
    change = (after - before)[0].abs()[:, where].mean(1)
    order = change.argsort(descending=True, stable=True)
    return order.tolist(), change[order].tolist()


def answer_to(asked: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the browser gets for its question: what ``work`` returns, or why it failed."""
    number = asked.get("number", 0)
    try:
        return {"number": number, **work()}
    except Exception as error:  # nobody sees what is raised on a thread
        return {"number": number, "error": f"{type(error).__name__}: {error}"}


class Latest:
    """Does one job at a time on a thread of its own; of the jobs that come meanwhile, only the newest.

    The kernel stays free for other cells, and a slow model never works on what nobody wants any more.
    """

    def __init__(self, work: Callable[..., None]) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._next: tuple | None = None
        self._busy = False

    def ask(self, *job: Any) -> None:
        with self._lock:
            self._next = job
            if self._busy:
                return
            self._busy = True
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            with self._lock:
                job, self._next = self._next, None
                if job is None:
                    self._busy = False
                    return
            with suppress(Exception):  # which the browser has heard of, see `answer_to`
                self._work(*job)
