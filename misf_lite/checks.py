"""Checks of the exercises: they call the student's own function and say what they suspect when it is wrong."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


class CheckFailed(AssertionError):
    """An exercise is not solved yet. Notebooks show the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]


def check(
    answer: Callable, expected: Callable, cases: list[tuple], suspects: dict[str, Callable] | None = None
) -> None:
    """Compare a student's function with an oracle, case by case.

    Args:
        answer: the student's function. expected: the oracle, called with the same arguments.
        cases: tuples of arguments.
        suspects: message -> what a function with that misconception would return; the first that agrees with the
            answer on every case is named.

    Raises:
        CheckFailed: with what is wrong: not written, an error of its own, a shape, a suspected misconception, a value.
    """
    name = getattr(answer, "__name__", "your function")
    answers = []
    for arguments in cases:
        try:
            answers.append(answer(*(a.clone() if isinstance(a, Tensor) else a for a in arguments)))
        except Exception as error:
            raise CheckFailed(f"{name} stopped with {type(error).__name__}: {error}") from error
        if answers[-1] is None:
            raise CheckFailed(f"{name} returns nothing yet: write its body, and end it with return")
    try:
        answers = [torch.as_tensor(a, dtype=torch.float64) for a in answers]
    except (TypeError, ValueError, RuntimeError):
        got = type(answers[0]).__name__
        raise CheckFailed(f"{name} returns a {got}, expected a number or a tensor") from None
    right = [torch.as_tensor(expected(*arguments), dtype=torch.float64) for arguments in cases]
    for got, want in zip(answers, right, strict=True):
        if got.shape != want.shape:
            raise CheckFailed(f"{name} returns the shape {tuple(got.shape)}, expected {tuple(want.shape)}")
    if all(torch.allclose(got, want, atol=1e-5) for got, want in zip(answers, right, strict=True)):
        print(f"✓ {name} is right" + (f" in {len(cases)} cases" if len(cases) > 1 else ""))
        return
    for message, wrong in (suspects or {}).items():
        values = [torch.as_tensor(wrong(*arguments), dtype=torch.float64) for arguments in cases]
        if all(g.shape == v.shape and torch.allclose(g, v, atol=1e-5) for g, v in zip(answers, values, strict=True)):
            raise CheckFailed(f"{name}: {message}")
    got, want = next((g, w) for g, w in zip(answers, right, strict=True) if not torch.allclose(g, w, atol=1e-5))
    at = int((got - want).abs().flatten().nan_to_num(nan=torch.inf).argmax())
    raise CheckFailed(f"{name} gives {got.flatten()[at]:.4f} where {want.flatten()[at]:.4f} is right")


def by_hand(answer: Callable[[], float]) -> None:
    """Notebook 00, exercise 1."""
    turned = "2 is what the kernel gives when it is turned round, as in a convolution; here it is laid on as it is"
    check(answer, lambda: 4.0, [()], {turned: lambda: 2.0})


def composite(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Notebook 00, exercise 2."""
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
    """Notebook 00, exercise 3."""
    cases = [(torch.rand(9, 12), torch.rand(N, N), row, column) for N, row, column in ((3, 4, 5), (5, 3, 8), (1, 0, 2))]
    check(answer, _convolved, cases, _window_suspects(lambda p, k, r, c: (p, k, r, c)))


def hole_share(answer: Callable[[Tensor, Tensor, int, int], Tensor]) -> None:
    """Notebook 00, exercise 4."""
    cases = []
    for N, row, column in ((3, 4, 5), (5, 3, 8)):
        cases.append((torch.rand(N, N), (torch.rand(9, 12) > 0.5).float(), row, column))

    def expected(kernel: Tensor, mask: Tensor, row: int, column: int) -> Tensor:
        return _convolved(mask, kernel / kernel.sum(), row, column)

    def undivided(kernel: Tensor, mask: Tensor, row: int, column: int) -> Tensor:
        return _convolved(mask, kernel, row, column)

    suspects = {
        "that is the share from known pixels; the mask is 1 in the hole": lambda k, m, r, c: 1 - expected(k, m, r, c),
        "divide by the sum of the kernel: a share is 1 when all of it is hole": undivided,
    }
    check(answer, expected, cases, suspects | _window_suspects(lambda k, m, r, c: (m, k / k.sum(), r, c)))


def _convolved(picture: Tensor, kernel: Tensor, row: int, column: int) -> Tensor:
    """The oracle: torch's own convolution of the whole picture, looked up at one pixel."""
    whole = F.conv2d(picture[None, None].double(), kernel[None, None].double(), padding=len(kernel) // 2)
    return whole[0, 0, row, column]


def _window_suspects(order: Callable) -> dict[str, Callable]:
    """Misconceptions about a window; ``order`` brings arguments into (picture, kernel, row, column)."""

    def with_kernel(change: Callable[[Tensor], Tensor]) -> Callable:
        def wrong(*arguments):
            picture, kernel, row, column = order(*arguments)
            return _convolved(picture, change(kernel), row, column)

        return wrong

    def shifted(*arguments):
        picture, kernel, row, column = order(*arguments)
        r = len(kernel) // 2
        return _convolved(F.pad(picture, (0, r, 0, r)), kernel, row + r, column + r)

    return {
        "rows and columns of the kernel are swapped": with_kernel(lambda k: k.T),
        "the kernel is turned round (a convolution); lay it on as it is": with_kernel(lambda k: k.flip(0, 1)),
        "the window starts at the pixel; the pixel belongs in its middle, so start N // 2 before": shifted,
    }
