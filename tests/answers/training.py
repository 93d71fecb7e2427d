"""Answers to the exercises of notebook 04: wrong ones with what is said to them, and right ones."""

import math

import torch


def raises(*arguments):
    raise IndexError("index 9 is out of bounds")


def weighted(output, target, mask, weight):
    return ((output - target).abs() * (1 + (weight - 1) * mask)).sum() / (1 + (weight - 1) * mask).sum() / 3


def half_a_cosine(x):
    return (1 - math.cos(math.pi * x)) / 2


def whole_wave(x):
    return 1 - math.cos(math.pi * x)


def cycle(step, top, last, peak, ease=half_a_cosine, start=1 / 25):
    if step <= top:
        return peak * (start + (1 - start) * ease(step / top))
    return peak * (1 - ease((step - top) / (last - top)))


def counted_from_0(step, top, last, peak):
    return cycle(step, top, last, peak) if step <= top else peak * (1 - half_a_cosine(step / last))


def saved_in_place(path, text, write):
    write(path, text)
    return path


def saved_elsewhere(path, text, write):
    write(path.with_suffix(".part"), text)
    return path


def saved_over_nothing(path, text, write):
    path.unlink()
    write(path.with_suffix(".part"), text)
    return path.with_suffix(".part").rename(path)


def saved_safely(path, text, write):
    try:
        write(path.with_suffix(".part"), text)
    except OSError:
        return path
    return path.with_suffix(".part").replace(path)


WRONG = [
    ("weighted_l1", lambda o, t, m, w: weighted(o, t, 1 - m, w), "weight is given to known pixels"),
    ("weighted_l1", lambda o, t, m, w: ((o - t).abs() * (1 + (w - 1) * m)).mean(), "divide by the sum of the weights"),
    ("weighted_l1", lambda o, t, m, w: ((o - t).abs() * m).sum() / m.sum() / 3, "known pixels count too"),
    ("weighted_l1", lambda o, t, m, w: (o - t).abs().mean(), "the weight is not used"),
    ("weighted_l1", lambda o, t, m, w: weighted((o - t) ** 2, 0 * t, m, w), "not the squared one"),
    ("weighted_l1", lambda o, t, m, w: 3 * weighted(o, t, m, w), "gives"),
    ("weighted_l1", lambda o, t, m, w: (o - t).abs() * m, r"returns the shape \(3, 4, 6\)"),
    ("moving_average", lambda a, c, d: (1 - d) * a + d * c, "decay is the share that stays"),
    ("moving_average", lambda a, c, d: d * a + c, "add up to 1"),
    ("moving_average", lambda a, c, d: (a + c) / 2, "plain mean"),
    ("moving_average", lambda a, c, d: c, "nothing is left of the old average"),
    ("moving_average", lambda a, c, d: a.mul_(d), "gives"),
    ("share", lambda n, r, p: range(n), "every process takes every picture"),
    ("share", lambda n, r, p: range(n // p), "all processes take the same"),
    ("share", lambda n, r, p: range(r + 1, n + 1, p), "counted from 0"),
    ("share", lambda n, r, p: range(n) if r == 0 else [], "one process takes all"),
    ("share", lambda n, r, p: range(r, n - 1, p), "the last picture is left out"),
    ("share", lambda n, r, p: [r, r] * (n // p), "not every picture is taken exactly once"),
    ("share", lambda n, r, p: n // p, "stopped with TypeError"),
    ("largest_batch", lambda b, f, p, c: int(b // (p * c**2)), "take fixed away first"),
    ("largest_batch", lambda b, f, p, c: int((b - f) // (p * c)), "crop × crop"),
    ("largest_batch", lambda b, f, p, c: math.ceil((b - f) / (p * c**2)), "one too many"),
    ("largest_batch", lambda b, f, p, c: (b - f) / (p * c**2), "whole number"),
    ("largest_batch", lambda b, f, p, c: int((b + f) // (p * c**2)), "not added"),
    ("one_cycle", lambda *a: cycle(*a, ease=float), "straight lines"),
    ("one_cycle", lambda *a: cycle(*a, start=0), "starts at peak / 25"),
    ("one_cycle", lambda s, t, n, p: p * (1 + math.cos(math.pi * s / n)) / 2, "first it has to rise"),
    ("one_cycle", lambda *a: cycle(*a, ease=whole_wave), "the whole wave"),
    ("one_cycle", lambda s, t, n, p: p, "gives"),
    ("atomic_save", saved_in_place, "under another name first"),
    ("atomic_save", saved_elsewhere, "never gets its name"),
    ("atomic_save", saved_over_nothing, "gone before the new one is whole"),
    ("atomic_save", lambda p, t, w: p.unlink() or p, "no file of that name"),
    ("atomic_save", lambda p, t, w: p.write_text("half") and p, "neither the old text nor the new"),
    ("atomic_save", lambda p, t, w: None, "returns nothing yet"),
    ("atomic_save", raises, "stopped with IndexError"),
    ("weighted_l1", lambda o, t, m, w: ((o - t) * (1 + (w - 1) * m)).mean() / (1 + (w - 1) * m).mean(), "without abs"),
    ("moving_average", lambda a, c, d: a, "leave no trace"),
    ("one_cycle", counted_from_0, "count the steps from top on"),
]

RIGHT = [
    ("weighted_l1", lambda o, t, m, w: weighted(o, t, m, w).item()),
    ("moving_average", lambda a, c, d: a.lerp_(c, 1 - d)),
    ("share", lambda n, r, p: torch.arange(n).chunk(p)[r]),
    ("share", lambda n, r, p: list(range(n))[r * n // p : (r + 1) * n // p]),
    ("largest_batch", lambda b, f, p, c: math.floor((b - f) / p / c / c)),
    ("one_cycle", lambda *a: torch.tensor(cycle(*a))),
    ("atomic_save", saved_safely),
]
