"""Answers to the exercises of notebook 00: wrong ones with what is said to them, and right ones."""

import numpy as np
import torch


def window(picture, kernel, row, column):
    N = len(kernel)
    padded = torch.nn.functional.pad(picture, (N, N, N, N))
    top, left = row - N // 2 + N, column - N // 2 + N
    return (kernel * padded[top : top + N, left : left + N]).sum()


def from_the_pixel_on(picture, kernel, row, column):
    N = len(kernel)
    padded = torch.nn.functional.pad(picture, (0, N, 0, N))
    return (kernel * padded[row : row + N, column : column + N]).sum()


def raises(*arguments):
    raise IndexError("index 9 is out of bounds")


def in_place(picture, kernel, row, column):
    reach = len(kernel) // 2
    kernel *= picture[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return kernel.sum().item()


WRONG = [
    ("by_hand", lambda: 2.0, "turned round"),
    ("by_hand", lambda: 3.0, r"gives 3\.0000 where 4\.0000"),
    ("composite", lambda o, i, m: o * (1 - m) + i * m, "mask is 1 in the hole"),
    ("composite", lambda o, i, m: o, "known pixels must be the image's own"),
    ("composite", lambda o, i, m: i, "the hole must be the output's"),
    ("composite", lambda o, i, m: o * m, "known pixels got lost"),
    ("composite", lambda o, i, m: (o * m + i * (1 - m))[0], r"returns the shape \(3, 4, 6\)"),
    ("composite", lambda o, i, m: None, "returns nothing yet"),
    ("filter_pixel", lambda p, k, r, c: window(p, k.T, r, c), "swapped"),
    ("filter_pixel", lambda p, k, r, c: window(p, k.flip(0, 1), r, c), "turned round"),
    ("filter_pixel", from_the_pixel_on, "N // 2 before"),
    ("filter_pixel", lambda p, k, r, c: window(p, k, r, c) / k.sum(), "gives"),
    ("filter_pixel", raises, "stopped with IndexError: index 9"),
    ("hole_share", lambda k, m, r, c: 1 - window(m, k, r, c) / k.sum(), "1 in the hole"),
    ("hole_share", lambda k, m, r, c: window(m, k, r, c), "divide by the sum"),
    ("hole_share", lambda k, m, r, c: window(m, k.T, r, c) / k.sum(), "swapped"),
    ("hole_share", lambda k, m, r, c: float("nan"), "gives nan"),
    ("by_hand", lambda: "4", "returns a str, expected a number"),
    ("composite", lambda o, i, m: (o, i), "returns a tuple, expected a number or a tensor"),
    ("filter_pixel", lambda p, k, r, c: p.zero_().sum(), "gives"),
    ("composite", lambda o, i, m: (o.zero_(), i.zero_())[0], "gives"),
    ("hole_share", lambda k, m, r, c: window(m, k.flip(0, 1), r, c) / k.sum(), "turned round"),
    ("hole_share", lambda k, m, r, c: from_the_pixel_on(m, k, r, c) / k.sum(), "N // 2 before"),
]

RIGHT = [
    ("by_hand", lambda: np.float64(4)),
    ("composite", lambda o, i, m: torch.where(m.bool(), o, i).numpy()),
    ("filter_pixel", in_place),
    ("filter_pixel", lambda p, k, r, c: window(p, k, r, c).requires_grad_()),
    ("hole_share", lambda k, m, r, c: in_place(m, k / k.sum(), r, c)),
]
