"""Weights on disk, and the checkpoints of a training run. What is damaged or does not fit is refused, by name."""

import json
import os
import pickle
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from misf_lite.datasets import data_folder
from misf_lite.files import atomic_write
from misf_lite.lite import ImageFilter, LiteConfig, build
from misf_lite.model import MISF, MISFConfig
from misf_lite.released import ReleasedMISF

Model = TypeVar("Model", bound=nn.Module)


def pretrained() -> list[str]:
    """Names of the weights that came with the project."""
    return sorted(path.stem for path in (data_folder() / "weights").glob("*.safetensors"))


def load_pretrained(name: str = "photos") -> MISF | ImageFilter:
    """A model that came with the project, as `load_weights`. ValueError for another name, with those there are."""
    return load_weights(weights_path(name))


def weights_path(name: str) -> Path:
    """Where the weights of a name lie (``"toy"`` is ``"misf"``), or the path itself, if it has an ending."""
    if Path(name).suffix:
        return Path(name)
    file = "misf" if name == "toy" else name
    if file not in pretrained():
        raise ValueError(f"there are no weights called {name!r}: choose one of {', '.join(pretrained()) or '(none)'}")
    return data_folder() / "weights" / f"{file}.safetensors"


def find_weights(name: str) -> MISF | ImageFilter | ReleasedMISF:
    """The model of a name or of a path: a .pth or .pt file is one of `load_released`."""
    path = weights_path(name)
    return load_released(path) if path.suffix in (".pth", ".pt") else load_weights(path)


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model, weights and config, as safetensors, over a file that is there. TypeError for what is not ours."""
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, MISF | ImageFilter):
        raise TypeError(f"save_weights writes what load_weights can build, a MISF, got {type(model).__name__}")
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {"config": json.dumps(asdict(model.config))}  # one key: several would be written in any order
    with atomic_write(path, overwrite=True) as file:
        file.write(safetensors.torch.save(state, metadata))


def load_weights(path: str | os.PathLike[str]) -> MISF | ImageFilter:
    """A model in eval mode on the CPU, with the architecture and the weights of a file that `save_weights` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one of another program, or one that does not fit its architecture.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: give a .safetensors file, or a name of {pretrained()}")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except SafetensorError as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}): copy or train it anew") from error
    if "config" not in metadata:
        raise ValueError(f"{path} holds no misf_lite config: it was not written by misf_lite.save_weights")
    try:
        given = json.loads(metadata["config"])  # with lists, as JSON knows no tuples
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
        config = LiteConfig(**fields) if "passes" in fields else MISFConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} names an architecture that there is not ({error}): train it anew") from error
    return _with_weights(partial(build, config), state, path, "the architecture that it names")


def load_released(path: str | os.PathLike[str]) -> ReleasedMISF:
    """The generator that the authors of MISF released, in eval mode on the CPU, from one of their checkpoints.

    ``misf_lite.inpaint(image, mask, misf_lite.load_released(path))`` fills a hole with it. The checkpoints (CelebA,
    Places2, Dunhuang) do not come with this project, and nothing is downloaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that could run code when it is loaded, or one of other weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: download the generator's from the page of MISF's authors")
    with path.open("rb") as file:  # an error here is the system's, one below the file's
        try:
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # what is damaged raises anything
            reason = "is damaged or not a PyTorch checkpoint: download it anew (misf_lite.load_weights for safetensors)"
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked:
                danger = "loading that could run code of whoever made the file"
                reason = f"asks for {asked[1]}, and {danger}: it is refused; take the authors' own checkpoint"
            raise ValueError(f"{path} {reason}") from None  # torch's own error tells how to run what may be malicious
    if not isinstance(saved, dict) or "generator" not in saved:
        keys = ", ".join(map(repr, list(saved)[:3])) if isinstance(saved, dict) else type(saved).__name__
        raise ValueError(f"{path} holds no 'generator', but {keys or 'nothing'}: give the generator's checkpoint")
    state = saved["generator"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds a 'generator' that is no dict of tensors: give the authors' own checkpoint")
    state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}  # DataParallel's prefix
    return _with_weights(ReleasedMISF, state, path, "the released generator")


def _with_weights(make: Callable[[], Model], state: Mapping[str, Tensor], path: Path, what: str) -> Model:
    """The model with these weights, if all names and shapes fit."""
    with torch.device("meta"):  # nothing takes memory until then
        model = make()
    expected = model.state_dict()
    wrong = [f"{name} is missing" for name in expected.keys() - state.keys()]
    wrong += [f"{name} is not part of it" for name in state.keys() - expected.keys()]
    for name in expected.keys() & state.keys():
        if state[name].shape != expected[name].shape:
            wrong.append(f"{name} has shape {tuple(state[name].shape)} instead of {tuple(expected[name].shape)}")
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ValueError(f"{path} does not hold {what}: {'; '.join(sorted(wrong)[:3])}{more}")
    model = model.to_empty(device="cpu")
    model.load_state_dict(state)
    return model.eval()


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it; the system lifts the lock even when a run is killed.

    Raises:
        NotADirectoryError: there is a file of that name. BlockingIOError: another run is training there now.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file: name a folder for checkpoints and weights")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise BlockingIOError(f"another run is training in {folder} now: wait, or choose another folder") from None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def save_checkpoint(folder: Path, state: dict[str, Any], keep: int) -> None:
    """Write the state of a step, then delete all but the newest ``keep``. An OSError (a full disk) leaves the rest."""
    path = folder / f"checkpoint-{state['step']:07d}.pt"
    try:
        with atomic_write(path, overwrite=True) as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as error:  # torch wraps some of the system's errors
        reason = str(error).partition("\n")[0]
        before = "".join(f"; {file.name} is whole" for file in checkpoints(folder))
        raise OSError(f"{path} could not be written ({reason}){before}: free some space and start again") from error
    for old in checkpoints(folder)[:-keep]:
        old.unlink()


def load_checkpoint(folder: Path, run: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """The newest checkpoint of this very run; None where there is none.

    Raises:
        ValueError: a damaged file, or a run of another config or recipe, with what differs.
    """
    found = checkpoints(folder)
    if not found:
        return None
    try:
        saved = torch.load(found[-1], map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).partition("\n")[0]
        older = f" to go on from {found[-2].name}" if found[1:] else ""
        raise ValueError(f"{found[-1]} is damaged ({reason}): delete it{older}, or choose another folder") from error
    for part, wanted in run.items():
        there = saved.get(part, {})
        differ = [f"{k} is {there.get(k)!r} there and {v!r} here" for k, v in wanted.items() if there.get(k) != v]
        if differ:
            raise ValueError(f"{folder} holds a run of another {part} ({'; '.join(differ)}): choose another folder")
    return saved
