"""Answers to the exercises of notebook 02: wrong ones with what is said to them, and right ones."""

import torch
import torch.nn.functional as F

from misf_lite import filter2d


def raises(*arguments):
    raise IndexError("index 9 is out of bounds")


def pooled(mask, step, pool=F.avg_pool2d):
    return pool(mask[None, None], step)[0, 0]


def row_by_row(i, j, N):
    return i * N + j


def swapped(i, j, N):
    return j * N + i


def turned(i, j, N):
    return N * N - 1 - i * N - j


def neighbours(c, C, G):
    return c * G // C


def by_turns(c, C, G):
    return c % G


def taps(features, kernels, mode="reflect", tap=row_by_row, kernel=neighbours, before=1):
    """The sum of shifted features, channel by channel; C channels, G kernels."""
    (C, H, W), N = features.shape, round(kernels.shape[1] ** 0.5)
    r = N // 2
    padded = F.pad(features[None], (before * r, (2 - before) * r) * 2, mode=mode)[0]
    result = torch.zeros(C, H, W)
    for c in range(C):
        for i in range(N):
            for j in range(N):
                weights = kernels[kernel(c, C, len(kernels)), tap(i, j, N)]
                result[c] += weights * padded[c, i : i + H, j : j + W]
    return result


def travelling(features, kernels):
    (C, H, W), N = features.shape, round(kernels.shape[1] ** 0.5)
    result = torch.zeros(C, H, W)
    for tap in range(N * N):
        product = F.pad((features * kernels[:, tap])[None], (N // 2,) * 4, mode="reflect")[0]
        result += product[:, tap // N : tap // N + H, tap % N : tap % N + W]
    return result


def package(features, kernels):
    return filter2d(features[None], kernels[None])[0]


def mixed(features, kernels):
    return taps(features, kernels).sum(0).expand_as(features)


def mixed_in_groups(features, kernels):
    groups = taps(features, kernels).chunk(len(kernels))
    return torch.cat([group.sum(0).expand_as(group) for group in groups])


def first_of_each(features, kernels):
    size, result = len(features) // len(kernels), features.clone()
    result[::size] = taps(features, kernels)[::size]
    return result


def cost(N, width, H, W, level):
    return N * N * width * 2 ** (level - 1) * (H // 2 ** (level - 1)) * (W // 2 ** (level - 1))


def reordered(raw, N):
    return torch.stack([raw[c :: len(raw) // N**2] for c in range(len(raw) // N**2)])


WRONG = [
    ("by_hand", lambda: 0.25 * 1 + 0.75 * 6, "a kernel of its own"),
    ("by_hand", lambda: 0.25 * 2 + 0.75 * 8, "the question is about B"),
    ("by_hand", lambda: 6.5 + 6, "as a convolution does"),
    ("by_hand", lambda: 1 * 4 - 0.5 * 8, "turned round"),
    ("by_hand", lambda: -0.5 * 1 + 1 * 6, "swapped"),
    ("by_hand", lambda: 6 / 0.5, "any sum"),
    ("by_hand", lambda: 0.5 * 4 + 1 * 8, "minus got lost"),
    ("by_hand", lambda: 7, r"gives 7\.0000 where 6\.0000"),
    ("hole_of_features", lambda m, s: pooled(1 - m, s), "1 in the hole"),
    ("hole_of_features", lambda m, s: pooled(m, s, F.max_pool2d), "not the largest"),
    ("hole_of_features", lambda m, s: -pooled(-m, s, F.max_pool2d), "not the smallest"),
    ("hole_of_features", lambda m, s: m[::s, ::s], "only one pixel of each cell"),
    ("hole_of_features", lambda m, s: m[s // 2 :: s, s // 2 :: s], "only the middle pixel"),
    ("hole_of_features", lambda m, s: pooled(m, s) * s * s, "number of pixels"),
    ("hole_of_features", lambda m, s: pooled(m, s) * s, "divided by step alone"),
    ("hole_of_features", lambda m, s: pooled(m, s).round(), "do not round"),
    ("hole_of_features", lambda m, s: F.avg_pool2d(m[None], s, 1)[0], r"returns the shape \(13, 21\)"),
    ("hole_of_features", lambda m, s: None, "returns nothing yet"),
    ("filter_features", lambda x, k: taps(x, k[:1]), "first one's kernels"),
    ("filter_features", mixed, "as in a convolution"),
    ("filter_features", lambda x, k: taps(x, k[:, :, :1, :1]), "corner's kernel"),
    ("filter_features", lambda x, k: taps(x, k / k.sum(1, keepdim=True)), "any sum"),
    ("filter_features", travelling, "not to the one that is looked at"),
    ("filter_features", lambda x, k: taps(x, k, tap=swapped), "swapped"),
    ("filter_features", lambda x, k: taps(x, k, tap=turned), "turned round"),
    ("filter_features", lambda x, k: taps(x, k, mode="constant"), "zeros come in"),
    ("filter_features", lambda x, k: taps(x, k, mode="replicate"), "is repeated"),
    ("filter_features", lambda x, k: taps(x, k, before=0), "N // 2 before"),
    ("filter_features", lambda x, k: x, "nothing has been filtered"),
    ("filter_features", lambda x, k: x.zero_(), "gives 0"),
    ("filter_features", raises, "stopped with IndexError: index 9"),
    ("filter_cost", lambda N, c, H, W, level: N * N * c * H * W, "a quarter of the pixels"),
    ("filter_cost", lambda N, c, H, W, level: N * N * c * 2 ** (level - 1) * H * W, "both sides are halved"),
    ("filter_cost", lambda N, c, H, W, level: cost(N, c, H, W, level) // 2 ** (level - 1), "channels double"),
    ("filter_cost", lambda N, c, H, W, level: cost(N, c, H, W, level + 1), "start after it"),
    ("filter_cost", lambda N, c, H, W, level: cost(N, c, H, W, level) // N, "not N"),
    ("filter_cost", lambda N, c, H, W, level: cost(N, c, H, W, level) * c * 2 ** (level - 1), "that is a convolution"),
    ("filter_cost", lambda N, c, H, W, level: N * N * 3 * H * W // 4 ** (level - 1), "3 channels"),
    ("filter_cost", lambda *a: 2 * cost(*a), "not the additions"),
    ("filter_cost", lambda *a: 0, "gives 0"),
    ("channels_first", lambda r, N: r.reshape(-1, N * N, *r.shape[1:]), "right shape, wrong numbers"),
    ("channels_first", lambda r, N: r.unflatten(0, (N, N, -1)).permute(2, 1, 0, 3, 4).flatten(1, 2), "swapped"),
    ("channels_first", lambda r, N: reordered(r, N).flip(1), "taps come in the opposite order"),
    ("channels_first", lambda r, N: reordered(r.flip(0), N).flip(1), "channels come in the opposite order"),
    ("channels_first", lambda r, N: reordered(r, N)[[0]].expand(len(r) // N**2, -1, -1, -1), "the first one's"),
    ("channels_first", lambda r, N: reordered(r, N).softmax(1), "leave out the softmax"),
    ("channels_first", lambda r, N: r.unflatten(0, (N * N, -1)), r"returns the shape \(9, 4, 5, 6\)"),
    ("channels_first", lambda r, N: None, "returns nothing yet"),
    ("filter_in_groups", lambda x, k: taps(x, k, kernel=by_turns), "groups are neighbours"),
    ("filter_in_groups", lambda x, k: taps(x, k[:1]), "first group's"),
    ("filter_in_groups", lambda x, k: taps(x, k.mean(0, keepdim=True)), "averaged"),
    ("filter_in_groups", mixed_in_groups, "stay apart"),
    ("filter_in_groups", first_of_each, "only the first channel"),
    ("filter_in_groups", lambda x, k: taps(x, k, tap=swapped), "swapped"),
    ("filter_in_groups", lambda x, k: taps(x, k, tap=turned), "turned round"),
    ("filter_in_groups", lambda x, k: taps(x, k, mode="constant"), "zeros come in"),
    ("filter_in_groups", lambda x, k: taps(x, k, mode="replicate"), "is repeated"),
    ("filter_in_groups", lambda x, k: taps(x, k, before=0), "N // 2 before"),
    ("filter_in_groups", lambda x, k: x, "nothing has been filtered"),
    ("filter_in_groups", lambda x, k: taps(x[:: len(x) // len(k)], k), r"returns the shape \(2, 7, 5\)"),
]

RIGHT = [
    ("by_hand", lambda: torch.tensor(-0.5) * 4 + 8),
    ("hole_of_features", pooled),
    ("hole_of_features", lambda m, s: 1 - pooled(1 - m, s).numpy()),
    ("filter_features", taps),
    ("filter_features", lambda x, k: package(x, k).requires_grad_()),
    ("filter_cost", cost),
    ("filter_cost", lambda N, c, H, W, level: torch.tensor(N**2 * c * H * W / 2 ** (level - 1))),
    ("channels_first", reordered),
    ("channels_first", lambda r, N: r.view(N * N, -1, *r.shape[1:]).movedim(0, 1).numpy()),
    ("filter_in_groups", taps),
    ("filter_in_groups", package),
]
