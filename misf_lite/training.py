"""Training: one loop for a laptop, for one GPU, or for many (with `accelerate`).

Every step's pictures and holes depend on the seed and the step's number alone, so an interrupted run goes on as if it
had never stopped, and several processes together learn from exactly what one would have learnt from.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from torch import Tensor
from torch.optim.swa_utils import PARAM_LIST, AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from misf_lite.batches import open_batches
from misf_lite.device import explain_device, has_bf16
from misf_lite.evaluation import evaluate, fingerprint
from misf_lite.files import atomic_write, claim
from misf_lite.lite import ImageFilter, build
from misf_lite.losses import Objective
from misf_lite.masks import BANDS
from misf_lite.model import MISF, MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.weights import checkpoints, find_weights, load_checkpoint, save_checkpoint, save_weights, weights_path

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
LOG_EVERY = 10  # steps between two looks at the loss: looking makes a GPU wait


@dataclass
class Progress:
    """What a run tells whoever watches it, after each validation."""

    step: int
    steps: int
    # Of each validation the step; minutes of training, interruptions not counted; means since the one before of the
    # loss and the losses it is made of, unweighted; images_per_second; and psnr_hole, decibels in each of the bands.
    history: list[dict[str, Any]]
    model: MISF | ImageFilter  # the averaged one, in eval mode


def train(
    config: MISFConfig,
    recipe: Recipe,
    folder: str | os.PathLike[str],
    *,
    every: int = 500,
    keep: int = 3,
    workers: int | None = None,
    watch: Callable[[Progress], None] | None = None,
    tensorboard: bool = False,
) -> MISF | ImageFilter:
    """Train a model, or go on with the run that lies in ``folder``.

    An interrupt (Ctrl-C, a notebook's stop button, SIGTERM, a terminal that is closed) lets the step end (some steps,
    where there are several processes), saves, and returns; a second one does not wait. Returns the averaged model, in
    eval mode; when the run is complete, ``weights.safetensors`` holds it.

    Args:
        every: steps between checkpoints, the newest ``keep`` of which stay (both 1 or more); with each comes a
            validation.
        workers: processes that read pictures and draw holes beside the training; None picks.
        watch: called after each validation, in the main process.
        tensorboard: write a TensorBoard log into the folder, too.

    Raises:
        ValueError, OSError: data, weights or a folder that cannot be used, another run in the folder, a full disk.
        FloatingPointError: the loss is no longer finite. MemoryError: the device is too small. Each says what to do.
    """
    folder = Path(folder)
    if every < 1 or keep < 1:
        raise ValueError(f"every and keep are 1 or more, got every = {every} and keep = {keep}")
    accelerator = open_accelerator(recipe, folder, tensorboard)
    main = accelerator.is_main_process
    with claim(folder) if main else contextlib.nullcontext(), interrupts() as interrupted:
        batches, held_out, notes = open_batches(recipe, accelerator.process_index, accelerator.num_processes)
        accelerator.print(f"a checkpoint every {every} steps in {folder}", *notes, sep="\n")
        run = Run(config, recipe, folder, accelerator, batches.contents)
        loader = DataLoader(
            batches,
            batch_size=None,  # an item is a batch already
            sampler=range(run.step, recipe.steps),
            num_workers=min(4, (os.cpu_count() or 1) - 1) if workers is None else workers,
            worker_init_fn=leave_interrupts_alone,
            pin_memory=accelerator.device.type == "cuda",
        )
        bar = tqdm(loader, initial=run.step, total=recipe.steps, disable=not main, file=sys.stdout, mininterval=1)
        for image, mask in bar:
            run.learn(image, mask)
            validates = run.step % every == 0 or run.step == recipe.steps
            asked = interrupted.is_set() and accelerator.num_processes == 1  # several have to stop at the same step
            if run.step % LOG_EVERY and not validates and not asked:
                continue
            run.log()
            if interrupted.is_set():
                accelerator.set_trigger()
            stops = accelerator.check_trigger()  # as soon as one of the processes was interrupted
            if validates:
                run.validate(held_out)
            if main and (validates or stops):
                run.save(keep)
            if main and validates and watch:
                watch(Progress(run.step, recipe.steps, run.history, run.averaged))
            bar.set_postfix(run.told)
            run.looked = time.monotonic()
            if stops:
                break
        bar.close()
        if run.step < recipe.steps:
            accelerator.print(f"interrupted after step {run.step}; it is saved, and the same command goes on from here")
        elif main:
            save_weights(run.averaged, folder / "weights.safetensors")
            print(f"done: {folder / 'weights.safetensors'}")
        accelerator.wait_for_everyone()  # what the main process has written is there for all
        accelerator.end_training()
        return run.averaged


class Run:
    """What a run consists of, and what is done with it."""

    def __init__(
        self, config: MISFConfig, recipe: Recipe, folder: Path, accelerator: Accelerator, contents: dict[str, str]
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.accelerator = accelerator
        torch.manual_seed(recipe.seed)
        self.net = first_model(config, recipe).to(accelerator.device).train()
        self.average = AveragedModel(self.net, multi_avg_fn=partial(moving_average, decay=recipe.ema_decay))
        self.averaged = cast(MISF | ImageFilter, self.average.module).eval()
        optimiser = torch.optim.AdamW(self.net.parameters(), recipe.lr, recipe.betas, weight_decay=recipe.weight_decay)
        self.schedule = learning_rates(optimiser, recipe)
        self.objective = Objective(recipe, accelerator.device)
        self.parts: dict[str, Any] = {"model": self.net, "average": self.average, "optimiser": optimiser}
        self.parts |= {"schedule": self.schedule, **self.objective.parts}
        if accelerator.scaler:
            self.parts["scaler"] = accelerator.scaler

        self.step = 0
        self.minutes = 0.0
        self.history: list[dict[str, Any]] = []
        # What has to be the same for a run to go on: pictures and first weights by what they are, not by their names.
        same = {name: value for name, value in asdict(recipe).items() if name not in ("data", "root", "masks", "start")}
        if recipe.start is not None:
            contents = contents | {"start": fingerprint(weights_path(recipe.start))}
        self.identity = {"config": asdict(config), "recipe": same, "data": contents}
        saved = load_checkpoint(folder, self.identity)
        if saved:
            self.step, self.minutes, self.history = saved["step"], saved["minutes"], saved["history"]
            for name, part in self.parts.items():
                part.load_state_dict(saved[name])
            torch.set_rng_state(saved["random"])
            accelerator.print(f"going on after step {self.step} of {recipe.steps}")
        self.model, self.optimiser = accelerator.prepare(self.net, optimiser)
        self.objective.prepare(accelerator)

        self.unseen: list[Tensor] = []  # each step's losses since the last look, still on the device
        self.seen: list[list[float]] = []  # the same, looked at, since the last validation
        self.told: dict[str, Any] = {}  # by the progress bar
        self.pictures = 0  # since the last look
        self.looked = time.monotonic()

    def learn(self, image: Tensor, mask: Tensor) -> None:
        """One step. Raises MemoryError, with what to try."""
        image = image.to(self.accelerator.device, non_blocking=True)
        mask = mask.to(self.accelerator.device, non_blocking=True)
        self.step += 1
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
            losses |= self.objective.learn(self.accelerator)
        except (MemoryError, RuntimeError) as error:
            if "memory" not in str(error).lower() and not isinstance(error, MemoryError):
                raise
            batch, crop = self.recipe.batch, image.shape[2]
            given = f"{len(image)} pictures of {crop}×{crop} ({str(error).partition(chr(10))[0]})"
            advice = f"batch {batch // 2}" if batch > 1 else f"crops {max(16, crop // 2)}"
            raise MemoryError(f"out of memory at step {self.step} with {given}: try {advice}") from error
        self.pictures += len(image) * self.accelerator.num_processes
        self.names = list(losses)
        self.unseen.append(torch.stack([loss.detach().float() for loss in losses.values()]))

    def log(self) -> None:
        """Look at the losses since the last look, and at the weights. FloatingPointError where one is not finite."""
        table = torch.stack(self.unseen).tolist()  # waits for the device
        seconds = time.monotonic() - self.looked
        self.minutes += seconds / 60
        self.told |= {"loss": sum(row[0] for row in table) / len(table), "images/s": self.pictures / seconds}
        for step, row in enumerate(table, self.step - len(table) + 1):
            if not all(map(math.isfinite, row)):
                named = ", ".join(f"{name} {value:.3g}" for name, value in zip(self.names, row, strict=True))
                raise FloatingPointError(self.lost(f"the loss is no longer finite at step {step} ({named})"))
        self.seen += table
        if not all(parameter.isfinite().all() for parameter in self.net.parameters()):
            raise FloatingPointError(self.lost(f"the weights are no longer finite after step {self.step}"))
        self.unseen.clear()
        self.pictures = 0

    def lost(self, what: str) -> str:
        good = checkpoints(self.folder)
        last = f"the last good checkpoint is {good[-1]}" if good else "it came before the first checkpoint"
        precise = "" if self.recipe.precision == "float32" else ", or in float32"
        change = f"a smaller rate (try {self.recipe.lr / 3:.1g}), a smaller clip than {self.recipe.clip:g}{precise}"
        return f"{what}; {last}. Start again in another folder with {change}"

    def validate(self, held_out: Sequence[Tensor]) -> None:
        """Another line of the history. Every process takes part, the main one measures."""
        means = torch.tensor(self.seen, device=self.accelerator.device).mean(0)
        means = self.accelerator.reduce(means, "mean").tolist()  # over the processes
        line: dict[str, Any] = {"step": self.step, "minutes": round(self.minutes, 2)}
        line |= {name: round(mean, 5) for name, mean in zip(self.names, means, strict=True)}
        line["images_per_second"] = round(self.told["images/s"], 1)
        self.seen.clear()
        self.history.append(line)
        if self.accelerator.is_main_process:
            rows = evaluate({"model": self.averaged}, [image.to(self.accelerator.device) for image in held_out])
            scores = [round(row["psnr_hole"], 2) for row in rows["model"]]
            bands = [f"psnr_hole/{low:.0%}-{high:.0%}" for low, high in BANDS]
            self.accelerator.log(line | dict(zip(bands, scores, strict=True)), step=self.step)
            line["psnr_hole"] = scores
            self.told["PSNR in holes"] = f"{' / '.join(map(str, scores))} dB"

    def save(self, keep: int) -> None:
        """A checkpoint, and the history as a log that other programs can read."""
        state = {"step": self.step, "minutes": self.minutes, "history": self.history, "random": torch.get_rng_state()}
        parts = {name: part.state_dict() for name, part in self.parts.items()}
        save_checkpoint(self.folder, self.identity | state | parts, keep)
        with atomic_write(self.folder / "log.jsonl", overwrite=True) as file:
            file.writelines(json.dumps(line).encode() + b"\n" for line in self.history)


def open_accelerator(recipe: Recipe, folder: Path, tensorboard: bool) -> Accelerator:
    """Says where it runs, and why there."""
    device, why = explain_device()
    slow = device.type == "cpu" and not has_bf16()
    if recipe.precision == "fp16" and device.type == "cpu":
        raise ValueError(f"fp16 needs a GPU: choose precision {'float32' if slow else 'bf16 or float32'}")
    if PartialState._shared_state and PartialState().num_processes == 1:
        AcceleratorState._reset_state(reset_partial_state=True)  # a second run may want another precision or device
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    precision = "no" if recipe.precision == "float32" else recipe.precision
    log = "tensorboard" if tensorboard else None
    accelerator = Accelerator(mixed_precision=precision, cpu=device.type == "cpu", log_with=log, project_dir=folder)
    accelerator.init_trackers("tensorboard")
    if accelerator.device.type != device.type:
        why = f"{accelerator.device}, because accelerate was told so"
    if accelerator.num_processes > 1:
        why += f", in {accelerator.num_processes} processes"
    accelerator.print(f"training on {why}")
    if recipe.precision == "bf16" and slow:
        accelerator.print("this processor has no instructions for bf16, which is slower here: choose precision float32")
    return accelerator


def first_model(config: MISFConfig, recipe: Recipe) -> MISF | ImageFilter:
    if recipe.start is None:
        return build(config)
    model = find_weights(recipe.start)
    if not isinstance(model, MISF | ImageFilter):
        raise ValueError(f"{recipe.start} is the authors' own network, which is not trained here: start from a MISF")
    if model.config != config:
        raise ValueError(f"{recipe.start} has another architecture: it is {model.config}, and {config} was asked for")
    return model


def learning_rates(optimiser: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LRScheduler:
    if recipe.schedule == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)
    rise = 0.1 if recipe.steps != 10 else 0.2  # torch divides by the steps of the rise less one
    return torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.lr, recipe.steps, pct_start=rise)


def moving_average(averages: PARAM_LIST, currents: PARAM_LIST, seen: Tensor | int, decay: float) -> None:
    """Exponential moving average of the weights, with a short memory while it is young."""
    n = int(seen)
    torch._foreach_lerp_(averages, currents, 1 - min(decay, (1 + n) / (10 + n)))


@contextlib.contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Set by the first interrupt; the second one goes where it would have gone."""
    event = threading.Event()
    heard = {number: signal.getsignal(number) or signal.SIG_DFL for number in SIGNALS}
    for number in SIGNALS[1:]:
        if heard[number] == signal.SIG_IGN:  # nohup's wish
            del heard[number]
    if threading.current_thread() is not threading.main_thread():
        yield event  # and nothing sets it: Python hands interrupts to the main thread alone
        return

    def restore() -> None:
        for number, handler in heard.items():
            signal.signal(number, handler)

    def interrupt(*_: object) -> None:
        event.set()
        restore()

    for number in heard:
        signal.signal(number, interrupt)
    try:
        yield event
    finally:
        restore()


def leave_interrupts_alone(worker: int) -> None:
    for number in SIGNALS:  # they reach every process; the main one decides
        signal.signal(number, signal.SIG_IGN)
