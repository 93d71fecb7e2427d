"""Checks of notebook 04."""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from misf_lite.checks.check import check


def weighted_l1(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 1."""
    cases = []
    for (H, W), weight in (((4, 6), 6.0), ((5, 3), 2.5)):
        cases.append((torch.rand(3, H, W), torch.rand(3, H, W), (torch.rand(1, H, W) > 0.7).float(), weight))
        cases[-1][2][0, 0, 0], cases[-1][2][0, -1, -1] = 1, 0

    def expected(output: Tensor, target: Tensor, mask: Tensor, weight: float) -> float:
        importance = np.where(mask.numpy() > 0, weight, 1.0).repeat(3, 0)
        return np.average(np.abs(output.numpy() - target.numpy()), weights=importance)

    def undivided(output: Tensor, target: Tensor, mask: Tensor, weight: float) -> Tensor:
        return ((output - target).abs() * (1 + (weight - 1) * mask)).mean()

    def squared(output: Tensor, target: Tensor, mask: Tensor, weight: float) -> float:
        return np.average((output - target).numpy() ** 2, weights=(1 + (weight - 1) * mask).expand(3, -1, -1).numpy())

    check(
        answer,
        expected,
        cases,
        {
            "the weight is given to known pixels; the mask is 1 in the hole": lambda o, t, m, w: expected(
                o, t, 1 - m, w
            ),
            "divide by the sum of the weights, or a large hole counts as a large error": undivided,
            "known pixels count too: once, where the hole's count weight times": lambda o, t, m, w: expected(
                o, t, m, 1e9
            ),
            "the weight is not used: pixels of the hole count more": lambda o, t, m, w: expected(o, t, m, 1),
            "L1 is the absolute error, not the squared one": squared,
            "without abs(), errors up and down cancel out": lambda o, t, m, w: (
                ((o - t) * (1 + (w - 1) * m)).sum() / (1 + (w - 1) * m).expand_as(o).sum()
            ),
        },
    )


def moving_average(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 2."""
    cases = [(torch.randn(3, 4), torch.randn(3, 4), 0.9), (torch.randn(5), torch.randn(5), 0.7)]
    check(
        answer,
        lambda average, current, decay: torch.lerp(current, average, decay),
        cases,
        {
            "decay is the share that stays of the average, not the share of the new weights": torch.lerp,
            "the two shares add up to 1: what is kept and what is new": lambda a, c, d: a * d + c,
            "that is the plain mean of the two; use decay": lambda a, c, d: (a + c) / 2,
            "nothing is left of the old average": lambda a, c, d: c,
            "the new weights leave no trace": lambda a, c, d: a,
        },
    )


def share(answer: Callable[[int, int, int], Sequence[int]]) -> None:
    """Exercise 3."""

    def counted(count: int, processes: int) -> list[int] | None:
        """How often each picture is taken; and whether the shares are equal."""
        shares = [answer(count, rank, processes) for rank in range(processes)]
        if any(mine is None for mine in shares):
            return None
        shares = [[int(picture) for picture in mine] for mine in shares]
        taken = [sum(mine.count(picture) for mine in shares) for picture in range(count)]
        others = sum(not 0 <= picture < count for mine in shares for picture in mine)
        lengths = [len(mine) for mine in shares]
        return [*taken, others, max(lengths) - min(lengths)]

    def expected(count: int, processes: int) -> list[int]:
        return [1] * count + [0, 0]

    counted.__name__ = getattr(answer, "__name__", "your function")
    check(
        counted,
        expected,
        [(8, 2), (12, 3), (5, 1)],
        {
            "every process takes every picture: it should take its own share": lambda n, p: [p] * n + [0, 0],
            "all processes take the same pictures: use rank": lambda n, p: [p] * (n // p) + [0] * (n - n // p) + [0, 0],
            "pictures are counted from 0; the first one is left out": lambda n, p: [0] + [1] * (n - 1) + [1, 0],
            "the last picture is left out": lambda n, p: [1] * (n - 1) + [0, 0, int(p > 1)],
            "one process takes all, the others nothing": lambda n, p: [1] * n + [0, n if p > 1 else 0],
            "not every picture is taken exactly once, or some processes get more than others": counted,
        },
    )


def largest_batch(answer: Callable[[float, float, float, int], int]) -> None:
    """Exercise 4."""
    cases = [(4e9, 1e8, 1300.0, 128), (8e9, 4.5e8, 3000.0, 256), (5e8, 1e8, 1250.0, 64), (2e8, 1e8, 900.0, 48)]

    def fits(budget: float, fixed: float, per_pixel: float, crop: int) -> int:
        return int((budget - fixed) // (per_pixel * crop**2))

    check(
        answer,
        fits,
        cases,
        {
            "the weights and their copies need memory too: take fixed away first": lambda b, f, p, c: fits(b, 0, p, c),
            "a crop has crop × crop pixels": lambda b, f, p, c: int((b - f) // (p * c)),
            "that is one too many: round down": lambda b, f, p, c: fits(b, f, p, c) + 1,
            "a batch is a whole number: round down": lambda b, f, p, c: (b - f) / (p * c**2),
            "fixed is needed beside the batch: it is taken away, not added": lambda b, f, p, c: fits(b, -f, p, c),
        },
    )


def one_cycle(answer: Callable[[int, int, int, float], float]) -> None:
    """Exercise 5."""
    cases = [
        (step, top, last, peak) for top, last, peak in ((10, 50, 0.9), (4, 29, 0.6)) for step in (0, top // 2, top)
    ]
    cases += [(step, 4, 29, 0.7) for step in (3, 5, 11, 28, 29)]

    def expected(step: int, top: int, last: int, peak: float) -> float:
        optimiser = torch.optim.SGD([torch.zeros(1)])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, peak, last + 1, pct_start=(top + 1) / (last + 1), final_div_factor=1e9, cycle_momentum=False
        )
        for _ in range(step):
            optimiser.step()
            schedule.step()
        return schedule.get_last_lr()[0]

    def wrong(ease: Callable[[float], float] = lambda x: (1 - math.cos(math.pi * x)) / 2, start: float = 1 / 25):
        def rate(step: int, top: int, last: int, peak: float) -> float:
            if step <= top:
                return peak * (start + (1 - start) * ease(step / top))
            return peak * (1 - ease((step - top) / (last - top)))

        return rate

    def falling(step: int, top: int, last: int, peak: float) -> float:
        return peak * (1 + math.cos(math.pi * step / last)) / 2

    def past_the_top(step: int, top: int, last: int, peak: float) -> float:
        return wrong()(step, top, last, peak) if step <= top else peak * (1 + math.cos(math.pi * step / last)) / 2

    check(
        answer,
        expected,
        cases,
        {
            "it rises and falls in straight lines; use half a cosine for both": wrong(lambda x: x),
            "it starts at peak / 25, not at 0": wrong(start=0.0),
            "it only falls: first it has to rise, until step top": falling,
            "on the way down, count the steps from top on": past_the_top,
            "it is the whole wave, not half of it: cos(0) is 1 and cos(π) is -1": wrong(
                lambda x: 1 - math.cos(math.pi * x)
            ),
        },
    )


def atomic_save(answer: Callable[[Path, str, Callable], Path]) -> None:
    """Exercise 6: what is in the file afterwards, when all goes well and when the disk fails midway."""
    NEW, OLD, DAMAGED, GONE = 0, 1, 2, 3

    def left(fails: bool) -> int | None:
        def write(path: Path, text: str) -> None:
            Path(path).write_text(text[: len(text) // 2] if fails else text)
            if fails:
                raise OSError("no space left on device")

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "checkpoint.txt")
            path.write_text("the old state")
            try:
                returned = answer(path, "the new state", write)
            except OSError:
                if not fails:
                    raise
            else:
                if returned is None and not fails:
                    return None
            if not path.exists():
                return GONE
            return {"the old state": OLD, "the new state": NEW}.get(path.read_text(), DAMAGED)

    left.__name__ = getattr(answer, "__name__", "your function")
    check(
        left,
        lambda fails: OLD if fails else NEW,
        [(False,), (True,)],
        {
            "a disk that is full midway damages the good file: write under another name first": lambda fails: (
                DAMAGED if fails else NEW
            ),
            "the new file never gets its name: rename it when it is whole": lambda fails: OLD,
            "the old file is gone before the new one is whole: rename over it, which replaces it": lambda fails: (
                GONE if fails else NEW
            ),
            "there is no file of that name afterwards": lambda fails: GONE,
            "afterwards the file holds neither the old text nor the new one": left,
        },
    )
