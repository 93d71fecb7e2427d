"""Checks of notebook 02."""

from collections.abc import Callable

import torch
from torch import Tensor

from misf_lite.checks.check import check, swap_taps, windows


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1."""
    check(
        answer,
        lambda: 6.0,
        [()],
        {
            "that is channel B under A's kernel; each channel has a kernel of its own": lambda: 4.75,
            "that is channel A; the question is about B": lambda: 6.5,
            "the two channels are added, as a convolution does; a filter keeps them apart": lambda: 12.5,
            "the kernel is turned round (a convolution); lay it on as it is": lambda: 0.0,
            "rows and columns of the kernel are swapped": lambda: 5.5,
            "do not divide by the sum; a semantic kernel may have any sum": lambda: 12.0,
            "the minus got lost; a semantic kernel may take away": lambda: 10.0,
        },
    )


def hole_of_features(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 2."""
    cases = [((torch.rand(h * step, w * step) > 0.6).float(), step) for h, w, step in ((4, 6, 4), (5, 3, 2), (3, 4, 8))]
    for mask, step in cases:
        mask[:step, :step], mask[:step, -step:] = 1, 0  # one cell all hole, one without a hole

    def cells(mask: Tensor, step: int) -> Tensor:
        return mask.unflatten(1, (-1, step)).unflatten(0, (-1, step)).transpose(1, 2).flatten(2)

    check(
        answer,
        lambda mask, step: cells(mask, step).mean(2),
        cases,
        {
            "that is the share of known pixels; the mask is 1 in the hole": lambda m, s: 1 - cells(m, s).mean(2),
            "a cell with a single missing pixel is not all hole: take the mean, not the largest": lambda m, s: cells(
                m, s
            ).amax(2),
            "a cell that is partly hole counts partly: take the mean, not the smallest": lambda m, s: cells(m, s).amin(
                2
            ),
            "only one pixel of each cell has been looked at; take the mean of all": lambda m, s: m[::s, ::s],
            "only the middle pixel of each cell has been looked at; take the mean of all": lambda m, s: m[
                s // 2 :: s, s // 2 :: s
            ],
            "that is a number of pixels; divide by the step × step pixels of a cell": lambda m, s: cells(m, s).sum(2),
            "a cell has step × step pixels; the sum is divided by step alone": lambda m, s: cells(m, s).sum(2) / s,
            "do not round; a cell can be hole by a quarter": lambda m, s: cells(m, s).mean(2).round(),
        },
    )


def filtered(features: Tensor, kernels: Tensor, **how) -> Tensor:
    N = round(kernels.shape[1] ** 0.5)
    return (windows(features[None].double(), N, **how)[0] * kernels).sum(1)


def _window_suspects(each: Callable[[Tensor, Tensor], Tensor]) -> dict[str, Callable]:
    """Misconceptions about a window; ``each`` makes one kernel per channel of the given ones."""
    return {
        "rows and columns of the kernels are swapped: tap t is row t // N, column t % N": lambda x, k: filtered(
            x, swap_taps(each(x, k), 1)
        ),
        "the kernels are turned round (a convolution); lay them on as they are": lambda x, k: filtered(
            x, each(x, k).flip(1)
        ),
        "beyond the border zeros come in; mirror the features": lambda x, k: filtered(x, each(x, k), beyond="constant"),
        "beyond the border the last feature is repeated; mirror the features": lambda x, k: filtered(
            x, each(x, k), beyond="replicate"
        ),
        "the window starts at the feature; it belongs in its middle, so start N // 2 before": lambda x, k: filtered(
            x, each(x, k), centred=False
        ),
    }


def filter_features(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 3."""
    cases = [(torch.randn(C, H, W), torch.randn(C, N * N, H, W)) for C, H, W, N in ((4, 7, 9, 3), (3, 8, 6, 5))]

    def travelling(x: Tensor, k: Tensor) -> Tensor:
        """Each feature is spread with its own kernel, instead of gathered."""
        return windows(x[:, None] * k, round(k.shape[1] ** 0.5)).diagonal(0, 1, 2).sum(-1)

    check(
        answer,
        filtered,
        cases,
        {
            "all channels are filtered with the first one's kernels; each has its own": lambda x, k: filtered(x, k[:1]),
            "the channels are added up, as in a convolution; the filter keeps them apart": lambda x, k: (
                filtered(x, k).sum(0, keepdim=True).expand_as(x)
            ),
            "all places are filtered with the corner's kernel; each has its own": lambda x, k: filtered(
                x, k[:, :, :1, :1]
            ),
            "do not divide by the sum; a semantic kernel may have any sum": lambda x, k: filtered(x, k) / k.sum(1),
            "the kernel belongs to the place that is computed, not to the one that is looked at": travelling,
            "nothing has been filtered": lambda x, k: x,
        }
        | _window_suspects(lambda x, k: k),
    )


def filter_cost(answer: Callable[[int, int, int, int, int], int]) -> None:
    """Exercise 4."""
    cases = [(N, width, H, W, level) for N, width, H, W in ((3, 8, 64, 96), (5, 64, 256, 256)) for level in (1, 2, 3)]

    def cost(taps: int, channels: int, pixels: int) -> int:
        return taps * channels * pixels

    def wrong(
        taps: Callable = lambda N: N * N,
        channels: Callable = lambda width, level: width * 2 ** (level - 1),
        pixels: Callable = lambda H, W, level: H * W // 4 ** (level - 1),
    ) -> Callable:
        return lambda N, width, H, W, level: cost(taps(N), channels(width, level), pixels(H, W, level))

    suspects = {
        "both sides are halved at each step down, so a quarter of the pixels is left": wrong(
            pixels=lambda H, W, level: H * W // 2 ** (level - 1)
        ),
        "the pixels get fewer from level to level: both sides are halved": wrong(pixels=lambda H, W, level: H * W),
        "the channels double from level to level": wrong(channels=lambda width, level: width),
        "level 1 has width channels at full size; the doubling and halving start after it": wrong(
            channels=lambda width, level: width * 2**level, pixels=lambda H, W, level: H * W // 4**level
        ),
        "a kernel has N × N taps, not N": wrong(taps=lambda N: N),
        "that is a convolution, in which every channel looks at every other; the filter keeps them apart": wrong(
            channels=lambda width, level: (width * 2 ** (level - 1)) ** 2
        ),
        "a picture has 3 channels, but features have width and more": wrong(channels=lambda width, level: 3),
        "count the multiplications alone, not the additions": wrong(taps=lambda N: 2 * N * N),
    }
    check(answer, wrong(), cases, suspects)


def channels_first(answer: Callable[[Tensor, int], Tensor]) -> None:
    """Exercise 5."""
    cases = [(torch.randn(N * N * C, h, w), N) for N, C, h, w in ((3, 4, 5, 6), (5, 2, 3, 4))]

    def expected(raw: Tensor, N: int) -> Tensor:
        return raw.unflatten(0, (N * N, -1)).transpose(0, 1)

    check(
        answer,
        expected,
        cases,
        {
            "right shape, wrong numbers: the tap is the outer index here, so split into (N·N, C)": lambda r, N: (
                r.unflatten(0, (-1, N * N))
            ),
            "rows and columns of the kernels are swapped": lambda r, N: swap_taps(expected(r, N), 1),
            "the taps come in the opposite order": lambda r, N: expected(r, N).flip(1),
            "the channels come in the opposite order": lambda r, N: expected(r, N).flip(0),
            "all channels have the first one's kernels": lambda r, N: expected(r, N)[:1].expand_as(expected(r, N)),
            "only the order changes, not the numbers: leave out the softmax": lambda r, N: expected(r, N).softmax(1),
        },
    )


def filter_in_groups(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 6."""
    cases = [(torch.randn(C, H, W), torch.randn(G, 9, H, W)) for C, G, H, W in ((6, 2, 7, 5), (8, 4, 5, 8))]

    def each(x: Tensor, k: Tensor) -> Tensor:
        return k.repeat_interleave(len(x) // len(k), 0)

    def grouped_sum(x: Tensor, k: Tensor) -> Tensor:
        total = filtered(x, each(x, k)).unflatten(0, (len(k), -1)).sum(1)
        return total.repeat_interleave(len(x) // len(k), 0)

    def first_of_each(x: Tensor, k: Tensor) -> Tensor:
        size = len(x) // len(k)
        return torch.where((torch.arange(len(x)) % size == 0)[:, None, None], filtered(x, each(x, k)), x)

    check(
        answer,
        lambda x, k: filtered(x, each(x, k)),
        cases,
        {
            "groups are neighbours: with 6 channels in 2 groups, 0 to 2 share a kernel, and 3 to 5": lambda x, k: (
                filtered(x, k.repeat(len(x) // len(k), 1, 1, 1))
            ),
            "all channels are filtered with the first group's kernels": lambda x, k: filtered(x, k[:1]),
            "the groups' kernels are averaged; each group has its own": lambda x, k: filtered(x, k.mean(0, True)),
            "the channels of a group are added up; they share a kernel, and stay apart": grouped_sum,
            "only the first channel of each group is filtered": first_of_each,
            "nothing has been filtered": lambda x, k: x,
        }
        | _window_suspects(each),
    )
