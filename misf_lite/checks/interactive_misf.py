"""Checks of notebook 03."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.checks.check import Check, check_number
from misf_lite.checks.windows import side, windows
from misf_lite.flow import Flow
from misf_lite.masks import is_hole
from misf_lite.model import MISF, MISFConfig


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: 2 2 2 ? x 4 6 6 under the semantic kernels keep, left, right, keep and 0.5 0.1 0.4 at x."""
    wrong = {
        1.6: "the image filter works on what the decoder put into the hole, not on the hole itself",
        6.0: "that is the decoder's number; the image filter is still to come",
        4.0: "the 4 is known: lay the known pixels over the decoder's row before the image filter",
        2.3: "the semantic filter is missing: filter the four features before you repeat them",
        3.4: "the kernel is turned round (a convolution); lay it on as it is",
        3.6: "that is the pixel to the left of x",
    }
    check_number(answer, 3.2, wrong)


def identity_bias(answer: Callable[[int, int], Tensor]) -> None:
    """Exercise 2: the biases that make every predicted kernel the identity."""

    def gives_back(groups: int, N: int) -> Tensor:
        """The taps that see the middle of a window, from ``F.unfold``."""
        x = torch.arange(1.0 * N * N).view(1, 1, N, N)
        return (F.unfold(x, N)[0, :, 0] == x[0, 0, N // 2, N // 2]).repeat(groups)

    check = Check(answer, gives_back)
    for groups, N in ((1, 3), (4, 3), (3, 5), (2, 7)):
        check.case(groups, N)

    def a_one_at(tap: int, groups: int, N: int) -> Tensor:
        return F.one_hot(torch.tensor(tap), N * N).repeat(groups)

    @check.suspects("with zeros alone every feature is wiped out; the identity has a 1")
    def zeros(groups, N):
        return torch.zeros(groups * N * N)

    @check.suspects("with ones everywhere the filter adds up the whole window; the identity has a single 1")
    def ones(groups, N):
        return torch.ones(groups * N * N)

    @check.suspects("that is the mean filter, a blur; the identity has a single 1")
    def mean(groups, N):
        return torch.ones(groups * N * N) / N**2

    @check.suspects("tap 0 is the upper left neighbour; the pixel itself is in the middle")
    def upper_left(groups, N):
        return a_one_at(0, groups, N)

    @check.suspects("tap N // 2 is in the first row; the pixel itself is in the middle of all N * N")
    def first_row(groups, N):
        return a_one_at(N // 2, groups, N)

    @check.suspects("only the first kernel is an identity; each of the groups needs its 1")
    def first_kernel_only(groups, N):
        return F.one_hot(torch.tensor(N * N // 2), groups * N * N)

    @check.suspects("the taps of one kernel lie side by side: groups first, then taps")
    def taps_first(groups, N):
        return gives_back(groups, N).view(groups, N * N).T.flatten()

    check.run()


def on_paper(width: int, interactive: bool = True) -> MISF:
    """A model that has shapes and no numbers."""
    with torch.device("meta"):
        return MISF(MISFConfig.paper(width=width, blocks=(0, 0), interactive=interactive))


def link_weights(answer: Callable[[int], int]) -> None:
    """Exercise 3: the weights that the link adds; the oracle builds both models and counts."""

    def count(width: int, interactive: bool) -> int:
        return sum(p.numel() for p in on_paper(width, interactive).parameters())

    check = Check(answer, lambda width: count(width, True) - count(width, False))
    for width in (8, 64, 5):
        check.case(width)

    @check.suspects("a 4 × 4 convolution has 16 weights for each pair of channels")
    def of_one_tap(width):
        return 2 * width * 4 * width

    @check.suspects("F2 has 2 · width channels, E3 has 4 · width")
    def from_width_channels(width):
        return 16 * width * 4 * width

    @check.suspects("the link hands over F2, not F3")
    def from_F3(width):
        return 16 * 4 * width * 4 * width

    @check.suspects("that is all of E3; without the link it still sees E2")
    def all_of_E3(width):
        return 16 * 4 * width * 4 * width + 4 * width

    @check.suspects("E3 has as many biases as without the link: one for each channel that comes out")
    def with_biases(width):
        return 16 * 2 * width * 4 * width + 4 * width

    @check.suspects("handing over costs nothing, but E3 has to look at what it is handed")
    def nothing(width):
        return 0

    check.run()


def predicted_weights(answer: Callable[[int, int, int], int]) -> None:
    """Exercise 4: the numbers in K3 and K for one picture; the oracle runs a model that has shapes only."""

    def predicted(H: int, W: int, width: int) -> int:
        picture = torch.empty(1, 4, H, W, device="meta")
        flow = Flow.of(on_paper(width), picture[:, :3], picture[:, 3:])
        return flow["K3"].numel() + flow["K"].numel()

    check = Check(answer, predicted)
    for case in ((64, 64, 8), (33, 50, 4), (48, 29, 3)):
        check.case(*case)

    def count(H: int, W: int, width: int, divided_by=4, rounded=math.ceil, taps=9, channels=4.0, colours=3) -> float:
        F3 = rounded(H / divided_by) * rounded(W / divided_by)
        return taps * (channels * width * F3 + colours * H * W)

    check.as_if("a padded picture's F3 is a quarter of it, rounded up", count, rounded=math.floor)
    check.as_if("F3 is a quarter as high and as wide as the picture", count, divided_by=1)
    check.as_if("F3 is halved twice: a quarter of the side, not a half", count, divided_by=2)
    check.as_if("a kernel has 9 taps", count, taps=1)
    check.as_if("every colour has an image kernel of its own: three for each pixel", count, colours=1)

    @check.suspects("F3 has 4 · width channels, and each has kernels of its own")
    def shared(H, W, width):
        return count(H, W, width, channels=1 / width)

    check.as_if("F3 has 4 · width channels, not width", count, channels=1)
    check.as_if("the image kernels K are missing", count, colours=0)
    check.as_if("the semantic kernels K3 are missing", count, channels=0)
    check.run()


def first_difference(answer: Callable[[dict[str, Tensor], dict[str, Tensor]], str]) -> None:
    """Exercise 5: the name of the first tensor that differs; its position is compared."""
    names = ("F1", "F2", "F3", "E1", "E2", "link", "E3", "K3", "K", "none")
    NONE = names.index("none")

    def position(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> int:
        """Told apart with torch's own comparison."""
        for i, name in enumerate(ours):
            if ours[name].shape != theirs[name].shape or not torch.allclose(ours[name], theirs[name], 0, 1e-4):
                return i
        return NONE

    check = Check(answer, position)

    @check.outcome
    def answered(ours, theirs):
        name = answer(ours, theirs)
        if name is None:
            return None
        if name not in names:
            raise ValueError(f"it returns {name!r}, which is not a name: return a key of the dictionary, or 'none'")
        return names.index(name)

    def case(first: str, change: Callable[[Tensor], Tensor]) -> None:
        """All are rounded differently; the first is changed, and those after it even more."""
        ours = {name: check.rand(2, 3, 4, 5) for name in names if name != "none"}
        theirs = {name: x + 1e-6 * check.rand(*x.shape) for name, x in ours.items()}
        for i in range(names.index(first), NONE):
            theirs[names[i]] = change(theirs[names[i]])
        for i in range(names.index(first) + 1, NONE):
            theirs[names[i]] = 2 * theirs[names[i]]
        check.case(ours, theirs)

    def one_place(by: float) -> Callable[[Tensor], Tensor]:
        place = torch.zeros(2, 3, 4, 5)
        place[1, 2, 3, 4] = by
        return lambda x: x + place

    case("none", torch.clone)
    case("F3", lambda x: x + 0.5)
    case("E2", lambda x: x - 0.5)
    case("F1", one_place(0.002))
    case("F2", one_place(math.nan))
    case("E3", lambda x: x.transpose(2, 3))

    def largest(difference: Tensor) -> Tensor:
        return difference.abs().max()

    def differs(a: Tensor, b: Tensor, allow: float = 1e-4, nan=True, shape=True, size: Callable = largest) -> bool:
        if a.shape != b.shape:
            return shape
        difference = size(a.double() - b.double())
        return bool(difference > allow) or (nan and bool(difference.isnan()))

    def first(ours: dict, theirs: dict, **how) -> int:
        return next((i for i, name in enumerate(ours) if differs(ours[name], theirs[name], **how)), NONE)

    check.as_if("a NaN slips through: every comparison with it is false, so ask whether all is well", first, nan=False)
    check.as_if("rounding is not a difference: allow 1e-4", first, allow=0.0)
    check.as_if("tensors of different shape differ, too", first, shape=False)
    check.as_if("differences downwards count, too: take the absolute value", first, size=torch.max)
    check.as_if("a mean hides a single place: take the largest difference", first, size=lambda d: d.abs().mean())

    @check.suspects("that is the largest difference, not the first")
    def largest_of_all(ours, theirs):
        def size(a: Tensor, b: Tensor) -> float:
            if a.shape != b.shape:
                return math.inf
            return largest(a - b).nan_to_num(math.inf).item()

        sizes = [size(ours[name], theirs[name]) for name in ours]
        return sizes.index(max(sizes)) if max(sizes) > 1e-4 else NONE

    @check.suspects("that is the last one that differs; all that follows a broken part differs as well")
    def last(ours, theirs):
        return max((i for i, name in enumerate(ours) if differs(ours[name], theirs[name])), default=NONE)

    @check.suspects("that is the last one that is still right; the broken part comes after it")
    def last_right(ours, theirs):
        right = position(ours, theirs)
        return NONE if right in (0, NONE) else right - 1

    @check.suspects("it finds nothing in any case")
    def nothing(ours, theirs):
        return NONE

    check.run(otherwise="in some cases that is not the first tensor that differs")


def several_passes(answer: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 6: the hole filtered several times, known pixels kept; the oracle's kernels do nothing outside it."""

    def filtered(picture: Tensor, kernels: Tensor) -> Tensor:
        return (windows(picture, side(kernels)) * kernels).sum(2)

    def kept(decoded: Tensor, image: Tensor, mask: Tensor, kernels: Tensor, passes: int) -> Tensor:
        centre = torch.zeros_like(kernels)
        centre[:, :, kernels.shape[2] // 2] = 1
        kernels = kernels * mask[:, None] + centre * (1 - mask[:, None])
        picture = decoded * mask + image * (1 - mask)
        for _ in range(passes):
            picture = filtered(picture, kernels)
        return picture

    check = Check(answer, kept)
    for B, H, W, N, passes in ((1, 9, 8, 3, 1), (2, 8, 11, 3, 3), (1, 12, 9, 5, 2)):
        kernels = check.randn(B, 1, N * N, H, W).softmax(2)
        mask = check.mask(B, 1, H, W, share=0.6)
        check.case(check.rand(B, 3, H, W), check.rand(B, 3, H, W), mask, kernels, passes)

    def lay_over(decoded, image, mask, kernels, passes, first=True, each=True, last=True):
        """Known pixels laid over before the first pass, after each, after the last; or not."""
        hole = is_hole(mask)
        picture = torch.where(hole, decoded, image) if first else decoded
        for _ in range(passes):
            picture = filtered(picture, kernels)
            if each:
                picture = torch.where(hole, picture, image)
        return torch.where(hole, picture, image) if last else picture

    check.as_if("the mask is 1 in the hole: the decoder's picture belongs there", mask=lambda m: 1 - m)
    check.as_if("it filters only once: each pass works on what the one before put out", passes=1)
    check.as_if("it makes one pass too many", passes=lambda p: p + 1)
    check.as_if("it makes one pass too few", passes=lambda p: p - 1)
    check.as_if("it starts with the whole decoder's picture: around the hole the image is known", lay_over, first=False)
    check.as_if(
        "known pixels are laid over at the end only: they must stay in every pass, and before the first",
        lay_over,
        first=False,
        each=False,
    )
    check.as_if(
        "known pixels are filtered as well: lay them over again after each pass", lay_over, each=False, last=False
    )
    check.as_if("known pixels must stay in every pass, not only at the end", lay_over, each=False)

    @check.suspects("it filters the image itself: the hole starts with the decoder's picture")
    def image_alone(decoded, image, mask, kernels, passes):
        return kept(image, image, mask, kernels, passes)

    check.as_if("it filters a black hole: the hole starts with the decoder's picture", decoded=torch.zeros_like)
    check.run()
