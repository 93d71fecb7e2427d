"""Answers to the exercises of notebook 03: wrong ones with what is said to them, and right ones."""

import torch

from misf_lite import filter2d


def raises(*arguments):
    raise KeyError("K4")


def ones_at(tap, groups, N):
    taps = torch.zeros(groups, N * N)
    taps[:, tap] = 1
    return taps.flatten()


def bias(groups, N):
    return ones_at(N * N // 2, groups, N)


def bias_of_the_first(groups, N):
    taps = torch.zeros(groups * N * N)
    taps[N * N // 2] = 1
    return taps


def predicted(H, W, width, channels=4, divisor=4, rounding=3, colours=3, taps=9):
    h, w = ((n + rounding) // divisor for n in (H, W))
    return taps * (channels * width * h * w + colours * H * W)


def first(differs):
    def answer(ours, theirs):
        return next((name for name in ours if differs(ours[name], theirs[name])), "none")

    return answer


def shape_or(differs):
    return first(lambda a, b: a.shape != b.shape or differs(a, b))


def same(a, b):
    return bool(((a - b).abs() <= 1e-4).all())


def last_difference(ours, theirs):
    return next((n for n in reversed(ours) if ours[n].shape != theirs[n].shape or not same(ours[n], theirs[n])), "none")


def last_same(ours, theirs):
    before = "none"
    for name in ours:
        if ours[name].shape != theirs[name].shape or not same(ours[name], theirs[name]):
            return before
        before = name
    return "none"


def largest_difference(ours, theirs):
    alike = [n for n in ours if ours[n].shape == theirs[n].shape]
    sizes = {n: (ours[n] - theirs[n]).abs().max().nan_to_num(torch.inf).item() for n in alike}
    sizes |= {n: torch.inf for n in ours if n not in alike}
    name = max(sizes, key=sizes.get)
    return name if sizes[name] > 1e-4 else "none"


def cut_to_size(ours, theirs):
    """Right but for tensors of other shapes, of which it compares the common part."""
    for name, mine in ours.items():
        H, W = (min(a, b) for a, b in zip(mine.shape[2:], theirs[name].shape[2:], strict=True))
        if not same(0 * mine[..., :H, :W], 0 * theirs[name][..., :H, :W]) or (
            mine.shape == theirs[name].shape and not same(mine, theirs[name])
        ):
            return name
    return "none"


def passes_with(decoded, image, mask, kernels, passes, first=True, each=True, last=True):
    """first, each, last: whether known pixels are laid over before the first pass, after each, and after the last."""
    picture = torch.where((mask > 0) | (not first), decoded, image)
    for _ in range(passes):
        picture = torch.where((mask > 0) | (not each), filter2d(picture, kernels), image)
    return torch.where((mask > 0) | (not last), picture, image)


def always_the_first(decoded, image, mask, kernels, passes):
    picture = torch.where(mask > 0, decoded, image)
    for _ in range(passes):
        filtered = torch.where(mask > 0, filter2d(picture, kernels), image)
    return filtered


WRONG = [
    ("by_hand", lambda: 0.5 * 0 + 0.1 * 0 + 0.4 * 4, "not on the hole itself"),
    ("by_hand", lambda: 6, "the image filter is still to come"),
    ("by_hand", lambda: 0.5 * 2 + 0.1 * 6 + 0.4 * 6, "the 4 is known"),
    ("by_hand", lambda: 0.5 * 1 + 0.1 * 2 + 0.4 * 4, "the semantic filter is missing"),
    ("by_hand", lambda: 0.4 * 2 + 0.1 * 6 + 0.5 * 4, "turned round"),
    ("by_hand", lambda: 0.5 * 2 + 0.1 * 2 + 0.4 * 6, "to the left of x"),
    ("by_hand", lambda: 4.1, "gives 4.1000 where 3.2000 is right"),
    ("by_hand", lambda: "3.2 or so", "returns a str"),
    ("identity_bias", lambda g, N: torch.zeros(g * N * N), "wiped out"),
    ("identity_bias", lambda g, N: torch.ones(g * N * N), "adds up the whole window"),
    ("identity_bias", lambda g, N: torch.ones(g * N * N) / N**2, "mean filter"),
    ("identity_bias", lambda g, N: ones_at(0, g, N), "upper left neighbour"),
    ("identity_bias", lambda g, N: ones_at(N // 2, g, N), "in the first row"),
    ("identity_bias", bias_of_the_first, "only the first kernel"),
    ("identity_bias", lambda g, N: bias(g, N).view(g, -1).T.flatten(), "groups first, then taps"),
    ("identity_bias", lambda g, N: bias(g, N).view(g, -1), r"returns the shape \(1, 9\), expected \(9,\)"),
    ("link_weights", lambda w: 2 * w * 4 * w, "16 weights for each pair"),
    ("link_weights", lambda w: 4 * 4 * w * 4 * w, "F2 has 2 · width"),
    ("link_weights", lambda w: 4 * 4 * 4 * w * 4 * w, "not F3"),
    ("link_weights", lambda w: 4 * 4 * 4 * w * 4 * w + 4 * w, "all of E3"),
    ("link_weights", lambda w: 4 * 4 * 2 * w * 4 * w + 4 * w, "as many biases"),
    ("link_weights", lambda w: 4 * 4 * 2 * w * 2 * w, "E3 has 4 · width"),
    ("link_weights", lambda w: 0, "has to look at what it is handed"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, rounding=0), "rounded up"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, divisor=1, rounding=0), "a quarter as high"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, divisor=2, rounding=1), "halved twice"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, taps=1), "9 taps"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, colours=1), "every colour"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, channels=1 / w), "each has kernels of its own"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, channels=1), "not width"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, colours=0), "K are missing"),
    ("predicted_weights", lambda H, W, w: predicted(H, W, w, channels=0), "K3 are missing"),
    ("first_difference", shape_or(lambda a, b: bool((a - b).abs().max() > 1e-4)), "a NaN slips through"),
    ("first_difference", shape_or(lambda a, b: not torch.equal(a, b)), "rounding is not a difference"),
    ("first_difference", shape_or(lambda a, b: not (a - b <= 1e-4).all()), "take the absolute value"),
    ("first_difference", shape_or(lambda a, b: not (a - b).abs().mean() <= 1e-4), "a mean hides a single place"),
    ("first_difference", last_difference, "the last one that differs"),
    ("first_difference", last_same, "the last one that is still right"),
    ("first_difference", largest_difference, "the largest difference, not the first"),
    ("first_difference", lambda o, t: "none", "finds nothing"),
    ("first_difference", cut_to_size, "tensors of different shape differ"),
    ("first_difference", first(lambda a, b: not same(a, b)), "stopped with RuntimeError: The size of tensor a"),
    ("first_difference", lambda o, t: 2, "it returns 2, which is not a name"),
    ("first_difference", lambda o, t: "K4", "it returns 'K4'"),
    ("first_difference", lambda o, t: "F2", "in some cases that is not"),
    ("first_difference", raises, "stopped with KeyError"),
    ("several_passes", lambda d, i, m, k, p: passes_with(d, i, 1 - m, k, p), "the mask is 1 in the hole"),
    ("several_passes", always_the_first, "it filters only once"),
    ("several_passes", lambda d, i, m, k, p: passes_with(d, i, m, k, p + 1), "one pass too many"),
    ("several_passes", lambda d, i, m, k, p: passes_with(d, i, m, k, p - 1), "one pass too few"),
    ("several_passes", lambda *a: passes_with(*a, first=False), "the whole decoder's picture"),
    ("several_passes", lambda *a: passes_with(*a, first=False, each=False), "at the end only"),
    ("several_passes", lambda *a: passes_with(*a, each=False, last=False), "after each pass"),
    ("several_passes", lambda *a: passes_with(*a, each=False), "not only at the end"),
    ("several_passes", lambda d, i, m, k, p: passes_with(i, i, m, k, p), "it filters the image itself"),
    ("several_passes", lambda d, i, m, k, p: passes_with(0 * d, i, m, k, p), "a black hole"),
    ("several_passes", lambda d, i, m, k, p: d[:, :1], "returns the shape"),
    ("several_passes", lambda *a: None, "returns nothing yet"),
]

RIGHT = [
    ("by_hand", lambda: torch.tensor(3.2)),
    ("by_hand", lambda: 16 / 5),
    ("identity_bias", bias),
    ("identity_bias", lambda g, N: torch.eye(N * N)[N * N // 2].repeat(g)),
    ("identity_bias", lambda g, N: [float(i % (N * N) == N * N // 2) for i in range(g * N * N)]),
    ("link_weights", lambda w: torch.nn.Conv2d(2 * w, 4 * w, 4, bias=False).weight.numel()),
    ("predicted_weights", predicted),
    ("first_difference", shape_or(lambda a, b: not same(a, b))),
    ("first_difference", shape_or(lambda a, b: not torch.allclose(a, b, rtol=0, atol=1e-4))),
    ("several_passes", passes_with),
    ("several_passes", lambda *a: passes_with(*a, last=False)),
]
