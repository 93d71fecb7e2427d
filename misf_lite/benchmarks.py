"""What `misf-lite bench` measures: ratios within one run, never bare times."""

import os
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from misf_lite.filtering import filter2d

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is asked about memory only; its log says nothing of it

Filter = Callable[[Tensor, Tensor], Tensor]


def stacked(x: Tensor, kernels: Tensor) -> Tensor:
    """The usual way to write the filter: a stack of N² shifted copies (3×3, reflected border)."""
    H, W = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="reflect")
    copies = torch.stack([padded[..., i : i + H, j : j + W] for i in range(3) for j in range(3)], 2)
    return (copies * kernels).sum(2)


def unfolded(x: Tensor, kernels: Tensor) -> Tensor:
    """The other usual way: ``F.unfold``."""
    patches = F.unfold(F.pad(x, (1, 1, 1, 1), mode="reflect"), 3).view_as(kernels)
    return (patches * kernels).sum(2)


def bench_filter(shape: tuple[int, int, int, int] = (4, 256, 64, 64), rounds: int = 9) -> str:
    """filter2d against the usual ways: 3×3 kernels for each channel, float32, one thread, eager."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _filter_table(shape, rounds)
    finally:
        torch.set_num_threads(threads)


def _filter_table(shape: tuple[int, int, int, int], rounds: int) -> str:
    B, C, H, W = shape
    x = torch.randn(shape, requires_grad=True)
    kernels = torch.randn(B, C, 9, H, W, requires_grad=True)
    grad = torch.randn(shape)
    ways: dict[str, Filter] = {"stack of shifted copies": stacked, "F.unfold": unfolded, "filter2d": filter2d}
    forward, both = ({name: [] for name in ways} for _ in range(2))
    for _ in range(rounds):
        for name, way in ways.items():  # in turn, so that a slow moment of the machine meets all of them
            started = time.perf_counter()
            y = way(x, kernels)
            forward[name].append(time.perf_counter() - started)
            gradients = torch.autograd.grad(y, (x, kernels), grad)
            both[name].append(time.perf_counter() - started)
            del y, gradients  # given back outside the timed part, as between two steps of training
    weight = kernels.numel() * 4
    lines = [
        f"x {shape}, kernels {tuple(kernels.shape)} ({weight / 1e6:.0f} MB), float32, {torch.get_num_threads()} thread",
        " " * 24 + "     forward  × filter2d  + backward  × filter2d   extra memory  of kernels",
    ]
    ours = [statistics.median(times["filter2d"]) for times in (forward, both)]
    for name, way in ways.items():
        f, b = statistics.median(forward[name]), statistics.median(both[name])
        extra = max(
            peak_extra(lambda way=way: way(x.detach(), kernels.detach())),
            peak_extra(lambda way=way: ((y := way(x, kernels)), *torch.autograd.grad(y, (x, kernels), grad))),
        )
        lines.append(
            f"{name:24}{f * 1e3:9.1f} ms{f / ours[0]:12.1f}{b * 1e3:9.1f} ms{b / ours[1]:12.1f}"
            f"{extra / 1e6:12.1f} MB{extra / weight:11.1%}"
        )
    return "\n".join(lines)


def peak_extra(call: Callable[[], Tensor | tuple[Tensor, ...]]) -> int:
    """Bytes of CPU memory that a call holds at its peak, beyond what it was given and what it returns."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        results = call()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    returned = sum(t.nbytes for t in ((results,) if isinstance(results, Tensor) else results))
    return peak - returned
