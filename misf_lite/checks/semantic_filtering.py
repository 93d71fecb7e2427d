"""Checks of notebook 02."""

from collections.abc import Callable

import torch
from torch import Tensor

from misf_lite.checks.check import Check, check_number
from misf_lite.checks.windows import side, swap_taps, turn_taps, windows


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: the middle of channel B, filtered."""
    wrong = {
        4.75: "that is channel B under A's kernel; each channel has a kernel of its own",
        6.5: "that is channel A; the question is about B",
        12.5: "the two channels are added, as a convolution does; a filter keeps them apart",
        0.0: "the kernel is turned round (a convolution); lay it on as it is",
        5.5: "rows and columns of the kernel are swapped",
        12.0: "do not divide by the sum; a semantic kernel may have any sum",
        10.0: "the minus got lost; a semantic kernel may take away",
    }
    check_number(answer, 6.0, wrong)


def hole_of_features(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 2: the share of hole in each cell of ``step`` × ``step`` pixels."""

    def share(mask: Tensor, step: int, pool: Callable = torch.mean) -> Tensor:
        cells = mask.unflatten(1, (-1, step)).unflatten(0, (-1, step)).transpose(1, 2).flatten(2)
        return pool(cells, 2)

    check = Check(answer, share)
    for h, w, step in ((4, 6, 4), (5, 3, 2), (3, 4, 8)):
        mask = check.mask(h * step, w * step, share=0.4)
        mask[:step, :step] = 1  # one cell is all hole
        mask[:step, -step:] = 0  # one has no hole
        check.case(mask, step)

    @check.suspects("that is the share of known pixels; the mask is 1 in the hole")
    def known_share(mask, step):
        return 1 - share(mask, step)

    check.as_if("a cell with a single missing pixel is not all hole: take the mean, not the largest", pool=torch.amax)
    check.as_if("a cell that is partly hole counts partly: take the mean, not the smallest", pool=torch.amin)

    @check.suspects("only one pixel of each cell has been looked at; take the mean of all")
    def first_pixel(mask, step):
        return mask[::step, ::step]

    @check.suspects("only the middle pixel of each cell has been looked at; take the mean of all")
    def middle_pixel(mask, step):
        return mask[step // 2 :: step, step // 2 :: step]

    check.as_if("that is a number of pixels; divide by the step × step pixels of a cell", pool=torch.sum)

    @check.suspects("a cell has step × step pixels; the sum is divided by step alone")
    def divided_by_one_side(mask, step):
        return share(mask, step, torch.sum) / step

    @check.suspects("do not round; a cell can be hole by a quarter")
    def rounded(mask, step):
        return share(mask, step).round()

    check.run()


def filtered(features: Tensor, kernels: Tensor, **how) -> Tensor:
    """The oracle of two exercises: features ``(C, H, W)``, kernels ``(C, N*N, H, W)``; ``how`` is for `windows`."""
    return (windows(features[None].double(), side(kernels), **how)[0] * kernels).sum(1)


def suspect_windows(check: Check) -> None:
    check.as_if("rows and columns of the kernels are swapped: tap t is row t // N, column t % N", kernels=swap_taps)
    check.as_if("the kernels are turned round (a convolution); lay them on as they are", kernels=turn_taps)
    check.as_if("beyond the border zeros come in; mirror the features", beyond="constant")
    check.as_if("beyond the border the last feature is repeated; mirror the features", beyond="replicate")
    check.as_if("the window starts at the feature; it belongs in its middle, so start N // 2 before", centred=False)


def filter_features(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 3: every channel under kernels of its own."""
    check = Check(answer, filtered)
    for C, H, W, N in ((4, 7, 9, 3), (3, 8, 6, 5)):
        check.case(check.randn(C, H, W), check.randn(C, N * N, H, W))

    check.as_if("all channels are filtered with the first one's kernels; each has its own", kernels=lambda k: k[:1])

    @check.suspects("the channels are added up, as in a convolution; the filter keeps them apart")
    def added_up(features, kernels):
        return filtered(features, kernels).sum(0, keepdim=True).expand_as(features)

    check.as_if("all places are filtered with the corner's kernel; each has its own", kernels=lambda k: k[:, :, :1, :1])

    @check.suspects("do not divide by the sum; a semantic kernel may have any sum")
    def divided(features, kernels):
        return filtered(features, kernels) / kernels.sum(1)

    @check.suspects("the kernel belongs to the place that is computed, not to the one that is looked at")
    def travelling(features, kernels):
        return windows(features[:, None] * kernels, side(kernels)).diagonal(0, 1, 2).sum(-1)

    @check.suspects("nothing has been filtered")
    def unfiltered(features, kernels):
        return features

    suspect_windows(check)
    check.run()


def filter_cost(answer: Callable[[int, int, int, int, int], int]) -> None:
    """Exercise 4: how many multiplications the semantic filter does at a level."""

    def cost(N: int, width: int, H: int, W: int, level: int) -> int:
        channels = width * 2 ** (level - 1)
        pixels = H * W // 4 ** (level - 1)
        return N * N * channels * pixels

    check = Check(answer, cost)
    for N, width, H, W in ((3, 8, 64, 96), (5, 64, 256, 256)):
        for level in (1, 2, 3):
            check.case(N, width, H, W, level)

    @check.suspects("both sides are halved at each step down, so a quarter of the pixels is left")
    def half_the_pixels(N, width, H, W, level):
        return cost(N, width, H, W, level) * 2 ** (level - 1)

    @check.suspects("the pixels get fewer from level to level: both sides are halved")
    def all_pixels(N, width, H, W, level):
        return cost(N, width, H, W, level) * 4 ** (level - 1)

    @check.suspects("the channels double from level to level")
    def same_channels(N, width, H, W, level):
        return cost(N, width, H, W, level) // 2 ** (level - 1)

    check.as_if(
        "level 1 has width channels at full size; the doubling and halving start after it", level=lambda n: n + 1
    )

    @check.suspects("a kernel has N × N taps, not N")
    def one_row(N, width, H, W, level):
        return cost(N, width, H, W, level) // N

    @check.suspects("that is a convolution, in which every channel looks at every other; the filter keeps them apart")
    def convolution(N, width, H, W, level):
        return cost(N, width, H, W, level) * width * 2 ** (level - 1)

    @check.suspects("a picture has 3 channels, but features have width and more")
    def of_a_picture(N, width, H, W, level):
        return N * N * 3 * H * W // 4 ** (level - 1)

    @check.suspects("count the multiplications alone, not the additions")
    def with_additions(N, width, H, W, level):
        return 2 * cost(N, width, H, W, level)

    check.run()


def channels_first(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 5: kernels whose numbers come tap by tap, in the shape that the filter wants."""

    def reordered(raw: Tensor, N: int) -> Tensor:
        return raw.unflatten(0, (N * N, -1)).transpose(0, 1)

    check = Check(answer, reordered)
    for N, C, h, w in ((3, 4, 5, 6), (5, 2, 3, 4)):
        check.case(check.randn(N * N * C, h, w), N)

    @check.suspects("right shape, wrong numbers: the tap is the outer index here, so split into (N·N, C)")
    def channels_outside(raw, N):
        return raw.unflatten(0, (-1, N * N))

    @check.suspects("rows and columns of the kernels are swapped")
    def swapped(raw, N):
        return swap_taps(reordered(raw, N))

    @check.suspects("the taps come in the opposite order")
    def turned(raw, N):
        return turn_taps(reordered(raw, N))

    @check.suspects("the channels come in the opposite order")
    def last_channel_first(raw, N):
        return reordered(raw, N).flip(0)

    @check.suspects("all channels have the first one's kernels")
    def first_for_all(raw, N):
        kernels = reordered(raw, N)
        return kernels[:1].expand_as(kernels)

    @check.suspects("only the order changes, not the numbers: leave out the softmax")
    def with_softmax(raw, N):
        return reordered(raw, N).softmax(1)

    check.run()


def filter_in_groups(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 6: each kernel is shared by a group of neighbouring channels."""

    def in_groups(features: Tensor, kernels: Tensor, **how) -> Tensor:
        return filtered(features, kernels.repeat_interleave(len(features) // len(kernels), 0), **how)

    check = Check(answer, in_groups)
    for C, G, H, W in ((6, 2, 7, 5), (8, 4, 5, 8)):
        check.case(check.randn(C, H, W), check.randn(G, 9, H, W))

    @check.suspects("groups are neighbours: with 6 channels in 2 groups, 0 to 2 share a kernel, and 3 to 5")
    def by_turns(features, kernels):
        return filtered(features, kernels.repeat(len(features) // len(kernels), 1, 1, 1))

    check.as_if("all channels are filtered with the first group's kernels", kernels=lambda k: k[:1])
    check.as_if("the groups' kernels are averaged; each group has its own", kernels=lambda k: k.mean(0, True))

    @check.suspects("the channels of a group are added up; they share a kernel, and stay apart")
    def added_up(features, kernels):
        groups = in_groups(features, kernels).unflatten(0, (len(kernels), -1))
        return groups.sum(1, keepdim=True).expand_as(groups).flatten(0, 1)

    @check.suspects("only the first channel of each group is filtered")
    def first_of_each(features, kernels):
        size = len(features) // len(kernels)
        features[::size] = in_groups(features, kernels)[::size]
        return features

    @check.suspects("nothing has been filtered")
    def unfiltered(features, kernels):
        return features

    suspect_windows(check)
    check.run()
