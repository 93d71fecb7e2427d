"""Weights on disk, and the checkpoints of a training run. What is damaged or does not fit is refused, by name."""

import hashlib
import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from misf_lite.datasets import data_folder
from misf_lite.files import atomic_write
from misf_lite.lite import ImageFilter, LiteConfig, build
from misf_lite.model import MISF, MISFConfig
from misf_lite.released import ReleasedMISF

CHECKPOINT = re.compile(r"checkpoint-(\d+)\.pt")  # of a run, by its step
Model = TypeVar("Model", bound=nn.Module)


def pretrained() -> list[str]:
    """Names of the weights that came with the project."""
    return sorted(path.stem for path in (data_folder() / "weights").glob("*.safetensors"))


def load_pretrained(name: str = "photos") -> MISF | ImageFilter:
    """A model that came with the project, as `load_weights`. ValueError for another name, with those there are."""
    return load_weights(weights_path(name))


def weights_path(name: str) -> Path:
    """Where the weights of a name (``"toy"`` is ``"misf"``) or of a run's folder lie: those of a run that was not
    completed are in its newest checkpoint. Or the path of a file itself.
    """
    path = Path(name)
    file = "misf" if name == "toy" else name
    found = [*checkpoints(path), *path.glob("weights.safetensors")]
    if found and file in pretrained():
        warnings.warn(f"{name} is taken from the project; for the folder here say ./{name}", stacklevel=2)
    elif found:
        return found[-1]
    elif path.suffix:
        return path
    if file not in pretrained():
        known = ", ".join(pretrained()) or "(none)"
        raise ValueError(f"there are no weights called {name!r}: choose one of {known}, a file, or a run's folder")
    return data_folder() / "weights" / f"{file}.safetensors"


def find_weights(name: str) -> MISF | ImageFilter | ReleasedMISF:
    """The model of a name or of a path: a .pth or .pt file is a checkpoint of a run, or one of `load_released`."""
    path = weights_path(name)
    if path.suffix not in (".pth", ".pt"):
        return load_weights(path)
    saved = _read_checkpoint(path)
    if not {"config", "average"} <= saved.keys():
        return _released(saved, path)
    average = {key.removeprefix("module."): value for key, value in saved["average"].items() if key != "n_averaged"}
    return _build(saved["config"], average, path)


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model, weights and config, as safetensors, over a file that is there.

    Raises TypeError for what is not ours, ValueError for weights that are not finite.
    """
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if not isinstance(model, MISF | ImageFilter):
        raise TypeError(f"save_weights writes what load_weights can build, a MISF, got {type(model).__name__}")
    state = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    _check_finite(state, path)
    config = asdict(model.config)
    # One key: several would be written in any order.
    metadata = {"config": json.dumps(config | {"sha256": _checksum(state, config)})}
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
            config = json.loads((file.metadata() or {}).get("config", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} is truncated or not a safetensors file ({error}): copy or train it anew") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no misf_lite config: it was not written by misf_lite.save_weights")
    checksum = config.pop("sha256", None)  # older files have none
    model = _build(config, state, path)
    if checksum not in (None, _checksum(state, config)):
        raise ValueError(f"{path} is damaged (its checksum is another): copy or train it anew")
    return model


def _build(given: Mapping[str, Any], state: Mapping[str, Tensor], path: Path) -> MISF | ImageFilter:
    try:
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}  # as in JSON
        config = LiteConfig(**fields) if "passes" in fields else MISFConfig(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} names an architecture that there is not ({error}): train it anew") from error
    return _with_weights(partial(build, config), state, path, "the architecture that it names")


def _checksum(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    total = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name, tensor in sorted(state.items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()


def _check_finite(state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    wrong = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if wrong:
        raise ValueError(f"{path}: weights are finite numbers, but {wrong[0]} holds NaN or infinity: train anew")


def load_released(path: str | os.PathLike[str]) -> ReleasedMISF:
    """The generator that the authors of MISF released, in eval mode on the CPU, from one of their checkpoints.

    ``misf_lite.inpaint(image, mask, misf_lite.load_released(path))`` fills a hole with it. The checkpoints (CelebA,
    Places2, Dunhuang) do not come with this project, and nothing is downloaded.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a damaged file, one that could run code when it is loaded, or one of other weights.
    """
    path = Path(path)
    return _released(_read_checkpoint(path, "download it anew (misf_lite.load_weights for safetensors)"), path)


def _released(saved: Mapping[str, Any], path: Path) -> ReleasedMISF:
    if "generator" not in saved:
        keys = ", ".join(map(repr, list(saved)[:3]))
        raise ValueError(f"{path} holds no 'generator', but {keys or 'nothing'}: give the generator's checkpoint")
    state = saved["generator"]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds a 'generator' that is no dict of tensors: give the authors' own checkpoint")
    state = {str(name).removeprefix("module."): tensor for name, tensor in state.items()}  # DataParallel's prefix
    return _with_weights(ReleasedMISF, state, path, "the released generator")


def _read_checkpoint(path: Path, otherwise: str = "copy it anew, or take another one") -> dict[str, Any]:
    """What `torch.save` wrote. Raises ValueError for what is damaged, is no dict, or could run code."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: download that of MISF's authors, or check the name")
    with path.open("rb") as file:  # an error here is the system's, one below the file's
        try:
            if zipfile.is_zipfile(file) and zipfile.ZipFile(file).testzip():  # checksums, which torch passes over
                raise ValueError
            file.seek(0)
            saved = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # what is damaged raises anything
            reason = "is damaged or not a PyTorch checkpoint"
            asked = re.search(r"GLOBAL (\S+)", str(error))
            if asked:
                reason = f"asks for {asked[1]}, and loading that could run code of whoever made it, so it is refused"
            raise ValueError(f"{path} {reason}: {otherwise}") from None  # torch's own error tells how to run it
    if not isinstance(saved, dict):
        raise ValueError(f"{path} holds {type(saved).__name__}, expected a dict: {otherwise}")
    return saved


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
    _check_finite(state, path)
    model = model.to_empty(device="cpu")
    model.load_state_dict(state)
    return model.eval()


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    found = {path: CHECKPOINT.fullmatch(path.name) for path in folder.glob("checkpoint-*.pt")}
    steps = {path: int(match[1]) for path, match in found.items() if match and path.is_file()}  # no copy "-best"
    return sorted(steps, key=lambda path: steps[path])


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
    older = f" to go on from {found[-2].name}" if found[1:] else ""
    saved = _read_checkpoint(found[-1], f"delete it{older}, or choose another folder")
    for part, wanted in run.items():
        there = saved[part] if isinstance(saved.get(part), dict) else {}
        differ = [f"{k} is {there.get(k)!r} there and {v!r} here" for k, v in wanted.items() if there.get(k) != v]
        if differ:
            raise ValueError(f"{folder} holds a run of another {part} ({'; '.join(differ)}): choose another folder")
    return saved
