"""What `python -m experiments bench` measures: ratios within one run, never bare times."""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from misf_lite import datasets
from misf_lite.batches import Batches, open_batches
from misf_lite.device import device
from misf_lite.filtering import filter2d
from misf_lite.flow import Flow
from misf_lite.lite import ImageFilter, LiteConfig, build
from misf_lite.masks import random_mask
from misf_lite.model import MISF, MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.training import LOG_EVERY, train

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is asked about memory only; its log says nothing of it

Step = Callable[[Tensor, Tensor], Tensor]
PRECISIONS = ("float32", "bf16")


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """A second thread that waits for another program's would blur every ratio."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


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


@one_thread()
def bench_filter(shape: tuple[int, int, int, int] = (4, 256, 64, 64), rounds: int = 9) -> str:
    """filter2d against the usual ways: 3×3 kernels for each channel, float32, one thread, eager."""
    B, C, H, W = shape
    x = torch.randn(shape, requires_grad=True)
    kernels = torch.randn(B, C, 9, H, W, requires_grad=True)
    grad = torch.randn(shape)
    ways = {"stack of shifted copies": stacked, "F.unfold": unfolded, "filter2d": filter2d}
    forward: dict[str, list[float]] = {name: [] for name in ways}
    both: dict[str, list[float]] = {name: [] for name in ways}
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
    our_forward = statistics.median(forward["filter2d"])
    our_both = statistics.median(both["filter2d"])
    for name, way in ways.items():

        def run_forward(way: Step = way) -> Tensor:
            return way(x.detach(), kernels.detach())

        def run_both(way: Step = way) -> tuple[Tensor, ...]:
            y = way(x, kernels)
            return (y, *torch.autograd.grad(y, (x, kernels), grad))

        extra = max(peak_extra(run_forward), peak_extra(run_both))
        f = statistics.median(forward[name])
        b = statistics.median(both[name])
        lines.append(
            f"{name:24}{f * 1e3:9.1f} ms{f / our_forward:12.1f}{b * 1e3:9.1f} ms{b / our_both:12.1f}"
            f"{extra / 1e6:12.1f} MB{extra / weight:11.1%}"
        )
    return "\n".join(lines)


@one_thread()
def bench_loader(
    config: MISFConfig | None = None,
    recipe: Recipe | None = None,
    size: tuple[int, int] = (3000, 2000),
    files: int = 6,
    rounds: int = 24,
) -> str:
    """Batches that one process draws, against those that training takes: bare steps on one thread."""
    config = config or LiteConfig()
    recipe = recipe or Recipe()
    with tempfile.TemporaryDirectory() as folder:
        write_mosaics(Path(folder), size, files)
        sources = {
            "bundled photographs": open_batches(replace(recipe, data="photos"))[0],
            f"folder of {size[0]}×{size[1]} JPEGs": open_batches(replace(recipe, data=folder))[0],
        }
        with mock.patch.object(datasets, "MEMORY", 0):
            sources["the same, kept as JPEG"] = open_batches(replace(recipe, data=folder))[0]
        steps = {f"{precision} training": bare_step(config, recipe, precision) for precision in PRECISIONS}
        seconds: dict[str, list[float]] = {name: [] for name in (*sources, *steps)}
        for i in range(rounds + 1):
            for name, batches in sources.items():
                started = time.perf_counter()
                batch = batches[i]
                seconds[name].append(time.perf_counter() - started)
            for name, step in steps.items():
                started = time.perf_counter()
                step(*batch)
                seconds[name].append(time.perf_counter() - started)
    mean = {name: statistics.mean(times[1:]) for name, times in seconds.items()}  # the first round warms up
    lines = [describe_run(config, recipe), " " * 28 + "   batches/s  × float32 training  × bf16 training"]
    for name in steps:
        lines.append(f"{name:28}{1 / mean[name]:12.1f}")
    for name in sources:
        single, half = (mean[step] / mean[name] for step in steps)
        lines.append(f"{name:28}{1 / mean[name]:12.1f}{single:20.1f}{half:17.1f}")
    return "\n".join(lines)


def write_mosaics(folder: Path, size: tuple[int, int], files: int) -> None:
    """JPEGs of any size, made of bundled photographs: reading them costs no less than reading a camera's."""
    width, height = size
    for path in datasets.photos("train")[:files]:
        tile = np.asarray(Image.open(path).convert("RGB"))
        mosaic = np.tile(tile, (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1))[:height, :width]
        Image.fromarray(mosaic).save(folder / path.name, quality=90)


@one_thread()
@torch.inference_mode()
def bench_model(size: int = 256, rounds: int = 5) -> str:
    """The three architectures on one picture: multiply-adds, time, parameters; float32, one thread."""
    image, mask = torch.rand(1, 3, size, size), random_mask(size)
    configs = {"paper": MISFConfig.paper(), "lite": LiteConfig(), "toy": MISFConfig.toy()}
    models = {name: build(config).eval() for name, config in configs.items()}
    work = {name: multiply_adds(model, image, mask) for name, model in models.items()}  # and it warms up
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, model in models.items():
            model(image, mask)  # the model before it has emptied the caches
            started = time.perf_counter()
            model(image, mask)
            seconds[name].append(time.perf_counter() - started)
    lines = [
        f"one picture of {size}×{size}, float32, {torch.get_num_threads()} thread",
        " " * 8 + "multiply-adds  × fewer        time  × less  parameters",
    ]
    paper = statistics.median(seconds["paper"])
    for name, model in models.items():
        median = statistics.median(seconds[name])
        parameters = sum(p.numel() for p in model.parameters())
        lines.append(
            f"{name:8}{work[name] / 1e9:11.2f} G{work['paper'] / work[name]:9.1f}"
            f"{median * 1e3:9.0f} ms{paper / median:8.1f}{parameters:12,}"
        )
    return "\n".join(lines)


def multiply_adds(model: MISF | ImageFilter, image: Tensor, mask: Tensor) -> int:
    """Multiply-adds of the convolutions and the filters, in each of their passes. Arguments as for the model."""
    with FlopCounterMode(display=False) as counter:
        flow = Flow.of(model, image, mask)
    total = counter.get_total_flops() // 2
    for level in model.config.levels:
        filtered = flow[f"F{level}" if level else "picture"]
        taps = flow[f"K{level or ''}"].shape[2]
        passes = 1 if level else getattr(model.config, "passes", 1)  # only a LiteConfig has them
        total += filtered.numel() * taps * passes
    return total


class Enough(Exception):
    """Ends a training that has been watched for long enough."""


class Watch:
    """Called after each step of any optimiser: after ten steps of the training, ten bare ones on the same batches."""

    def __init__(self, batches: Batches, step: Step, turns: int) -> None:
        self.batches = batches
        self.step = step
        self.turns = turns
        self.loop: list[float] = []  # seconds of ten steps each
        self.bare: list[float] = []
        self.taken = 0
        self.watching = True  # the bare steps have an optimiser, too
        self.since = 0.0

    def __call__(self, *_: object) -> None:
        if not self.watching:
            return
        self.taken += 1
        if self.taken % LOG_EVERY:
            return
        self.loop.append(time.perf_counter() - self.since)
        self.watching = False
        drawn = [self.batches[i] for i in range(self.taken - LOG_EVERY, self.taken)]
        self.since = time.perf_counter()
        for batch in drawn:
            self.step(*batch)
        self.bare.append(time.perf_counter() - self.since)
        if len(self.bare) > self.turns:
            raise Enough
        self.watching = True
        self.since = time.perf_counter()


@one_thread()
def bench_train(
    config: MISFConfig | None = None, recipe: Recipe | None = None, turns: int = 4, workers: int | None = None
) -> str:
    """The training loop (loader, clipping, moving average, log) against bare steps on the same batches.

    They take turns of ten steps; validations and checkpoints are not timed. While the bare steps run, the loader's
    processes draw on, but no more than two batches each.

    Args:
        recipe: without the adversarial loss, as the discriminator takes steps of its own.
        workers: the loader's processes, see `misf_lite.training.train`.

    Raises:
        ValueError: a device other than the CPU, whose steps cannot be timed from outside.
    """
    if device().type != "cpu":
        raise ValueError("bench train measures on the CPU: set MISF_LITE_DEVICE=cpu")
    config = config or LiteConfig()
    recipe = recipe or Recipe()
    batches, _, _ = open_batches(recipe)
    step = bare_step(config, recipe)
    watch = Watch(batches, step, turns)
    quiet = contextlib.redirect_stdout(io.StringIO())
    hook = register_optimizer_step_post_hook(watch)
    with contextlib.suppress(Enough), tempfile.TemporaryDirectory() as folder, quiet, hook:
        train(config, recipe, folder, every=recipe.steps, workers=workers)
    loop, bare = watch.loop[1:], watch.bare[1:]  # the first turn warms up
    ratios = [real / plain for real, plain in zip(loop, bare, strict=True)]
    one_each = {image.shape[-1]: (image, mask) for image, mask in (batches[i] for i in range(LOG_EVERY))}
    memory = []
    for crop, batch in sorted(one_each.items()):
        memory.append(f"{peak_extra(partial(step, *batch)) / 1e6:.1f} MB at crops of {crop}")
    return "\n".join(
        [
            f"{describe_run(config, recipe)}; {turns} turns of {LOG_EVERY} steps each",
            f"training loop {statistics.mean(loop) / LOG_EVERY * 1e3:9.1f} ms a step",
            f"bare step     {statistics.mean(bare) / LOG_EVERY * 1e3:9.1f} ms",
            f"ratio         {statistics.median(ratios):9.2f}    (median; {min(ratios):.2f} to {max(ratios):.2f})",
            f"memory of a step: {', '.join(memory)}",
            f"memory of this process, at its peak: {peak_memory()}",
        ]
    )


def bare_step(config: MISFConfig, recipe: Recipe, precision: str = "float32") -> Step:
    """Forward, L1, backward, AdamW: what training has to do, and nothing around it. Returns the step."""
    model = build(config)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.lr)

    def step(image: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.l1_loss(model(image, mask), image)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def describe_run(config: MISFConfig, recipe: Recipe) -> str:
    crops = ", ".join(map(str, recipe.crops))
    return f"width {config.width}, crops of {crops}, batch {recipe.batch}, {torch.get_num_threads()} thread"


def peak_memory() -> str:
    """The most that this process has held so far."""
    try:
        import resource
    except ImportError:
        return "unknown on Windows"
    unit = 1 if sys.platform == "darwin" else 1024
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9:.2f} GB"


def peak_extra(call: Callable[[], Tensor | tuple[Tensor, ...]]) -> int:
    """Bytes of CPU memory that a call holds at its peak, beyond what it was given and what it returns."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        results = call()
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    returned = (results,) if isinstance(results, Tensor) else results
    return peak - sum(tensor.nbytes for tensor in returned)
