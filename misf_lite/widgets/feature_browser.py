"""Feature maps before and after semantic filtering, those first that it changed most."""

import torch
import traitlets
from matplotlib.figure import Figure
from torch import Tensor

from misf_lite import figures
from misf_lite.widgets import base
from misf_lite.widgets.kernel_explorer import KernelExplorer


class FeatureBrowser(base.Widget):
    """Every channel of the filtered feature maps: before, after and difference, sorted by the change in the hole.

    A click on a feature pixel shows its kernel in the explorer, where one is linked.

    Args:
        image: ``(1, 3, H, W)`` in [0, 1]. mask: ``(1, 1, H, W)``, 1 = hole.
        model: whose features are shown, with semantic filtering; where it lies.
        explorer: the `KernelExplorer` of the same picture to link with, shown in a cell of its own.

    Attributes:
        flow: the `Flow` that is shown, on the CPU.

    Raises:
        ValueError: shapes that do not fit, or a model without semantic filtering.
    """

    _esm = base.script("feature_browser")
    data = traitlets.Dict().tag(sync=True)
    summary = "FeatureBrowser: run the notebook to look at feature maps"

    def __init__(self, image: Tensor, mask: Tensor, model: base.Model, explorer: KernelExplorer | None = None) -> None:
        base.check_pair(image, mask, "FeatureBrowser")
        levels = [level for level in model.config.levels if level] if isinstance(model, base.Model) else []
        if not levels:
            raise ValueError("FeatureBrowser shows what semantic filtering does: give a MISF with 1, 2 or 3 in levels")
        self.flow = base.flow_of(model, image, mask)
        room = (base.BUDGET - image.shape[2] * image.shape[3] * 4) / len(levels)
        shown = []
        for level in levels:
            before, after = self._maps(level)
            hole = base.mask_of_level(mask.detach().cpu(), level, (before.shape[2], before.shape[3]))
            shown.append(_level(level, before, after, hole, room))
        super().__init__(data={"levels": shown, "link": "" if explorer is None else explorer.data["link"]})

    def _maps(self, level: int) -> tuple[Tensor, Tensor]:
        """The features of a level before and after their filter, ``(1, C, h, w)`` each."""
        return self.flow[f"F{level}"], self.flow[f"F{level}_hat"]

    def still(self) -> Figure:
        """The three channels that the filter changed most: before, after, difference."""
        level = self.data["levels"][-1]
        before, after = self._maps(level["number"])
        figure = base.new_figure(7, 7 * before.shape[2] / before.shape[3] + 0.8)
        for row, channel in zip(figure.subplots(3, 3, squeeze=False), level["channels"], strict=False):
            maps = {"before": before, "after": after, "difference": after - before}
            for ax, (title, features) in zip(row, maps.items(), strict=True):
                shown = features[0, channel].numpy()
                most = abs(shown).max()
                colours = {"cmap": figures.MAP_COLOURS}
                if title == "difference":
                    colours = {"cmap": figures.KERNEL_COLOURS, "vmin": -most, "vmax": most}
                ax.imshow(shown, interpolation="nearest", **colours)
                ax.set_title(f"channel {channel} of F{level['number']}, {title}", fontsize=8)
                ax.set_axis_off()
        return figure


def _level(number: int, before: Tensor, after: Tensor, mask: Tensor, room: float) -> dict:
    """What the browser needs of one level: of its channels, the most changed first, as many as fit."""
    h, w = before.shape[2:]
    order, change = base.most_changed(before, after, mask)
    fitting = min(len(order), int((room - h * w) // (4 * h * w)))
    if not fitting:
        raise ValueError(
            f"not one channel of F{number} fits into what a notebook can bear ({h}×{w} pixels each): "
            "browse a smaller picture, or a part, image[..., :256, :256]"
        )
    channels = order[:fitting]
    return {
        "number": number,
        "size": [h, w],
        "all": before.shape[1],
        "channels": channels,
        "change": change[:fitting],
        "ranges": [_range(before[0, channel], after[0, channel]) for channel in channels],
        "before": base.float16_bytes(before[0, channels]),
        "after": base.float16_bytes(after[0, channels]),
        "mask": base.holes(mask),
    }


def _range(before: Tensor, after: Tensor) -> list[float]:
    """Low and high of both maps and the largest difference, but for a few pixels that would make all others pale."""
    low, high = torch.stack([before, after]).quantile(torch.tensor([0.005, 0.995])).tolist()
    difference = (after - before).abs()
    return [low, high, max(difference.quantile(0.99).item(), difference.max().item() / 4, 1e-6)]
