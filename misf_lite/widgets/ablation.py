"""Switch parts of a trained model off, or give it other kernels, and see at once what becomes of the same hole."""

import copy
import time
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from misf_lite import figures
from misf_lite.metrics import psnr
from misf_lite.model import MISF, Trace
from misf_lite.widgets import base
from misf_lite.widgets.kernel_explorer import start_pixel, traced

KERNELS = ("predicted", "identity", "box", "pixel")


def ablate(
    model: MISF,
    image: Tensor,
    mask: Tensor,
    *,
    semantic: bool = True,
    image_level: bool = True,
    link: bool = True,
    kernels: str = "predicted",
    pixel: tuple[int, int] = (0, 0),
) -> Trace:
    """Run a model with parts of it switched off. It was trained with them: a model trained without may do better.

    Args:
        model: a `MISF`; it is left as it is. image: ``(1, 3, H, W)``. mask: ``(1, 1, H, W)``, 1 = hole.
        semantic, image_level: whether features, or the image, are filtered; where not, all kernels are the identity.
        link: whether KPB gets F2 from SIFB; where not, it gets zeros.
        kernels: those of the filters that are on: ``"predicted"``, ``"identity"``, ``"box"`` (the mean of the window),
            or ``"pixel"``: everywhere those that were predicted for one pixel. Known pixels of the image keep the
            identity where the model gives it to them.
        pixel: (row, column) for ``"pixel"``.

    Raises:
        ValueError: no such kernels.
    """
    if kernels not in KERNELS:
        raise ValueError(f"kernels must be one of {KERNELS}, got {kernels!r}")
    model = copy.deepcopy(model)  # the hooks below are for this run alone
    if model.kpb is None:
        return traced(model, image, mask)
    predict = model.kpb.kernels

    def replaced(level: int, features: Tensor) -> Tensor:
        predicted = predict(level, features)
        kind = kernels if (semantic if level else image_level) else "identity"
        if kind == "predicted":
            return predicted
        if kind == "box":
            return torch.full_like(predicted, 1 / predicted.shape[2])
        if kind == "pixel":
            row, column = (n // 2 ** max(level - 1, 0) for n in pixel)
            return predicted[..., row : row + 1, column : column + 1].expand_as(predicted).contiguous()
        identity = torch.zeros_like(predicted)
        identity[:, :, predicted.shape[2] // 2] = 1
        return identity

    def unlinked(_, arguments: tuple[Tensor]) -> tuple[Tensor]:
        features = arguments[0].clone()
        features[:, : model.config.channels(2)] = 0
        return (features,)

    model.kpb.kernels = replaced
    if not link and model.config.linked and len(model.kpb.encoder) == 3:
        model.kpb.encoder[2].register_forward_pre_hook(unlinked)
    return traced(model, image, mask)


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
    asked = traitlets.Dict().tag(sync=True, echo_update=False)
    answer = traitlets.Dict().tag(sync=True)
    summary = "Ablation: run the notebook to switch parts of the model off"

    def __init__(self, image: Tensor, mask: Tensor, model: MISF) -> None:
        base.check_pair(image, mask, "Ablation")
        base.check_model(model)
        if not (mask >= 0.5).any():
            raise ValueError("Ablation compares what fills the hole, and this mask has none: give one with a hole")
        self._model, self._image, self._mask = model, image.detach().cpu(), mask.detach().cpu()
        config = model.config
        pixel = start_pixel(self._image, self._mask)
        settings = {"semantic": True, "image_level": True, "link": True, "kernels": "predicted", "pixel": list(pixel)}
        whole = self._run(settings)
        data = {
            "size": list(image.shape[2:]),
            "image": base.pixels(self._image),
            "mask": base.holes(self._mask),
            "whole": whole,
            "parts": {
                "semantic": config.semantic,
                "image_level": config.image,
                "link": config.linked and bool(config.levels),
            },
        }
        super().__init__(data=data, asked={"number": 0} | settings, answer={"number": 0} | whole)
        latest = base.Latest(self._answer)
        self.observe(lambda change: latest.ask(self.asked), "asked")

    def _run(self, settings: dict) -> dict[str, Any]:
        started = time.perf_counter()
        filled = ablate(self._model, self._image, self._mask, **settings).composite
        score = psnr(filled, self._image, (self._mask >= 0.5).float()).item()
        return {"rgb": base.pixels(filled), "psnr": score, "seconds": time.perf_counter() - started}

    def _answer(self, asked: dict) -> None:
        settings = dict(asked)
        answer = {"number": settings.pop("number")}
        try:
            answer |= self._run(settings)
        except Exception as error:  # nobody sees what is raised on this thread
            answer["error"] = f"{type(error).__name__}: {error}"
        self.answer = answer

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
