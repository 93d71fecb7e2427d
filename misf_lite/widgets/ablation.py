"""Switch parts of a trained model off, or give it other kernels, and see at once what becomes of the same hole."""

import time
from collections.abc import Callable
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from misf_lite import figures
from misf_lite.flow import Flow
from misf_lite.lite import ImageFilter
from misf_lite.masks import is_hole
from misf_lite.metrics import psnr
from misf_lite.model import MISF, identity
from misf_lite.widgets import base
from misf_lite.widgets.kernel_explorer import start_pixel

KERNELS = ("predicted", "identity", "box", "pixel")


def ablate(
    model: MISF | ImageFilter,
    image: Tensor,
    mask: Tensor,
    *,
    semantic: bool = True,
    image_level: bool = True,
    link: bool = True,
    kernels: str = "predicted",
    pixel: tuple[int, int] = (0, 0),
) -> Flow:
    """Run a model with parts of it switched off. It was trained with them: a model trained without may do better.

    Args:
        model: it is left as it is. image: ``(1, 3, H, W)``. mask: ``(1, 1, H, W)``, 1 = hole.
        semantic, image_level: whether features, or the image, are filtered; where not, all kernels are the identity.
        link: whether KPB gets F2 from SIFB; where not, it gets zeros.
        kernels: those of the filters that are on: ``"predicted"``, ``"identity"``, ``"box"`` (the mean of the window),
            or ``"pixel"``: everywhere those of one pixel (the identity, where a model leaves known pixels alone).
        pixel: (row, column) for ``"pixel"``.

    Raises:
        ValueError: no such kernels.
    """
    if kernels not in KERNELS:
        raise ValueError(f"kernels must be one of {KERNELS}, got {kernels!r}")
    swaps: dict[str, Callable[[Tensor], Tensor]] = {}
    for level in model.config.levels:
        is_on = semantic if level else image_level
        kind = kernels if is_on else "identity"
        if kind != "predicted":
            swaps[f"K{level or ''}"] = replacement(kind, level, pixel)
    if not link and has_link(model):
        swaps["link"] = torch.zeros_like
    return base.flow_of(model, image, mask, **swaps)


def replacement(kind: str, level: int, pixel: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """From the kernels of a level to those that take their place."""
    if kind == "identity":
        return identity
    if kind == "box":
        return lambda K: torch.full_like(K, 1 / K.shape[2])
    row, column = (n // 2 ** max(level - 1, 0) for n in pixel)
    return lambda K: K[..., row : row + 1, column : column + 1].expand_as(K)


def has_link(model: MISF | ImageFilter) -> bool:
    return isinstance(model, MISF) and model.linked


class Ablation(base.Widget):
    """The hole, what the whole model makes of it, what is left of that with parts switched off, and the truth.

    A click on the first picture chooses the pixel whose kernels are used for ``those of one pixel``.

    Args:
        image: ``(1, 3, H, W)`` in [0, 1]. mask: ``(1, 1, H, W)``, 1 = hole, not empty.
        model: whose parts are switched, where it lies.

    Raises:
        ValueError: shapes that do not fit, or a mask without a hole.
    """

    _esm = base.script("ablation")
    data = traitlets.Dict().tag(sync=True)
    asked = traitlets.Dict().tag(sync=True, echo_update=False)  # number, and what `ablate` takes: by the browser
    answer = traitlets.Dict().tag(sync=True)  # number, rgb, psnr, seconds; or number, error
    summary = "Ablation: run the notebook to switch parts of the model off"

    def __init__(self, image: Tensor, mask: Tensor, model: MISF | ImageFilter) -> None:
        base.check_pair(image, mask, "Ablation")
        base.check_model(model, MISF | ImageFilter)
        if not is_hole(mask).any():
            raise ValueError("Ablation compares what fills the hole, and this mask has none: give one with a hole")
        self._model = model
        self._image = image.detach().cpu()
        self._mask = mask.detach().cpu()
        pixel = start_pixel(self._image, self._mask)
        settings = {"semantic": True, "image_level": True, "link": True, "kernels": "predicted", "pixel": list(pixel)}
        whole = self._run(settings)
        levels = model.config.levels
        data = {
            "size": list(image.shape[2:]),
            "image": base.pixels(self._image),
            "mask": base.holes(self._mask),
            "whole": whole,
            "parts": {"semantic": max(levels, default=0) > 0, "image_level": 0 in levels, "link": has_link(model)},
        }
        super().__init__(data=data, asked={"number": 0, **settings}, answer={"number": 0, **whole})
        latest = base.Latest(self._answer)
        self.observe(lambda change: latest.ask(self.asked), "asked")

    def _run(self, settings: dict) -> dict[str, Any]:
        started = time.perf_counter()
        filled = ablate(self._model, self._image, self._mask, **settings)["filled"]
        seconds = time.perf_counter() - started
        score = psnr(filled, self._image, is_hole(self._mask).float()).item()
        return {"rgb": base.pixels(filled), "psnr": score, "seconds": seconds}

    def _answer(self, asked: dict) -> None:
        settings = {name: value for name, value in asked.items() if name != "number"}
        self.answer = base.answer_to(asked, lambda: self._run(settings))

    def still(self) -> Figure:
        """The hole, filled by the whole model and with the settings of the moment, and the truth."""
        size = self.data["size"]
        shown = {"with a hole": figures.with_hole(self._image, self._mask)}
        for name, run in {"all parts on": self.data["whole"], "your choice": self.answer}.items():
            if "rgb" in run:
                shown[f"{name}: {run['psnr']:.1f} dB"] = base.from_pixels(run["rgb"], size)
        shown["the truth"] = self._image
        figure = base.new_figure(8, 8 / len(shown) * size[0] / size[1] + 0.4)
        figures.show_images(shown, figure.subplots(1, len(shown)))
        return figure
