"""Checks of notebook 03."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from misf_lite.checks.check import check, windows
from misf_lite.model import MISF, MISFConfig


def by_hand(answer: Callable[[], float]) -> None:
    """Exercise 1: 2 2 2 ? x 4 6 6 under the semantic kernels keep, left, right, keep and 0.5 0.1 0.4 at x."""
    check(
        answer,
        lambda: 3.2,
        [()],
        {
            "the image filter works on what the decoder put into the hole, not on the hole itself": lambda: 1.6,
            "that is the decoder's number; the image filter is still to come": lambda: 6.0,
            "the 4 is known: lay the known pixels over the decoder's row before the image filter": lambda: 4.0,
            "the semantic filter is missing: filter the four features before you repeat them": lambda: 2.3,
            "the kernel is turned round (a convolution); lay it on as it is": lambda: 3.4,
            "that is the pixel to the left of x": lambda: 3.6,
        },
    )


def identity_bias(answer: Callable[[int, int], Tensor]) -> None:
    """Exercise 2."""

    def at(tap: Callable[[int], int]) -> Callable[[int, int], Tensor]:
        return lambda groups, N: F.one_hot(torch.tensor(tap(N)), N * N).repeat(groups)

    def first_only(groups: int, N: int) -> Tensor:
        bias = torch.zeros(groups * N * N)
        bias[N * N // 2] = 1
        return bias

    def taps_first(groups: int, N: int) -> Tensor:
        return at(lambda N: N * N // 2)(groups, N).view(groups, N * N).T.flatten()

    def oracle(groups: int, N: int) -> Tensor:
        """The kernels whose filter gives back what it is given, tap by tap from ``F.unfold``."""
        x = torch.randn(1, 1, N, N)
        middle = F.unfold(x, N)[0, :, 0]
        return (middle == x[0, 0, N // 2, N // 2]).repeat(groups)

    check(
        answer,
        oracle,
        [(1, 3), (4, 3), (3, 5), (2, 7)],
        {
            "with zeros alone every feature is wiped out; the identity has a 1": lambda g, N: torch.zeros(g * N * N),
            "with ones everywhere the filter adds up the whole window; the identity has a single 1": lambda g, N: (
                torch.ones(g * N * N)
            ),
            "that is the mean filter, a blur; the identity has a single 1": lambda g, N: torch.full(
                (g * N * N,), 1 / N**2
            ),
            "tap 0 is the upper left neighbour; the pixel itself is in the middle": at(lambda N: 0),
            "tap N // 2 is in the first row; the pixel itself is in the middle of all N * N": at(lambda N: N // 2),
            "only the first kernel is an identity; each of the groups needs its 1": first_only,
            "the taps of one kernel lie side by side: groups first, then taps": taps_first,
        },
    )


def _on_paper(**changes) -> MISF:
    """A model that has shapes and no numbers."""
    with torch.device("meta"):
        return MISF(MISFConfig.paper(**changes))


def link_weights(answer: Callable[[int], int]) -> None:
    """Exercise 3."""

    def expected(width: int) -> int:
        with_link, without = (
            sum(p.numel() for p in _on_paper(width=width, blocks=0, interactive=link).parameters())
            for link in (True, False)
        )
        return with_link - without

    check(
        answer,
        expected,
        [(8,), (64,), (5,)],
        {
            "a 4 × 4 convolution has 16 weights for each pair of channels": lambda w: 2 * w * 4 * w,
            "F2 has 2 · width channels, E3 has 4 · width": lambda w: 16 * w * 4 * w,
            "the link hands over F2, not F3": lambda w: 16 * 4 * w * 4 * w,
            "that is all of E3; without the link it still sees E2": lambda w: 16 * 4 * w * 4 * w + 4 * w,
            "E3 has as many biases as without the link: one for each channel that comes out": lambda w: (
                16 * 2 * w * 4 * w + 4 * w
            ),
            "handing over costs nothing, but E3 has to look at what it is handed": lambda w: 0,
        },
    )


def predicted_weights(answer: Callable[[int, int, int], int]) -> None:
    """Exercise 4."""

    def expected(H: int, W: int, width: int) -> int:
        picture = torch.empty(1, 4, H, W, device="meta")
        model = _on_paper(width=width, blocks=0, outer_kernel=1)
        return sum(kernels.numel() for kernels in model.trace(picture[:, :3], picture[:, 3:]).kernels.values())

    def wrong(semantic: float = 1, image: float = 1, divide: Callable = lambda n: math.ceil(n / 4)) -> Callable:
        return lambda H, W, width: 9 * (semantic * 4 * width * divide(H) * divide(W) + image * 3 * H * W)

    check(
        answer,
        expected,
        [(64, 64, 8), (33, 50, 4), (48, 29, 3)],
        {
            "a padded picture's F3 is a quarter of it, rounded up": wrong(divide=lambda n: n // 4),
            "F3 is a quarter as high and as wide as the picture": wrong(divide=lambda n: n),
            "F3 is halved twice: a quarter of the side, not a half": wrong(divide=lambda n: math.ceil(n / 2)),
            "a kernel has 9 taps": wrong(1 / 9, 1 / 9),
            "every colour has an image kernel of its own: three for each pixel": wrong(image=1 / 3),
            "F3 has 4 · width channels, and each has kernels of its own": lambda H, W, w: wrong(1 / 4 / w)(H, W, w),
            "F3 has 4 · width channels, not width": wrong(1 / 4),
            "the image kernels K are missing": wrong(image=0),
            "the semantic kernels K3 are missing": wrong(semantic=0),
        },
    )


NONE = -1


def first_difference(answer: Callable[[dict[str, Tensor], dict[str, Tensor]], str]) -> None:
    """Exercise 5. The position of the name that is returned is compared."""
    names = ("F1", "F2", "F3", "E1", "E2", "link", "E3", "K3", "K")
    cases = []

    def case(start: int | None, change: Callable[[Tensor], Tensor]) -> None:
        ours = {name: torch.rand(2, 3, 4, 5) for name in names}
        rounded = {name: x + 1e-6 * torch.rand_like(x) for name, x in ours.items()}
        theirs = dict(rounded)
        for i, name in enumerate(names):
            if start is not None and i >= start:
                theirs[name] = change(rounded[name]) * (1 + (i > start))
        cases.append((ours, theirs))

    def one_place(by: float) -> Callable[[Tensor], Tensor]:
        def change(x: Tensor) -> Tensor:
            x = x.clone()
            x[1, 2, 3, 4] += by
            return x

        return change

    case(None, lambda x: x)
    case(2, lambda x: x + 0.5)
    case(4, lambda x: x - 0.5)
    case(0, one_place(0.002))
    case(1, one_place(math.nan))
    case(6, lambda x: x.transpose(2, 3))

    def differs(
        a: Tensor,
        b: Tensor,
        most: float = 1e-4,
        nan: bool = True,
        shape: bool = True,
        size: Callable = lambda d: d.abs().max(),
    ) -> bool:
        if a.shape != b.shape:
            return shape
        difference = size(a.double() - b.double())
        return bool(difference > most) or (nan and bool(difference.isnan()))

    def where(ours: dict, theirs: dict, **how) -> list[int]:
        return [i for i, name in enumerate(ours) if differs(ours[name], theirs[name], **how)]

    def expected(ours: dict, theirs: dict) -> int:
        """Told apart with torch's own comparison."""
        for i, name in enumerate(ours):
            if ours[name].shape != theirs[name].shape or not torch.allclose(ours[name], theirs[name], 0, 1e-4):
                return i
        return NONE

    def first(**how) -> Callable[[dict, dict], int]:
        return lambda ours, theirs: next(iter(where(ours, theirs, **how)), NONE)

    def largest(ours: dict, theirs: dict) -> int:
        def size(a: Tensor, b: Tensor) -> float:
            return (a - b).abs().max().nan_to_num(math.inf).item() if a.shape == b.shape else math.inf

        sizes = [size(ours[name], theirs[name]) for name in names]
        return sizes.index(max(sizes)) if max(sizes) > 1e-4 else NONE

    def named(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> int | None:
        name = answer(dict(ours), dict(theirs))
        if name is not None and name not in (*names, "none"):
            raise ValueError(f"it returns {name!r}, which is not a name: return a key of the dictionary, or 'none'")
        return None if name is None else NONE if name == "none" else names.index(name)

    named.__name__ = getattr(answer, "__name__", "your function")
    check(
        named,
        expected,
        cases,
        {
            "a NaN slips through: every comparison with it is false, so ask whether all is well": first(nan=False),
            "rounding is not a difference: allow 1e-4": first(most=0.0),
            "tensors of different shape differ, too": first(shape=False),
            "differences downwards count, too: take the absolute value": first(size=lambda d: d.max()),
            "a mean hides a single place: take the largest difference": first(size=lambda d: d.abs().mean()),
            "that is the largest difference, not the first": largest,
            "that is the last one that differs; all that follows a broken part differs as well": lambda o, t: (
                where(o, t) or [NONE]
            )[-1],
            "that is the last one that is still right; the broken part comes after it": lambda o, t: (
                expected(o, t) - 1 if expected(o, t) > 0 else NONE
            ),
            "it finds nothing, in no case": lambda o, t: NONE,
            "in some cases that is not the first tensor that differs": named,
        },
    )


def several_passes(answer: Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]) -> None:
    """Exercise 6: the oracle filters by ``F.unfold`` with the identity at known pixels."""
    cases = []
    for B, H, W, N, passes in ((1, 9, 8, 3, 1), (2, 8, 11, 3, 3), (1, 12, 9, 5, 2)):
        mask = (torch.rand(B, 1, H, W) > 0.4).float()
        kernels = torch.randn(B, 1, N * N, H, W).softmax(2)
        cases.append((torch.rand(B, 3, H, W), torch.rand(B, 3, H, W), mask, kernels, passes))

    def filtered(picture: Tensor, kernels: Tensor) -> Tensor:
        return (windows(picture, math.isqrt(kernels.shape[2])) * kernels).sum(2)

    def expected(decoded: Tensor, image: Tensor, mask: Tensor, kernels: Tensor, passes: int) -> Tensor:
        centre = torch.zeros_like(kernels)
        centre[:, :, kernels.shape[2] // 2] = 1
        kernels = kernels * mask[:, None] + centre * (1 - mask[:, None])
        picture = decoded * mask + image * (1 - mask)
        for _ in range(passes):
            picture = filtered(picture, kernels)
        return picture

    def without_known(d: Tensor, i: Tensor, m: Tensor, k: Tensor, passes: int) -> Tensor:
        for step in range(passes):
            d = filtered(d, k)
            d = torch.where(m > 0, d, i) if step == passes - 1 else d
        return d

    def only_first(d: Tensor, i: Tensor, m: Tensor, k: Tensor, passes: int, last: bool) -> Tensor:
        picture = torch.where(m > 0, d, i)
        for _ in range(passes):
            picture = filtered(picture, k)
        return torch.where(m > 0, picture, i) if last else picture

    def starts_late(d: Tensor, i: Tensor, m: Tensor, k: Tensor, passes: int) -> Tensor:
        for _ in range(passes):
            d = torch.where(m > 0, filtered(d, k), i)
        return d

    check(
        answer,
        expected,
        cases,
        {
            "the mask is 1 in the hole: the decoder's picture belongs there": lambda d, i, m, k, p: expected(
                d, i, 1 - m, k, p
            ),
            "it filters only once: each pass works on what the one before put out": lambda d, i, m, k, p: expected(
                d, i, m, k, 1
            ),
            "it filters once too often": lambda d, i, m, k, p: expected(d, i, m, k, p + 1),
            "it filters once too few": lambda d, i, m, k, p: expected(d, i, m, k, p - 1),
            "it starts with the whole decoder's picture: around the hole the image is known": starts_late,
            "known pixels are laid over at the end only: they must stay in every pass, and before the first": (
                without_known
            ),
            "known pixels are filtered as well: lay them over again after each pass": lambda *a: only_first(*a, False),
            "known pixels must stay in every pass, not only at the end": lambda *a: only_first(*a, True),
            "it filters the image itself: the hole starts with the decoder's picture": lambda d, i, m, k, p: expected(
                i, i, m, k, p
            ),
            "it filters a black hole: the hole starts with the decoder's picture": lambda d, i, m, k, p: expected(
                0 * d, i, m, k, p
            ),
        },
    )
