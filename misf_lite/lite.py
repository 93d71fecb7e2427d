"""Networks that filter the picture itself: `LiteMISF`, for photographs, and `ImageFilter`, which does nothing else.

The paper's image-level filter works on what the decoder made of the picture. Here it works on the picture with its
hole, several times with the same kernels: with each pass known pixels travel N // 2 pixels further in.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misf_lite.classical import smooth_guess
from misf_lite.filtering import filter2d
from misf_lite.flow import Watch, unwatched
from misf_lite.masks import is_hole
from misf_lite.model import MISF, MISFConfig, as_kernels, check_inputs, conv, identity, into_range, kernel_head


@dataclass(frozen=True)
class LiteConfig(MISFConfig):
    """As `MISFConfig.lite`, with small kernels that are applied many times, to a smooth guess."""

    composite: bool = True  # always: the picture itself is filtered, and known pixels stay as they are
    shared: tuple[bool, bool] = (True, False)
    softmax: tuple[bool, bool] = (True, False)
    norm: bool = False
    width: int = 16
    blocks: tuple[int, int] = (2, 1)
    outer_kernel: int = 3
    passes: int = 16  # how often the picture is filtered with the same kernels
    smooth: bool = True  # start from the smooth guess, or from a black hole

    def __post_init__(self) -> None:
        super().__post_init__()
        if type(self.passes) is not int or self.passes not in range(1, 1001) or not self.composite:
            raise ValueError(f"passes is from 1 to 1000, composite True; got {self.passes} and {self.composite}")


class LiteMISF(MISF):
    """``model(image, mask)``, as `MISF`: the decoder adds to the filtered picture, at first nothing."""

    config: LiteConfig

    def __init__(self, config: LiteConfig | None = None) -> None:
        super().__init__(config or LiteConfig())
        for parameter in self.decoder[-1].parameters():
            nn.init.zeros_(parameter)

    def see(self, known: Tensor, hole: Tensor) -> Tensor:
        return smooth_guess(known, hole.to(known)) if self.config.smooth else known

    def fill(self, decoded: Tensor, K: Tensor | None, seen: Tensor, hole: Tensor, flow: Watch) -> Tensor:
        picture = seen if K is None else filter_hole(seen, K, hole, self.config, flow)
        return torch.where(hole, picture + flow("added", decoded), seen)


class ImageFilter(nn.Module):
    """Image-level filtering alone, the paper's (a): KPB, and the filter on the picture with its hole."""

    def __init__(self, config: LiteConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        self.E1 = conv(3 + 1, w, config.outer_kernel, config)
        self.E2 = conv(w, 2 * w, 4, config, stride=2)
        self.E3 = conv(2 * w, 4 * w, 4, config, stride=2)
        self.heads = nn.ModuleDict({"K": kernel_head(0, config)})
        if not config.norm:
            self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, mask: Tensor, flow: Watch = unwatched) -> Tensor:
        check_inputs(image, mask)
        (H, W), hole = image.shape[2:], is_hole(mask)
        known = image.masked_fill(hole, 0)
        x = F.pad(torch.cat([known, hole.to(image)], 1), (0, -W % 4, 0, -H % 4), mode="reflect")
        E3 = flow("E3", self.E3(flow("E2", self.E2(flow("E1", self.E1(x))))))
        K = as_kernels(self.heads["K"](E3), 0, self.config)[..., :H, :W]
        K = torch.where(hole[:, None], K, identity(K))
        return flow("output", into_range(filter_hole(known, K, hole, self.config, flow)))


def filter_hole(picture: Tensor, K: Tensor, hole: Tensor, config: LiteConfig, flow: Watch) -> Tensor:
    """Filter the hole ``passes`` times. Each pass gives back what equal taps would take from a smooth guess: until a
    kernel has something better to say, the guess stays as it is.
    """
    K = flow("K", K)
    given_back = torch.zeros_like(picture)
    if config.smooth:
        flattened = filter2d(picture, torch.full_like(K, 1 / K.shape[2]))
        given_back = flow("given_back", (picture - flattened).masked_fill(~hole, 0))
    for _ in range(config.passes):
        picture = torch.where(hole, filter2d(flow("picture", picture), K) + given_back, picture)
    return picture


def build(config: MISFConfig) -> MISF | ImageFilter:
    """The network of a config: where the picture itself is filtered and no feature is, there is nothing to decode."""
    if not isinstance(config, LiteConfig):
        return MISF(config)
    return ImageFilter(config) if config.levels == (0,) else LiteMISF(config)
