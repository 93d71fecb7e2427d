"""Checks of notebook 04."""

import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from misf_lite.checks.check import Check
from misf_lite.masks import is_hole


def weighted_l1(answer: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 1: the mean absolute error, in which a pixel of the hole counts ``weight`` times."""

    def mean_error(output: Tensor, target: Tensor, mask: Tensor, weight: float) -> float:
        importance = np.where(is_hole(mask).numpy(), weight, 1.0).repeat(3, 0)
        return np.average(np.abs(output.numpy() - target.numpy()), weights=importance)

    check = Check(answer, mean_error)
    for H, W, weight in ((4, 6, 6.0), (5, 3, 2.5)):
        mask = check.mask(1, H, W, share=0.3)
        mask[0, 0, 0] = 1
        mask[0, -1, -1] = 0
        check.case(check.rand(3, H, W), check.rand(3, H, W), mask, weight)

    def importance(mask: Tensor, weight: float) -> Tensor:
        return (1 + (weight - 1) * mask).expand(3, -1, -1)

    check.as_if("the weight is given to known pixels; the mask is 1 in the hole", mask=lambda m: 1 - m)

    @check.suspects("divide by the sum of the weights, or a large hole counts as a large error")
    def undivided(output, target, mask, weight):
        return ((output - target).abs() * importance(mask, weight)).mean()

    check.as_if("known pixels count too: once, where the hole's count weight times", weight=1e9)
    check.as_if("the weight is not used: pixels of the hole count more", weight=1)

    @check.suspects("L1 is the absolute error, not the squared one")
    def squared(output, target, mask, weight):
        return np.average((output - target).numpy() ** 2, weights=importance(mask, weight).numpy())

    @check.suspects("without abs(), errors up and down cancel out")
    def signed(output, target, mask, weight):
        return np.average((output - target).numpy(), weights=importance(mask, weight).numpy())

    check.run()


def moving_average(answer: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    """Exercise 2: the share ``decay`` stays of the average, the rest is taken from the current weights."""

    def blended(average: Tensor, current: Tensor, decay: float) -> Tensor:
        return torch.lerp(current, average, decay)

    check = Check(answer, blended)
    check.case(check.randn(3, 4), check.randn(3, 4), 0.9)
    check.case(check.randn(5), check.randn(5), 0.7)

    check.as_if("decay is the share that stays of the average, not the share of the new weights", decay=lambda d: 1 - d)

    @check.suspects("the two shares add up to 1: what is kept and what is new")
    def all_of_the_new(average, current, decay):
        return average * decay + current

    check.as_if("that is the plain mean of the two; use decay", decay=0.5)
    check.as_if("nothing is left of the old average", decay=0.0)
    check.as_if("the new weights leave no trace", decay=1.0)
    check.run()


def share(answer: Callable[[int, int, int], Sequence[int]]) -> None:
    """Exercise 3: the pictures of one process. How often each is taken is compared."""

    def fair(count: int, processes: int) -> list[int]:
        return [1] * count + [0, 0]

    check = Check(answer, fair)

    @check.outcome
    def counted(count, processes):
        """How often each picture is taken, then how many are none, then by how much the largest share is larger."""
        shares = [answer(count, rank, processes) for rank in range(processes)]
        if any(mine is None for mine in shares):
            return None
        taken = [int(picture) for mine in shares for picture in mine]
        others = sum(not 0 <= picture < count for picture in taken)
        lengths = [len(mine) for mine in shares]
        return [*map(taken.count, range(count)), others, max(lengths) - min(lengths)]

    for count, processes in ((8, 2), (12, 3), (5, 1)):
        check.case(count, processes)

    @check.suspects("every process takes every picture: it should take its own share")
    def all_by_all(count, processes):
        return [processes] * count + [0, 0]

    @check.suspects("all processes take the same pictures: use rank")
    def first_share_by_all(count, processes):
        size = count // processes
        return [processes] * size + [0] * (count - size) + [0, 0]

    @check.suspects("pictures are counted from 0; the first one is left out")
    def from_1_on(count, processes):
        return [0] + [1] * (count - 1) + [1, 0]

    @check.suspects("the last picture is left out")
    def without_the_last(count, processes):
        return [1] * (count - 1) + [0, 0, int(processes > 1)]

    @check.suspects("one process takes all, the others nothing")
    def all_by_one(count, processes):
        return [1] * count + [0, count if processes > 1 else 0]

    check.run(otherwise="not every picture is taken exactly once, or some processes get more than others")


def largest_batch(answer: Callable[[float, float, float, int], int]) -> None:
    """Exercise 4: how many crops fit into ``budget`` bytes."""

    def fits(budget: float, fixed: float, per_pixel: float, crop: int) -> int:
        return int((budget - fixed) // (per_pixel * crop**2))

    check = Check(answer, fits)
    for case in ((4e9, 1e8, 1300.0, 128), (8e9, 4.5e8, 3000.0, 256), (5e8, 1e8, 1250.0, 64), (2e8, 1e8, 900.0, 48)):
        check.case(*case)

    check.as_if("the weights and their copies need memory too: take fixed away first", fixed=0)
    check.as_if("a crop has crop × crop pixels", crop=math.sqrt)

    @check.suspects("that is one too many: round down")
    def rounded_up(budget, fixed, per_pixel, crop):
        return fits(budget, fixed, per_pixel, crop) + 1

    @check.suspects("a batch is a whole number: round down")
    def not_rounded(budget, fixed, per_pixel, crop):
        return (budget - fixed) / (per_pixel * crop**2)

    check.as_if("fixed is needed beside the batch: it is taken away, not added", fixed=lambda f: -f)
    check.run()


def one_cycle(answer: Callable[[int, int, int, float], float]) -> None:
    """Exercise 5: the learning rate, half a cosine up to ``peak`` and half a one down; the oracle is torch's own."""

    def scheduled(step: int, top: int, last: int, peak: float) -> float:
        optimiser = torch.optim.SGD([torch.zeros(1)])
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, peak, last + 1, pct_start=(top + 1) / (last + 1), final_div_factor=1e9, cycle_momentum=False
        )
        for _ in range(step):
            optimiser.step()
            schedule.step()
        return float(schedule.get_last_lr()[0])

    check = Check(answer, scheduled)
    for step in (0, 5, 10):
        check.case(step, 10, 50, 0.9)
    for step in (0, 2, 4):
        check.case(step, 4, 29, 0.6)
    for step in (3, 5, 11, 28, 29):
        check.case(step, 4, 29, 0.7)

    def half_a_cosine(way: float) -> float:
        return (1 - math.cos(math.pi * way)) / 2

    def cycle(step, top, last, peak, ease=half_a_cosine, start=1 / 25):
        if step <= top:
            return peak * (start + (1 - start) * ease(step / top))
        return peak * (1 - ease((step - top) / (last - top)))

    check.as_if("it rises and falls in straight lines; use half a cosine for both", cycle, ease=float)
    check.as_if("it starts at peak / 25, not at 0", cycle, start=0.0)

    @check.suspects("it only falls: first it has to rise, until step top")
    def falling(step, top, last, peak):
        return peak * (1 - half_a_cosine(step / last))

    @check.suspects("on the way down, count the steps from top on")
    def counted_from_0(step, top, last, peak):
        return (cycle if step <= top else falling)(step, top, last, peak)

    def whole_wave(way: float) -> float:
        return 1 - math.cos(math.pi * way)

    check.as_if("it is the whole wave, not half of it: cos(0) is 1 and cos(π) is -1", cycle, ease=whole_wave)
    check.run()


def atomic_save(answer: Callable[[Path, str, Callable], Path]) -> None:
    """Exercise 6: what is in the file afterwards, when all goes well and when the disk fails midway."""
    NEW, OLD, DAMAGED, GONE = range(4)

    def whole(fails: bool) -> int:
        return OLD if fails else NEW

    check = Check(answer, whole)

    @check.outcome
    def left(fails):
        def write(path, text):
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

    check.case(False)
    check.case(True)

    @check.suspects("a disk that is full midway damages the good file: write under another name first")
    def in_place(fails):
        return DAMAGED if fails else NEW

    @check.suspects("the new file never gets its name: rename it when it is whole")
    def never_renamed(fails):
        return OLD

    @check.suspects("the old file is gone before the new one is whole: rename over it, which replaces it")
    def deleted_first(fails):
        return GONE if fails else NEW

    @check.suspects("there is no file of that name afterwards")
    def deleted(fails):
        return GONE

    check.run(otherwise="afterwards the file holds neither the old text nor the new one")
