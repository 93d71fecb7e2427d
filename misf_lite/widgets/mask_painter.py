"""Paint a hole with the pointer and see it filled."""

import time
from typing import Any

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor, nn

from misf_lite import figures
from misf_lite.inpainting import fill
from misf_lite.masks import is_hole
from misf_lite.widgets import base

MOST = 10_000_000  # pixels: the mask comes as one message, of which Jupyter's server takes 10 MiB


class MaskPainter(base.Widget):
    """A picture to paint a hole on; the model fills it when the pointer is released, and says how long it took.

    Paint, erase, boxes, undo, a picture of your own, a slider between input and output; with the keyboard, arrow keys
    move the brush and the space bar paints. A slow model freezes nothing: of the holes painted meanwhile it fills the
    last.

    Args:
        image: ``(1, 3, H, W)`` in [0, 1].
        model: fills the hole, where it lies; any ``model(image, mask)``.
        mask: ``(1, 1, H, W)``, a hole to start with, 1 = hole; None starts without.
        longest: a picture of your own with a longer side than this, in pixels, is made smaller, and so is one of more
            than three megapixels: Jupyter's server takes no larger message.

    Raises:
        ValueError: shapes that do not fit, or more than ten megapixels.
    """

    _esm = base.script("mask_painter")
    picture = traitlets.Dict().tag(sync=True, echo_update=False)  # size, rgb: chosen here or in the browser
    asked = traitlets.Dict().tag(sync=True, echo_update=False)  # number, mask: by the browser
    answer = traitlets.Dict().tag(sync=True)  # number, rgb, seconds; or number, error
    longest = traitlets.Int(512).tag(sync=True)
    summary = "MaskPainter: run the notebook to paint a hole"

    def __init__(self, image: Tensor, model: nn.Module, mask: Tensor | None = None, *, longest: int = 512) -> None:
        base.check_pair(image, mask, "MaskPainter")
        base.check_model(model, nn.Module)
        H, W = image.shape[2:]
        if H * W > MOST:
            raise ValueError(f"MaskPainter takes up to {MOST:,} pixels, got {H}×{W}: take a part, or a smaller picture")
        self._model = model
        mask = torch.zeros_like(image[:, :1]) if mask is None else mask
        super().__init__(
            picture={"size": list(image.shape[2:]), "rgb": base.pixels(image)},
            asked={"number": 0, "mask": base.holes(mask)},
            longest=longest,
        )
        if is_hole(mask).any():
            self._answer(self.picture, self.asked)
        latest = base.Latest(self._answer)
        self.observe(lambda change: latest.ask(self.picture, self.asked), "asked")

    @property
    def image(self) -> Tensor:
        """The picture as it is now, ``(1, 3, H, W)`` in [0, 1]."""
        return base.from_pixels(self.picture["rgb"], self.picture["size"])

    @property
    def mask(self) -> Tensor:
        """The hole as it is now, ``(1, 1, H, W)``, 1 = hole."""
        return base.from_mask(self.asked["mask"], self.picture["size"])

    @property
    def filled(self) -> Tensor | None:
        """The picture as last filled, ``(1, 3, H, W)`` in [0, 1]; None while nothing was."""
        rgb = self.answer.get("rgb")
        return None if rgb is None else base.from_pixels(rgb, self.picture["size"])

    def _answer(self, picture: dict, asked: dict) -> None:
        self.answer = base.answer_to(asked, lambda: self._fill(picture, asked["mask"]))

    def _fill(self, picture: dict, hole: bytes) -> dict[str, Any]:
        image = base.from_pixels(picture["rgb"], picture["size"])
        mask = base.from_mask(hole, picture["size"])
        with base.INFERENCE:
            started = time.perf_counter()
            filled = fill(self._model, image, mask) if is_hole(mask).any() else image
            seconds = time.perf_counter() - started
        return {"rgb": base.pixels(filled), "seconds": seconds}

    def still(self) -> Figure:
        """The picture with its hole, and filled."""
        shown = {"paint a hole here": figures.with_hole(self.image, self.mask)}
        if self.filled is not None:
            shown["filled"] = self.filled
        H, W = self.picture["size"]
        figure = base.new_figure(7, 3.5 * H / W + 0.4)
        axes = figure.subplots(1, 2)
        figures.show_images(shown, axes[: len(shown)])
        for ax in axes[len(shown) :]:
            ax.set_axis_off()
        return figure
