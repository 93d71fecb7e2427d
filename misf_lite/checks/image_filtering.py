"""Checks of notebook 01."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from misf_lite.checks.check import Check, check_number
from misf_lite.checks.windows import side, swap_taps, turn_taps, windows
from misf_lite.masks import is_hole


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: the window 1 1 5 / 1 9 5 / 1 9 5, its nines missing, under the weights 0 2 0 / 1 4 3 / 0 2 0."""
    wrong = {
        1.5: "that divides by the weights of the hole, too, as if the hole were black",
        18.0: "that is the weighted sum; divide it by the weights that were used",
        6.0: "the nines are in it: nobody may look under the hole",
        9.0: "that is the mean of the hole: the mask is 1 where nothing is known",
        7 / 3: "that is the plain mean of the three neighbours; each counts with its weight",
        5 / 3: "the weights are turned round (a convolution); lay them on as they are",
        2.6: "rows and columns of the weights are swapped",
    }
    check_number(answer, 3.0, wrong)


def ignore_hole(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2: at every pixel the weighted mean of what its window knows."""

    def summed(picture: Tensor, weights: Tensor, beyond: str = "constant", value: float = 0) -> Tensor:
        padded = F.pad(picture[None, None].double(), [len(weights) // 2] * 4, beyond, value)
        return F.conv2d(padded, weights[None, None].double())[0, 0]

    def known_mean(picture: Tensor, mask: Tensor, weights: Tensor, beyond: str = "constant") -> Tensor:
        return ratio(summed(picture * (1 - mask), weights, beyond), summed(1 - mask, weights, beyond))

    zero_by_zero = "where no pixel of the window is known it divides 0 by 0; give 0 there"
    check = Check(answer, known_mean, zero_by_zero=zero_by_zero)
    for H, W, N in ((9, 12, 3), (11, 8, 5)):
        mask = check.mask(H, W, share=0.4)
        mask[2 : 2 + N, 1 : 1 + N] = 1  # a window without anything known
        check.case(0.2 + check.rand(H, W), mask, 0.1 + check.rand(N, N))

    @check.suspects("divide by the weight that falls on known pixels, not by all of it")
    def divided_by_all(picture, mask, weights):
        return summed(picture * (1 - mask), weights) / weights.sum()

    @check.suspects("divide by the weight that falls on known pixels")
    def undivided(picture, mask, weights):
        return summed(picture * (1 - mask), weights)

    check.as_if("the mask is 1 in the hole; what is known is 1 - mask", mask=lambda m: 1 - m)

    @check.suspects("it looks under the hole: multiply the picture by 1 - mask first")
    def peeking(picture, mask, weights):
        return ratio(summed(picture, weights), summed(1 - mask, weights))

    check.as_if("the mask has no effect on it", mask=torch.zeros_like)

    @check.suspects("beyond the border nothing is known; do not divide by the weight that falls there")
    def black_beyond(picture, mask, weights):
        return ratio(summed(picture * (1 - mask), weights), summed(1 - mask, weights, value=1))

    check.as_if("the picture is mirrored at the border; here nothing is known beyond it", beyond="reflect")
    check.as_if("rows and columns of the weights are swapped", weights=torch.t)
    check.as_if("the weights are turned round (a convolution); lay them on as they are", weights=lambda w: w.flip(0, 1))

    @check.suspects("the window starts at the pixel; the pixel belongs in its middle, so start N // 2 before")
    def from_the_pixel_on(picture, mask, weights):
        r = len(weights) // 2
        more = F.pad(picture, (0, r, 0, r))
        nothing_known = F.pad(mask, (0, r, 0, r), value=1)
        return known_mean(more, nothing_known, weights)[r:, r:]

    check.run()


def filter_pixels(answer: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 3: every pixel under its own kernel, whose taps lie ``dilation`` apart."""

    def filtered(picture: Tensor, kernels: Tensor, dilation: int, **how) -> Tensor:
        return (kernels * windows(picture[None, None], side(kernels), dilation, **how)[0, 0]).sum(0)

    check = Check(answer, filtered)
    for H, W, N, dilation in ((9, 12, 3, 1), (11, 10, 5, 2), (10, 13, 3, 3)):
        check.case(check.rand(H, W), check.randn(N * N, H, W), dilation)

    check.as_if("the dilation has no effect on it", dilation=1)
    check.as_if(
        "neighbouring taps lie one pixel too far apart: dilation 1 is next to each other", dilation=lambda d: d + 1
    )
    check.as_if("rows and columns of the taps are swapped: tap t is row t // N, column t % N", kernels=swap_taps)
    check.as_if("the kernels are turned round (a convolution); tap 0 is up and left", kernels=turn_taps)
    check.as_if("zeros come in at the border; mirror the picture there", beyond="constant")
    check.as_if("the border pixel is repeated; mirror the picture there", beyond="replicate")

    @check.suspects("each pixel has its own kernel: shift the picture, the kernels stay where they are")
    def travelling(picture, kernels, dilation):
        return windows((kernels * picture)[None], side(kernels), dilation)[0].diagonal().sum(-1)

    check.as_if("the window starts at the pixel; the pixel belongs in its middle", centred=False)
    check.as_if("all pixels are given one pixel's kernel; each has its own", kernels=lambda k: k[:, :1, :1])
    check.run()


def widest(answer: Callable[[int, int, int], int]) -> None:
    """Exercise 4: the widest bar that is closed; the oracle fills wider and wider ones until one stays open."""

    def closes(width: int, N: int, dilation: int, passes: int) -> bool:
        margin = N * dilation * passes
        hole = np.r_[np.zeros(margin, bool), np.ones(width, bool), np.zeros(margin, bool)]
        taps = np.zeros(N // 2 * 2 * dilation + 1, bool)
        taps[::dilation] = True
        return bool((binary_dilation(~hole, taps, passes) | ~hole).all())

    def filled(N: int, dilation: int, passes: int) -> int:
        width = 0
        while closes(width + 1, N, dilation, passes):
            width += 1
        return width

    check = Check(answer, filled)
    for case in ((3, 1, 1), (5, 1, 1), (5, 2, 1), (3, 1, 4), (7, 3, 2), (9, 1, 3)):
        check.case(*case)

    @check.suspects("that is how far one side reaches; a bar is closed from both")
    def one_side(N, dilation, passes):
        return N // 2 * dilation * passes

    @check.suspects("a kernel reaches N // 2 pixels to either side, not N")
    def whole_kernel(N, dilation, passes):
        return 2 * N * dilation * passes

    @check.suspects("count from the middle of the kernel: the middle tap itself reaches nowhere")
    def with_the_middle(N, dilation, passes):
        return N * dilation * passes

    check.as_if("the dilation is missing: it moves the taps apart", dilation=1)
    check.as_if("the passes are missing: each goes on where the last one ended", passes=1)

    @check.suspects("that is one too wide: both sides reach equally far, and no further")
    def too_wide(N, dilation, passes):
        return filled(N, dilation, passes) + 1

    @check.suspects("that is one too narrow: the innermost pixels still see one known pixel")
    def too_narrow(N, dilation, passes):
        return filled(N, dilation, passes) - 1

    @check.suspects("passes add reach to reach, they do not multiply it")
    def multiplied(N, dilation, passes):
        return 2 * (N // 2 * dilation) ** passes

    check.run()


def undarken(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 5: a picture that was filtered with a black hole, as bright again as if the hole had had no say."""

    def shares(kernels: Tensor, mask: Tensor, beyond: str = "reflect") -> Tensor:
        """How much of each kernel's weight lies in the hole: ``(B, 1, H, W)``."""
        return (kernels * windows(mask, side(kernels), beyond=beyond)).sum(2)

    def brightened(filtered: Tensor, kernels: Tensor, mask: Tensor, beyond: str = "reflect") -> Tensor:
        return ratio(filtered, 1 - shares(kernels, mask, beyond))

    zero_by_zero = "where all of the weight fell into the hole it divides 0 by 0; give 0 there"
    check = Check(answer, brightened, zero_by_zero=zero_by_zero)
    for B, N, H, W in ((1, 3, 9, 12), (2, 5, 11, 10)):
        mask = check.mask(B, 1, H, W)
        mask[..., 2 : 2 + N, 1 : 1 + N] = 1  # a window without anything known
        kernels = check.rand(B, 1, N * N, H, W).softmax(2)
        filtered = torch.where(shares(kernels, mask) < 1 - 1e-5, 0.2 + check.rand(B, 3, H, W), 0)
        check.case(filtered, kernels, mask)

    @check.suspects("that makes it darker still: divide by what is left of the weight")
    def darker(filtered, kernels, mask):
        return filtered * (1 - shares(kernels, mask))

    @check.suspects("that is the share that fell into the hole; divide by the one that did not")
    def divided_by_the_hole(filtered, kernels, mask):
        return ratio(filtered, shares(kernels, mask))

    @check.suspects("nothing has changed: how much of the weight met a known pixel?")
    def unchanged(filtered, kernels, mask):
        return filtered

    @check.suspects("light was lost in proportion: it takes a division, not a sum")
    def added(filtered, kernels, mask):
        return filtered + shares(kernels, mask)

    @check.suspects("the lost share of the light was not share · filtered: that is already dark")
    def share_of_the_dark(filtered, kernels, mask):
        return filtered * (1 + shares(kernels, mask))

    check.as_if("filter2d mirrors the mask at the border, as it did the picture; so must the share", beyond="constant")

    @check.suspects("the mask at the pixel says nothing about its window: filter the mask")
    def mask_alone(filtered, kernels, mask):
        return ratio(filtered, 1 - mask)

    check.run()


def still_hole(answer: Callable[[Tensor, int, int, int], Tensor]) -> None:
    """Exercise 6: what of a hole of any form is still open after some passes."""

    def taps(N: int, dilation: int) -> np.ndarray:
        full = N // 2 * 2 * dilation + 1
        where = np.zeros((full, full), bool)
        where[::dilation, ::dilation] = True
        return where

    def still_open(mask: Tensor, N: int, dilation: int, passes: int, known_beyond: bool = False) -> np.ndarray:
        known = ~is_hole(mask).numpy()
        return ~binary_dilation(known, taps(N, dilation), passes, border_value=known_beyond)

    check = Check(answer, still_open)
    for N, dilation, passes in ((3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 2, 2)):
        mask = check.mask(24, 31, share=0.99)
        mask[8, 9] = 0  # one known pixel
        mask[12:23, 15:] = 0  # and many
        mask[:6, :6] = 1  # a corner that the border, were it known, would close
        check.case(mask, N, dilation, passes)

    @check.suspects("that is where it is known; the mask is 1 in the hole")
    def closed(mask, N, dilation, passes):
        return ~still_open(mask, N, dilation, passes)

    @check.suspects("that grows the hole; it is the known pixels that grow into it")
    def grown(mask, N, dilation, passes):
        return ~still_open(1 - mask, N, dilation, passes)

    @check.suspects("one known pixel under the taps is enough; it need not be all")
    def all_of_them(mask, N, dilation, passes):
        return ~binary_erosion(~is_hole(mask).numpy(), taps(N, dilation), passes)

    @check.suspects("with dilation, taps skip pixels: a known one between two taps is not seen")
    def whole_window(mask, N, dilation, passes):
        return still_open(mask, N // 2 * 2 * dilation + 1, 1, passes)

    check.as_if("the dilation has no effect on it", dilation=1)
    check.as_if("that is after one pass: go on from what the first has filled", passes=1)
    check.as_if("that is one pass too many", passes=lambda p: p + 1)
    check.as_if("a kernel reaches N // 2 taps to either side, not N", N=lambda N: 2 * N + 1)
    check.as_if("neighbouring taps lie one pixel too far apart", dilation=lambda d: d + 1)
    check.as_if("beyond the border nothing is known", known_beyond=True)

    @check.suspects("nothing has been filled")
    def untouched(mask, N, dilation, passes):
        return mask

    check.run()


def ratio(total: Tensor, weight: Tensor) -> Tensor:
    """0 where there is no weight."""
    return torch.where(weight > 1e-6, total / weight.clamp(min=1e-6), 0)
