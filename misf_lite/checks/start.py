"""Checks of notebook 00."""

from collections.abc import Callable

import torch
from torch import Tensor

from misf_lite.checks.check import check, convolved, window_suspects


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1."""
    turned = "2 is what the kernel gives when it is turned round, as in a convolution; here it is laid on as it is"
    check(answer, lambda: 4.0, [()], {turned: lambda: 2.0})


def composite(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2."""
    cases = []
    for B, H, W in ((1, 4, 6), (2, 5, 3)):
        cases.append((torch.rand(B, 3, H, W), torch.rand(B, 3, H, W), (torch.rand(B, 1, H, W) > 0.5).float()))
    check(
        answer,
        lambda output, image, mask: torch.where(mask > 0, output, image),
        cases,
        {
            "the mask is 1 in the hole, not where the pixel is known": lambda o, i, m: torch.where(m > 0, i, o),
            "known pixels must be the image's own": lambda o, i, m: o,
            "the hole must be the output's": lambda o, i, m: i,
            "known pixels got lost: add the image where the mask is 0": lambda o, i, m: o * m,
        },
    )


def filter_pixel(answer: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Exercise 3."""
    cases = [(torch.rand(9, 12), torch.rand(N, N), row, column) for N, row, column in ((3, 4, 5), (5, 3, 8), (1, 0, 2))]
    check(answer, convolved, cases, window_suspects(lambda p, k, r, c: (p, k, r, c)))


def hole_share(answer: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Exercise 4."""
    cases = []
    for N, row, column in ((3, 4, 5), (5, 3, 8)):
        cases.append((torch.rand(N, N), (torch.rand(9, 12) > 0.5).float(), row, column))

    def expected(kernel: Tensor, mask: Tensor, row: int, column: int) -> Tensor:
        return convolved(mask, kernel / kernel.sum(), row, column)

    def undivided(kernel: Tensor, mask: Tensor, row: int, column: int) -> Tensor:
        return convolved(mask, kernel, row, column)

    suspects = {
        "that is the share from known pixels; the mask is 1 in the hole": lambda k, m, r, c: 1 - expected(k, m, r, c),
        "divide by the sum of the kernel: a share is 1 when all of it is hole": undivided,
    }
    check(answer, expected, cases, suspects | window_suspects(lambda k, m, r, c: (m, k / k.sum(), r, c)))
