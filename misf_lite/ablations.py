"""The ablations of the paper: networks that differ in one thing each, trained with the same budget, in one table."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from misf_lite.datasets import open_pictures
from misf_lite.device import device
from misf_lite.evaluation import Protocol, Results, bootstrap, difference_text, fingerprint, measure
from misf_lite.inpainting import load_weights
from misf_lite.masks import BANDS
from misf_lite.model import MISFConfig
from misf_lite.training import Recipe, train

# What changes in the architecture, and in the recipe; by the part of the paper's argument that it tests.
ABLATIONS: dict[str, tuple[dict, dict]] = {
    # filters
    "misf": ({}, {}),
    "semantic-only": ({"image": False}, {}),
    "image-only": ({"semantic": False, "filtered": "input"}, {}),
    "no-filter": ({"semantic": False, "image": False}, {}),
    "not-interactive": ({"interactive": False}, {}),
    # levels
    "level-1": ({"semantic_levels": (1,)}, {}),
    "level-2": ({"semantic_levels": (2,)}, {}),
    "levels-2-and-3": ({"semantic_levels": (2, 3)}, {}),
    # kernels
    "kernels-of-3": ({"kernel_size": 3}, {}),
    "kernels-of-5": ({"kernel_size": 5}, {}),
    "kernels-of-7": ({"kernel_size": 7}, {}),
    "shared": ({"kernel_groups": 1}, {}),
    "per-channel": ({"kernel_groups": None}, {}),
    "raw": ({"kernel_norm": "raw"}, {}),
    "softmax": ({"kernel_norm": "softmax"}, {}),
    # losses
    "l1": ({}, {"l1": 1.0, "mse": 0.0}),
    "l1-perceptual": ({}, {"l1": 1.0, "mse": 0.0, "perceptual": 0.1}),
    "l1-perceptual-style": ({}, {"l1": 1.0, "mse": 0.0, "perceptual": 0.1, "style": 250.0}),
    "l1-adversarial": ({}, {"l1": 1.0, "mse": 0.0, "adversarial": 0.1}),
}
MAIN = ("misf", "semantic-only", "image-only", "no-filter", "not-interactive")
BUDGETS = {
    "toy": (MISFConfig.toy(), Recipe.toy(l1=0.0, mse=20.0, rate=3e-3, steps=1500)),
    "photos": (MISFConfig.lite(), Recipe.lite(crops=(64, 128), steps=1000)),
}


def runs(data: str, names: Sequence[str], seeds: int, **changes) -> dict[str, tuple[MISFConfig, Recipe]]:
    """What is to be trained: ``NAME/seed-S`` -> architecture and recipe; the main five once per seed, others once.

    Args:
        data: ``"toy"`` or ``"photos"``: which budget.
        names: which of `ABLATIONS`.
        seeds: how many, for the main five.
        changes: of all recipes, such as ``steps``.

    Raises:
        ValueError: an unknown name.
    """
    for name in names:
        if name not in ABLATIONS:
            raise ValueError(f"unknown ablation {name!r}: choose some of {', '.join(ABLATIONS)}")
    config, recipe = BUDGETS[data]
    return {
        f"{name}/seed-{seed}": (
            replace(config, **ABLATIONS[name][0]),
            replace(recipe, **changes | ABLATIONS[name][1], seed=seed),
        )
        for seed in range(seeds)
        for name in names
        if seed == 0 or name in MAIN
    }


def train_all(
    todo: dict[str, tuple[MISFConfig, Recipe]], folder: str | os.PathLike, say: Callable[[str], None] = print
) -> bool:
    """Train each run in its own folder, or go on with it; those that are done are left alone.

    Returns:
        Whether all are done; an interrupt ends the run under way, which is saved.
    """
    for i, (name, (config, recipe)) in enumerate(todo.items(), 1):
        place = Path(folder, name)
        say(f"{i} of {len(todo)}: {name}")
        train(config, recipe, place)
        if not (place / "weights.safetensors").exists():
            return False
    return True


def measure_all(names: Sequence[str], folder: str | os.PathLike, data: str, size: int) -> Results:
    """Measure every run in ``folder`` on pictures that none has seen, into ``results.csv`` there."""
    pictures, what, _ = open_pictures(data, size=size)
    files = {name: Path(folder, name, "weights.safetensors") for name in names}
    identities = {name: fingerprint(file) for name, file in files.items()}
    results = Results(Path(folder, "results.csv"), Protocol.of(what, pictures, size=size), ("psnr", "ssim"), identities)
    measure({name: load_weights(file).to(device()) for name, file in files.items()}, pictures, results, device())
    results.finish()
    return results


def spread(rows: Sequence[dict], metric: str = "psnr_hole") -> dict[str, list[dict[str, float]]]:
    """Each ablation's metric by band, over its seeds.

    Returns:
        For each name one dict per band: ``mean`` over seeds and pictures; ``spread``, the standard deviation of the
        seeds' means (NaN of a single one); ``seeds``; and to misf, seeds averaged: ``difference``, ``low``, ``high``,
        its paired `bootstrap` interval over the pictures.
    """
    values: dict[str, dict[str, dict[tuple[int, str], float]]] = {}
    for row in rows:
        name, seed = row["method"].split("/")
        values.setdefault(name, {}).setdefault(seed, {})[row["band"], row["picture"]] = row[metric]
    pictures = sorted({row["picture"] for row in rows})
    cubes = {
        name: np.array([[[seed[b, p] for p in pictures] for b in range(len(BANDS))] for seed in by_seed.values()])
        for name, by_seed in values.items()
    }  # (seeds, bands, pictures)
    table = {}
    for name, cube in cubes.items():
        means, table[name] = cube.mean(2), []
        for b in range(len(BANDS)):
            gaps = cube.mean(0)[b] - cubes["misf"].mean(0)[b]
            low, high = bootstrap(gaps)
            deviation = means[:, b].std(ddof=1) if len(means) > 1 else np.nan
            cell = {"mean": means[:, b].mean(), "spread": deviation, "seeds": len(means)}
            table[name].append(cell | {"difference": gaps.mean(), "low": low, "high": high})
    return table


def show_spread(rows: Sequence[dict], metric: str = "psnr_hole") -> str:
    """The table as Markdown."""
    bands = " | ".join(f"{low:.0%} to {high:.0%}" for low, high in BANDS)
    lines = [f"| ablation | seeds | {bands} |", "|---|---|" + "---|" * len(BANDS)]
    for name, cells in sorted(spread(rows, metric).items(), key=lambda item: [*ABLATIONS].index(item[0])):
        texts = []
        for cell in cells:
            give = f" ± {cell['spread']:.2f}" if cell["seeds"] > 1 else ""
            gap = "" if name == "misf" else f" ({difference_text(cell)})"
            texts.append(f"{cell['mean']:.2f}{give}{gap}")
        lines.append(f"| {name} | {cells[0]['seeds']} | {' | '.join(texts)} |")
    return "\n".join(lines)
