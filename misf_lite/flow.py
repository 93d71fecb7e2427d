"""What passes through a model, to be read or replaced by name."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from misf_lite.masks import is_hole


class Flow(dict[str, Tensor]):
    """The tensors of a model's drawing by name; a swap, name -> function, hands on something else in a tensor's place.

    ``flow = Flow.of(model, image, mask)`` reads: ``flow["K3"]``, ``flow["F3"]`` before its filter, ``flow["F3_hat"]``
    after it. ``Flow.of(model, image, mask, K3=identity)`` replaces K3 by what the function makes of it. What comes
    later sees the replacement. ``model(image, mask, flow)`` does the same with gradients.
    """

    def __init__(self, **swaps: Callable[[Tensor], Tensor]) -> None:
        self.swaps = swaps

    def __call__(self, name: str, x: Tensor) -> Tensor:
        self[name] = self.swaps[name](x) if name in self.swaps else x
        return self[name]

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module, image: Tensor, mask: Tensor, **swaps: Callable[[Tensor], Tensor]) -> Self:
        """Run a model. ``flow["output"]`` is what it returns, ``flow["filled"]`` the image with its hole filled.

        Args:
            model: such as a `MISF`. image: ``(B, 3, H, W)`` in [0, 1]. mask: ``(B, 1, H, W)``, 1 = hole.

        Raises:
            ValueError: shapes that do not fit, or a swap of what does not pass through this model.
        """
        flow = cls(**swaps)
        output = model(image, mask, flow)
        if missing := swaps.keys() - flow.keys():
            raise ValueError(f"no {min(missing)!r} passes through this model: choose from {', '.join(flow)}")
        flow["filled"] = torch.where(is_hole(mask), output, image)
        return flow


Watch = Callable[[str, Tensor], Tensor]  # a Flow, or what stands in its place


def unwatched(name: str, x: Tensor) -> Tensor:
    """Where nobody looks, nothing is kept."""
    return x
