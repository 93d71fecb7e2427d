"""What a GPU shows in ten minutes: whether its results are the CPU's, how much faster it is, how far it trains.

`python -m experiments gpu -o FOLDER --minutes 9`. It runs on whatever `misf_lite.device` picks, on a CPU, too.
"""

import contextlib
import copy
import io
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from experiments.kernels import save_figure
from misf_lite.batches import open_batches
from misf_lite.classical import smooth_guess
from misf_lite.datasets import load_photo, open_dataset
from misf_lite.device import device
from misf_lite.evaluation import evaluate
from misf_lite.files import atomic_write
from misf_lite.filtering import filter2d
from misf_lite.lite import LiteConfig, build
from misf_lite.losses import Objective
from misf_lite.masks import BANDS, random_mask
from misf_lite.model import MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.statistics import LABELS
from misf_lite.training import train

CPU = torch.device("cpu")
SHARP = {"feature_distance": 2.0, "adversarial": 0.1, "discriminator": "features"}
NETWORKS: dict[str, MISFConfig] = {"photos": LiteConfig(), "paper": MISFConfig.paper()}
RECIPE = Recipe(crops=(256,), precision="bf16", **SHARP)


@dataclass
class Check:
    """How far a result on the device is from what it should be, and how far it may be."""

    name: str
    error: float
    allowed: float

    def __str__(self) -> str:
        verdict = "ok" if self.error <= self.allowed else "WRONG"
        return f"{self.name:34} off by {self.error:.1e}, allowed {self.allowed:.0e}: {verdict}"


def checks(where: torch.device, folder: Path) -> Iterator[Check]:
    """Filter, mixed precision, compilation and resume on a device."""
    ours, exact = (filtered(where, torch.float32), filtered(CPU, torch.float64))
    for name, a, b in zip(("filter2d", "its gradient, picture", "its gradient, kernels"), ours, exact, strict=True):
        yield Check(name, distance(a, b), 1e-5)
    torch.manual_seed(0)
    model = build(LiteConfig()).to(where).eval()
    image, mask = torch.rand(2, 3, 96, 64, device=where), random_mask((96, 64), BANDS[1], seed=0).to(where)
    batch = image, mask.expand(2, -1, -1, -1)
    with torch.no_grad():
        expected = model(*batch)
        yield Check("float32, against the CPU", distance(expected, copy.deepcopy(model).to(CPU)(*to(CPU, batch))), 1e-4)
        for dtype in (torch.bfloat16, torch.float16) if where.type == "cuda" else (torch.bfloat16,):
            with torch.autocast(where.type, dtype):
                yield Check(f"mixed precision, {str(dtype)[6:]}", distance(model(*batch), expected), 0.05)
        if where.type == "cuda":  # on a CPU tests do it, at toy size: this takes minutes there
            yield Check("compiled", distance(torch.compile(model)(*batch), expected), 1e-4)
    yield Check("a run that goes on, its weights", resumed(folder), 1e-3)


def filtered(where: torch.device, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """What `filter2d` gives for one picture and its kernels, and both derivatives."""
    rng = torch.Generator().manual_seed(0)
    shapes = (2, 6, 33, 47), (2, 3, 25, 33, 47)
    x, kernels = (torch.randn(shape, generator=rng).to(where, dtype).requires_grad_() for shape in shapes)
    result = filter2d(x, kernels, dilation=2)
    result.square().mean().backward()
    return result.detach(), *(t.grad * t.numel() for t in (x, kernels) if t.grad is not None)


def resumed(folder: Path) -> float:
    """How far the weights of a run that was interrupted half-way are from those of one that was not."""
    recipe = Recipe.toy(steps=4, batch=2, **SHARP)
    with contextlib.redirect_stdout(io.StringIO()):
        whole = train(MISFConfig.toy(), recipe, folder / "whole", every=2, workers=0)
        shutil.copytree(folder / "whole", folder / "half", ignore=shutil.ignore_patterns("*4.pt", "weights*"))
        half = train(MISFConfig.toy(), recipe, folder / "half", every=2, workers=0)
    return max(distance(a, b) for a, b in zip(whole.parameters(), half.parameters(), strict=True))


def distance(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest value where that is more than 1."""
    a, b = (t.detach().double().cpu() for t in (a, b))
    return ((a - b).abs().max() / b.abs().max().clamp(min=1)).item()


def to(where: torch.device, batch: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(t.to(where) for t in batch)


def step_seconds(config: MISFConfig, recipe: Recipe, where: torch.device, count: int = 10) -> float:
    """Seconds of a step without its data: forward, losses, backward. The first steps warm up."""
    torch.manual_seed(0)
    model: nn.Module = build(config).to(where)
    objective = Objective(recipe, where)
    optimiser = torch.optim.AdamW(model.parameters(), recipe.lr)
    image, mask = to(where, open_batches(recipe)[0][0])

    def step() -> None:
        with torch.autocast(where.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
            loss = objective(model(image, mask), image, mask)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()  # waits for the device

    for _ in range(3):
        step()
    started = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - started) / count


def run(folder: Path, minutes: float, recipe: Recipe, configs: Mapping[str, MISFConfig], size: int = 128) -> str:
    """All of it within so many minutes, half of which each of the networks trains; returns the report.

    The folder gets a run for each network, ``curves.png`` and ``report.txt``. FileExistsError if it is there already.
    """
    started = time.monotonic()
    folder.mkdir(parents=True)
    where = device()
    lines = [f"{torch.cuda.get_device_name(where) if where.type == 'cuda' else where}, torch {torch.__version__}"]
    lines += map(str, checks(where, folder / "checks"))
    seconds = {name: step_seconds(config, recipe, where) for name, config in configs.items()}
    if where != CPU:
        slow = step_seconds(configs["photos"], recipe, CPU, count=2)
        lines.append(f"a training step of photos: {slow / seconds['photos']:.1f} times as fast as on the CPU")
    print(*lines, sep="\n")

    left = 60 * minutes - (time.monotonic() - started)
    models = {}
    for name, config in configs.items():
        steps = max(4, int(0.4 * left / seconds[name]))  # a fifth is for data, validation and the table
        models[name] = train(config, replace(recipe, steps=steps), folder / name, every=max(1, steps // 8))
        lines.append(f"{name}: {steps} steps of {seconds[name] * 1e3:.0f} ms")
    lines.append(table(models, size))
    save_figure(curves([folder / name for name in models]), folder / "curves.png")
    with atomic_write(folder / "report.txt") as file:
        file.write("\n".join(lines).encode())
    return "\n".join(lines)


def table(models: Mapping[str, nn.Module], size: int) -> str:
    """PSNR in the hole of the photographs held out, dB by band, beside what the networks start from."""
    pictures = open_dataset("photos", "val")
    images = [load_photo(picture, size).to(device()) for picture in pictures]
    means = evaluate({**models, "smooth guess": smooth_guess}, images)
    rows = {name: [band["psnr_hole"] for band in bands] for name, bands in means.items()}
    return pd.DataFrame.from_dict(rows, "index", columns=LABELS).round(2).to_string()


def curves(runs: Sequence[Path]) -> Figure:
    """How good each run was when: the mean PSNR of its three bands over minutes of training."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for run in runs:
        log = pd.read_json(run / "log.jsonl", lines=True)
        axes.plot(log["minutes"], log["psnr_hole"].map(statistics.mean), marker="o", label=run.name)
    axes.set(xlabel="minutes of training", ylabel="PSNR in the hole, dB (mean of three bands)")
    axes.legend()
    return figure
