"""Checks of notebook 05."""

import contextlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from misf_lite.checks.check import CheckFailed, check
from misf_lite.datasets import load_photo, photos
from misf_lite.masks import random_mask
from misf_lite.metrics import psnr, telea


def by_hand(answer: Callable[[], Sequence[float]]) -> None:
    """Exercise 1: PSNR whole, PSNR in the hole, L1 % whole, L1 % in the hole, to one decimal."""
    error, hole = np.zeros(10), np.arange(10) < 2
    error[:2] = 0.3, -0.1

    def numbers(
        log: Callable = np.log10, factor: float = -10.0, percent: float = 100.0, part: np.ndarray = hole, power: int = 2
    ) -> Callable:
        def values() -> list[float]:
            squared = [np.mean(np.abs(x) ** power) for x in (error, error[part])]
            size = [percent * np.mean(np.abs(x)) for x in (error, error[part])]
            with np.errstate(divide="ignore"):
                return [round(float(v), 1) for v in (*(factor * log(s) for s in squared), *size)]

        return values

    def signed() -> list[float]:
        return [*numbers()()[:2], *(round(float(100 * x.mean()), 1) for x in (error, error[hole]))]

    def given() -> list[float] | None:
        values = answer()
        return None if values is None else [round(float(v), 1) for v in values]

    given.__name__ = getattr(answer, "__name__", "your function")
    check(
        given,
        numbers(),
        [()],
        {
            "that is the natural logarithm; decibels are made with base 10": numbers(np.log),
            "20 times the logarithm is for an error; of a squared error it is 10": numbers(factor=-20.0),
            "the sign: less error is more decibels": numbers(factor=10.0),
            "L1 is to be in percent": numbers(percent=1.0),
            "the hole's numbers are those of known pixels: the hole is the two wrong ones": numbers(part=~hole),
            "PSNR starts from the squared error": numbers(power=1),
            "L1 takes absolute values: errors up and down must not cancel": signed,
            "in the hole, divide by the hole's two pixels, not by all ten": lambda: [20.0, 20.0, 4.0, 4.0],
        },
    )


def psnr_in_hole(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Exercise 2."""
    cases = []
    for B, H, W in ((2, 5, 7), (3, 6, 4)):
        target = torch.rand(B, 3, H, W)
        noise = torch.randn(B, 3, H, W) * torch.linspace(0.05, 0.3, B).view(B, 1, 1, 1)
        mask = torch.zeros(B, 1, H, W)
        for i in range(B):
            mask[i, 0].view(-1)[torch.randperm(H * W)[: 4 + 3 * i]] = 1
        cases.append((target + noise, target, mask))

    def expected(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        inside = mask.numpy().astype(bool).repeat(3, 1)
        squared = (output.double() - target.double()).numpy() ** 2
        return torch.tensor([-10 * np.log10(s[m].mean()) for s, m in zip(squared, inside, strict=True)])

    def over_all(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return -10 * ((output - target) ** 2 * mask).mean((1, 2, 3)).log10()

    def one_channel(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        return -10 * (((output - target) ** 2 * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))).log10()

    def whole_batch(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        inside = mask.expand_as(output) > 0
        return -10 * ((output - target)[inside] ** 2).mean().log10().expand(len(output))

    def of_the_absolute(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        weight = mask.expand_as(output)
        return -10 * (((output - target).abs() * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))).log10()

    check(
        answer,
        expected,
        cases,
        {
            "it measures the known pixels; the mask is 1 in the hole": lambda o, t, m: expected(o, t, 1 - m),
            "it measures the whole picture, not the hole alone": lambda o, t, m: expected(o, t, torch.ones_like(m)),
            "divide by the number of values in the hole, not in the picture": over_all,
            "the mask has one channel, the error three: divide by three times as much": one_channel,
            "each picture has its own mean before the logarithm; this is one mean of the batch": whole_batch,
            "that is the natural logarithm; decibels are made with base 10": lambda o, t, m: (
                expected(o, t, m) * np.log(10)
            ),
            "the sign: less error is more decibels": lambda o, t, m: -expected(o, t, m),
            "20 times the logarithm is for an error; of a squared error it is 10": lambda o, t, m: (
                2 * expected(o, t, m)
            ),
            "square the error before its mean is taken": of_the_absolute,
        },
    )


def predicted(answer: Callable[[float, float, float], float]) -> None:
    """Exercise 3: the oracle makes such pictures and measures them."""
    cases = [(18.0, 0.5, 0.25), (15.0, 2.0, 0.1), (21.0, 0.8, 0.5), (24.0, 1.0, 0.02)]

    def expected(hole: float, factor: float, share: float) -> float:
        error, known = torch.randn(1, 1, 1, round(1000 * share), dtype=torch.float64), 1000 - round(1000 * share)
        error = error / (error**2).mean().sqrt() * 10 ** (-hole / 20) * factor
        composited = torch.cat([error, torch.zeros(1, 1, 1, known, dtype=torch.float64)], 3)
        return psnr(composited, torch.zeros_like(composited)).item()

    def wrong(times: float = 20.0, composite: float = 10.0, log: Callable = np.log10) -> Callable:
        return lambda hole, factor, share: hole - times * log(factor) - composite * log(share)

    check(
        answer,
        expected,
        cases,
        {
            "the error is squared: half the error is a quarter of the MSE": wrong(times=10.0),
            "smaller errors give more decibels: look at the sign of the factor's part": wrong(times=-20.0),
            "known pixels have no error: compositing adds decibels, it takes none": wrong(composite=-10.0),
            "the share changes how many squared errors there are, it is not squared itself": wrong(composite=20.0),
            "the hole's share is not used: what happens to the mean when known pixels join?": wrong(composite=0.0),
            "the factor is not used": wrong(times=0.0),
            "that is the natural logarithm; decibels are made with base 10": wrong(log=np.log),
            "decibels do not multiply: products of errors become sums": lambda h, f, s: h / f - 10 * np.log10(s),
            "the share of the known pixels was used, not the hole's": lambda h, f, s: (
                h - 20 * np.log10(f) - 10 * np.log10(1 - s)
            ),
        },
    )


def paired_interval(answer: Callable[[np.ndarray, np.ndarray, np.random.Generator], Sequence[float]]) -> None:
    """Exercise 4. Chance is involved, so the ends may be off by 4 % of the interval's width."""

    def ends(means: np.ndarray, level: float = 0.95) -> np.ndarray:
        return np.quantile(means, ((1 - level) / 2, (1 + level) / 2))

    def candidates(a: np.ndarray, b: np.ndarray) -> list[np.ndarray]:
        rng, n = np.random.default_rng(0), len(a)
        one, two = rng.integers(n, size=(2, 40_000, n))
        means = (a - b)[one].mean(1)
        return [
            ends(means),
            ends(a[one].mean(1) - b[two].mean(1)),
            ends(a - b),
            ends(means, 0.9),
            ends(means, 0.68),
            -ends(means)[::-1],
            ends(means)[::-1],
            ends(a[one].mean(1)),
            np.repeat((a - b).mean(), 2),
        ]

    def verdict(seed: int) -> float | None:
        rng = np.random.default_rng(seed)
        hard = rng.normal(20, 4, size=25 + 10 * seed)
        a, b = hard + rng.exponential(1.0, hard.size) - 0.2, hard + rng.normal(0, 0.3, hard.size)
        given = answer(a.copy(), b.copy(), np.random.default_rng(seed + 100))
        if given is None:
            return None
        low, high = (float(end) for end in given)
        for code, pair in enumerate(candidates(a, b)):
            close = 0.04 * (abs(pair[1] - pair[0]) or abs(pair[0]) / 100)
            if abs(low - pair[0]) < close and abs(high - pair[1]) < close:
                return code
        return -1

    verdict.__name__ = getattr(answer, "__name__", "your function")
    messages = (
        "much too wide: a and b were drawn separately. Draw pictures, and take both methods on the same ones",
        "that is where single pictures lie; take the mean of each draw, and then the quantiles of the means",
        "that is a 90 % interval: 2.5 % are to be left out on each side",
        "that is a 68 % interval: 2.5 % are to be left out on each side",
        "the sign: a − b, how much a is better",
        "the lower end comes first",
        "that is the interval of a alone: take the difference to b, picture by picture",
        "every draw has the same mean: draw with replacement, so that some pictures come twice and some not at all",
    )
    suspects = {message: lambda seed, code=code: float(code) for code, message in enumerate(messages, 1)}
    unknown = "the ends lie elsewhere: draw as many pictures as there are, 10,000 times, with replacement"
    check(verdict, lambda seed: 0.0, [(1,), (2,)], suspects | {unknown: verdict})


def honest_score(answer: Callable[[Callable, Tensor, Tensor], float]) -> None:
    """Exercise 5. The fill that it is given uses whatever it is shown, and damages known pixels."""

    def fill(image: Tensor, mask: Tensor) -> Tensor:
        return 0.6 * image + 0.2 * mask + 0.3 * image.mean((1, 2, 3), keepdim=True)

    cases = []
    for B, H, W in ((3, 6, 8), (4, 7, 5)):
        images = torch.rand(B, 3, H, W) * torch.linspace(0.4, 1, B).view(B, 1, 1, 1)
        masks = torch.cat([random_mask((H, W), (0.2, 0.5), "blobs", seed) for seed in range(B)])
        cases.append((fill, images, masks))

    def scorer(hide: bool = True, of: str = "hole", take: Callable = np.mean, pooled: bool = False) -> Callable:
        def score(fill: Callable, images: Tensor, masks: Tensor) -> float:
            errors = []
            for image, mask in zip(images.split(1), masks.split(1), strict=True):
                output = fill(image * (1 - mask) if hide else image, mask)
                where = {"hole": mask, "known": 1 - mask}.get(of, torch.ones_like(mask)).expand_as(image) > 0
                output = output * mask + image * (1 - mask) if of == "composite" else output
                errors.append(float(((output - image)[where].double() ** 2).mean()))
            return float(-10 * np.log10(np.mean(errors))) if pooled else float(take(-10 * np.log10(errors)))

        return score

    check(
        answer,
        scorer(),
        cases,
        {
            "the method still sees what is under the hole: hand it image * (1 - mask)": scorer(hide=False),
            "it measures the known pixels, and the method still sees what is under the hole": scorer(False, "known"),
            "it measures the known pixels; the mask is 1 in the hole": scorer(of="known"),
            "it reports the best picture: take the mean of all": scorer(take=np.max),
            "it reports the best picture, and the method still sees what is under the hole": scorer(
                hide=False, take=np.max
            ),
            "that is the PSNR of the mean error: take the PSNR of each picture, then the mean": scorer(pooled=True),
            "known pixels are scored too: the hole alone was asked for": scorer(of="whole"),
            "composited, but of the whole picture: the hole alone was asked for": scorer(of="composite"),
        },
    )


def own_method(answer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Exercise 6: better than Telea in the hole, on the mean of eight small photographs."""
    RIGHT, PEEKS, BLACK, SHAPE, NAN, KNOWN = range(6)
    gains = []

    def verdict() -> int | None:
        for seed, path in enumerate(photos("val")[:8]):
            image = (load_photo(path, 64) * 255).round() / 255
            mask = random_mask(tuple(image.shape[2:]), (0.2, 0.4), "strokes", seed)
            holed = image * (1 - mask)
            output = answer(holed.clone(), mask.clone())
            if output is None:
                return None
            if getattr(output, "shape", None) != image.shape:
                return SHAPE
            inside = mask.expand_as(image) > 0
            if not output[inside].isfinite().all():
                return NAN
            if not torch.allclose(answer(image.clone(), mask.clone())[inside], output[inside], atol=1e-4):
                return PEEKS
            if (output[inside] == 0).all():
                return BLACK if torch.allclose(output[~inside], image[~inside]) else KNOWN
            gains.append((psnr(output, image, mask) - psnr(telea(holed, mask), image, mask)).item())
        return RIGHT

    verdict.__name__ = getattr(answer, "__name__", "your function")
    with contextlib.redirect_stdout(io.StringIO()):
        check(
            verdict,
            lambda: RIGHT,
            [()],
            {
                "it uses what it finds under the hole, which nobody knows: take image * (1 - mask)": lambda: PEEKS,
                "the hole stays black: fill where the mask is 1": lambda: BLACK,
                "the known pixels are changed and the hole is black; the mask is 1 in the hole": lambda: KNOWN,
                "return a picture of the same shape as the image, (1, 3, H, W)": lambda: SHAPE,
                "there is a nan or an infinite value in the hole: is something divided by zero?": lambda: NAN,
            },
        )
    gain = float(np.mean(gains))
    if gain <= 0:
        raise CheckFailed(
            f"{verdict.__name__} works, but is {-gain:.2f} dB worse than Telea on {len(gains)} photographs"
        )
    print(f"✓ {verdict.__name__} beats Telea by {gain:.2f} dB on {len(gains)} photographs")
