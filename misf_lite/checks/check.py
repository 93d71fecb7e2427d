"""Calls the student's own function and says what is suspected when it is wrong.

A check reads from top to bottom: what is asked, the oracle, the cases, the misconceptions::

    def double(answer: Callable[[Tensor], Tensor]) -> None:
        check = Check(answer, lambda x: x + x)
        check.case(check.rand(3, 4))

        @check.suspects("that is the square; add the number to itself")
        def squared(x):
            return x * x

        check.run()
"""

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor


class CheckFailed(AssertionError):
    """An exercise is not solved yet. Notebooks show the message alone, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ {self}"]


def nearly_equal(got: Tensor, want: Tensor) -> bool:
    return torch.allclose(got, want, atol=1e-5)


class Check:
    """Compares a student's function with an oracle, case by case, and names a misconception where they differ.

    Args:
        answer: the student's function.
        expected: the oracle, called with the same arguments. Both return numbers, or a tensor or array of them.
        close: whether two results, float64 tensors of one shape, agree.
        zero_by_zero: what to say when all is right but for NaN or infinity where 0 is due. Misconceptions are looked
            for as if these were 0.
    """

    def __init__(
        self, answer: Callable, expected: Callable, close: Callable = nearly_equal, zero_by_zero: str = ""
    ) -> None:
        self.name = getattr(answer, "__name__", "your function")
        self.answer = answer
        self.expected = expected
        self.close = close
        self.zero_by_zero = zero_by_zero
        self.cases: list[tuple] = []
        self.misconceptions: list[tuple[str, Callable]] = []
        self.generator = torch.Generator().manual_seed(0)  # of its own: a notebook's random numbers stay what they are

    def case(self, *arguments: Any) -> None:
        """What answer, oracle and misconceptions are called with. Each gets copies, to change as it likes."""
        self.cases.append(arguments)

    def suspects(self, message: str) -> Callable[[Callable], Callable]:
        """Decorates what somebody with this misconception would compute; the first that agrees is named."""

        def keep(wrong: Callable) -> Callable:
            self.misconceptions.append((message, wrong))
            return wrong

        return keep

    def as_if(self, message: str, rule: Callable | None = None, /, **changes: Any) -> None:
        """A misconception that is the rule, by default the oracle, with something changed.

        ``dilation=1`` is handed on in the place of the case's dilation; a function, ``kernel=torch.t``, is applied to
        the case's kernel.
        """
        function = rule or self.expected

        @self.suspects(message)
        def changed(*arguments):
            values = inspect.signature(function).bind(*arguments).arguments
            for name, change in changes.items():
                values[name] = change(values[name]) if name in values and callable(change) else change
            return function(**values)

    def outcome(self, function: Callable) -> Callable:
        """Decorates what to compare where that is not what the answer returns, but what comes of calling it."""
        self.answer = function
        return function

    def run(self, otherwise: str = "") -> None:
        """Print that the answer is right.

        Args:
            otherwise: what to say, instead of two numbers that differ, to an answer that agrees with no misconception.

        Raises:
            CheckFailed: with what is wrong: not written, an error of its own, a shape, a misconception, a value.
        """
        answers = [self.ask(*case) for case in self.cases]
        right = self.results(self.expected)
        for got, want in zip(answers, right, strict=True):
            if got.shape != want.shape:
                raise CheckFailed(f"{self.name} returns the shape {tuple(got.shape)}, expected {tuple(want.shape)}")
        if not self.agree(answers, right):
            self.diagnose(answers, right, otherwise)
        print(f"✓ {self.name} is right" + (f" in {len(self.cases)} cases" if len(self.cases) > 1 else ""))

    def diagnose(self, answers: list[Tensor], right: list[Tensor], otherwise: str) -> NoReturn:
        if self.zero_by_zero:
            answers = [torch.where(got.isfinite(), got, 0) for got in answers]
            if self.agree(answers, right):
                self.fail(self.zero_by_zero)
        for message, wrong in self.misconceptions:
            if self.agree(answers, self.results(wrong)):
                self.fail(message)
        if otherwise:
            self.fail(otherwise)
        got, want = next(pair for pair in zip(answers, right, strict=True) if not self.close(*pair))
        at = int((got - want).abs().flatten().nan_to_num(nan=torch.inf).argmax())
        raise CheckFailed(f"{self.name} gives {got.flatten()[at]:.4f} where {want.flatten()[at]:.4f} is right")

    def ask(self, *arguments: Any) -> Tensor:
        """What the answer returns, as float64."""
        try:
            returned = self.answer(*deepcopy(arguments))
        except Exception as error:
            raise CheckFailed(f"{self.name} stopped with {type(error).__name__}: {error}") from error
        if returned is None:
            raise CheckFailed(f"{self.name} returns nothing yet: write its body, and end it with return")
        try:
            return as_numbers(returned)
        except (TypeError, ValueError, RuntimeError):
            kind = type(returned).__name__
            raise CheckFailed(f"{self.name} returns a {kind}, expected a number or a tensor") from None

    def fail(self, message: str) -> NoReturn:
        raise CheckFailed(f"{self.name}: {message}")

    def results(self, function: Callable) -> list[Tensor]:
        return [as_numbers(function(*deepcopy(case))) for case in self.cases]

    def agree(self, answers: list[Tensor], others: list[Tensor]) -> bool:
        pairs = zip(answers, others, strict=True)
        return all(one.shape == other.shape and self.close(one, other) for one, other in pairs)

    def rand(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1, the same in every run."""
        return torch.rand(shape, generator=self.generator)

    def randn(self, *shape: int) -> Tensor:
        """Normally distributed numbers, the same in every run."""
        return torch.randn(shape, generator=self.generator)

    def mask(self, *shape: int, share: float = 0.5) -> Tensor:
        """Single pixels, about this share of them hole, the same in every run."""
        return (self.rand(*shape) < share).float()


def check_number(answer: Callable[[], float], right: float, wrong: dict[float, str]) -> None:
    """An exercise for paper and pencil. ``wrong``: a number, and by which mistake one comes to it."""
    check = Check(answer, partial(float, right))
    check.case()
    for number, message in wrong.items():
        check.suspects(message)(partial(float, number))
    check.run()


def as_numbers(values: Any) -> Tensor:
    if isinstance(values, np.ndarray):
        values = values.copy()  # torch takes no array that is turned round
    return torch.as_tensor(values, dtype=torch.float64).detach()
