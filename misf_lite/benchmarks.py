"""What `misf-lite bench` measures: ratios within one run, never bare times."""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from misf_lite.datasets import Pictures, as_jpeg, photos
from misf_lite.device import device
from misf_lite.filtering import filter2d
from misf_lite.masks import random_mask
from misf_lite.model import MISF, MISFConfig
from misf_lite.training import LOOK, Batches, Recipe, open_batches, train

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is asked about memory only; its log says nothing of it

Filter = Callable[[Tensor, Tensor], Tensor]


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


@one_thread()
def bench_loader(
    config: MISFConfig | None = None,
    recipe: Recipe | None = None,
    size: tuple[int, int] = (3000, 2000),
    files: int = 6,
    rounds: int = 24,
) -> str:
    """Batches that one process draws, against those that training takes: bare steps on one thread.

    The JPEGs are mosaics of the bundled photographs: reading them costs no less than reading a camera's.
    """
    config, recipe = config or MISFConfig.lite(), recipe or Recipe.lite()
    width, height = size
    with tempfile.TemporaryDirectory() as folder:
        for path in photos("train")[:files]:
            tile = np.asarray(Image.open(path).convert("RGB"))
            mosaic = np.tile(tile, (height // tile.shape[0] + 1, width // tile.shape[1] + 1, 1))[:height, :width]
            Image.fromarray(mosaic).save(Path(folder, path.name), quality=90)
        bundled, kept = (open_batches(replace(recipe, data=data))[0] for data in ("photos", folder))
        packed = Batches(
            recipe, Pictures([as_jpeg(np.asarray(picture)) for picture in kept.pictures], kept.pictures.shrink)
        )
        sources = {
            "bundled photographs": bundled,
            f"folder of {width}×{height} JPEGs": kept,
            "the same, kept as JPEG": packed,
        }
        steps = {f"{precision} training": bare_step(config, recipe, precision) for precision in ("float32", "bf16")}
        seconds = {name: [] for name in (*sources, *steps)}
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
    lines = [
        _what(config, recipe),
        " " * 28 + "   batches/s  × float32 training  × bf16 training",
        *(f"{name:28}{1 / mean[name]:12.1f}" for name in ("float32 training", "bf16 training")),
    ]
    for name in sources:
        single, half = (mean[f"{precision} training"] / mean[name] for precision in ("float32", "bf16"))
        lines.append(f"{name:28}{1 / mean[name]:12.1f}{single:20.1f}{half:17.1f}")
    return "\n".join(lines)


@one_thread()
@torch.inference_mode()
def bench_model(size: int = 256, rounds: int = 5) -> str:
    """The three architectures on one picture: multiply-adds, time, parameters; float32, one thread."""
    image, mask = torch.rand(1, 3, size, size), random_mask(size)
    models = {name: MISF(getattr(MISFConfig, name)()).eval() for name in ("paper", "lite", "toy")}
    work = {name: multiply_adds(model, image, mask) for name, model in models.items()}  # and it warms up
    seconds = {name: [] for name in models}
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
        median, parameters = statistics.median(seconds[name]), sum(p.numel() for p in model.parameters())
        lines.append(
            f"{name:8}{work[name] / 1e9:11.2f} G{work['paper'] / work[name]:9.1f}"
            f"{median * 1e3:9.0f} ms{paper / median:8.1f}{parameters:12,}"
        )
    return "\n".join(lines)


def multiply_adds(model: MISF, image: Tensor, mask: Tensor) -> int:
    """Multiply-adds of the convolutions and the filters, in each of their passes. Arguments as for the model."""
    with FlopCounterMode(display=False) as counter:
        trace = model.trace(image, mask)
    config = model.config
    passes = {level: config.passes if level == 0 else 1 for level in config.levels}
    filters = sum(x.numel() * config.kernel_size[level] ** 2 * passes[level] for level, x in trace.before.items())
    return counter.get_total_flops() // 2 + filters


class _Enough(Exception):
    """Ends a training that has been watched for long enough."""


@one_thread()
def bench_train(
    config: MISFConfig | None = None, recipe: Recipe | None = None, turns: int = 4, workers: int | None = None
) -> str:
    """The training loop (loader, clipping, moving average, looks) against bare steps on the same batches.

    They take turns of ten steps; validations and checkpoints are not among what is timed. While the bare steps run,
    the loader's processes draw on, but no more than two batches each.

    Args:
        recipe: without the adversarial loss, as the discriminator takes steps of its own.
        workers: the loader's processes, see `misf_lite.training.train`.

    Raises:
        ValueError: a device other than the CPU, whose steps cannot be timed from outside.
    """
    config, recipe = config or MISFConfig.lite(), recipe or Recipe.lite()
    if device().type != "cpu":
        raise ValueError("bench train measures on the CPU: set MISF_LITE_DEVICE=cpu")
    batches, step = open_batches(recipe)[0], bare_step(config, recipe)
    loop, bare, taken, since, watching = [], [], 0, 0.0, True

    def after_step(*_: object) -> None:
        """Called after each step of any optimiser, so of the bare steps, too."""
        nonlocal taken, since, watching
        taken += watching
        if not watching or taken % LOOK:
            return
        loop.append(time.perf_counter() - since)
        watching = False
        drawn = [batches[i] for i in range(taken - LOOK, taken)]
        since = time.perf_counter()
        for batch in drawn:
            step(*batch)
        bare.append(time.perf_counter() - since)
        if len(bare) > turns:
            raise _Enough
        watching, since = True, time.perf_counter()

    quiet = contextlib.redirect_stdout(io.StringIO())
    hook = register_optimizer_step_post_hook(after_step)
    with contextlib.suppress(_Enough), tempfile.TemporaryDirectory() as folder, quiet, hook:
        train(config, recipe, folder, every=recipe.steps, workers=workers)
    del loop[0], bare[0]  # warming up
    ratios = [real / plain for real, plain in zip(loop, bare, strict=True)]
    one_each = {image.shape[-1]: (image, mask) for image, mask in (batches[i] for i in range(LOOK))}
    extra = {crop: peak_extra(lambda batch=batch: step(*batch)) for crop, batch in sorted(one_each.items())}
    return "\n".join(
        [
            f"{_what(config, recipe)}; {turns} turns of {LOOK} steps each",
            f"training loop {statistics.mean(loop) / LOOK * 1e3:9.1f} ms a step",
            f"bare step     {statistics.mean(bare) / LOOK * 1e3:9.1f} ms",
            f"ratio         {statistics.median(ratios):9.2f}    (median; {min(ratios):.2f} to {max(ratios):.2f})",
            "memory of a step: " + ", ".join(f"{n / 1e6:.1f} MB at crops of {crop}" for crop, n in extra.items()),
            f"memory of this process, at its peak: {_peak_memory()}",
        ]
    )


def bare_step(config: MISFConfig, recipe: Recipe, precision: str = "float32") -> Callable[[Tensor, Tensor], Tensor]:
    """Forward, L1, backward, AdamW: what training has to do, and nothing around it. Returns the step."""
    model = MISF(config)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.rate)

    def step(image: Tensor, mask: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = F.l1_loss(model(image, mask), image)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def _what(config: MISFConfig, recipe: Recipe) -> str:
    crops = ", ".join(map(str, recipe.crops))
    return f"width {config.width}, crops of {crops}, batch {recipe.batch}, {torch.get_num_threads()} thread"


def _peak_memory() -> str:
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
    returned = sum(t.nbytes for t in ((results,) if isinstance(results, Tensor) else results))
    return peak - returned
