"""The ablations of the paper: networks that differ in one thing each, trained with the same budget, in one table."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from misf_lite.classical import Fill, smooth_guess
from misf_lite.datasets import open_dataset
from misf_lite.device import device
from misf_lite.evaluation import Protocol, Results, fingerprint, measure
from misf_lite.lite import LiteConfig
from misf_lite.masks import BANDS
from misf_lite.model import MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.statistics import LABELS, cubes, difference_text, gap
from misf_lite.training import train
from misf_lite.weights import load_weights

# What is trained on toy faces, and how.
TOY_RECIPE = Recipe.toy(l1=0.0, mse=20.0, lr=3e-3, steps=1500)
TOY_INPUT = LiteConfig(kernel_size=(5, 3), width=8, blocks=(2, 2), passes=1, smooth=False)
TOY_LOSSES = {
    "l1": replace(TOY_RECIPE, l1=1.0, mse=0.0),
    "l1-perceptual": replace(TOY_RECIPE, l1=1.0, mse=0.0, perceptual=0.1),
    "l1-perceptual-style": replace(TOY_RECIPE, l1=1.0, mse=0.0, perceptual=0.1, style=250.0),
    "l1-adversarial": replace(TOY_RECIPE, l1=1.0, mse=0.0, adversarial=0.1),
}
TOY = {
    "misf": MISFConfig.toy(),
    # filters
    "semantic-only": MISFConfig.toy(levels=(3,)),
    "image-only": replace(TOY_INPUT, levels=(0,)),
    "no-filter": MISFConfig.toy(levels=()),
    "not-interactive": MISFConfig.toy(interactive=False),
    # the image-level filter acts on the picture with its hole, and not on what the decoder has made of it
    "filter-input": TOY_INPUT,
    # levels
    "level-1": MISFConfig.toy(levels=(0, 1)),
    "level-2": MISFConfig.toy(levels=(0, 2)),
    "levels-2-and-3": MISFConfig.toy(levels=(0, 2, 3)),
    # kernels
    "kernels-of-3": MISFConfig.toy(kernel_size=(3, 3)),
    "kernels-of-5": MISFConfig.toy(kernel_size=(5, 5)),
    "kernels-of-7": MISFConfig.toy(kernel_size=(7, 7)),
    "shared": MISFConfig.toy(shared=(True, True)),
    "per-channel": MISFConfig.toy(shared=(False, False)),
    "raw": MISFConfig.toy(softmax=(False, False)),
    "softmax": MISFConfig.toy(softmax=(True, True)),
}

# What is trained on photographs. A smooth guess would leave the parts too little to do: all start from a black hole.
# Strokes only, and no paintings, so that other holes and other pictures are new to them.
PHOTOS_RECIPE = Recipe(data="no-paintings", kinds=("strokes",), l1=0.0, mse=20.0, lr=3e-3, steps=1500)
PHOTOS = {
    "misf": LiteConfig(smooth=False),
    "semantic-only": MISFConfig.lite(levels=(3,), kernel_size=(3, 3)),
    "image-only": LiteConfig(smooth=False, levels=(0,)),
    "no-filter": MISFConfig.lite(levels=(), kernel_size=(3, 3)),
    "not-interactive": LiteConfig(smooth=False, interactive=False),
    # here the image-level filter acts on what the decoder has made of the picture, and not on the picture with its hole
    "filter-composite": MISFConfig.lite(kernel_size=(3, 3)),
}

Run = tuple[MISFConfig, Recipe]
ABLATIONS: dict[str, dict[str, Run]] = {
    "toy": {
        **{name: (config, TOY_RECIPE) for name, config in TOY.items()},
        **{name: (TOY["misf"], recipe) for name, recipe in TOY_LOSSES.items()},
    },
    "photos": {name: (config, PHOTOS_RECIPE) for name, config in PHOTOS.items()},
}
MAIN = ("misf", "semantic-only", "image-only", "no-filter", "not-interactive")
REFERENCE = "smooth guess"
SIZES = {"toy": 64, "photos": 128}
# Where they are measured: pictures and kinds of holes; first what they have learnt, then what is new to them.
CONDITIONS = {
    "toy": [("toy", "strokes"), ("photos", "strokes")],
    "photos": [
        ("photos", "strokes"),
        ("photos", "box"),
        ("photos", "blobs"),
        ("photos", "thin"),
        ("photos", "text"),
        ("paintings", "strokes"),
        ("toy", "strokes"),
    ],
}


def runs(data: str, names: Sequence[str] | None, seeds: int, **changes: Any) -> dict[str, Run]:
    """What is to be trained: ``NAME/seed-S`` -> architecture and recipe; the main five once per seed, others once.

    Args:
        data: ``"toy"`` or ``"photos"``.
        names: which of the `ABLATIONS`; None for all.
        seeds: how many, for the main five.
        changes: of all recipes, such as ``steps``.

    Raises:
        ValueError: an unknown name.
    """
    known = ABLATIONS[data]
    for name in names or ():
        if name not in known:
            raise ValueError(f"unknown ablation {name!r}: choose some of {', '.join(known)}")
    todo = {}
    for seed in range(seeds):
        for name in names or known:
            config, recipe = known[name]
            if seed == 0 or name in MAIN:
                todo[f"{name}/seed-{seed}"] = config, replace(recipe, **changes, seed=seed)
    return todo


def train_all(todo: Mapping[str, Run], folder: str | os.PathLike[str], say: Callable[[str], None] = print) -> bool:
    """Train each run in its own folder, or continue with it; those that are done are left alone.

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


def measure_all(names: Sequence[str], folder: str | os.PathLike[str], data: str, kind: str, size: int) -> Results:
    """Measure every run in ``folder``, and the smooth guess, on pictures that none has seen, into a file there.

    Args:
        names: of the runs. data, kind: one of `CONDITIONS`. size: short side in pixels.
    """
    pictures = open_dataset(data, "test", shrink=size)
    protocol = Protocol.of(pictures, size=size, kind=kind)
    methods: dict[str, Fill] = {REFERENCE: smooth_guess}
    identities = {REFERENCE: "misf_lite"}
    for name in names:
        file = Path(folder, name, "weights.safetensors")
        methods[name] = load_weights(file).to(device())
        identities[name] = fingerprint(file)
    results = Results(Path(folder, f"{data}-{kind}.csv"), protocol, ("psnr", "ssim"), identities)
    measure(methods, pictures, results)
    results.finish()
    return results


def in_order(names: Mapping[str, Any]) -> list[str]:
    """As the ablations are listed above; what is none of them comes last."""
    order = list(ABLATIONS["toy"] | ABLATIONS["photos"])
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def ablation_table(rows: pd.DataFrame) -> pd.DataFrame:
    """As texts: mean ± standard deviation of the seeds' means (difference to misf, with its interval over pictures)."""
    by_name = cubes(rows)
    texts = {}
    for name in in_order(by_name):
        cube = by_name[name]
        texts[name] = ["" if name == REFERENCE else str(len(cube))]
        for band in range(len(BANDS)):
            means = cube[:, band].mean(1)  # of each seed
            text = f"{means.mean():.2f}"
            if len(cube) > 1:
                text += f" ± {means.std(ddof=1):.2f}"
            if name != "misf" and "misf" in by_name:
                text += f" ({difference_text(gap(cube[:, [band]], by_name['misf'][:, [band]]))})"
            texts[name].append(text)
    return pd.DataFrame(texts, index=["seeds", *LABELS]).T.rename_axis("ablation")


def generalisation_table(measured: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """As texts, what each of the main five gains over the smooth guess, and misf over no-filter, all bands together.

    The intervals know the chance in pictures and seeds.

    Args:
        measured: pictures and holes in words -> rows.
    """
    texts = {}
    for what, rows in measured.items():
        by_name = cubes(rows)
        texts[what] = {REFERENCE: f"{by_name[REFERENCE].mean():.2f}"}
        for name in MAIN:
            if name in by_name:
                gain = gap(by_name[name], by_name[REFERENCE], draw_seeds=True)
                texts[what][name] = difference_text(gain)
        if {"misf", "no-filter"} <= by_name.keys():
            gain = gap(by_name["misf"], by_name["no-filter"], draw_seeds=True)
            texts[what]["misf less no-filter"] = difference_text(gain)
    return pd.DataFrame(texts).T
