"""Checkpoints of a training run: nothing is lost, whatever happens in between.

A checkpoint is written to a temporary name and renamed when it is whole, so a file that has a checkpoint's name is a
checkpoint. A lock, which the operating system lifts even when a run is killed, keeps two runs out of one folder.
"""

import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout


@contextmanager
def claim(folder: Path) -> Iterator[None]:
    """Make the folder of a run, and keep other runs out of it.

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
        raise BlockingIOError(
            f"another run is training in {folder} now: wait for it, or choose another folder"
        ) from None


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of a run, the oldest first."""
    return sorted(folder.glob("checkpoint-*.pt"))


def save_checkpoint(folder: Path, state: dict, keep: int) -> Path:
    """Write ``state`` of step ``state["step"]``, then delete all but the newest ``keep`` checkpoints.

    Raises:
        OSError: it could not be written, for want of space as a rule; the earlier ones are as they were.
    """
    path, part = folder / f"checkpoint-{state['step']:07d}.pt", folder / ".checkpoint.part"
    try:
        with part.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch wraps some of the system's errors
        before = checkpoints(folder)
        good = f"{before[-1].name} is whole, the run goes on from it" if before else "there was no earlier one"
        raise OSError(
            f"{path} could not be written ({str(error).partition(chr(10))[0]}): {good}; free some space and start the "
            f"same command again"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    for old in checkpoints(folder)[:-keep]:
        old.unlink()
    return path


def load_checkpoint(folder: Path, run: dict) -> dict | None:
    """The newest checkpoint of this very run; None where there is none.

    Raises:
        ValueError: a damaged file, or a run of another config or recipe, with what differs.
    """
    if not (found := checkpoints(folder)):
        return None
    try:
        saved = torch.load(found[-1], map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason, older = str(error).partition("\n")[0], f" to go on from {found[-2].name}" if found[1:] else ""
        raise ValueError(f"{found[-1]} is damaged ({reason}): delete it{older}, or choose another folder") from error
    for part, wanted in run.items():
        there = saved.get(part, {})
        differ = [f"{k} is {there.get(k)!r} there and {v!r} here" for k, v in wanted.items() if there.get(k) != v]
        if differ:
            raise ValueError(f"{folder} holds a run of another {part} ({'; '.join(differ)}): choose another folder")
    return saved
