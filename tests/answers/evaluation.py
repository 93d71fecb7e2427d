"""Answers to the exercises of notebook 05: wrong ones with what is said to them, and right ones."""

import numpy as np
import torch
import torch.nn.functional as F

from misf_lite.classical import mean_fill, smooth_guess, telea
from misf_lite.metrics import psnr


def raises(*arguments):
    raise ZeroDivisionError("float division by zero")


def in_hole(o, t, m, scale=-10):
    m = m.expand_as(o)
    return scale * (((o - t) ** 2 * m).sum((1, 2, 3)) / m.sum((1, 2, 3))).log10()


def pooled(o, t, m):
    return -10 * ((o - t)[m.expand_as(o) > 0] ** 2).mean().log10()


def interval(a, b, rng, level=0.95, draws=10_000):
    means = (a - b)[rng.integers(len(a), size=(draws, len(a)))].mean(1)
    return np.quantile(means, ((1 - level) / 2, (1 + level) / 2))


def interval_by_loop(a, b, rng):
    means = []
    for _ in range(10_000):
        drawn = rng.choice(len(a), len(a))
        means.append(a[drawn].mean() - b[drawn].mean())
    return tuple(np.percentile(means, [2.5, 97.5]))


def unpaired(a, b, rng):
    one, two = rng.integers(len(a), size=(2, 10_000, len(a)))
    return np.quantile(a[one].mean(1) - b[two].mean(1), (0.025, 0.975))


def alone(a, b, rng):
    return interval(a, 0 * a, rng)


def medians(a, b, rng):
    drawn = rng.integers(len(a), size=(10_000, len(a)))
    return np.quantile(np.median((a - b)[drawn], axis=1), (0.025, 0.975))


def without_replacement(a, b, rng):
    means = [rng.permutation(a - b).mean() for _ in range(100)]
    return np.quantile(means, (0.025, 0.975))


def with_hole(image, mask):
    return image * (1 - mask)


def all_of_it(image, mask):
    return image


def hole(mask):
    return mask


def known(mask):
    return 1 - mask


def score(fill, images, masks, shown=with_hole, part=hole, take=np.mean):
    values = []
    for image, mask in zip(images.split(1), masks.split(1), strict=True):
        values.append(psnr(fill(shown(image, mask), mask), image, part(mask)).item())
    return take(values)


def score_composited(fill, images, masks):
    outputs = [fill(i * (1 - m), m) * m + i * (1 - m) for i, m in zip(images.split(1), masks.split(1), strict=True)]
    return psnr(torch.cat(outputs), images).mean()


def score_pooled(fill, images, masks):
    errors = []
    for image, mask in zip(images.split(1), masks.split(1), strict=True):
        errors.append(10 ** (-psnr(fill(image * (1 - mask), mask), image, mask).item() / 10))
    return -10 * np.log10(np.mean(errors))


def score_at_once(fill, images, masks):
    return psnr(fill(images * (1 - masks), masks), images, masks).mean()


def soap_film(image, mask):
    u = mean_fill(image, mask)
    for _ in range(300):
        v = F.pad(u, (1, 1, 1, 1), mode="replicate")
        around = (v[..., 1:-1, 2:] + v[..., 1:-1, :-2] + v[..., 2:, 1:-1] + v[..., :-2, 1:-1]) / 4
        u = torch.where(mask > 0, around, image)
    return u


WRONG = [
    ("by_hand", lambda: [46.1, 30.0, 4, 20], "natural logarithm"),
    ("by_hand", lambda: [40, 26.0, 4, 20], "20 times the logarithm"),
    ("by_hand", lambda: [-20, -13, 4, 20], "the sign"),
    ("by_hand", lambda: [20, 13, 0.04, 0.2], "in percent"),
    ("by_hand", lambda: [20, torch.inf, 4, 0], "those of known pixels"),
    ("by_hand", lambda: [14, 7, 4, 20], "squared error"),
    ("by_hand", lambda: [20, 13, 2, 10], "absolute values"),
    ("by_hand", lambda: [20, 20, 4, 4], "divide by the hole's two pixels"),
    ("by_hand", lambda: [20, 13, 4, 22], "gives 22"),
    ("by_hand", lambda: [20, 13], r"the shape \(2,\)"),
    ("psnr_in_hole", lambda o, t, m: in_hole(o, t, 1 - m), "1 in the hole"),
    ("psnr_in_hole", lambda o, t, m: psnr(o, t), "whole picture"),
    ("psnr_in_hole", lambda o, t, m: -10 * ((o - t) ** 2 * m).mean((1, 2, 3)).log10(), "not in the picture"),
    ("psnr_in_hole", lambda o, t, m: in_hole(o, t, m) - 10 * np.log10(3), "one channel"),
    ("psnr_in_hole", lambda o, t, m: pooled(o, t, m).repeat(len(o)), "one mean of the batch"),
    ("psnr_in_hole", pooled, r"returns the shape \(\)"),
    ("psnr_in_hole", lambda o, t, m: in_hole(o, t, m) * np.log(10), "natural logarithm"),
    ("psnr_in_hole", lambda o, t, m: in_hole(o, t, m, 10), "the sign"),
    ("psnr_in_hole", lambda o, t, m: in_hole(o, t, m, -20), "20 times the logarithm"),
    ("psnr_in_hole", lambda o, t, m: in_hole((o - t).abs() ** 0.5, 0 * t, m), "square the error"),
    ("psnr_in_hole", lambda o, t, m: torch.zeros(len(o)), "gives 0.0000"),
    ("predicted", lambda h, f, s: h - 10 * np.log10(f) - 10 * np.log10(s), "a quarter of the MSE"),
    ("predicted", lambda h, f, s: h + 20 * np.log10(f) - 10 * np.log10(s), "sign of the factor"),
    ("predicted", lambda h, f, s: h - 20 * np.log10(f) + 10 * np.log10(s), "compositing adds"),
    ("predicted", lambda h, f, s: h - 20 * np.log10(f) - 20 * np.log10(s), "not squared itself"),
    ("predicted", lambda h, f, s: h - 20 * np.log10(f), "share is not used"),
    ("predicted", lambda h, f, s: h - 10 * np.log10(s), "factor is not used"),
    ("predicted", lambda h, f, s: h - 20 * np.log(f) - 10 * np.log(s), "natural logarithm"),
    ("predicted", lambda h, f, s: h / f - 10 * np.log10(s), "do not multiply"),
    ("predicted", lambda h, f, s: h - 20 * np.log10(f) - 10 * np.log10(1 - s), "of the known pixels"),
    ("predicted", lambda h, f, s: h, "gives 18"),
    ("paired_interval", unpaired, "drawn separately"),
    ("paired_interval", lambda a, b, rng: np.quantile(a - b, (0.025, 0.975)), "single pictures lie"),
    ("paired_interval", lambda a, b, rng: interval(a, b, rng, 0.9), "90 %"),
    ("paired_interval", lambda a, b, rng: interval(a, b, rng, 0.68), "68 %"),
    ("paired_interval", lambda a, b, rng: interval(b, a, rng), "the sign"),
    ("paired_interval", lambda a, b, rng: interval(a, b, rng)[::-1], "lower end comes first"),
    ("paired_interval", alone, "of a alone"),
    ("paired_interval", without_replacement, "with replacement, so that"),
    ("paired_interval", medians, "the ends lie elsewhere"),
    ("paired_interval", lambda a, b, rng: (0, 1), "the ends lie elsewhere"),
    ("paired_interval", lambda a, b, rng: 1.0, r"the shape \(\), expected \(2,\)"),
    ("honest_score", lambda *a: score(*a, shown=all_of_it), "still sees what is under the hole: hand it"),
    ("honest_score", lambda *a: score(*a, shown=all_of_it, part=known), "known pixels, and the method still sees"),
    ("honest_score", lambda *a: score(*a, part=known), "the mask is 1 in the hole"),
    ("honest_score", lambda *a: score(*a, take=max), "reports the best picture: take"),
    ("honest_score", lambda *a: score(*a, shown=all_of_it, take=max), "best picture, and the method still"),
    ("honest_score", score_pooled, "PSNR of the mean error"),
    ("honest_score", lambda *a: score(*a, part=torch.ones_like), "known pixels are scored too"),
    ("honest_score", score_composited, "composited, but of the whole"),
    ("honest_score", lambda *a: score(*a, take=np.median), "gives"),
    ("own_method", lambda image, mask: image, "uses what it finds under the hole"),
    ("own_method", lambda image, mask: image * (1 - mask), "stays black"),
    ("own_method", lambda image, mask: mean_fill(image * (1 - mask), 1 - mask), "the mask is 1 in the hole"),
    ("own_method", lambda image, mask: image[0], "the same shape"),
    ("own_method", lambda image, mask: image * (1 - mask) / (1 - mask), "a NaN or an infinite"),
    ("own_method", mean_fill, "dB worse than Telea"),
    ("own_method", telea, "0.00 dB worse than Telea"),
    ("own_method", raises, "stopped with ZeroDivisionError"),
]

RIGHT = [
    ("by_hand", lambda: (20, 13.0103, 4, 20)),
    ("by_hand", lambda: torch.tensor([20.0, 13.01, 4.0, 20.0])),
    ("psnr_in_hole", psnr),
    ("psnr_in_hole", lambda o, t, m: [pooled(*one).item() for one in zip(o, t, m, strict=True)]),
    ("predicted", lambda h, f, s: -10 * np.log10(10 ** (-h / 10) * f**2 * s)),
    ("paired_interval", interval),
    ("paired_interval", interval_by_loop),
    ("honest_score", score),
    ("honest_score", score_at_once),
    ("own_method", soap_film),
    ("own_method", smooth_guess),
]
