"""MISF, the whole model on one page.

Two branches look at the picture with a hole. SIFB (semantic and image filtering branch) encodes it to features,
filters them, and decodes them to a picture; KPB (kernel prediction branch) predicts the kernels::

    KPB   E1 ───→ E2 ───→ E3 ─→ … decoder … ─→ K          E3 sees [F2, E2]: the interactive link
          ┊K1     ┊K2  ↗  ┊K3                  │           K1, K2, K3: semantic kernels
    SIFB  F1 ───→ F2 ───→ F3 ─→ … decoder … ─→ ⊛ ─→ Î      K: image-level kernels

Every ablation of the paper is a field of `MISFConfig`. (MISF, section 3 and table 1.)
"""

import math
import operator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from misf_lite.filtering import filter2d
from misf_lite.guess import smooth_guess

FILTERED = ("input", "decoded", "composite")
GUESSES = ("zero", "smooth")


@dataclass(frozen=True)
class MISFConfig:
    """What a `MISF` is made of. The defaults are the paper's.

    Fields marked *per level* take one value for all four levels, or one for each: (image, F1, F2, F3).

    Attributes:
        semantic: filter features (the paper's semantic filtering).
        image: filter at image level.
        interactive: KPB is handed F2 from SIFB. Nothing to hand over where there is no SIFB.
        semantic_levels: which features are filtered, any of 1, 2, 3.
        filtered: what the image-level kernels act on: ``"input"`` (the picture with its hole; without semantic
            filtering there is then no SIFB at all, with it the decoder's output is added in the hole), ``"decoded"``
            (the decoder's output, the paper's choice) or ``"composite"`` (decoded in the hole, known pixels outside).
            Known pixels are real in the first and the last, and keep the identity as their kernel.
        passes: how often the image is filtered with the same kernels: known pixels reach ``passes * (N // 2)`` pixels
            far into the hole.
        guess: what the branches see in the hole, and what the decoder corrects: ``"zero"`` (the paper's) or
            ``"smooth"``, see `misf_lite.guess`.
        kernel_size: N, odd; *per level*.
        kernel_groups: kernels per pixel: 1 is shared by all channels, None one for each; *per level*.
        kernel_norm: ``"raw"`` kernels may be negative and have any sum, ``"softmax"`` ones are positive and sum to 1;
            *per level*.
        dilation: distance between taps; *per level*.
        norm: ``"instance"`` or ``"none"``, after each convolution.
        width: channels of F1 and E1; F2 has twice, F3 four times as many.
        blocks: residual blocks in the middle of SIFB and of KPB: one number for both, or one for each.
        outer_kernel: size of the first and the last convolutions, odd.

    Raises:
        ValueError: a field has a value it cannot have, with the values it can.
    """

    semantic: bool = True
    image: bool = True
    interactive: bool = True
    semantic_levels: tuple[int, ...] = (3,)
    filtered: str = "decoded"
    passes: int = 1
    guess: str = "zero"
    kernel_size: int | tuple[int, ...] = 3
    kernel_groups: int | tuple[int | None, ...] | None = None
    kernel_norm: str | tuple[str, ...] = "raw"
    dilation: int | tuple[int, ...] = 1
    norm: str = "instance"
    width: int = 64
    blocks: int | tuple[int, int] = 8
    outer_kernel: int = 7

    @classmethod
    def paper(cls, **changes) -> "MISFConfig":
        """Table 1 of the paper."""
        return cls(**changes)

    @classmethod
    def lite(cls, **changes) -> "MISFConfig":
        """For photographs on a laptop: narrow, norm-free, from a smooth guess, one readable kernel per pixel."""
        lite = {
            "filtered": "input",
            "passes": 16,
            "guess": "smooth",
            "kernel_groups": (1, None, None, None),
            "kernel_norm": ("softmax", "raw", "raw", "raw"),
            "norm": "none",
            "width": 16,
            "blocks": (2, 1),
            "outer_kernel": 3,
        }
        return cls(**lite | changes)

    @classmethod
    def toy(cls, **changes) -> "MISFConfig":
        """For 64-pixel toy faces and tests: `lite`, smaller still, and one wide pass over the paper's empty hole."""
        toy = {
            "filtered": "composite",
            "passes": 1,
            "guess": "zero",
            "kernel_size": (5, 3, 3, 3),
            "width": 8,
            "blocks": 2,
        }
        return cls.lite(**toy | changes)

    def __post_init__(self) -> None:
        for name in ("kernel_size", "kernel_groups", "kernel_norm", "dilation"):
            value = getattr(self, name)
            value = tuple(value) if isinstance(value, list | tuple) else (value,) * 4
            if len(value) != 4:
                raise ValueError(f"{name} takes one value, or four: (image, F1, F2, F3); got {value}")
            if name != "kernel_norm":
                value = tuple(None if v is None and name == "kernel_groups" else _whole(v, name) for v in value)
            object.__setattr__(self, name, value)
        for name in ("passes", "width", "outer_kernel"):
            object.__setattr__(self, name, _whole(getattr(self, name), name))
        blocks = self.blocks if isinstance(self.blocks, list | tuple) else (self.blocks,) * 2
        if len(blocks) != 2:
            raise ValueError(f"blocks takes one number, or two: (SIFB, KPB); got {blocks}")
        object.__setattr__(self, "blocks", tuple(_whole(n, "blocks") for n in blocks))
        levels = self.semantic_levels
        levels = levels if isinstance(levels, list | tuple | set) else (levels,)
        levels = {_whole(level, "semantic_levels") for level in levels}
        object.__setattr__(self, "semantic_levels", tuple(sorted(levels)))

        def check(ok: bool, name: str, expected: str) -> None:
            if not ok:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name)!r}")

        check(set(self.semantic_levels) <= {1, 2, 3}, "semantic_levels", "any of 1, 2, 3")
        some = bool(self.semantic_levels) or not self.semantic
        check(some, "semantic_levels", "at least one level; or set semantic=False")
        check(self.filtered in FILTERED, "filtered", f"one of {FILTERED}")
        check(self.passes >= 1, "passes", "1 or more")
        check(self.guess in GUESSES, "guess", f"one of {GUESSES}")
        check(all(n >= 1 and n % 2 for n in self.kernel_size), "kernel_size", "odd, from 1 up")
        check(set(self.kernel_norm) <= {"raw", "softmax"}, "kernel_norm", "'raw' or 'softmax'")
        check(all(d >= 1 for d in self.dilation), "dilation", "1 or more")
        check(self.norm in ("none", "instance"), "norm", "'none' or 'instance'")
        check(self.width >= 1, "width", "1 or more")
        check(min(self.blocks) >= 0, "blocks", "0 or more")
        check(self.outer_kernel >= 1 and self.outer_kernel % 2 == 1, "outer_kernel", "odd, from 1 up")
        for level in self.levels:
            groups, channels = self.kernel_groups[level], self.channels(level)
            fits = groups is None or (groups > 0 and channels % groups == 0)
            divisor = f"None or a divisor of level {level}'s {channels} channels (a tuple sets each)"
            check(fits, "kernel_groups", divisor)

    @property
    def levels(self) -> tuple[int, ...]:
        """The levels that are filtered: 0 for the image, 1 to 3 for features."""
        return (0,) * self.image + self.semantic_levels * self.semantic

    @property
    def decodes(self) -> bool:
        """Whether there is a SIFB: all but image-level filtering of the input need one."""
        return self.semantic or not self.image or self.filtered != "input"

    @property
    def corrects(self) -> bool:
        """Whether the decoder's output is added to something."""
        return self.guess != "zero" or self.adds

    @property
    def adds(self) -> bool:
        """Whether the decoder's output is added to the filtered input, after the passes."""
        return self.image and self.filtered == "input"

    @property
    def bends(self) -> bool:
        """Whether every pass gives back what equal taps would take from the smooth guess."""
        return self.adds and self.guess == "smooth" and self.kernel_norm[0] == "softmax"

    @property
    def linked(self) -> bool:
        return self.interactive and self.decodes

    def channels(self, level: int) -> int:
        return 3 if level == 0 else self.width * 2 ** (level - 1)


def _whole(value: object, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name} takes whole numbers, got {value!r}") from None


def conv(c_in: int, c_out: int, size: int, config: MISFConfig, stride: int = 1) -> nn.Sequential:
    """Convolution (halving the size where stride = 2), norm, ReLU."""
    layer = nn.Conv2d(c_in, c_out, size, stride, padding=(size - 1) // 2)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return nn.Sequential(layer, *_norm(c_out, config), nn.ReLU(inplace=True))


def up(c_in: int, c_out: int, config: MISFConfig) -> nn.Sequential:
    """Transposed convolution that doubles the size, norm, ReLU."""
    layer = nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / (4 * c_in)))  # 4 of the 16 weights meet at each output pixel
    return nn.Sequential(layer, *_norm(c_out, config), nn.ReLU(inplace=True))


def _norm(channels: int, config: MISFConfig) -> list[nn.Module]:
    return [nn.InstanceNorm2d(channels)] if config.norm == "instance" else []


class Residual(nn.Module):
    """x + conv(conv(x)); starts as the identity where there is no norm."""

    def __init__(self, channels: int, dilation: int, config: MISFConfig) -> None:
        super().__init__()
        first = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation)
        last = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(first.weight, nonlinearity="relu")
        if config.norm == "none":
            nn.init.zeros_(last.weight)
        self.body = nn.Sequential(
            first, *_norm(channels, config), nn.ReLU(inplace=True), last, *_norm(channels, config)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def encoder(c_extra: int, config: MISFConfig) -> nn.ModuleList:
    """The three steps to levels 1, 2, 3; the last is handed c_extra more channels."""
    w = config.width
    return nn.ModuleList(
        [
            conv(3 + 1, w, config.outer_kernel, config),
            conv(w, 2 * w, 4, config, stride=2),
            conv(2 * w + c_extra, 4 * w, 4, config, stride=2),
        ]
    )


def decoder(c_out: int, blocks: int, dilation: int, config: MISFConfig) -> nn.Sequential:
    """From level 3 back to the image's size: residual blocks, two steps up, the last convolution."""
    w = config.width
    return nn.Sequential(
        *(Residual(4 * w, dilation, config) for _ in range(blocks)),
        up(4 * w, 2 * w, config),
        up(2 * w, w, config),
        nn.Conv2d(w, c_out, config.outer_kernel, padding=config.outer_kernel // 2),
    )


class KernelPredictionBranch(nn.Module):
    """KPB: from the picture (and SIFB's F2) to a kernel for every pixel of every filtered level."""

    def __init__(self, config: MISFConfig) -> None:
        super().__init__()
        self.config = config
        depth = 3 if config.image else max(config.levels)
        self.encoder = encoder(config.channels(2) if config.linked else 0, config)[:depth]
        self.heads = nn.ModuleDict()
        for level in config.levels:
            taps = (config.kernel_groups[level] or config.channels(level)) * config.kernel_size[level] ** 2
            self.heads[str(level)] = (
                nn.Conv2d(config.channels(level), taps, 1) if level else decoder(taps, config.blocks[1], 1, config)
            )
            self._start(level)

    def _start(self, level: int) -> None:
        """Raw kernels start as the identity, softmax ones as the mean: they reach 1 only where they no longer learn."""
        head, N = self.heads[str(level)], self.config.kernel_size[level]
        last = head if level else head[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        if self.config.kernel_norm[level] == "raw":
            nn.init.ones_(last.bias.view(-1, N * N)[:, N * N // 2])

    def kernels(self, level: int, features: Tensor) -> Tensor:
        """``(B, G, N², H, W)`` from E1, E2 or E3; for level 0 from E3, through the decoder."""
        kernels = self.heads[str(level)](features).unflatten(1, (-1, self.config.kernel_size[level] ** 2))
        if self.config.kernel_norm[level] == "raw":
            return kernels
        # In half precision the taps would not sum to 1, and every pass would change the brightness.
        return kernels.softmax(2, dtype=torch.promote_types(kernels.dtype, torch.float32))


class SemanticImageFilteringBranch(nn.Module):
    """SIFB: encodes the picture to F1, F2, F3 and decodes the filtered features to a picture."""

    def __init__(self, config: MISFConfig) -> None:
        super().__init__()
        self.encoder = encoder(0, config)
        self.decoder = decoder(3, config.blocks[0], 2, config)  # the paper's dilation 2: sees past the rim of the hole
        last = self.decoder[-1]
        if config.corrects:  # start with nothing to add
            nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, 0.0 if config.corrects else 0.5)


@dataclass
class Trace:
    """Everything that passed through a `MISF` for one batch. Levels: 0 is the image, 1 to 3 the features.

    For every filtered level, ``filter2d(before[level], kernels[level], dilation=config.dilation[level])`` is
    ``after[level]``.

    Attributes:
        image: ``(B, 3, H, W)`` as given. mask: ``(B, 1, H, W)``, 1 = hole.
        before, after: level -> ``(B, C, h, w)`` before and after the filter (the image: its last pass).
        kernels: level -> ``(B, G, N², h, w)``.
        bend: ``(B, 3, H, W)``, what every pass adds in the hole, or None: the smooth guess less its mean over the taps,
            so that equal taps leave the guess as it is.
        decoded: ``(B, 3, H, W)`` in [0, 1], the decoder's picture; what the decoder adds where the input is filtered;
            None where there is no SIFB.
        output: ``(B, 3, H, W)`` in [0, 1], what the model returns.
        composite: the output inside the hole, the image outside.
    """

    image: Tensor
    mask: Tensor
    before: dict[int, Tensor] = field(default_factory=dict)
    kernels: dict[int, Tensor] = field(default_factory=dict)
    after: dict[int, Tensor] = field(default_factory=dict)
    bend: Tensor | None = None
    decoded: Tensor | None = None
    output: Tensor | None = None
    composite: Tensor | None = None


class MISF(nn.Module):
    """The model: ``model(image, mask)``.

    Args:
        image: ``(B, 3, H, W)`` in [0, 1], any H, W >= 16. What lies under the hole is never looked at.
        mask: ``(B, 1, H, W)``, 1 = hole, 0 = known (from 0.5 up it is hole).

    Returns:
        ``(B, 3, H, W)`` in [0, 1], the whole picture; `misf_lite.inpaint` keeps the known pixels.

    Raises:
        ValueError: shapes that do not fit.
    """

    def __init__(self, config: MISFConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or MISFConfig()
        self.kpb = KernelPredictionBranch(config) if config.levels else None
        self.sifb = SemanticImageFilteringBranch(config) if config.decodes else None
        if config.norm == "none":  # convolutions of few channels are faster so; an instance norm is slower
            self.to(memory_format=torch.channels_last)

    def forward(self, image: Tensor, mask: Tensor, trace: Trace | None = None) -> Tensor:
        _check(image, mask)
        config, (H, W) = self.config, image.shape[-2:]
        hole = mask >= 0.5
        known = image.masked_fill(hole, 0)
        guess = smooth_guess(known, mask) if config.guess == "smooth" else known
        # Two halvings need multiples of 4.
        x = F.pad(torch.cat([guess, hole.to(image)], 1), (0, -W % 4, 0, -H % 4), mode="reflect")

        def filtered(level: int, x: Tensor, kernels: Tensor) -> Tensor:
            y = filter2d(x, kernels, dilation=config.dilation[level])
            if trace is not None:
                trace.before[level], trace.kernels[level], trace.after[level] = x, kernels, y
            return y

        f = e = x
        for level in (1, 2, 3):
            if self.kpb and level <= len(self.kpb.encoder):
                e = self.kpb.encoder[level - 1](torch.cat([f, e], 1) if level == 3 and config.linked else e)
            if self.sifb:
                f = self.sifb.encoder[level - 1](f)
                if level in config.levels:
                    f = filtered(level, f, self.kpb.kernels(level, e))

        decoded = self.sifb.decoder(f)[..., :H, :W] if self.sifb else None
        if decoded is not None and not config.adds:
            decoded = _into_range(guess + decoded if config.guess == "smooth" else decoded)
        y, bend = guess if config.adds else decoded, None
        if config.image:
            kernels = self.kpb.kernels(0, e)[..., :H, :W]
            if config.filtered != "decoded":  # known pixels are real, and stay as they are
                y = torch.where(hole, y, known)
                kernels = torch.where(hole[:, None], kernels, _identity(kernels))
            if config.bends:
                equal = torch.full_like(kernels, 1 / kernels.shape[2])
                bend = (guess - filter2d(guess, equal, dilation=config.dilation[0])).masked_fill(~hole, 0)
            for _ in range(config.passes):
                y = filtered(0, y, kernels)
                y = y if bend is None else y + bend
        if config.adds and decoded is not None:
            y = torch.where(hole, y + decoded, y)
        if trace is not None:
            trace.bend, trace.decoded = bend, decoded
        return _into_range(y)

    @torch.no_grad()
    def trace(self, image: Tensor, mask: Tensor) -> Trace:
        """Run the model and keep what passes through it. Arguments as for calling the model."""
        trace = Trace(image, mask)
        trace.output = self(image, mask, trace)
        trace.composite = torch.where(mask >= 0.5, trace.output, image)
        return trace


def _identity(kernels: Tensor) -> Tensor:
    """One kernel ``(N², 1, 1)`` that changes nothing."""
    taps = kernels.shape[2]
    return (torch.arange(taps, device=kernels.device) == taps // 2).to(kernels)[:, None, None]


def _into_range(x: Tensor) -> Tensor:
    """Clamp to [0, 1], but let the gradient through: a pixel that is too bright must still learn so."""
    return x.detach().clamp(0, 1) + (x - x.detach())


def _check(image: Tensor, mask: Tensor) -> None:
    if image.dim() != 4 or image.shape[1] != 3 or mask.shape != (image.shape[0], 1, *image.shape[2:]):
        raise ValueError(
            f"MISF expects image (B, 3, H, W) and mask (B, 1, H, W), got {tuple(image.shape)} and {tuple(mask.shape)}"
        )
    if min(image.shape[2:]) < 16:
        raise ValueError(
            f"MISF expects at least 16 × 16 pixels, got {image.shape[2]} × {image.shape[3]}: enlarge the image"
        )
