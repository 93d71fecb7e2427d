"""Training: one loop for a laptop, for one GPU, or for many (with `accelerate`).

Every step's pictures and holes depend on the seed and the step's number alone, so an interrupted run goes on as if it
had never stopped, and several processes together learn from exactly what one would have learnt from.
"""

import contextlib
import functools
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from PIL import Image
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from misf_lite.checkpoints import checkpoints, claim, load_checkpoint, save_checkpoint
from misf_lite.datasets import load_photo, open_data, open_masks, toy_faces
from misf_lite.device import explain_device
from misf_lite.evaluation import evaluate
from misf_lite.images import to_tensor
from misf_lite.inpainting import find_weights, save_weights
from misf_lite.losses import (
    Features,
    PatchDiscriminator,
    discriminator_loss,
    generator_loss,
    hole_weighted_l1,
    hole_weighted_mse,
    log_mse,
    perceptual,
    style,
)
from misf_lite.masks import BANDS, KINDS, fit_mask, random_mask
from misf_lite.model import MISF, MISFConfig

SHRINK = 288  # larger pictures are shrunk to this short side, unless crops are larger
LOOK = 10  # steps between two looks at the loss: looking makes a GPU wait

LOSSES = ("l1", "mse", "log_mse", "perceptual", "style", "adversarial")


@dataclass(frozen=True)
class Recipe:
    """How to train. The defaults are what trains best in ten minutes on a laptop; `paper` is the paper's recipe.

    Attributes:
        data: ``"photos"`` (the bundled ones), ``"no-paintings"`` (the same without the paintings), ``"toy"`` (toy
            faces), ``"celeba"``, ``"places365"``, or a folder.
        root: folder in which torchvision keeps CelebA and Places365.
        masks: a folder of masks to use; None draws random ones.
        kinds: of the random masks, see `misf_lite.random_mask`; one that is named twice is drawn twice as often.
        start: weights to start from (a name that came along or a file); None draws them at random.
        steps: optimiser steps.
        crops: sides in pixels; each step takes one of them at random.
        batch: pictures per step of the smallest crop, in all processes together; larger crops come fewer at a time,
            so that steps cost the same.
        l1, mse, log_mse, perceptual, style, adversarial: weights of the losses, see `misf_lite.losses`; 0 leaves one
            out.
        hole_weight: how much more a pixel in the hole counts in the L1 and the squared error.
        features: what perceptual and style loss look through: ``"efflite"`` (offline) or ``"vgg19"``.
        rate: the learning rate, the highest one of the ``"one-cycle"`` schedule.
        discriminator_rate: learning rate of the adversarial loss's discriminator.
        schedule: ``"one-cycle"`` or ``"constant"``.
        betas, decay: AdamW's moment decays and weight decay.
        clip: largest norm of the gradient.
        average: decay of the moving average of the weights.
        precision: ``"float32"``, or ``"bf16"`` or ``"fp16"`` mixed with it.
        seed: of weights, pictures and holes.
    """

    data: str = "photos"
    root: str = "datasets"
    masks: str | None = None
    kinds: tuple[str, ...] = ("strokes", "strokes", "strokes", "box", "blobs", "blobs", "thin", "text")
    start: str | None = None
    steps: int = 2000
    crops: tuple[int, ...] = (64, 128)
    batch: int = 16
    l1: float = 1.0
    mse: float = 0.0
    log_mse: float = 0.0
    perceptual: float = 0.0
    style: float = 0.0
    adversarial: float = 0.0
    hole_weight: float = 6.0
    features: str = "efflite"
    rate: float = 2e-3
    discriminator_rate: float = 2e-4
    schedule: str = "one-cycle"
    betas: tuple[float, float] = (0.9, 0.999)
    decay: float = 1e-4
    clip: float = 1.0
    average: float = 0.999
    precision: str = "float32"
    seed: int = 0

    @classmethod
    def lite(cls, **changes) -> "Recipe":
        """The defaults."""
        return cls(**changes)

    @classmethod
    def toy(cls, **changes) -> "Recipe":
        """Toy faces of 64 pixels."""
        return cls(**{"data": "toy", "crops": (64,)} | changes)

    @classmethod
    def paper(cls, **changes) -> "Recipe":
        """The paper's recipe (section 4.1): 350,000 steps at 256 pixels, all four losses, on VGG19's features."""
        paper = {
            "data": "places365",
            "steps": 350_000,
            "crops": (256,),
            "batch": 8,
            "perceptual": 0.1,
            "style": 250.0,
            "adversarial": 0.1,
            "hole_weight": 1.0,
            "features": "vgg19",
            "rate": 1e-4,
            "discriminator_rate": 1e-5,
            "schedule": "constant",
            "betas": (0.0, 0.9),
            "decay": 0.0,
        }
        return cls(**paper | changes)

    def __post_init__(self) -> None:
        for name in ("crops", "betas", "kinds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("steps", "batch", "rate", "discriminator_rate", "hole_weight", "clip"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0, got {getattr(self, name)}")
        if any(getattr(self, name) < 0 for name in LOSSES) or not any(getattr(self, name) for name in LOSSES):
            given = ", ".join(f"{name} {getattr(self, name)}" for name in LOSSES)
            raise ValueError(f"the weights of the losses must be 0 or more, and one of them more than 0; got {given}")
        if not self.crops or min(self.crops) < 16:
            raise ValueError(f"crops must be sides of 16 pixels or more, got {self.crops}")
        if not self.kinds or not set(self.kinds) <= set(KINDS):
            raise ValueError(f"kinds must be of {', '.join(KINDS)}, at least one; got {self.kinds}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must be from 0 to 2**32 - 1, got {self.seed}")
        if not 0 <= self.average < 1:
            raise ValueError(f"average must be from 0 to below 1, got {self.average}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")


CHOICES = {
    "schedule": ("one-cycle", "constant"),
    "precision": ("float32", "bf16", "fp16"),
    "features": ("efflite", "vgg19"),
}


@dataclass
class Progress:
    """What a run tells whoever watches it, after each validation.

    Attributes:
        step, steps: how far it is.
        history: one dict per validation: ``step``; ``minutes`` of training until then, all sittings together; ``loss``
            and the losses it is made of, unweighted, means since the last validation; ``psnr_hole``, decibels in each
            of the three bands; ``images_per_second``.
        model: the averaged model, in eval mode.
    """

    step: int
    steps: int
    history: list[dict]
    model: MISF


def train(
    config: MISFConfig,
    recipe: Recipe,
    folder: str | os.PathLike,
    *,
    every: int = 500,
    keep: int = 3,
    workers: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    tensorboard: bool = False,
) -> MISF:
    """Train a model, or go on with the run that lies in ``folder``.

    An interrupt (Ctrl-C, a notebook's stop button) lets the step under way end, saves, and returns; a second one does
    not wait.

    Args:
        every: steps between checkpoints; with each comes the PSNR in the validation holes, per band.
        keep: how many checkpoints stay.
        workers: processes that read pictures and draw holes beside the training; None picks.
        watch: called with a `Progress` after each validation, in the main process.
        tensorboard: write a TensorBoard log into the folder.

    Returns:
        The averaged model, in eval mode. When the run is complete, ``weights.safetensors`` holds it.

    Raises:
        ValueError, OSError: data, weights or a folder that cannot be used, another run in the folder, a full disk.
        FloatingPointError: the loss is no longer finite. MemoryError: the device is too small. Each says what to do.
    """
    folder = Path(folder)
    accelerator, why = _accelerator(recipe, folder, tensorboard)
    main = accelerator.is_main_process
    with claim(folder) if main else contextlib.nullcontext(), _interrupts() as interrupted:
        say = functools.partial(tqdm.write, file=sys.stdout) if main else _silent
        say(f"training on {why}; a checkpoint every {every} steps in {folder}")
        batches, held_out, notes = open_batches(recipe, accelerator.process_index, accelerator.num_processes)
        for note in notes:
            say(note)
        run = _Run(config, recipe, folder, accelerator)
        if run.step:
            say(f"going on after step {run.step} of {recipe.steps}")
        loader = DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            sampler=range(run.step, recipe.steps),
            num_workers=_workers() if workers is None else workers,
            worker_init_fn=_leave_interrupts_alone,
            pin_memory=accelerator.device.type == "cuda",
        )
        bar = tqdm(loader, initial=run.step, total=recipe.steps, disable=not main, file=sys.stdout, mininterval=1)
        first = run.step
        for image, mask in bar:
            run.learn(image, mask)
            validates = run.step % every == 0 or run.step == recipe.steps
            if not validates and run.step % LOOK:
                continue
            loss = run.look()
            if run.step == first + LOOK:
                say(f"about {run.minutes_left:.1f} minutes to go")
            if interrupted.is_set():
                accelerator.set_trigger()
            stops = accelerator.check_trigger()  # in any of the processes
            if validates:
                run.validate(held_out)
            if main and (validates or stops):
                run.save(keep)
            if main and validates and watch:
                watch(Progress(run.step, recipe.steps, run.history, run.average.module.eval()))
            bar.set_postfix_str(f"loss {loss:.4f}, {run.images_per_second:.0f} images/s{run.decibels}")
            run.looked = time.monotonic()
            if stops:
                say(f"interrupted after step {run.step}; it is saved, and the same command goes on from here")
                break
        else:
            if main:
                save_weights(run.average.module, folder / "weights.safetensors")
                say(f"done: {folder / 'weights.safetensors'}")
        accelerator.wait_for_everyone()  # what the main process has written is there for all
        accelerator.end_training()
        return run.average.module.eval()


class _Run:
    """A run's parts, and what is done with them: a step, a look at the loss, a validation, a checkpoint."""

    def __init__(self, config: MISFConfig, recipe: Recipe, folder: Path, accelerator: Accelerator) -> None:
        self.recipe, self.folder, self.accelerator = recipe, folder, accelerator
        torch.manual_seed(recipe.seed)
        self.net = _first_model(config, recipe).to(accelerator.device)
        self.average = AveragedModel(self.net, multi_avg_fn=_moving_average(recipe.average))
        optimiser = torch.optim.AdamW(self.net.parameters(), recipe.rate, recipe.betas, weight_decay=recipe.decay)
        self.schedule = _schedule(optimiser, recipe)
        self.objective = Objective(recipe, accelerator.device)
        self.parts = {"model": self.net, "average": self.average, "optimiser": optimiser, "schedule": self.schedule}
        self.parts |= self.objective.parts
        if accelerator.scaler:
            self.parts["scaler"] = accelerator.scaler

        self.identity = {"config": asdict(config), "recipe": asdict(recipe)}
        self.step, self.minutes, self.history = 0, 0.0, []
        if saved := load_checkpoint(folder, self.identity):
            self.step, self.minutes, self.history = saved["step"], saved["minutes"], saved["history"]
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
            torch.set_rng_state(saved["random"])
        self.model, self.optimiser = accelerator.prepare(self.net, optimiser)
        self.objective.prepare(accelerator)
        self.unseen: list[Tensor] = []  # each step's losses since the last look, still on the device
        self.seen: list[list[float]] = []  # the same, looked at, since the last validation
        self.pictures, self.images_per_second, self.minutes_left = 0, 0.0, 0.0
        self.looked = time.monotonic()

    def learn(self, image: Tensor, mask: Tensor) -> None:
        """One step."""
        image, mask = (t.to(self.accelerator.device, non_blocking=True) for t in (image, mask))
        self.model.train()
        try:
            with self.accelerator.autocast():
                output = self.model(image, mask)
                losses = self.objective(output, image, mask)
            self.optimiser.zero_grad(set_to_none=True)
            self.accelerator.backward(losses["loss"])
            self.accelerator.clip_grad_norm_(self.net.parameters(), self.recipe.clip)
            self.optimiser.step()
            if not self.accelerator.optimizer_step_was_skipped:  # fp16 leaves out a step that overflows
                self.schedule.step()
                self.average.update_parameters(self.net)
            losses = losses | self.objective.learn(self.accelerator, output.detach(), image, mask)
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            raise MemoryError(_advice(self.recipe, image, self.step + 1, error)) from error
        self.step += 1
        self.pictures += len(image) * self.accelerator.num_processes
        self.unseen.append(torch.stack([loss.detach().float() for loss in losses.values()]))
        self.names = list(losses)

    def look(self) -> float:
        """The mean loss of the steps since the last look.

        Raises:
            FloatingPointError: one of them was not finite.
        """
        losses = torch.stack(self.unseen).tolist()  # waits for the device
        first = self.step - len(losses) + 1
        seconds = time.monotonic() - self.looked
        self.minutes += seconds / 60
        self.minutes_left = (self.recipe.steps - self.step) * seconds / len(losses) / 60
        self.images_per_second, self.pictures = self.pictures / seconds, 0
        self.unseen.clear()
        for step, values in enumerate(losses, first):
            if not all(map(math.isfinite, values)):
                named = ", ".join(f"{name} {value:.3g}" for name, value in zip(self.names, values, strict=True))
                raise FloatingPointError(self._lost(f"the loss is no longer finite at step {step} ({named})"))
        self.seen += losses
        return sum(values[0] for values in losses) / len(losses)

    def _lost(self, what: str) -> str:
        good = checkpoints(self.folder)
        last = f"the last good checkpoint is {good[-1]}" if good else "it came before the first checkpoint"
        return (
            f"{what}; {last}. Start again in another folder with a smaller rate (try {self.recipe.rate / 3:.1g}), a "
            f"smaller clip than {self.recipe.clip:g}{'' if self.recipe.precision == 'float32' else ', or in float32'}"
        )

    def validate(self, held_out: Sequence[Tensor]) -> None:
        """Another line of the history. Every process takes part, the main one measures."""
        if not all(parameter.isfinite().all() for parameter in self.net.parameters()):
            raise FloatingPointError(self._lost(f"the weights are no longer finite after step {self.step}"))
        means = torch.tensor(self.seen).mean(0).to(self.accelerator.device)
        means = self.accelerator.reduce(means, "mean").tolist()  # over the processes
        line = {"step": self.step, "minutes": round(self.minutes, 2)}
        line |= {name: round(mean, 5) for name, mean in zip(self.names, means, strict=True)}
        line["images_per_second"] = round(self.images_per_second, 1)
        if self.accelerator.is_main_process:
            rows = evaluate({"model": self.average.module.eval()}, [t.to(self.accelerator.device) for t in held_out])
            line["psnr_hole"] = [round(row["psnr_hole"], 2) for row in rows["model"]]
            names = (f"psnr_hole/{low:.0%}-{high:.0%}" for low, high in BANDS)
            scores = dict(zip(names, line["psnr_hole"], strict=True))
            self.accelerator.log({k: v for k, v in line.items() if k != "psnr_hole"} | scores, step=self.step)
        self.history.append(line)
        self.seen.clear()

    @property
    def decibels(self) -> str:
        scores = self.history[-1].get("psnr_hole") if self.history else None
        return f", PSNR in holes {' / '.join(map(str, scores))} dB" if scores else ""

    def save(self, keep: int) -> None:
        """A checkpoint, and the history as a log that other programs can read."""
        state = {"step": self.step, "minutes": self.minutes, "history": self.history, "random": torch.get_rng_state()}
        state |= {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(self.folder, self.identity | state, keep)
        log = "".join(json.dumps(line) + "\n" for line in self.history)
        part = self.folder / ".log.part"
        part.write_text(log)
        os.replace(part, self.folder / "log.jsonl")


def _advice(recipe: Recipe, image: Tensor, step: int, error: Exception) -> str:
    """What to do when the memory does not suffice for a step."""
    crop, count = image.shape[2], len(image)
    reason = str(error).partition("\n")[0]
    try_this = f"batch {recipe.batch // 2}" if recipe.batch > 1 else f"crops {max(16, crop // 2)}"
    return f"out of memory at step {step} with {count} pictures of {crop}×{crop} ({reason}): try {try_this}"


class Objective:
    """The losses of a step, each with its weight; and the discriminator's own step, where there is one."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        self.recipe = recipe
        self.weights = {name: getattr(recipe, name) for name in LOSSES if getattr(recipe, name)}
        looks = "perceptual" in self.weights or "style" in self.weights
        self.features = Features(recipe.features).to(device) if looks else None
        self.parts = {}
        if "adversarial" in self.weights:
            self.discriminator = PatchDiscriminator().to(device)
            self.optimiser = torch.optim.Adam(self.discriminator.parameters(), recipe.discriminator_rate, recipe.betas)
            self.parts = {"discriminator": self.discriminator, "discriminator_optimiser": self.optimiser}

    def prepare(self, accelerator: Accelerator) -> None:
        if "adversarial" in self.weights:
            self.judge, self.optimiser = accelerator.prepare(self.discriminator, self.optimiser)

    def __call__(self, output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """``loss``, the weighted sum, and each of the losses. The last three see the picture filled."""
        filled = torch.where(mask >= 0.5, output, image)
        losses = {}
        if "l1" in self.weights:
            losses["l1"] = hole_weighted_l1(output, image, mask, self.recipe.hole_weight)
        if "mse" in self.weights:
            losses["mse"] = hole_weighted_mse(output, image, mask, self.recipe.hole_weight)
        if "log_mse" in self.weights:
            losses["log_mse"] = log_mse(output, image, mask)
        if self.features:
            seen, wanted = self.features(filled), self.features(image)
            losses |= {f.__name__: f(seen, wanted) for f in (perceptual, style) if f.__name__ in self.weights}
        if "adversarial" in self.weights:
            self.discriminator.requires_grad_(False)  # it judges here, and learns in its own step
            losses["adversarial"] = generator_loss(self.discriminator(filled))
            self.discriminator.requires_grad_(True)
        return {"loss": sum(self.weights[name] * loss for name, loss in losses.items())} | losses

    def learn(self, accelerator: Accelerator, output: Tensor, image: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The discriminator's step, on pictures that are cut off from the generator."""
        if "adversarial" not in self.weights:
            return {}
        filled = torch.where(mask >= 0.5, output, image).detach()
        with accelerator.autocast():
            real, fake = self.judge(torch.cat([image, filled])).chunk(2)
            loss = discriminator_loss(real, fake)
        self.optimiser.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        self.optimiser.step()
        return {"discriminator": loss}


class Batches(Dataset):
    """What there is to learn from: item ``step`` is that step's images and masks, or one process's share of them.

    Args:
        pictures: PIL images; None draws toy faces.
        masks: from `misf_lite.datasets.open_masks`; None draws random ones.
        rank, processes: which share of how many.
    """

    def __init__(
        self,
        recipe: Recipe,
        pictures: Sequence[Image.Image] | None,
        masks: Sequence[np.ndarray] | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.recipe, self.pictures, self.masks = recipe, pictures, masks
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return self.recipe.steps

    def __getitem__(self, step: int) -> tuple[Tensor, Tensor]:
        """Images ``(B, 3, crop, crop)`` and masks ``(B, 1, crop, crop)``."""
        rng = np.random.default_rng((self.recipe.seed, step))
        crop = int(rng.choice(self.recipe.crops))
        count = self.recipe.batch * (min(self.recipe.crops) / crop) ** 2
        count = max(1, round(count / self.processes)) * self.processes  # an equal share for everyone
        seeds = rng.integers(2**31, size=count)
        mine = slice(self.rank, None, self.processes)
        rngs = [np.random.default_rng(seed) for seed in seeds[mine]]
        if self.pictures is None:  # seeds below 2**31 are for training, others for testing
            images = toy_faces(count, crop, int(seeds[0]))[mine]
        else:
            images = torch.cat([_crop(self.pictures[rng.integers(len(self.pictures))], crop, rng) for rng in rngs])
        return images, torch.cat([self._mask(crop, rng) for rng in rngs])

    def _mask(self, crop: int, rng: np.random.Generator) -> Tensor:
        if self.masks is not None:
            return fit_mask(self.masks[rng.integers(len(self.masks))], crop, rng)
        kinds = self.recipe.kinds
        return random_mask(crop, BANDS[rng.integers(3)], kinds[rng.integers(len(kinds))], int(rng.integers(2**32)))


def open_batches(recipe: Recipe, rank: int = 0, processes: int = 1) -> tuple[Batches, Sequence[Tensor], list[str]]:
    """What to learn from, the pictures held out ``(1, 3, H, W)``, and what a person should know about them."""
    masks = open_masks(recipe.masks) if recipe.masks else None
    notes = masks.notes if masks else []
    if recipe.data == "toy":
        return Batches(recipe, None, masks, rank, processes), toy_faces(32, min(recipe.crops), 2**31).split(1), notes
    crop = max(recipe.crops)
    pictures, held_out = open_data(recipe.data, root=recipe.root, crop=crop, shrink=max(SHRINK, crop))
    held_out = [load_photo(picture, 128) for picture in held_out]
    return Batches(recipe, pictures, masks, rank, processes), held_out, pictures.notes + notes


def _crop(picture: Image.Image, crop: int, rng: np.random.Generator) -> Tensor:
    """A random square at a random scale, sometimes mirrored: ``(1, 3, crop, crop)``."""
    side = rng.uniform(min(crop, *picture.size), min(picture.size))
    left, top = (rng.uniform(0, n - side) for n in picture.size)
    square = picture.resize((crop, crop), Image.Resampling.LANCZOS, (left, top, left + side, top + side))
    image = to_tensor(square)
    return image.flip(3) if rng.random() < 0.5 else image


def _accelerator(recipe: Recipe, folder: Path, tensorboard: bool) -> tuple[Accelerator, str]:
    """The accelerator, and why it runs where it runs."""
    wanted, why = explain_device()
    if recipe.precision == "fp16" and wanted.type == "cpu":
        raise ValueError("fp16 needs a GPU: choose precision bf16 or float32")
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # a second run may want another precision or device
    if wanted.type == "cuda" and wanted.index is not None:
        torch.cuda.set_device(wanted)
    precision = {"float32": "no"}.get(recipe.precision, recipe.precision)
    log_with = "tensorboard" if tensorboard else None
    accelerator = Accelerator(
        mixed_precision=precision, cpu=wanted.type == "cpu", log_with=log_with, project_dir=folder
    )
    if accelerator.device.type != wanted.type:
        why = f"{accelerator.device}, because accelerate was told so"
    if accelerator.num_processes > 1:
        why += f", in {accelerator.num_processes} processes"
    if tensorboard:
        accelerator.init_trackers("tensorboard")
    return accelerator, why


def _first_model(config: MISFConfig, recipe: Recipe) -> MISF:
    if recipe.start is None:
        return MISF(config)
    model = find_weights(recipe.start)
    if not isinstance(model, MISF):
        raise ValueError(f"{recipe.start} is the authors' own network, which is not trained here: start from a MISF")
    if model.config != config:
        raise ValueError(f"{recipe.start} has another architecture: {model.config}; asked for was {config}")
    return model


def _schedule(optimiser: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    rise = 0.1 if recipe.steps != 10 else 0.2  # torch divides by the steps of the rise less one
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, recipe.steps, pct_start=rise)


def _moving_average(decay: float) -> Callable:
    """Exponential moving average of the weights, with a short memory while it is young."""

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], seen: Tensor) -> None:
        n = int(seen)
        torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + n) / (10 + n)))

    return update


@contextlib.contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Set by the first interrupt; the second one is passed on."""
    event, before = threading.Event(), signal.getsignal(signal.SIGINT)

    def interrupt(number: int, frame: object) -> None:
        if event.is_set() and callable(before):
            before(number, frame)
        event.set()

    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread only
        yield event
        return
    signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _leave_interrupts_alone(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the main one decides


def _workers() -> int:
    return min(4, (os.cpu_count() or 1) - 1)


def _silent(*_: object) -> None:
    pass
