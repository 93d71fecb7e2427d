"""Checks of the exercises: they call the student's own function and say what they suspect when it is wrong.

`check` does it; each lesson has a module beside this one, and its notebook imports that as ``checks``.
"""

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


def convolved(picture: Tensor, kernel: Tensor, row: int, column: int) -> Tensor:
    """The oracle: torch's own convolution of the whole picture, looked up at one pixel."""
    whole = F.conv2d(picture[None, None].double(), kernel[None, None].double(), padding=len(kernel) // 2)
    return whole[0, 0, row, column]


def window_suspects(order: Callable) -> dict[str, Callable]:
    """Misconceptions about a window; ``order`` brings arguments into (picture, kernel, row, column)."""

    def with_kernel(change: Callable[[Tensor], Tensor]) -> Callable:
        def wrong(*arguments):
            picture, kernel, row, column = order(*arguments)
            return convolved(picture, change(kernel), row, column)

        return wrong

    def shifted(*arguments):
        picture, kernel, row, column = order(*arguments)
        r = len(kernel) // 2
        return convolved(F.pad(picture, (0, r, 0, r)), kernel, row + r, column + r)

    return {
        "rows and columns of the kernel are swapped": with_kernel(lambda k: k.T),
        "the kernel is turned round (a convolution); lay it on as it is": with_kernel(lambda k: k.flip(0, 1)),
        "the window starts at the pixel; the pixel belongs in its middle, so start N // 2 before": shifted,
    }


def windows(x: Tensor, N: int, dilation: int = 1, beyond: str = "reflect", centred: bool = True) -> Tensor:
    """The oracle of every filter: what each tap sees, cut out by ``F.unfold``.

    Args:
        x: ``(B, C, H, W)``.
        beyond: what lies beyond the border, as `F.pad` names it.
        centred: False is a misconception, windows that start at the pixel.

    Returns:
        ``(B, C, N*N, H, W)``.
    """
    reach = N // 2 * dilation
    around = (reach,) * 4 if centred else (0, 2 * reach, 0, 2 * reach)
    return (
        F.unfold(F.pad(x, around, mode=beyond), N, dilation=dilation)
        .unflatten(1, (-1, N * N))
        .unflatten(3, x.shape[2:])
    )


def swap_taps(kernels: Tensor, dim: int) -> Tensor:
    """A misconception: rows and columns of the ``N*N`` taps, which lie along ``dim``, are swapped."""
    N = round(kernels.shape[dim] ** 0.5)
    return kernels.unflatten(dim, (N, N)).transpose(dim, dim + 1).flatten(dim, dim + 1)
