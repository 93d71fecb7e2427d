"""MISF, the whole model on one page (Li et al., CVPR 2022, section 3 and table 1).

Two branches look at a picture with a hole. SIFB, the semantic and image filtering branch, encodes it, filters the
features, decodes them, and filters what comes out. KPB, the kernel prediction branch, predicts the kernels of both::

    KPB   E1 ───→ E2 ───→ E3 ────→ decoder ───→ K           E3 sees [F2, E2]: the interactive link
                       ↗   │ K3                 │
    SIFB  F1 ───→ F2 ───→ F3 ⊛ ──→ decoder ──── ⊛ ──→ Î
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misf_lite.filtering import filter2d
from misf_lite.flow import Watch, unwatched
from misf_lite.masks import is_hole


@dataclass(frozen=True)
class MISFConfig:
    """What a `MISF` is made of; the defaults are the paper's. Pairs are for (image, semantic) filtering."""

    levels: tuple[int, ...] = (0, 3)  # what is filtered: 0 the picture, 1 to 3 the features F1 to F3
    interactive: bool = True  # KPB sees F2
    composite: bool = False  # around the hole the image filter works on the real pixels, not on the decoder's
    kernel_size: tuple[int, int] = (3, 3)  # N, odd: a kernel has N × N taps
    shared: tuple[bool, bool] = (False, False)  # one kernel for all channels of a pixel, or one for each
    softmax: tuple[bool, bool] = (False, False)  # taps are positive and sum to 1, or may be anything
    norm: bool = True  # instance norm after each convolution
    width: int = 64  # channels of F1 and E1; F2 and E2 have twice, F3 and E3 four times as many
    blocks: tuple[int, int] = (8, 8)  # residual blocks in the decoders of SIFB and KPB
    outer_kernel: int = 7  # side of the first and the last convolutions, odd

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        return cls(**changes)  # table 1

    @classmethod
    def lite(cls, **changes: Any) -> Self:
        """For a laptop: narrow, without norms; around the hole real pixels, and one readable kernel for each."""
        readable = {"composite": True, "kernel_size": (5, 3), "shared": (True, False), "softmax": (True, False)}
        return cls(**{"norm": False, "width": 16, "blocks": (2, 1), "outer_kernel": 3, **readable, **changes})

    @classmethod
    def toy(cls, **changes: Any) -> Self:
        """For toy faces of 64 pixels and for tests: `lite`, smaller still."""
        return cls.lite(**{"width": 8, "blocks": (2, 2), **changes})

    def __post_init__(self) -> None:
        pairs = {name: getattr(self, name) for name in ("kernel_size", "shared", "softmax", "blocks")}
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs.values()):
            raise ValueError(f"each of these takes a pair, (image, semantic): {pairs}")
        numbers = (*self.levels, *self.kernel_size, *self.blocks, self.width, self.outer_kernel)
        if not all(type(number) is int for number in numbers):
            raise ValueError(f"levels, kernel sizes, blocks and width are whole numbers, got {numbers}")
        if not set(self.levels) <= {0, 1, 2, 3} or len(set(self.levels)) < len(self.levels):
            raise ValueError(f"levels are any of 0 (the picture), 1, 2, 3 (features), got {self.levels}")
        if not all(side in range(1, 32, 2) for side in (*self.kernel_size, self.outer_kernel)):
            raise ValueError(f"kernels have odd sides up to 31, got {self.kernel_size} and {self.outer_kernel}")
        if self.width not in range(1, 4097) or not set(self.blocks) <= {*range(101)}:
            given = f"got {self.width} and {self.blocks}"
            raise ValueError(f"width is from 1 to 4096, blocks are from 0 to 100, {given}")

    def channels(self, level: int) -> int:
        return self.width * 2 ** (level - 1) if level else 3


class MISF(nn.Module):
    """``model(image, mask)``: image ``(B, 3, H, W)`` in [0, 1], mask ``(B, 1, H, W)`` with 1 = hole, any H, W >= 16.

    Returns the whole picture, ``(B, 3, H, W)`` in [0, 1]; `misf_lite.fill` keeps what is known. With a `Flow` as third
    argument every tensor of the drawing can be read, or replaced on its way. Raises ValueError for other shapes.
    """

    def __init__(self, config: MISFConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MISFConfig.paper()
        w = config.width
        self.F1 = conv(3 + 1, w, config.outer_kernel, config)
        self.F2 = conv(w, 2 * w, 4, config, stride=2)
        self.F3 = conv(2 * w, 4 * w, 4, config, stride=2)
        self.decoder = decoder(3, config.blocks[0], 2, config)  # dilation 2 sees past the rim of the hole
        _, bias = self.decoder[-1].parameters()
        nn.init.constant_(bias, 0.5)

        depth = 3 if 0 in config.levels else max(config.levels, default=0)  # KPB goes as deep as kernels are asked for
        self.linked = config.interactive and depth == 3
        self.E1 = conv(3 + 1, w, config.outer_kernel, config) if depth >= 1 else nn.Identity()
        self.E2 = conv(w, 2 * w, 4, config, stride=2) if depth >= 2 else nn.Identity()
        self.E3 = conv(4 * w if self.linked else 2 * w, 4 * w, 4, config, stride=2) if depth == 3 else nn.Identity()
        self.heads = nn.ModuleDict({f"K{level or ''}": kernel_head(level, config) for level in config.levels})
        if not config.norm:
            self.to(memory_format=torch.channels_last)  # faster for few channels, slower with norms

    def forward(self, image: Tensor, mask: Tensor, flow: Watch = unwatched) -> Tensor:
        check_inputs(image, mask)
        (H, W), hole = image.shape[2:], is_hole(mask)
        seen = flow("seen", self.see(image.masked_fill(hole, 0), hole))  # never what lies under the hole
        E3, F3 = self.encode(torch.cat([seen, hole.to(image)], 1), flow)
        decoded = self.decoder(self.filter_features(3, F3, E3, flow))[..., :H, :W]  # (B, 3, H, W)
        K = as_kernels(self.heads["K"](E3), 0, self.config)[..., :H, :W] if 0 in self.config.levels else None
        if K is not None and self.config.composite:  # known pixels are real, and stay as they are
            K = torch.where(hole[:, None], K, identity(K))
        return flow("output", into_range(self.fill(decoded, K, seen, hole, flow)))

    def encode(self, x: Tensor, flow: Watch) -> tuple[Tensor, Tensor]:
        """Both branches, side by side and linked, from (B, 3 + 1, H, W) to E3 and F3."""
        x = F.pad(x, (0, -x.shape[3] % 4, 0, -x.shape[2] % 4), mode="reflect")  # two halvings need multiples of 4
        E1 = flow("E1", self.E1(x))  # (B, w, H, W)
        F1 = self.filter_features(1, flow("F1", self.F1(x)), E1, flow)
        E2 = flow("E2", self.E2(E1))  # (B, 2w, H/2, W/2)
        F2 = self.filter_features(2, flow("F2", self.F2(F1)), E2, flow)
        del x, E1, F1  # the largest, and no longer needed
        E3 = flow("E3", self.E3(torch.cat([flow("link", F2), E2], 1) if self.linked else E2))  # (B, 4w, H/4, W/4)
        return E3, flow("F3", self.F3(F2))

    def see(self, known: Tensor, hole: Tensor) -> Tensor:
        return known  # a black hole

    def filter_features(self, level: int, x: Tensor, E: Tensor, flow: Watch) -> Tensor:
        """Semantic filtering, F̂ = F ⊛ K, at the levels that have it."""
        if level not in self.config.levels:
            return x
        K = flow(f"K{level}", as_kernels(self.heads[f"K{level}"](E), level, self.config))  # (B, G, N², h, w)
        return flow(f"F{level}_hat", filter2d(x, K))

    def fill(self, decoded: Tensor, K: Tensor | None, seen: Tensor, hole: Tensor, flow: Watch) -> Tensor:
        """Image-level filtering of what the decoder made of the picture."""
        picture = flow("decoded", into_range(decoded))
        if K is None:
            return picture
        if self.config.composite:
            picture = torch.where(hole, picture, seen)
        return filter2d(flow("picture", picture), flow("K", K))


def kernel_head(level: int, config: MISFConfig) -> nn.Module:
    """From E1, E2 or E3 to the kernels' taps; the picture's go through KPB's decoder."""
    kind, N = min(level, 1), config.kernel_size[min(level, 1)]
    taps = N * N * (1 if config.shared[kind] else config.channels(level))
    head = nn.Conv2d(config.channels(level), taps, 1) if level else decoder(taps, config.blocks[1], 1, config)
    *_, weight, bias = head.parameters()
    nn.init.zeros_(weight)
    nn.init.zeros_(bias)
    if not config.softmax[kind]:  # raw kernels start as the identity, softmax ones as the mean
        nn.init.ones_(bias.view(-1, N * N)[:, N * N // 2])
    return head


def decoder(c_out: int, blocks: int, dilation: int, config: MISFConfig) -> nn.Sequential:
    """From F3's or E3's size back to the picture's."""
    w = config.width
    return nn.Sequential(
        *(Residual(4 * w, dilation, config) for _ in range(blocks)),
        up(4 * w, 2 * w, config),
        up(2 * w, w, config),
        nn.Conv2d(w, c_out, config.outer_kernel, padding=config.outer_kernel // 2),
    )


def conv(c_in: int, c_out: int, size: int, config: MISFConfig, stride: int = 1) -> nn.Sequential:
    """Convolution (halves the size where stride = 2), norm, ReLU."""
    layer = nn.Conv2d(c_in, c_out, size, stride, padding=(size - 1) // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, *norm(c_out, config), nn.ReLU(inplace=True))


def up(c_in: int, c_out: int, config: MISFConfig) -> nn.Sequential:
    """Transposed convolution (doubles the size), norm, ReLU."""
    layer = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (4 * c_in)))  # 4 of the 16 weights meet at each output pixel
    return nn.Sequential(layer, *norm(c_out, config), nn.ReLU(inplace=True))


def norm(channels: int, config: MISFConfig) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels)] if config.norm else []


class Residual(nn.Module):
    """x + conv(conv(x)); starts as the identity where there is no norm."""

    def __init__(self, channels: int, dilation: int, config: MISFConfig) -> None:
        super().__init__()
        first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
        if not config.norm:
            nn.init.zeros_(last.weight)
        self.body = nn.Sequential(first, *norm(channels, config), nn.ReLU(True), last, *norm(channels, config))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def as_kernels(taps: Tensor, level: int, config: MISFConfig) -> Tensor:
    kernels = taps.unflatten(1, (-1, config.kernel_size[min(level, 1)] ** 2))
    if not config.softmax[min(level, 1)]:
        return kernels
    return kernels.softmax(2, dtype=torch.promote_types(taps.dtype, torch.float32))  # in half precision Σ is not 1


def identity(kernels: Tensor) -> Tensor:
    """Kernels of the same shape that change nothing."""
    taps = kernels.shape[2]
    centre = torch.arange(taps, device=kernels.device) == taps // 2
    return centre.to(kernels)[:, None, None].expand_as(kernels)


def into_range(x: Tensor) -> Tensor:
    """Clamp to [0, 1], but let the gradient through: a pixel that is too bright must still learn so."""
    return x.detach().clamp(0, 1) + (x - x.detach())


def check_inputs(image: Tensor, mask: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != 3 or mask.shape != (image.shape[0], 1, *image.shape[2:]):
        given = f"got {tuple(image.shape)} and {tuple(mask.shape)}"
        raise ValueError(f"the model expects image (B, 3, H, W) and mask (B, 1, H, W), {given}")
    if min(image.shape[2:]) < 16:
        raise ValueError(f"the model expects at least 16×16 pixels, got {tuple(image.shape[2:])}: enlarge the image")
