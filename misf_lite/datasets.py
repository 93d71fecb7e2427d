"""Pictures to learn from and to measure on, behind one door: `open_dataset`. And masks, from a folder."""

import csv
import hashlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from misf_lite.files import printable
from misf_lite.formats import ENDINGS
from misf_lite.images import Source, open_image, open_mask, to_tensor
from misf_lite.masks import is_hole
from misf_lite.toy_faces import toy_faces

SPLITS = ("train", "val", "test")
NAMES = ("photos", "no-paintings", "paintings", "toy", "celeba", "places365")
MEMORY = 2 * 10**9  # bytes of pictures that are kept as they are; those beyond are kept as JPEG
LARGEST = 4096  # short side in pixels that a picture may be resized to
HELD_OUT = 26  # of 256 values of a name's first byte, see `lot`
ASPECT = 20  # how often the short side may go into the long one: at a wanted short side the rest takes memory
# Passed over in a folder, as hidden names are: where systems and network drives keep thumbnails and what was deleted.
SYSTEM = {"__macosx", "@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"}

Open = Callable[[Any], Image.Image]


def data_folder() -> Path:
    """The folder with ``photos/`` and ``weights/``: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "data" if (package / "data").is_dir() else package.parent / "data"


def attributions() -> list[dict[str, str]]:
    """Who made each photograph, under which licence: the rows of ``data/photos/attribution.csv``."""
    table = data_folder() / "photos" / "attribution.csv"
    if not table.is_file():
        raise FileNotFoundError(f"the bundled photographs are missing: no {table}. Install misf-lite anew.")
    with table.open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["file"])


def photos(split: str | None = None, paintings: bool | None = None) -> list[Path]:
    """Paths of the bundled photographs (short side 127 to 288 pixels), sorted by name.

    Args:
        split: ``"train"``, ``"val"`` or ``"test"`` (no scene is in two of them), or None for all.
        paintings: True for the paintings among them (all in the train split), False for all else, None for both.

    Raises:
        ValueError: an unknown split. FileNotFoundError: the photographs are missing.
    """
    if split not in (None, *SPLITS):
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}, or None for all")
    return [
        data_folder() / "photos" / row["file"]
        for row in attributions()
        if split in (None, row["split"]) and paintings in (None, row["category"] == "paintings")
    ]


def load_photo(source: Source, short_side: int | None = None) -> Tensor:
    """A picture as ``(1, 3, H, W)`` in [0, 1], resized (Pillow, Lanczos) to a short side if one is given.

    ``source`` is a path, PIL image or array, or the name of a bundled photograph such as ``"sheep.jpg"`` (a file of
    that name in the working folder comes first). Raises ValueError for a side to be more than `ASPECT` times the other.
    """
    if isinstance(source, str | Path) and not Path(source).exists():
        bundled = data_folder() / "photos" / source
        source = bundled if bundled.is_file() else source
    image = open_image(to_tensor(source))
    if short_side:
        check_shape(image.size, source if isinstance(source, str | Path) else "the picture")
        image = _resize(image, short_side)
    return to_tensor(image)


def check_shape(size: tuple[int, int], name: str | Path) -> None:
    """Raise ValueError where a side is more than `ASPECT` times the other."""
    if max(size) > ASPECT * min(size):
        shape = f"a side of the other's {ASPECT}-fold at most is expected"
        raise ValueError(f"{name} is {size[0]}×{size[1]} pixels, and {shape}: cut it into parts")


def _resize(image: Image.Image, short_side: int) -> Image.Image:
    scale = short_side / min(image.size)
    width, height = (max(short_side, round(n * scale)) for n in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


@dataclass
class Pictures:
    """Pictures of many sizes: ``pictures[i]`` is an upright RGB image; of masks, one of black and white."""

    what: str  # all of them in words
    names: list[str]  # of each one; empty where faces are drawn without end
    items: Sequence[Any]  # of each one the bytes of a file, or what open_item makes a picture of: a path, a seed
    open_item: Open
    short_sides: list[int] = field(default_factory=list)  # of each one, in pixels
    notes: list[str] = field(default_factory=list)  # sentences for the user: what is odd about them
    files: list[Path] = field(default_factory=list)  # of each one; empty where they are drawn, or too many to be read

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Image.Image:
        item = self.items[i]
        if isinstance(item, bytes):
            return Image.open(io.BytesIO(item))
        with warnings.catch_warnings(action="ignore"):  # once, in the notes, is enough
            return self.open_item(item)

    def __iter__(self) -> Iterator[Image.Image]:
        return map(self.__getitem__, range(len(self)))

    def contents(self, count: int | None = None) -> str:
        """What the (first ``count``) pictures are: a hash of their names and, where there are files, of their bytes."""
        total = hashlib.sha256("\n".join(self.names[:count]).encode())
        for path in self.files[:count]:
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
        return f"sha256 {total.hexdigest()[:12]}"


def open_dataset(
    name: str, split: str, *, shrink: int | None = None, root: str | Path = "datasets", without: str | None = None
) -> Pictures:
    """Pictures to learn from (``"train"``), to validate with (``"val"``) or to measure on (``"test"``).

    Args:
        name: ``"photos"``, the bundled ones; ``"no-paintings"``, the same without the paintings; ``"paintings"``,
            those alone, to measure on; ``"toy"``, toy faces; ``"celeba"``, ``"places365"``; or a folder of files that
            Pillow reads (``"./photos"`` if it has such a name), those of hidden names, of systems and of network drives
            left out.
        split: of a folder, ``"test"`` is all and ``"val"`` about a tenth, chosen by a hash of the names: files that are
            added later leave the others where they are. Of Places365, ``"test"`` is all that ``"val"`` takes some from.
        shrink: a larger short side is resized to this one (Pillow, Lanczos; to learn from, a JPEG may have been decoded
            at a half or a quarter first, which is faster). Toy faces are drawn at this size.
        root: where torchvision has put CelebA or Places365. Their pictures are read at each use, all others now.
        without: a folder inside the folder that is left out, as it holds the masks.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder; CelebA or Places365 is not in ``root``.
        ValueError: an unknown split; no picture, or none that can be read. ImportError: torchvision is missing.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if shrink is not None and not 1 <= shrink <= LARGEST:
        raise ValueError(f"a short side, or a crop, has from 1 to {LARGEST} pixels, got {shrink}")
    open_file = partial(_open, shrink=shrink, fast=split == "train")
    if name not in NAMES:
        return _folder(Path(name), split, open_file, without)
    pictures = _toy_faces(split, shrink or 64) if name == "toy" else _known(name, split, open_file, root)
    if Path(name).is_dir() and not Path(name).resolve().is_relative_to(data_folder().resolve()):
        pictures.notes.insert(0, f"{name} comes with the project or torchvision; for the folder here say ./{name}")
    return pictures


def _known(name: str, split: str, open_file: Open, root: str | Path) -> Pictures:
    if name in ("celeba", "places365"):
        return _torchvision(name, split, open_file, Path(root))
    folder = data_folder() / "photos"
    if name == "paintings":
        if split == "train":
            raise ValueError("the paintings alone are for measuring: learn from photos, or from a folder")
        note = "the paintings are in the train split: measure what has learnt from no-paintings, or from other data"
        return _read(name, folder, photos(paintings=True), split, open_file, [note])
    files = photos(split, paintings=False if name == "no-paintings" else None)
    return _read(f"photographs of the {split} split", folder, files, split, open_file, [])


def _toy_faces(split: str, size: int) -> Pictures:
    """Seeds below 2**31 are for training, one for each face; each other split is a set of its own."""
    if split == "train":
        return Pictures("toy faces", [], range(2**31), partial(_draw, size=size))
    count, seed = (32, 2**31) if split == "val" else (64, 3 * 2**30)
    faces = [_as_file(open_image(face), "PPM") for face in toy_faces(count, size, seed).split(1)]
    return Pictures("toy faces", [f"face {i:02}" for i in range(count)], faces, Image.open, [size] * count)


def _torchvision(name: str, split: str, open_file: Open, root: Path) -> Pictures:
    try:
        from torchvision.datasets import CelebA, Places365

        if name == "celeba":
            download = f"CelebA({str(root)!r}, download=True)"
            faces = CelebA(root, "valid" if split == "val" else split)
            files = [root / "celeba" / "img_align_celeba" / file for file in faces.filename]
        else:
            options = "split, small=True, download=True"
            download = f"[Places365({str(root)!r}, {options}) for split in ('train-standard', 'val')]"
            places = Places365(root, "train-standard" if split == "train" else "val", small=True)
            files = [Path(file) for file, _ in places.imgs]
        short_side = min(open_file(files[0]).size)  # they are all of one size
    except ImportError as error:
        raise ImportError(f"{name} needs torchvision ({error}): run pip install 'misf-lite[training]'") from error
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"{name} is not, or not completely, in {root.absolute()} ({error}). To download it, run\n"
            f'  python -c "from torchvision.datasets import CelebA, Places365; {download}"'
        ) from error
    files = files[:64] if split == "val" else files
    pictures = Pictures(f"pictures of {name}", [path.name for path in files], files, open_file)
    pictures.short_sides = [short_side] * len(files)
    pictures.files = files if split != "train" else []
    return pictures


def _folder(folder: Path, split: str, open_file: Open, without: str | None) -> Pictures:
    if not folder.exists():
        known = f"{', '.join(NAMES)}, or name a folder of pictures"
        raise FileNotFoundError(f"there is no data {str(folder)!r}: choose {known} (working folder: {Path.cwd()})")
    notes: list[str] = []
    files = _find_files(folder, notes, without)
    if split != "test" and len(files) < 5:
        few = f"fewer than five pictures in {folder}, too few to hold some out"
        notes.append(f"{few}: all are learnt from and measured")
    elif split != "test":  # about a tenth is held out, 1 to 32 pictures and no more than half
        lots = {path: lot(path.relative_to(folder).as_posix()) for path in files}
        ranked = sorted(files, key=lambda path: lots[path])
        small = [path for path in ranked if lots[path][0] < HELD_OUT]
        held_out = small[: min(32, len(files) // 2)] or ranked[:1]
        files = [path for path in files if (path in held_out) == (split == "val")]
    return _read(f"pictures of {printable(folder.resolve().name)}", folder, files, split, open_file, notes)


def lot(name: str) -> bytes:
    """What decides whether a folder's file is held out: a hash of its name in there, whose first byte is drawn low."""
    return hashlib.sha256(os.fsencode(name)).digest()


def open_masks(folder: str | Path, without: str | None = None) -> Pictures:
    """The masks in a folder, and in folders inside it, each read with `open_mask`: white is the hole.

    ``without`` is a folder inside it that is left out, as it holds the pictures.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder.
        ValueError: no picture in it, or none that can be read and has both hole and known pixels.
    """
    notes: list[str] = []
    files = _find_files(Path(folder), notes, without)
    masks = _read(f"masks in {folder}", Path(folder), files, "test", _open_mask, notes)
    share = np.mean([np.asarray(mask).mean() for mask in masks])
    notes.insert(0, f"masks in {folder}: {len(masks)}, on average {share:.0%} white, which is the hole")
    return masks


def _open_mask(path: Path) -> Image.Image:
    hole = is_hole(open_mask(path))[0, 0].numpy()
    if hole.all() or not hole.any():
        raise ValueError(f"{path} is {'nothing but hole' if hole.all() else 'without a hole'}; paint holes white")
    return Image.fromarray(hole)  # one bit a pixel


def _find_files(folder: Path, notes: list[str], without: str | None) -> list[Path]:
    """The files in a folder, and in folders inside it, with an ending of a picture; sorted."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder} (working folder: {Path.cwd()}); check the spelling")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name its folder, or unpack it if it is an archive")
    left_out = without and os.path.realpath(without)
    if left_out == os.path.realpath(folder):
        raise ValueError(f"{folder} is given for both pictures and masks: name a folder for each")
    pictures: list[Path] = []
    others: Counter[str] = Counter()
    closed: list[OSError] = []
    seen: set[str] = set()
    for here, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:  # a link led back
            folders.clear()
            continue
        seen.add(real)
        if real == left_out:
            notes.append(f"{here} is left out of {folder}: one holds the masks, the other the pictures")
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        found = [Path(here, name) for name in sorted(files) if not _is_hidden(name)]
        pictures += [path for path in found if path.suffix.lower() in ENDINGS]
        others.update(path.suffix.lower() or "no ending" for path in found if path.suffix.lower() not in ENDINGS)
    notes += _listing("folders that could not be opened", [str(error) for error in closed])
    if others:
        kinds = ", ".join(f"{n} {ending}" for ending, n in others.most_common())
        notes.append(f"files of other kinds, left alone: {kinds}")
    if not pictures:
        raise ValueError("\n".join([f"{folder} holds no picture: put .jpg or .png files there", *notes]))
    return sorted(pictures)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM


def _read(what: str, folder: Path, files: list[Path], split: str, open_file: Open, notes: list[str]) -> Pictures:
    """Read pictures now, side by side: what cannot be used is left out and noted, and all warnings are."""
    items: list[bytes | Path] = []
    pictures = Pictures(what, [], items, open_file, notes=notes)
    failures: list[str] = []
    remarks: list[str] = []

    def attempt(path: Path) -> Image.Image | None:
        try:
            return open_file(path)
        except (OSError, ValueError) as error:
            failures.append(str(error))
            return None

    used = packed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: remarks.append(str(message))
        bar = tqdm(pool.map(attempt, files), "reading", len(files), leave=False, disable=None)
        for path, image in zip(files, bar, strict=True):
            if image is None:
                continue
            used += len(image.tobytes())
            if used <= MEMORY:
                items.append(_as_file(image, "PPM"))
            elif split == "train":
                items.append(_as_file(image, "JPEG"))
                packed += 1
            else:  # what is measured may not change: it is read again at each use
                items.append(path)
            pictures.files.append(path)
            pictures.names.append(printable(path.relative_to(folder).as_posix()))
            pictures.short_sides.append(min(image.size))
    if not items:
        raise ValueError(*_listing("no picture can be used", failures))
    notes += _listing(f"left out, as they cannot be used: {len(failures)} of {len(files)} files", failures)
    notes += _listing(f"warnings while reading ({len(remarks)})", remarks)
    if packed:
        notes.append(f"kept as JPEG, as the others fill {MEMORY / 1e9:g} GB of memory: {packed} of {len(items)}")
    return pictures


def _draw(seed: int, size: int) -> Image.Image:
    return open_image(toy_faces(1, size, seed))


def _open(path: Path, shrink: int | None, fast: bool) -> Image.Image:
    enough = 2 * shrink if shrink and fast else None  # twice as many pixels, to have something to average
    image = open_image(path, at_least=enough)
    check_shape(image.size, path)
    image = open_image(to_tensor(image)) if image.mode == "I;16" else image.convert("RGB")
    return _resize(image, shrink) if shrink and min(image.size) > shrink else image


def _as_file(image: Image.Image, form: str) -> bytes:
    """A file in memory: ``"PPM"`` is exact; ``"JPEG"`` takes a sixth of it, off by about one grey level."""
    file = io.BytesIO()
    image.save(file, form, quality=95, subsampling=0)
    return file.getvalue()


def _listing(title: str, lines: list[str]) -> list[str]:
    """A note with the first ten of its lines, none without lines; names that are not Unicode can be printed, too."""
    more = [f"and {len(lines) - 10} more"] if len(lines) > 10 else []
    note = "\n  ".join([f"{title}:", *sorted(lines)[:10], *more])
    return [note.encode(errors="backslashreplace").decode()] if lines else []
