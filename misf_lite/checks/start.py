"""Checks of notebook 00."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.checks.check import Check, check_number
from misf_lite.masks import is_hole


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: a pixel whose neighbours to the left and to the right weigh 0.25 and 0.75."""
    turned = "2 is what the kernel gives when it is turned round, as in a convolution; here it is laid on as it is"
    check_number(answer, 4.0, {2.0: turned})


def composite(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2: the output in the hole, the image around it."""

    def composited(output: Tensor, image: Tensor, mask: Tensor) -> Tensor:
        return torch.where(is_hole(mask), output, image)

    check = Check(answer, composited)
    for B, H, W in ((1, 4, 6), (2, 5, 3)):
        check.case(check.rand(B, 3, H, W), check.rand(B, 3, H, W), check.mask(B, 1, H, W))

    check.as_if("the mask is 1 in the hole, not where the pixel is known", mask=lambda m: 1 - m)

    @check.suspects("known pixels must be the image's own")
    def output_everywhere(output, image, mask):
        return output

    @check.suspects("the hole must be the output's")
    def image_everywhere(output, image, mask):
        return image

    @check.suspects("known pixels got lost: add the image where the mask is 0")
    def black_around_the_hole(output, image, mask):
        return output * mask

    check.run()


def convolved(picture: Tensor, kernel: Tensor, row: int, column: int, shifted: bool = False) -> Tensor:
    """torch's own convolution of the whole picture, looked up at one pixel; shifted is a misconception."""
    reach = len(kernel) // 2
    whole = F.conv2d(picture[None, None].double(), kernel[None, None].double(), padding=reach)[0, 0]
    return whole[row + reach, column + reach] if shifted else whole[row, column]


def suspect_windows(check: Check) -> None:
    check.as_if("rows and columns of the kernel are swapped", kernel=torch.t)
    check.as_if("the kernel is turned round (a convolution); lay it on as it is", kernel=lambda k: k.flip(0, 1))
    check.as_if("the window starts at the pixel; the pixel belongs in its middle, so start N // 2 before", shifted=True)


def filter_pixel(answer: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Exercise 3: one pixel under one kernel, whose window lies inside the picture."""
    check = Check(answer, convolved)
    for N, row, column in ((3, 4, 5), (5, 3, 8), (1, 0, 2)):
        check.case(check.rand(9, 12), check.rand(N, N), row, column)
    suspect_windows(check)
    check.run()


def hole_share(answer: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Exercise 4: the share of a kernel's weight that falls into the hole."""

    def share(kernel: Tensor, mask: Tensor, row: int, column: int, shifted: bool = False) -> Tensor:
        return convolved(mask, kernel / kernel.sum(), row, column, shifted)

    check = Check(answer, share)
    for N, row, column in ((3, 4, 5), (5, 3, 8)):
        check.case(check.rand(N, N), check.mask(9, 12), row, column)

    @check.suspects("that is the share from known pixels; the mask is 1 in the hole")
    def known_share(kernel, mask, row, column):
        return 1 - share(kernel, mask, row, column)

    @check.suspects("divide by the sum of the kernel: a share is 1 when all of it is hole")
    def undivided(kernel, mask, row, column):
        return convolved(mask, kernel, row, column)

    suspect_windows(check)
    check.run()
