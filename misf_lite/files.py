"""The one way to write a file: whole, or not at all."""

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout

PART = re.compile(r"\.[0-9a-f]{32}\.part")


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which takes its place at ``path`` when everything is on the disk.

    Until then it has a temporary name in the same folder, and an error leaves no trace of it; what a process that was
    killed has left goes with a later write (`sweep`). A link stays a link: what it points to is replaced. A file that
    is replaced hands on its permissions.

    Raises OSError as `check_target`, before and after, and when the disk is full; ``path`` is then as it was.
    """
    check_target(path, overwrite=overwrite)
    target = Path(os.path.realpath(path))
    sweep(target.parent, seconds=3600)
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with naming(path), part.open("xb") as file:
            if target.exists():
                shutil.copymode(target, part)
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
        if overwrite:
            part.replace(target)
        else:
            _take_name(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """What the system says of a write, such as that the disk is full, comes with the file's name."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = os.fspath(path)
        raise


def _take_name(part: Path, target: Path) -> None:
    """Of two writers of a new file one is first, the other gets a FileExistsError."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise FileExistsError(f"{target} exists: another program was first; choose another name") from error
    except OSError:  # there are file systems without links
        target.touch(exist_ok=False)
        part.replace(target)


def sweep(folder: Path, seconds: float) -> None:
    """Delete what processes that were killed while writing have left: nobody has written to it for so long."""
    for part in folder.glob(".*.part"):
        with suppress(OSError):
            if PART.fullmatch(part.name) and time.time() - part.stat().st_mtime >= seconds:
                part.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone with a file: of several processes that read, change and write it one goes on, the others wait."""
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            with suppress(OSError):  # Windows keeps it while it is open
                lock.unlink()


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
            sweep(folder, seconds=0)  # nobody else writes here
            yield
    except Timeout:
        raise BlockingIOError(f"another run is training in {folder} now: wait, or choose another folder") from None


def printable(name: str | os.PathLike[str]) -> str:
    """A name for a table or a message: line breaks, and bytes that are no UTF-8, are written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in os.fspath(name))


def check_target(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Whether a file could be written there, to be asked before the work.

    Raises:
        FileExistsError: it exists and ``overwrite`` is False.
        OSError: it is a folder or no regular file, such as a device; the folder for it is missing or read-only.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file inside it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.exists() and not path.is_file():
        raise OSError(f"{path} is no regular file and will not be replaced; choose another name")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; pass --force (overwrite=True in Python) or choose another name")
    folder = Path(os.path.realpath(path)).parent
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{path} cannot be written: the folder {folder} is read-only for you")
