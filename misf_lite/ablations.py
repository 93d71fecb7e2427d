"""The ablations of the paper: networks that differ in one thing each, trained with the same budget, in one table."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from misf_lite.datasets import open_pictures
from misf_lite.device import device
from misf_lite.evaluation import RESAMPLES, Protocol, Results, bootstrap, difference_text, fingerprint, measure
from misf_lite.guess import smooth_guess
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
    # what the image-level filter acts on: the picture with its hole, or what the decoder has made of it
    "filter-input": ({"filtered": "input"}, {}),
    "filter-composite": ({"filtered": "composite", "passes": 1}, {}),
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
    "photos": (  # from the paper's empty hole: a smooth guess would leave the parts too little to do
        MISFConfig.lite(guess="zero"),
        Recipe.lite(data="no-paintings", kinds=("strokes",), l1=0.0, mse=20.0, rate=3e-3, steps=1500),
    ),
}
# Where they are measured: pictures and kinds of holes; first what they have learnt, then what is new to them.
CONDITIONS = {
    "toy": [("toy", "strokes"), ("photos", "strokes")],
    "photos": [("photos", kind) for kind in ("strokes", "box", "blobs", "thin", "text")]
    + [("paintings", "strokes"), ("toy", "strokes")],
}
REFERENCE = "smooth guess"


def runs(data: str, names: Sequence[str], seeds: int, **changes) -> dict[str, tuple[MISFConfig, Recipe]]:
    """What is to be trained: ``NAME/seed-S`` -> architecture and recipe; the main five once per seed, others once.

    An ablation that changes nothing here, as the budget's network is like that anyway, is left out.

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
    todo = {}
    for seed in range(seeds):
        for name in names:
            architecture, training = ABLATIONS[name]
            run = replace(config, **architecture), replace(recipe, **changes | training, seed=seed)
            changed = run != (config, replace(recipe, **changes, seed=seed))
            if name == "misf" or (changed and (seed == 0 or name in MAIN)):
                todo[f"{name}/seed-{seed}"] = run
    return todo


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


def measure_all(names: Sequence[str], folder: str | os.PathLike, data: str, kind: str, size: int) -> Results:
    """Measure every run in ``folder``, and the smooth guess, on pictures that none has seen, into a file there.

    Args:
        names: of the runs. data, kind: one of `CONDITIONS`. size: short side in pixels.
    """
    pictures, what, _ = open_pictures(data, size=size)
    files = {name: Path(folder, name, "weights.safetensors") for name in names}
    identities = {name: fingerprint(file) for name, file in files.items()} | {REFERENCE: "misf_lite"}
    protocol = Protocol.of(what, pictures, size=size, kind=kind)
    results = Results(Path(folder, f"{data}-{kind}.csv"), protocol, ("psnr", "ssim"), identities)
    methods = {name: load_weights(file).to(device()) for name, file in files.items()}
    measure(methods | {REFERENCE: smooth_guess}, pictures, results, device())
    results.finish()
    return results


def cubes(rows: Sequence[dict], metric: str = "psnr_hole") -> dict[str, np.ndarray]:
    """Each ablation's metric as ``(seeds, bands, pictures)``, the pictures in the same order; in `ABLATIONS`' order."""
    values: dict[str, dict[str, dict[tuple[int, str], float]]] = {}
    for row in rows:
        name, _, seed = row["method"].partition("/")
        values.setdefault(name, {}).setdefault(seed, {})[row["band"], row["picture"]] = row[metric]
    pictures = sorted({row["picture"] for row in rows})
    places = {name: i for i, name in enumerate([*ABLATIONS, REFERENCE])}  # what is no ablation comes last
    return {
        name: np.array([[[seed[b, p] for p in pictures] for b in range(len(BANDS))] for seed in values[name].values()])
        for name in sorted(values, key=lambda name: places.get(name, len(places)))
    }


def spread(
    rows: Sequence[dict], metric: str = "psnr_hole", baseline: str = "misf", seeds: bool = False
) -> dict[str, list[dict[str, float]]]:
    """Each ablation's metric by band, over its seeds.

    Args:
        seeds: whether the intervals know the chance in the seeds as well; where there is one only, they cannot.

    Returns:
        For each name one dict per band: ``mean`` over seeds and pictures; ``spread``, the standard deviation of the
        seeds' means (NaN of a single one); ``seeds``; and to the baseline, seeds averaged: ``difference``, ``low``,
        ``high``, its paired bootstrap interval over the pictures.
    """
    table, by_name = {}, cubes(rows, metric)
    for name, cube in by_name.items():
        means, table[name] = cube.mean(2), []
        for b in range(len(BANDS)):
            deviation = means[:, b].std(ddof=1) if len(means) > 1 else np.nan
            cell = {"mean": means[:, b].mean(), "spread": deviation, "seeds": len(means)}
            table[name].append(cell | _difference(cube[:, [b]], by_name[baseline][:, [b]], seeds))
    return table


def _difference(ours: np.ndarray, theirs: np.ndarray, seeds: bool = False) -> dict[str, float]:
    """Of two cubes, seeds and bands averaged."""
    gaps = ours.mean((0, 1)) - theirs.mean((0, 1))
    low, high = bootstrap_seeds(ours.mean(1), theirs.mean(1)) if seeds else bootstrap(gaps)
    return {"difference": gaps.mean(), "low": low, "high": high}


def bootstrap_seeds(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """As `bootstrap`, for ``(seeds, pictures)`` each: pictures are drawn anew in pairs, and the seeds of each side.

    Of n seeds n - 1 are drawn, which makes up for there being few of them (Rao & Wu 1988).
    """
    chance = np.random.default_rng(0)

    def weights(n: int, drawn: int) -> np.ndarray:
        return chance.multinomial(drawn, np.full(n, 1 / n), size=RESAMPLES) / drawn

    a, b = (weights(len(side), max(1, len(side) - 1)) @ side for side in (ours, theirs))
    low, high = np.quantile(((a - b) * weights(ours.shape[1], ours.shape[1])).sum(1), (0.025, 0.975))
    return float(low), float(high)


def show_spread(rows: Sequence[dict], metric: str = "psnr_hole") -> str:
    """The table as Markdown: mean ± spread (difference to misf)."""
    bands = " | ".join(f"{low:.0%} to {high:.0%}" for low, high in BANDS)
    lines = [f"| ablation | seeds | {bands} |", "|---|---|" + "---|" * len(BANDS)]
    for name, cells in spread(rows, metric).items():
        texts = []
        for cell in cells:
            give = f" ± {cell['spread']:.2f}" if cell["seeds"] > 1 else ""
            gap = "" if name == "misf" else f" ({difference_text(cell)})"
            texts.append(f"{cell['mean']:.2f}{give}{gap}")
        lines.append(f"| {name} | {'' if name == REFERENCE else cells[0]['seeds']} | {' | '.join(texts)} |")
    return "\n".join(lines)


def show_generalisation(measured: Mapping[str, Sequence[dict]]) -> str:
    """As Markdown, what each of the main five gains over the smooth guess, and misf over no-filter; all bands together.

    The intervals know the chance in pictures and seeds.

    Args:
        measured: pictures and holes in words -> rows.
    """
    tables = {what: cubes(rows) for what, rows in measured.items()}
    first = next(iter(tables.values()))
    pairs = [(name, REFERENCE) for name in MAIN if name in first]
    pairs += [("misf", "no-filter")] if "no-filter" in first else []
    heads = [ours if theirs == REFERENCE else f"{ours} less {theirs}" for ours, theirs in pairs]
    lines = [f"| | {REFERENCE} | {' | '.join(heads)} |", "|---|---|" + "---|" * len(heads)]
    for what, table in tables.items():
        gains = [difference_text(_difference(table[ours], table[theirs], seeds=True)) for ours, theirs in pairs]
        lines.append(f"| {what} | {table[REFERENCE].mean():.2f} | {' | '.join(gains)} |")
    return "\n".join(lines)
