"""Checks of notebook 01."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from misf_lite.checks.check import check, swap_taps, windows

NOT_A_NUMBER = -1.0  # an answer that is right but for 0/0, so that a suspect can agree with it


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: the window 1 1 5 / 1 9 5 / 1 9 5, its nines missing, under the weights 0 2 0 / 1 4 3 / 0 2 0."""
    check(
        answer,
        lambda: 3.0,
        [()],
        {
            "that divides by the weights of the hole, too, as if the hole were black": lambda: 1.5,
            "that is the weighted sum; divide it by the weights that were used": lambda: 18.0,
            "the nines are in it: nobody may look under the hole": lambda: 6.0,
            "that is the mean of the hole: the mask is 1 where nothing is known": lambda: 9.0,
            "that is the plain mean of the three neighbours; each counts with its weight": lambda: 7 / 3,
            "the weights are turned round (a convolution); lay them on as they are": lambda: 5 / 3,
            "rows and columns of the weights are swapped": lambda: 2.6,
        },
    )


def ignore_hole(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2."""
    cases = []
    for H, W, N in ((9, 12, 3), (11, 8, 5)):
        mask = (torch.rand(H, W) > 0.6).float()
        mask[2 : 2 + N, 1 : 1 + N] = 1  # a window without anything known
        cases.append((0.2 + torch.rand(H, W), mask, 0.1 + torch.rand(N, N)))

    def summed(picture: Tensor, weights: Tensor, beyond: str = "constant", value: float = 0) -> Tensor:
        picture = F.pad(picture[None, None].double(), [len(weights) // 2] * 4, beyond, value)
        return F.conv2d(picture, weights[None, None].double())[0, 0]

    def expected(picture: Tensor, mask: Tensor, weights: Tensor, beyond: str = "constant") -> Tensor:
        return _ratio(summed(picture * (1 - mask), weights, beyond), summed(1 - mask, weights, beyond))

    def shifted(picture: Tensor, mask: Tensor, weights: Tensor) -> Tensor:
        r, (H, W) = len(weights) // 2, picture.shape
        return expected(F.pad(picture, (0, r, 0, r)), F.pad(mask, (0, r, 0, r), value=1), weights)[r : r + H, r : r + W]

    check(
        _numbers(answer, expected),
        expected,
        cases,
        {
            "where no pixel of the window is known it divides 0 by 0; give 0 there": lambda p, m, w: torch.full_like(
                p, NOT_A_NUMBER
            ),
            "divide by the weight that falls on known pixels, not by all of it": lambda p, m, w: (
                summed(p * (1 - m), w) / w.sum()
            ),
            "divide by the weight that falls on known pixels": lambda p, m, w: summed(p * (1 - m), w),
            "the mask is 1 in the hole; what is known is 1 - mask": lambda p, m, w: expected(p, 1 - m, w),
            "it looks under the hole: multiply the picture by 1 - mask first": lambda p, m, w: _ratio(
                summed(p, w), summed(1 - m, w)
            ),
            "the mask has no effect on it": lambda p, m, w: expected(p, 0 * m, w),
            "beyond the border nothing is known; do not divide by the weight that falls there": lambda p, m, w: _ratio(
                summed(p * (1 - m), w), summed(1 - m, w, value=1)
            ),
            "the picture is mirrored at the border; here nothing is known beyond it": lambda p, m, w: expected(
                p, m, w, "reflect"
            ),
            "rows and columns of the weights are swapped": lambda p, m, w: expected(p, m, w.T),
            "the weights are turned round (a convolution); lay them on as they are": lambda p, m, w: expected(
                p, m, w.flip(0, 1)
            ),
            "the window starts at the pixel; the pixel belongs in its middle, so start N // 2 before": shifted,
        },
    )


def filter_pixels(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 3."""
    cases = []
    for H, W, N, dilation in ((9, 12, 3, 1), (11, 10, 5, 2), (10, 13, 3, 3)):
        cases.append((torch.rand(H, W), torch.randn(N * N, H, W), dilation))

    def expected(picture: Tensor, kernels: Tensor, dilation: int, **how) -> Tensor:
        N = round(len(kernels) ** 0.5)
        return (kernels * windows(picture[None, None], N, dilation, **how)[0, 0]).sum(0)

    def travelling(picture: Tensor, kernels: Tensor, dilation: int) -> Tensor:
        N = round(len(kernels) ** 0.5)
        return windows((kernels * picture)[None], N, dilation)[0].diagonal().sum(-1)

    check(
        answer,
        expected,
        cases,
        {
            "the dilation has no effect on it": lambda p, k, d: expected(p, k, 1),
            "neighbouring taps lie one pixel too far apart: dilation 1 is next to each other": lambda p, k, d: expected(
                p, k, d + 1
            ),
            "rows and columns of the taps are swapped: tap t is row t // N, column t % N": lambda p, k, d: expected(
                p, swap_taps(k, 0), d
            ),
            "the kernels are turned round (a convolution); tap 0 is up and left": lambda p, k, d: expected(
                p, k.flip(0), d
            ),
            "zeros come in at the border; mirror the picture there": lambda p, k, d: expected(
                p, k, d, beyond="constant"
            ),
            "the border pixel is repeated; mirror the picture there": lambda p, k, d: expected(
                p, k, d, beyond="replicate"
            ),
            "each pixel has its own kernel: shift the picture, the kernels stay where they are": travelling,
            "the window starts at the pixel; the pixel belongs in its middle": lambda p, k, d: expected(
                p, k, d, centred=False
            ),
            "all pixels are given one pixel's kernel; each has its own": lambda p, k, d: expected(
                p, k[:, :1, :1].expand_as(k), d
            ),
        },
    )


def widest(answer: Callable[[int, int, int], int]) -> None:
    """Exercise 4: the oracle fills bars of growing width until one stays open."""

    def closes(width: int, N: int, dilation: int, passes: int) -> bool:
        margin = N * dilation * passes
        hole = np.r_[np.zeros(margin, bool), np.ones(width, bool), np.zeros(margin, bool)]
        taps = np.zeros(N // 2 * 2 * dilation + 1, bool)
        taps[::dilation] = True
        return bool((binary_dilation(~hole, taps, passes) | ~hole).all())

    def expected(N: int, dilation: int, passes: int) -> int:
        width = 0
        while closes(width + 1, N, dilation, passes):
            width += 1
        return width

    check(
        answer,
        expected,
        [(3, 1, 1), (5, 1, 1), (5, 2, 1), (3, 1, 4), (7, 3, 2), (9, 1, 3)],
        {
            "that is how far one side reaches; a bar is closed from both": lambda N, d, p: N // 2 * d * p,
            "a kernel reaches N // 2 pixels to either side, not N": lambda N, d, p: 2 * N * d * p,
            "count from the middle of the kernel: the middle tap itself reaches nowhere": lambda N, d, p: N * d * p,
            "the dilation is missing: it moves the taps apart": lambda N, d, p: 2 * (N // 2) * p,
            "the passes are missing: each goes on where the last one ended": lambda N, d, p: 2 * (N // 2) * d,
            "that is one too wide: both sides reach equally far, and no further": lambda N, d, p: (
                2 * (N // 2) * d * p + 1
            ),
            "that is one too narrow: the innermost pixels still see one known pixel": lambda N, d, p: (
                2 * (N // 2) * d * p - 1
            ),
            "passes add reach to reach, they do not multiply it": lambda N, d, p: 2 * (N // 2 * d) ** p,
        },
    )


def undarken(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 5."""

    def shares(kernels: Tensor, mask: Tensor, beyond: str = "reflect") -> Tensor:
        """How much of each kernel's weight lies in the hole: ``(B, 1, H, W)``."""
        return (kernels * windows(mask, round(kernels.shape[2] ** 0.5), beyond=beyond)).sum(2)

    cases = []
    for B, N, H, W in ((1, 3, 9, 12), (2, 5, 11, 10)):
        mask = (torch.rand(B, 1, H, W) > 0.5).float()
        mask[..., 2 : 2 + N, 1 : 1 + N] = 1  # a window without anything known
        kernels = torch.rand(B, 1, N * N, H, W).softmax(2)
        filtered = torch.where(shares(kernels, mask) < 1 - 1e-5, 0.2 + torch.rand(B, 3, H, W), 0)
        cases.append((filtered, kernels, mask))

    def expected(filtered: Tensor, kernels: Tensor, mask: Tensor, beyond: str = "reflect") -> Tensor:
        return _ratio(filtered, 1 - shares(kernels, mask, beyond))

    check(
        _numbers(answer, expected),
        expected,
        cases,
        {
            "where all of the weight fell into the hole it divides 0 by 0; give 0 there": lambda f, k, m: (
                torch.full_like(f, NOT_A_NUMBER)
            ),
            "that makes it darker still: divide by what is left of the weight": lambda f, k, m: f * (1 - shares(k, m)),
            "that is the share that fell into the hole; divide by the one that did not": lambda f, k, m: _ratio(
                f, shares(k, m)
            ),
            "nothing has changed: how much of the weight met a known pixel?": lambda f, k, m: f,
            "light was lost in proportion: it takes a division, not a sum": lambda f, k, m: f + shares(k, m),
            "the lost share of the light was not share · filtered: that is already dark": lambda f, k, m: (
                f * (1 + shares(k, m))
            ),
            "filter2d mirrors the mask at the border, as it did the picture; so must the share": lambda f, k, m: (
                expected(f, k, m, "constant")
            ),
            "the mask at the pixel says nothing about its window: filter the mask": lambda f, k, m: _ratio(f, 1 - m),
        },
    )


def still_hole(answer: Callable[[Tensor, int, int, int], Tensor]) -> None:
    """Exercise 6."""
    cases = []
    for N, dilation, passes in ((3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 2, 2)):
        cases.append(((torch.rand(24, 31) > 0.01).float(), N, dilation, passes))
        cases[-1][0][8, 9] = cases[-1][0][12:23, 15:] = 0  # one known pixel, and many
        cases[-1][0][:6, :6] = 1  # a corner that the border, were it known, would close

    def taps(N: int, dilation: int) -> np.ndarray:
        side = N // 2 * 2 * dilation + 1
        where = np.zeros((side, side), bool)
        where[::dilation, ::dilation] = True
        return where

    def expected(mask: Tensor, N: int, dilation: int, passes: int, seen: np.ndarray | None = None, edge: int = 0):
        known = mask.numpy() < 0.5
        seen = taps(N, dilation) if seen is None else seen
        return torch.from_numpy(~binary_dilation(known, seen, passes, border_value=edge)).float()

    def full(mask: Tensor, N: int, dilation: int, passes: int) -> Tensor:
        return expected(mask, N, dilation, passes, np.ones_like(taps(N, dilation)))

    def all_of_them(mask: Tensor, N: int, dilation: int, passes: int) -> Tensor:
        return torch.from_numpy(~binary_erosion(mask.numpy() < 0.5, taps(N, dilation), passes, border_value=0))

    check(
        answer,
        expected,
        cases,
        {
            "that is where it is known; the mask is 1 in the hole": lambda m, N, d, p: 1 - expected(m, N, d, p),
            "that grows the hole; it is the known pixels that grow into it": lambda m, N, d, p: (
                1 - expected(1 - m, N, d, p)
            ),
            "one known pixel under the taps is enough; it need not be all": all_of_them,
            "with dilation, taps skip pixels: a known one between two taps is not seen": full,
            "the dilation has no effect on it": lambda m, N, d, p: expected(m, N, 1, p),
            "that is after one pass: go on, from what the first has filled": lambda m, N, d, p: expected(m, N, d, 1),
            "that is one pass too many": lambda m, N, d, p: expected(m, N, d, p + 1),
            "a kernel reaches N // 2 taps to either side, not N": lambda m, N, d, p: expected(m, 2 * N + 1, d, p),
            "neighbouring taps lie one pixel too far apart": lambda m, N, d, p: expected(m, N, d + 1, p),
            "beyond the border nothing is known": lambda m, N, d, p: expected(m, N, d, p, edge=1),
            "nothing has been filled": lambda m, N, d, p: m,
        },
    )


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    """0 where there is no weight."""
    return torch.where(weight > 1e-6, total / weight.clamp(min=1e-6), 0)


def _numbers(answer: Callable, expected: Callable) -> Callable:
    """The answer, with 0 for what is not a number; and all ``NOT_A_NUMBER`` if nothing else is wrong with it."""

    def call(*arguments):
        got = answer(*arguments)
        if not isinstance(got, Tensor | np.ndarray):
            return got
        got = torch.as_tensor(got, dtype=torch.float64)
        if got.isfinite().all():
            return got
        got, want = torch.where(got.isfinite(), got, 0), expected(*arguments).double()
        right = got.shape == want.shape and torch.allclose(got, want, atol=1e-5)
        return torch.full_like(got, NOT_A_NUMBER) if right else got

    call.__name__ = getattr(answer, "__name__", "your function")
    return call
