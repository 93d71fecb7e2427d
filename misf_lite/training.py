"""Training: random crops, random holes, hole-weighted L1, and the average of the weights.

Every step's pictures and holes depend on the seed and the step's number alone, so an interrupted run goes on as if it
had never stopped.
"""

import json
import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from misf_lite.datasets import load_photo, photos, toy_faces
from misf_lite.device import explain_device
from misf_lite.evaluation import evaluate
from misf_lite.images import from_tensor, to_tensor
from misf_lite.inpainting import save_weights
from misf_lite.masks import BANDS, random_mask
from misf_lite.model import MISF, MISFConfig

KINDS = ("strokes", "strokes", "strokes", "box", "blobs", "blobs", "thin", "text")  # how often each is drawn

Draw = Callable[[int, int, np.random.Generator], Tensor]  # count, crop, random numbers -> images


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        data: ``"photos"`` (the train split) or ``"toy"`` (toy faces).
        steps: optimiser steps.
        crops: sides in pixels; each step takes one of them at random.
        batch: pictures per step of the smallest crop; larger crops come fewer at a time, so that steps cost the same.
        rate: the highest learning rate of the one-cycle schedule (AdamW).
        hole_weight: how much more a pixel in the hole counts in the L1 loss.
        average: decay of the moving average of the weights.
        seed: of weights, pictures and holes.
    """

    data: str = "photos"
    steps: int = 4000
    crops: tuple[int, ...] = (64, 128)
    batch: int = 16
    rate: float = 2e-3
    hole_weight: float = 6.0
    average: float = 0.999
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "rate", "hole_weight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if not self.crops or min(self.crops) < 16:
            raise ValueError(f"crops must be sides of 16 pixels or more, got {self.crops}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to 2**32 - 1, got {self.seed}")


def train(config: MISFConfig, recipe: Recipe, folder: str | os.PathLike, every: int = 500) -> MISF:
    """Train a model, or go on with the run that lies in ``folder``.

    Every ``every`` steps a checkpoint is written there (to a temporary name, then renamed) and a line is printed with
    the PSNR in the validation holes, per band. At the end ``weights.safetensors`` holds the averaged weights.

    Returns:
        The averaged model, in eval mode.

    Raises:
        ValueError: unknown data, or a folder with a run of another config or recipe.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder for checkpoints and weights")
    folder.mkdir(parents=True, exist_ok=True)
    where, why = explain_device()
    print(f"training {recipe.data} on {why}; checkpoints every {every} steps in {folder}")
    draw, held_out = _data(recipe)
    torch.manual_seed(recipe.seed)
    model = MISF(config).to(where)
    average = AveragedModel(model, multi_avg_fn=_moving_average(recipe.average))
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps, pct_start=0.1)
    run = {"config": asdict(config), "recipe": asdict(recipe)}
    parts = {"model": model, "average": average, "optimiser": optimiser, "schedule": schedule}
    start = _resume(folder, run, parts)

    bar = tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, mininterval=1)
    began = time.monotonic()
    for step in bar:
        image, mask = (t.to(where) for t in batch(recipe, draw, step))
        output = model.train()(image, mask)
        loss = hole_weighted_l1(output, image, mask, recipe.hole_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.4f}")
        if (step + 1) % every == 0 or step + 1 == recipe.steps:
            if not all(parameter.isfinite().all() for parameter in model.parameters()):
                raise FloatingPointError(
                    f"the weights are no longer finite at step {step + 1} (loss {loss.item()}): the last checkpoint in "
                    f"{folder} is good, but start again in another folder with a smaller rate than {recipe.rate}"
                )
            state = {name: part.state_dict() for name, part in parts.items()}
            torch.save(run | {"step": step + 1} | state, folder / ".checkpoint.pt.part")
            os.replace(folder / ".checkpoint.pt.part", folder / "checkpoint.pt")
            rows = evaluate({"model": average.module.eval()}, [t.to(where) for t in held_out])["model"]
            minutes = round((time.monotonic() - began) / 60, 1)
            scores = [round(row["psnr_hole"], 2) for row in rows]
            line = {"step": step + 1, "minutes": minutes, "loss": round(loss.item(), 4), "psnr_hole": scores}
            with (folder / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            bar.write(f"step {step + 1}: PSNR in validation holes {' / '.join(map(str, scores))} dB")
    save_weights(average.module, folder / "weights.safetensors")
    return average.module.eval()


def _moving_average(decay: float) -> Callable:
    """Exponential moving average of the weights, with a short memory while it is young."""

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], seen: Tensor) -> None:
        n = int(seen)
        for average, current in zip(averages, currents, strict=True):
            average.lerp_(current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def hole_weighted_l1(output: Tensor, target: Tensor, mask: Tensor, weight: float) -> Tensor:
    """Mean absolute error, with pixels of the hole counted ``weight`` times."""
    importance = 1 + (weight - 1) * mask
    return ((output - target).abs() * importance).mean() / importance.mean()


def batch(recipe: Recipe, draw: Draw, step: int) -> tuple[Tensor, Tensor]:
    """Images ``(B, 3, crop, crop)`` and masks ``(B, 1, crop, crop)`` of one step."""
    rng = np.random.default_rng((recipe.seed, step))
    crop = int(rng.choice(recipe.crops))
    count = max(1, round(recipe.batch * (min(recipe.crops) / crop) ** 2))
    masks = [
        random_mask(crop, BANDS[rng.integers(3)], KINDS[rng.integers(len(KINDS))], int(rng.integers(2**32)))
        for _ in range(count)
    ]
    return draw(count, crop, rng), torch.cat(masks)


def _data(recipe: Recipe) -> tuple[Draw, Sequence[Tensor]]:
    """A function that draws training images, and the images held out."""
    if recipe.data == "toy":  # seeds below 2**31 are for training, others for testing

        def faces(count: int, crop: int, rng: np.random.Generator) -> Tensor:
            return toy_faces(count, crop, int(rng.integers(2**31)))

        return faces, toy_faces(32, min(recipe.crops), 2**31).split(1)
    if recipe.data == "photos":
        pictures = [from_tensor(to_tensor(path)) for path in photos("train")]

        def crops(count: int, crop: int, rng: np.random.Generator) -> Tensor:
            return torch.cat([_crop(pictures[rng.integers(len(pictures))], crop, rng) for _ in range(count)])

        return crops, [load_photo(path, 128) for path in photos("val")]
    raise ValueError(f"unknown data {recipe.data!r}: choose 'photos' or 'toy'")


def _crop(picture: Image.Image, crop: int, rng: np.random.Generator) -> Tensor:
    """A random square at a random scale, sometimes mirrored: ``(1, 3, crop, crop)``."""
    side = rng.uniform(min(crop, *picture.size), min(picture.size))
    left, top = (rng.uniform(0, n - side) for n in picture.size)
    square = picture.resize((crop, crop), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    image = to_tensor(square)
    return image.flip(3) if rng.random() < 0.5 else image


def _resume(folder: Path, run: dict, parts: dict) -> int:
    """The step to go on with; 0 where there is no checkpoint."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is damaged ({reason}): delete it, or choose another folder") from error
    if {key: saved.get(key) for key in run} != run:
        raise ValueError(f"{folder} holds a run with another config or recipe: choose another folder")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return saved["step"]
