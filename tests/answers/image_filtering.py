"""Answers to the exercises of notebook 01: wrong ones with what is said to them, and right ones."""

import torch
import torch.nn.functional as F

from misf_lite import filter2d


def raises(*arguments):
    raise IndexError("index 9 is out of bounds")


def loops(picture, mask, weights, outside=0.0):
    """Normalised convolution, pixel by pixel."""
    (H, W), N = picture.shape, len(weights)
    result = torch.zeros(H, W)
    for row in range(H):
        for column in range(W):
            total = weight = 0.0
            for i in range(N):
                for j in range(N):
                    r, c = row + i - N // 2, column + j - N // 2
                    if not (0 <= r < H and 0 <= c < W):
                        weight += outside * weights[i, j]
                    elif mask[r, c] == 0:
                        total += weights[i, j] * picture[r, c]
                        weight += weights[i, j]
            result[row, column] = total / weight if weight else 0
    return result


def summed(picture, weights):
    return F.conv2d(picture[None, None], weights[None, None], padding="same")[0, 0]


def undivided(picture, mask, weights):
    return summed(picture * (1 - mask), weights)


def divided_by_all(picture, mask, weights):
    return undivided(picture, mask, weights) / weights.sum()


def peeking(picture, mask, weights):
    return summed(picture, weights) / summed(1 - mask, weights)


def nan_in_the_middle(picture, mask, weights):
    return undivided(picture, mask, weights) / summed(1 - mask, weights)


def mirrored(picture, mask, weights):
    known, weights, r = (1 - mask)[None, None], weights[None, None], len(weights) // 2
    total, weight = (F.conv2d(F.pad(x, (r,) * 4, "reflect"), weights) for x in (known * picture, known))
    return (total / weight.clamp(min=1e-9))[0, 0]


def from_the_pixel_on(picture, mask, weights):
    r = len(weights) - 1
    known = F.pad(1 - mask, (0, r, 0, r))[None, None]
    seen = F.pad(picture, (0, r, 0, r)) * known
    total, weight = (F.conv2d(x, weights[None, None]) for x in (seen, known))
    return (total / weight.clamp(min=1e-9))[0, 0]


def row_by_row(i, j, N):
    return i * N + j


def column_by_column(i, j, N):
    return j * N + i


def turned(i, j, N):
    return N * N - 1 - i * N - j


def taps(picture, kernels, dilation, mode="reflect", before=1, tap=row_by_row):
    """``before`` is how much of the window's reach lies before the pixel: half of it, or 0."""
    N, (H, W) = round(len(kernels) ** 0.5), picture.shape
    r = N // 2 * dilation
    around = (before * r, (2 - before) * r) * 2
    padded = F.pad(picture[None, None], around, mode=mode)[0, 0]
    result = torch.zeros(H, W)
    for i in range(N):
        for j in range(N):
            y, x = i * dilation, j * dilation
            result += kernels[tap(i, j, N)] * padded[y : y + H, x : x + W]
    return result


def travelling(picture, kernels, dilation):
    N, (H, W) = round(len(kernels) ** 0.5), picture.shape
    products = F.pad((kernels * picture)[None], (N // 2 * dilation,) * 4, mode="reflect")[0]
    result = torch.zeros(H, W)
    for t, product in enumerate(products):
        y, x = t // N * dilation, t % N * dilation
        result += product[y : y + H, x : x + W]
    return result


def share(kernels, mask, padding="reflect"):
    return filter2d(mask, kernels, padding=padding)


def reached(mask, N, dilation, passes, least=0.0, outside=0.0):
    """The share of known pixels under the taps, with a kernel of ones; more than the least must be known."""
    known = (1 - mask)[None, None]
    r = N // 2 * dilation
    for _ in range(passes):
        count = F.conv2d(F.pad(known, (r,) * 4, value=outside), torch.ones(1, 1, N, N), dilation=dilation)
        known = (count > least * N**2).float()
    return 1 - known[0, 0]


def window_is_full(mask, N, dilation, passes):
    side = N // 2 * 2 * dilation + 1
    for _ in range(passes):
        mask = 1 - F.max_pool2d((1 - mask)[None], side, 1, side // 2)[0]
    return mask


WRONG = [
    ("by_hand", lambda: 18 / 12, "as if the hole were black"),
    ("by_hand", lambda: 2 * 1 + 1 * 1 + 3 * 5, "divide it by the weights that were used"),
    ("by_hand", lambda: 72 / 12, "nobody may look under the hole"),
    ("by_hand", lambda: 9.0, "mean of the hole"),
    ("by_hand", lambda: 7 / 3, "plain mean"),
    ("by_hand", lambda: 10 / 6, "turned round"),
    ("by_hand", lambda: 13 / 5, "swapped"),
    ("by_hand", lambda: 4, r"gives 4\.0000 where 3\.0000"),
    ("ignore_hole", nan_in_the_middle, "divides 0 by 0"),
    ("ignore_hole", divided_by_all, "not by all of it"),
    ("ignore_hole", undivided, "divide by the weight that falls on known"),
    ("ignore_hole", lambda p, m, w: loops(p, 1 - m, w), "1 in the hole"),
    ("ignore_hole", lambda p, m, w: nan_in_the_middle(p, 1 - m, w), "1 in the hole"),
    ("ignore_hole", peeking, "looks under the hole"),
    ("ignore_hole", lambda p, m, w: loops(p, 0 * m, w), "the mask has no effect"),
    ("ignore_hole", lambda p, m, w: loops(p, m, w, outside=1.0), "the weight that falls there"),
    ("ignore_hole", mirrored, "mirrored at the border"),
    ("ignore_hole", lambda p, m, w: loops(p, m, w.T), "swapped"),
    ("ignore_hole", lambda p, m, w: loops(p, m, w.flip(0, 1)), "turned round"),
    ("ignore_hole", from_the_pixel_on, "N // 2 before"),
    ("ignore_hole", lambda p, m, w: None, "returns nothing yet"),
    ("ignore_hole", lambda p, m, w: (p, m), "returns a tuple"),
    ("ignore_hole", lambda p, m, w: nan_in_the_middle(p, m, w)[:3], r"returns the shape \(3, 12\)"),
    ("filter_pixels", lambda p, k, d: taps(p, k, 1), "dilation has no effect"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d + 1), "one pixel too far apart"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d, tap=column_by_column), "t // N, column t % N"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d, tap=turned), "turned round"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d, mode="constant"), "zeros come in"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d, mode="replicate"), "border pixel is repeated"),
    ("filter_pixels", travelling, "the kernels stay where they are"),
    ("filter_pixels", lambda p, k, d: taps(p, k, d, before=0), "starts at the pixel"),
    ("filter_pixels", lambda p, k, d: taps(p, k[:, :1, :1], d), "each has its own"),
    ("filter_pixels", raises, "stopped with IndexError: index 9"),
    ("widest", lambda N, d, p: N // 2 * d * p, "closed from both"),
    ("widest", lambda N, d, p: 2 * N * d * p, "not N"),
    ("widest", lambda N, d, p: N * d * p, "the middle tap itself"),
    ("widest", lambda N, d, p: (N - 1) * p, "dilation is missing"),
    ("widest", lambda N, d, p: (N - 1) * d, "passes are missing"),
    ("widest", lambda N, d, p: (N - 1) * d * p + 1, "one too wide"),
    ("widest", lambda N, d, p: (N - 1) * d * p - 1, "one too narrow"),
    ("widest", lambda N, d, p: 2 * (N // 2 * d) ** p, "add reach to reach"),
    ("widest", lambda N, d, p: 0, "gives 0"),
    ("undarken", lambda f, k, m: f / (1 - share(k, m)).where(share(k, m) < 1 - 1e-6, 0), "divides 0 by 0"),
    ("undarken", lambda f, k, m: f * (1 - share(k, m)), "darker still"),
    ("undarken", lambda f, k, m: f / share(k, m), "divide by the one that did not"),
    ("undarken", lambda f, k, m: f, "nothing has changed"),
    ("undarken", lambda f, k, m: f + share(k, m), "not a sum"),
    ("undarken", lambda f, k, m: f * (1 + share(k, m)), "already dark"),
    ("undarken", lambda f, k, m: f / (1 - share(k, m, "zeros")).clamp(min=1e-6), "mirrors the mask"),
    ("undarken", lambda f, k, m: f / (1 - m), "filter the mask"),
    ("undarken", lambda f, k, m: share(k, m), r"returns the shape \(1, 1, 9, 12\)"),
    ("still_hole", lambda m, N, d, p: 1 - reached(m, N, d, p), "1 in the hole"),
    ("still_hole", lambda m, N, d, p: 1 - reached(1 - m, N, d, p), "grows the hole"),
    ("still_hole", lambda m, N, d, p: reached(m, N, d, p, least=0.999), "need not be all"),
    ("still_hole", window_is_full, "between two taps"),
    ("still_hole", lambda m, N, d, p: reached(m, N, 1, p), "dilation has no effect"),
    ("still_hole", lambda m, N, d, p: reached(m, N, d, 1), "after one pass"),
    ("still_hole", lambda m, N, d, p: reached(m, N, d, p + 1), "one pass too many"),
    ("still_hole", lambda m, N, d, p: reached(m, 2 * N + 1, d, p), "not N"),
    ("still_hole", lambda m, N, d, p: reached(m, N, d + 1, p), "one pixel too far apart"),
    ("still_hole", lambda m, N, d, p: reached(m, N, d, p, outside=1.0), "beyond the border"),
    ("still_hole", lambda m, N, d, p: m, "nothing has been filled"),
    ("still_hole", lambda m, N, d, p: None, "returns nothing yet"),
]

RIGHT = [
    ("by_hand", lambda: torch.tensor(18) / 6),
    ("ignore_hole", loops),
    ("ignore_hole", lambda p, m, w: undivided(p, m, w) / (summed(1 - m, w) + 1e-9)),
    ("ignore_hole", lambda p, m, w: nan_in_the_middle(p, m, w).nan_to_num(0).numpy()),
    ("filter_pixels", taps),
    ("filter_pixels", lambda p, k, d: filter2d(p[None, None], k[None, None], dilation=d)[0, 0].requires_grad_()),
    ("widest", lambda N, d, p: torch.tensor((N - 1) * d * p)),
    ("undarken", lambda f, k, m: f / share(k, 1 - m).clamp(min=1e-6)),
    ("undarken", lambda f, k, m: (f / (1 - share(k, m))).nan_to_num(0, 0, 0)),
    ("still_hole", reached),
    ("still_hole", lambda m, N, d, p: reached(m, N, d, p).bool().numpy()),
]
