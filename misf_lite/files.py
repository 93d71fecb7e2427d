"""The one way to write a file: whole, or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def atomic_write(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which takes its place at ``path`` when everything is on the disk.

    Until then it has a temporary name in the same folder, and an error leaves no trace of it. A link stays a link:
    what it points to is replaced. A file that is replaced hands on its permissions.

    Raises OSError as `check_target`, before and after, and when the disk is full; ``path`` is then as it was.
    """
    check_target(path, overwrite=overwrite)
    target = Path(os.path.realpath(path))
    part = target.with_name(f".{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # on the disk before it gets its name
        if target.exists():
            shutil.copymode(target, part)
        if not overwrite:
            target.touch(exist_ok=False)  # of two writers one is first
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


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
