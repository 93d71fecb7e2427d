"""Checks of notebook 05."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from misf_lite.checks.check import Check, CheckFailed
from misf_lite.classical import telea
from misf_lite.datasets import load_photo, photos
from misf_lite.masks import is_hole, random_mask
from misf_lite.metrics import psnr


def by_hand(answer: Callable[[], Sequence[float]]) -> None:
    """Exercise 1: PSNR whole, PSNR in the hole, L1 % whole, L1 % in the hole, to one decimal."""
    error = np.array([0.3, -0.1] + 8 * [0.0])
    hole = np.arange(10) < 2

    def four(log=np.log10, factor=-10.0, percent=100.0, part=hole, power=2, size=np.abs) -> np.ndarray:
        parts = (error, error[part])
        with np.errstate(divide="ignore"):
            decibels = [factor * log(np.mean(np.abs(x) ** power)) for x in parts]
        return np.array([*decibels, *(percent * np.mean(size(x)) for x in parts)])

    check = Check(answer, four, close=partial(torch.allclose, atol=0.05))
    check.case()

    check.as_if("that is the natural logarithm; decibels are defined with base 10", log=np.log)
    check.as_if("20 times the logarithm is for an error; of a squared error it is 10", factor=-20.0)
    check.as_if("the sign: less error is more decibels", factor=10.0)
    check.as_if("L1 is to be in percent", percent=1.0)
    check.as_if("the hole's numbers are those of known pixels: the hole is the two wrong ones", part=~hole)
    check.as_if("PSNR starts from the squared error", power=1)
    check.as_if("L1 takes absolute values: errors up and down must not cancel", size=np.array)

    @check.suspects("in the hole, divide by the hole's two pixels, not by all ten")
    def divided_by_ten():
        return [20.0, 20.0, 4.0, 4.0]

    check.run()


def psnr_in_hole(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2: the PSNR of each picture's hole."""

    def decibels(output: Tensor, target: Tensor, mask: Tensor) -> np.ndarray:
        inside = is_hole(mask).numpy().repeat(3, 1)
        squared = (output.double() - target.double()).numpy() ** 2
        return np.array([-10 * np.log10(s[m].mean()) for s, m in zip(squared, inside, strict=True)])

    check = Check(answer, decibels)
    for B, H, W in ((2, 5, 7), (3, 6, 4)):
        target = check.rand(B, 3, H, W)
        noise = check.randn(B, 3, H, W) * torch.linspace(0.05, 0.3, B).view(B, 1, 1, 1)
        mask = torch.zeros(B, 1, H, W)
        for i in range(B):
            mask[i].view(-1)[: 4 + 3 * i] = 1  # holes of several sizes
        check.case(target + noise, target, mask)

    check.as_if("it measures the known pixels; the mask is 1 in the hole", mask=lambda m: 1 - m)
    check.as_if("it measures the whole picture, not the hole alone", mask=torch.ones_like)

    @check.suspects("divide by the number of values in the hole, not in the picture")
    def over_all(output, target, mask):
        return -10 * ((output - target) ** 2 * mask).mean((1, 2, 3)).log10()

    @check.suspects("the mask has one channel, the error three: divide by three times as much")
    def over_one_channel(output, target, mask):
        return decibels(output, target, mask) - 10 * np.log10(3)

    @check.suspects("each picture has its own mean before the logarithm; this is one mean of the batch")
    def over_the_batch(output, target, mask):
        squared = (output - target)[is_hole(mask).expand_as(output)] ** 2
        return -10 * squared.mean().log10().expand(len(output))

    @check.suspects("that is the natural logarithm; decibels are defined with base 10")
    def natural(output, target, mask):
        return decibels(output, target, mask) * np.log(10)

    @check.suspects("the sign: less error is more decibels")
    def negative(output, target, mask):
        return -decibels(output, target, mask)

    @check.suspects("20 times the logarithm is for an error; of a squared error it is 10")
    def twenty_times(output, target, mask):
        return 2 * decibels(output, target, mask)

    @check.suspects("square the error before its mean is taken")
    def of_the_absolute(output, target, mask):
        return decibels((output - target).abs().sqrt(), torch.zeros_like(target), mask)

    check.run()


def predicted(answer: Callable[[float, float, float], float]) -> None:
    """Exercise 3: the PSNR of a composited picture; the oracle makes such pictures and measures them."""

    def measured(hole: float, factor: float, share: float) -> Tensor:
        composited = torch.zeros(1, 1, 1, 1000, dtype=torch.float64)
        composited[..., : round(1000 * share)] = 10 ** (-hole / 20) * factor
        return psnr(composited, torch.zeros_like(composited))[0]

    check = Check(answer, measured)
    for case in ((18.0, 0.5, 0.25), (15.0, 2.0, 0.1), (21.0, 0.8, 0.5), (24.0, 1.0, 0.02)):
        check.case(*case)

    def rule(hole, factor, share, times=20.0, composite=10.0, log=np.log10):
        return hole - times * log(factor) - composite * log(share)

    check.as_if("the error is squared: half the error is a quarter of the MSE", rule, times=10.0)
    check.as_if("smaller errors give more decibels: look at the sign of the factor's part", rule, times=-20.0)
    check.as_if("known pixels have no error: compositing adds decibels, it takes none", rule, composite=-10.0)
    check.as_if("the share changes how many squared errors there are, it is not squared itself", rule, composite=20.0)
    check.as_if("the hole's share is not used: what happens to the mean when known pixels join?", rule, composite=0.0)
    check.as_if("the factor is not used", rule, times=0.0)
    check.as_if("that is the natural logarithm; decibels are defined with base 10", rule, log=np.log)

    @check.suspects("decibels do not multiply: products of errors become sums")
    def divided(hole, factor, share):
        return hole / factor - 10 * np.log10(share)

    check.as_if("the share of the known pixels was used, not the hole's", rule, share=lambda s: 1 - s)
    check.run()


def paired_interval(answer: Callable[[np.ndarray, np.ndarray, np.random.Generator], Sequence[float]]) -> None:
    """Exercise 4: the bootstrap interval of the mean of a - b."""

    def draws(rng: np.random.Generator, count: int) -> np.ndarray:
        return rng.integers(count, size=(40_000, count))

    def interval(a: np.ndarray, b: np.ndarray, rng: np.random.Generator, level: float = 0.95) -> np.ndarray:
        means = (a - b)[draws(rng, len(a))].mean(1)
        return np.quantile(means, ((1 - level) / 2, (1 + level) / 2))

    def close(got: Tensor, want: Tensor) -> bool:
        """Chance is involved, so the ends may be off by 4 % of the interval's width."""
        width = (want[1] - want[0]).abs() or want[0].abs() / 100
        return bool(((got - want).abs() < 0.04 * width).all())

    check = Check(answer, interval, close=close)
    for seed in (1, 2):
        rng = np.random.default_rng(seed)
        hard = rng.normal(20, 4, size=25 + 10 * seed)
        a = hard + rng.exponential(1.0, hard.size) - 0.2
        b = hard + rng.normal(0, 0.3, hard.size)
        check.case(a, b, rng)

    @check.suspects(
        "much too wide: a and b were drawn separately. Draw pictures, and take both methods on the same ones"
    )
    def drawn_separately(a, b, rng):
        means = a[draws(rng, len(a))].mean(1) - b[draws(rng, len(a))].mean(1)
        return np.quantile(means, (0.025, 0.975))

    @check.suspects("that is where single pictures lie; take the mean of each draw, then the quantiles of the means")
    def single_pictures(a, b, rng):
        return np.quantile(a - b, (0.025, 0.975))

    check.as_if("that is a 90 % interval: 2.5 % are to be left out on each side", level=0.9)
    check.as_if("that is a 68 % interval: 2.5 % are to be left out on each side", level=0.68)

    @check.suspects("the sign: a − b, how much a is better")
    def of_b(a, b, rng):
        return interval(b, a, rng)

    @check.suspects("the lower end comes first")
    def upper_end_first(a, b, rng):
        return interval(a, b, rng)[::-1]

    check.as_if("that is the interval of a alone: take the difference to b, picture by picture", b=np.zeros_like)

    @check.suspects(
        "every draw has the same mean: draw with replacement, so that some pictures come twice and some not at all"
    )
    def without_replacement(a, b, rng):
        return np.repeat((a - b).mean(), 2)

    check.run(otherwise="the ends lie elsewhere: draw as many pictures as there are, 10,000 times, with replacement")


def honest_score(answer: Callable[[Callable, Tensor, Tensor], float]) -> None:
    """Exercise 5: the mean PSNR in the hole of a method that is shown no hole."""

    def fill(image: Tensor, mask: Tensor) -> Tensor:
        """Uses whatever it is shown, and damages known pixels."""
        return 0.6 * image + 0.2 * mask + 0.3 * image.mean((1, 2, 3), keepdim=True)

    def score(fill: Callable, images: Tensor, masks: Tensor, hide=True, part="hole", composite=False, take=np.mean):
        values = []
        for image, mask in zip(images.split(1), masks.split(1), strict=True):
            output = fill(image * (1 - mask) if hide else image, mask)
            if composite:
                output = output * mask + image * (1 - mask)
            inside = is_hole({"hole": mask, "known": 1 - mask, "whole": torch.ones_like(mask)}[part]).expand_as(image)
            squared = (output - image)[inside].double() ** 2
            values.append(-10 * np.log10(squared.mean().item()))
        return take(values)

    def of_errors(decibels: list[float]) -> float:
        return -10 * np.log10(np.mean(10 ** (-np.array(decibels) / 10)))

    check = Check(answer, score)
    for B, H, W in ((3, 6, 8), (4, 7, 5)):
        images = check.rand(B, 3, H, W) * torch.linspace(0.4, 1, B).view(B, 1, 1, 1)
        masks = torch.cat([random_mask((H, W), (0.2, 0.5), "blobs", seed) for seed in range(B)])
        check.case(fill, images, masks)

    peeks = "the method still sees what is under the hole"
    check.as_if(f"{peeks}: hand it image * (1 - mask)", hide=False)
    check.as_if(f"it measures the known pixels, and {peeks}", hide=False, part="known")
    check.as_if("it measures the known pixels; the mask is 1 in the hole", part="known")
    check.as_if("it reports the best picture: take the mean of all", take=np.max)
    check.as_if(f"it reports the best picture, and {peeks}", hide=False, take=np.max)
    check.as_if("that is the PSNR of the mean error: take the PSNR of each picture, then the mean", take=of_errors)
    check.as_if("known pixels are scored too: the hole alone was asked for", part="whole")
    check.as_if("composited, but of the whole picture: the hole alone was asked for", part="whole", composite=True)
    check.run()


def own_method(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 6: better than Telea in the hole, on the mean of eight small photographs."""
    check = Check(answer, telea)
    gains = []
    for seed, path in enumerate(photos("val")[:8]):
        image = (load_photo(path, 64) * 255).round() / 255
        mask = random_mask(tuple(image.shape[2:]), (0.2, 0.4), "strokes", seed)
        holed = image * (1 - mask)
        output = check.ask(holed, mask).float()
        inside = is_hole(mask).expand_as(image)
        if output.shape != image.shape:
            check.fail("return a picture of the same shape as the image, (1, 3, H, W)")
        if not output[inside].isfinite().all():
            check.fail("there is a NaN or an infinite value in the hole: is something divided by zero?")
        if not torch.allclose(check.ask(image, mask).float()[inside], output[inside], atol=1e-4):
            check.fail("it uses what it finds under the hole, which nobody knows: take image * (1 - mask)")
        if (output[inside] == 0).all():
            if torch.allclose(output[~inside], image[~inside]):
                check.fail("the hole stays black: fill where the mask is 1")
            check.fail("the known pixels are changed and the hole is black; the mask is 1 in the hole")
        gains.append((psnr(output, image, mask) - psnr(telea(holed, mask), image, mask)).item())

    gain = float(np.mean(gains))
    if gain <= 0:
        raise CheckFailed(f"{check.name} works, but is {-gain:.2f} dB worse than Telea on {len(gains)} photographs")
    print(f"✓ {check.name} beats Telea by {gain:.2f} dB on {len(gains)} photographs")
