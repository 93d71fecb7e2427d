"""Pictures to learn from: the bundled photographs, folders, CelebA and Places365, and toy faces drawn on demand."""

import csv
import hashlib
import io
import os
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from misf_lite.images import Source, from_tensor, open_image, open_mask, to_tensor
from misf_lite.toy_faces import toy_faces

SPLITS = ("train", "val", "test")
HIDDEN = (".", "__MACOSX")  # how the names begin that are passed over in a folder
MEMORY = 2 * 10**9  # bytes of a folder's pictures that are kept as they are; the others are kept as JPEG


def data_folder() -> Path:
    """The folder with ``photos/`` and ``weights/``: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return package / "data" if (package / "data").is_dir() else package.parent / "data"


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


def attributions() -> list[dict[str, str]]:
    """Who made each photograph, under which licence: the rows of ``data/photos/attribution.csv``."""
    table = data_folder() / "photos" / "attribution.csv"
    if not table.is_file():
        raise FileNotFoundError(f"the bundled photographs are missing: no {table}. Install misf-lite anew.")
    with table.open(newline="", encoding="utf-8") as file:
        return sorted(csv.DictReader(file), key=lambda row: row["file"])


def load_photo(source: Source, short_side: int | None = None) -> Tensor:
    """A picture as ``(1, 3, H, W)`` in [0, 1], resized (Pillow, Lanczos) to a short side if one is given.

    ``source`` is a path, PIL image or array, or the name of a bundled photograph such as ``"sheep.jpg"`` (a file of
    that name in the working folder comes first).
    """
    if isinstance(source, str | Path) and not Path(source).exists():
        bundled = data_folder() / "photos" / source
        source = bundled if bundled.is_file() else source
    image = from_tensor(to_tensor(source))
    return to_tensor(_resize(image, short_side) if short_side else image)


def _resize(image: Image.Image, short_side: int) -> Image.Image:
    scale = short_side / min(image.size)
    return image.resize([max(short_side, round(n * scale)) for n in image.size], Image.Resampling.LANCZOS)


class Pictures(Sequence[Image.Image]):
    """Pictures of many sizes: ``pictures[i]`` is an RGB image, upright, its short side at most ``shrink`` pixels.

    Attributes:
        items: of each picture the pixels, ``(H, W, 3)`` uint8, or the bytes of a JPEG file that is decoded at each use,
            or the path of a file that is read at each use.
        shrink: a larger short side is resized to this one (Pillow, Lanczos).
        notes: sentences for the user: how many pictures there are, and what is odd about them.
    """

    def __init__(
        self, items: Sequence[np.ndarray | bytes | str | Path], shrink: int, notes: Sequence[str] = ()
    ) -> None:
        self.items, self.shrink, self.notes = items, shrink, list(notes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Image.Image:
        item = self.items[i]
        if isinstance(item, bytes):
            return Image.open(io.BytesIO(item)).convert("RGB")
        if not isinstance(item, np.ndarray):
            with warnings.catch_warnings(action="ignore"):  # once, in the notes, is enough
                item = _read_picture(item, self.shrink)
        return Image.fromarray(item)


class Masks(Sequence[np.ndarray]):
    """Masks of many sizes: ``masks[i]`` is ``(H, W)`` bool, True = hole, with some hole and some known pixels.

    Attributes:
        items: of each mask the pixels, eight to a byte, and its shape.
        notes: sentences for the user, as of `Pictures`.
    """

    def __init__(self, items: Sequence[tuple[np.ndarray, tuple[int, int]]], notes: Sequence[str] = ()) -> None:
        self.items, self.notes = items, list(notes)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> np.ndarray:
        bits, (H, W) = self.items[i]
        return np.unpackbits(bits, count=H * W).reshape(H, W).view(bool)


def open_data(name: str, *, shrink: int, crop: int, root: str | Path = "datasets") -> tuple[Pictures, Pictures]:
    """Pictures to learn from, and pictures held out to measure; the notes on both are with the first.

    Every picture of a folder is read now, so that it is known which can be. About a tenth of them, 1 to 32, are held
    out, chosen by a hash of their names: files that are added later leave the others where they are.

    Args:
        name: ``"photos"`` (the bundled ones, in their own splits), ``"no-paintings"`` (the same without the
            paintings), ``"celeba"``, ``"places365"``, or the path of a folder (``"./photos"`` if it has such a name):
            files of every format that Pillow reads, also in folders inside it. Names that start with a dot and
            ``__MACOSX`` are passed over.
        shrink: a larger short side is resized to this one.
        crop: the largest crop that will be taken; the notes say how many pictures are smaller.
        root: where torchvision has put CelebA or Places365. Their pictures are read at use, and the first 64 of the
            validation split are held out.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder; CelebA or Places365 is not in ``root``.
        ValueError: no picture, or none that can be read; a crop larger than ``shrink``.
        ImportError: CelebA or Places365 without torchvision.
    """
    if not 1 <= crop <= shrink:
        raise ValueError(f"crop must be from 1 to shrink, or what is shrunk is enlarged again; got {crop} and {shrink}")
    if name in ("celeba", "places365"):
        return _open_torchvision(name, shrink, crop, Path(root))
    folder, notes, bundled = Path(name), [], name in ("photos", "no-paintings")
    if not (bundled or folder.exists()):
        known = "photos, no-paintings, celeba or places365, or name a folder of pictures"
        raise FileNotFoundError(f"there is no data {name!r}: choose {known} (working folder: {Path.cwd()})")
    if bundled:
        files = photos("train", None if name == "photos" else False) + photos("val")
    else:
        files = _find_files(folder, notes)
    items, used, small = {}, 0, 0
    for path, pixels in _read_all(files, lambda path: _read_picture(path, shrink), notes):
        used += pixels.nbytes
        small += min(pixels.shape[:2]) < crop
        items[path] = pixels if used <= MEMORY else as_jpeg(pixels)
    held = set(photos("val") if bundled else _hold_out(list(items), folder))
    learn = [item for path, item in items.items() if path not in held]
    split = f"{len(learn)} to learn from, {len(items) - len(learn)} held out"
    if len(items) < 5:
        learn, held = list(items.values()), set(items)
        split = f"{len(items)}, too few to hold some out: all are learnt from and measured"
    notes.insert(0, f"pictures in {name}: {split}")
    if small:
        notes.append(f"smaller than the crop of {crop} pixels, and so enlarged: {small} of {len(items)} pictures")
    if used > MEMORY:
        packed = sum(isinstance(item, bytes) for item in items.values())
        notes.append(f"kept as JPEG, as the others fill {MEMORY / 1e9:g} GB of memory: {packed} of {len(items)}")
    return Pictures(learn, shrink, notes), Pictures([items[path] for path in items if path in held], shrink)


def open_pictures(
    name: str, *, size: int, split: str = "test", root: str | Path = "datasets"
) -> tuple[dict[str, Source], str, list[str]]:
    """Pictures to measure on: by name, what `load_photo` takes; what they are in words; and notes for the user.

    Args:
        name: ``"photos"`` (of a split), ``"paintings"`` (those among the photographs), ``"toy"`` (64 faces of ``size``
            pixels that no training has drawn), ``"celeba"`` (its test split), ``"places365"`` (its validation split),
            or a folder: every picture in it, read now so that it is known which can be.
        size: short side in pixels that they will be resized to.
        split: of the photographs: ``"val"`` or ``"test"``.
        root: where torchvision has put CelebA or Places365.

    Raises:
        FileNotFoundError, NotADirectoryError, ImportError, ValueError: as `open_data`.
    """
    if name == "photos":
        found = {path.name: path for path in photos(split)}
        return found, f"photographs of the {split} split", []
    if name == "paintings":
        learnt = "the paintings are in the train split: measure what has learnt from no-paintings, or from other data"
        return {path.name: path for path in photos(paintings=True)}, "paintings", [learnt]
    if name == "toy":
        faces = toy_faces(64, size, 3 * 2**30)  # training draws its seeds below 2**31
        return {f"face {i:02}": face for i, face in enumerate(faces.split(1))}, "toy faces", []
    if name in ("celeba", "places365"):
        files = _torchvision_files(name, Path(root))["test"]
        return {Path(file).name: file for file in files}, f"pictures of {name}", []
    folder, notes = Path(name), []
    if not folder.exists():
        known = "photos, paintings, toy, celeba or places365, or name a folder of pictures"
        raise FileNotFoundError(f"there is no data {name!r}: choose {known} (working folder: {Path.cwd()})")
    read = _read_all(_find_files(folder, notes), lambda path: from_tensor(load_photo(path, size)), notes)
    found = {path.relative_to(folder).as_posix(): pixels for path, pixels in read}
    return found, f"pictures of {folder.resolve().name}", notes


def open_masks(folder: str | Path) -> Masks:
    """The masks in a folder, and in folders inside it, each read with `open_mask`: white is the hole.

    Raises:
        FileNotFoundError, NotADirectoryError: no such folder.
        ValueError: no picture in it, or none that can be read and has both hole and known pixels.
    """

    def read(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
        hole = open_mask(path)[0, 0].numpy() > 0
        if hole.all() or not hole.any():
            raise ValueError(f"{path} is {'nothing but hole' if hole.all() else 'without a hole'}; paint holes white")
        return np.packbits(hole), hole.shape

    notes = []
    masks = Masks([item for _, item in _read_all(_find_files(Path(folder), notes), read, notes)])
    share = np.mean([mask.mean() for mask in masks])
    masks.notes = [f"masks in {folder}: {len(masks)}, on average {share:.0%} white, which is the hole", *notes]
    return masks


def _open_torchvision(name: str, shrink: int, crop: int, root: Path) -> tuple[Pictures, Pictures]:
    files = _torchvision_files(name, root)
    learn, held = Pictures(files["train"], shrink), Pictures(files["val"][:64], shrink)
    width, height = learn[0].size
    learn.notes = [f"pictures in {name}: {len(learn)} to learn from, {len(held)} held out; each is read at each use"]
    if min(width, height) < crop:  # they are all of one size
        learn.notes.append(f"smaller than the crop of {crop} pixels, and so enlarged: all, {width}×{height} pixels")
    return learn, held


def _torchvision_files(name: str, root: Path) -> dict[str, list[str]]:
    """The paths of CelebA's or Places365's pictures by split; of Places365, val is test, too."""
    try:
        from torchvision.datasets import CelebA, Places365
    except ImportError as error:
        raise ImportError(f"{name} needs torchvision ({error}): run pip install 'misf-lite[training]'") from error
    download = {
        "celeba": f"from torchvision.datasets import CelebA; CelebA({str(root)!r}, download=True)",
        "places365": "from torchvision.datasets import Places365; "
        f"[Places365({str(root)!r}, split, small=True, download=True) for split in ('train-standard', 'val')]",
    }
    try:
        if name == "celeba":
            folder = root / "celeba" / "img_align_celeba"
            parts = {"train": "train", "val": "valid", "test": "test"}
            files = {k: [f"{folder}/{file}" for file in CelebA(root, part).filename] for k, part in parts.items()}
        else:
            parts = {"train": "train-standard", "val": "val"}
            files = {k: [file for file, _ in Places365(root, part, small=True).imgs] for k, part in parts.items()}
            files["test"] = files["val"]
        Image.open(files["train"][0]).close()
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"{name} is not, or not completely, in {root.absolute()} ({error}). To download it, run\n"
            f'  python -c "{download[name]}"'
        ) from error
    return files


def _find_files(folder: Path, notes: list[str]) -> list[Path]:
    """The files in a folder, and in folders inside it, with an ending that Pillow reads; sorted."""
    if not folder.exists():
        raise FileNotFoundError(f"there is no folder {folder} (working folder: {Path.cwd()}); check the spelling")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; name its folder, or unpack it if it is an archive")
    found, closed, seen = [], [], set()
    for here, folders, files in os.walk(folder, onerror=closed.append, followlinks=True):
        if (real := os.path.realpath(here)) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith(HIDDEN))
        found += [Path(here, name) for name in sorted(files) if not name.startswith(HIDDEN)]
    endings = {ending for ending, form in Image.registered_extensions().items() if form in Image.OPEN}
    pictures = sorted(path for path in found if path.suffix.lower() in endings)
    if closed:
        notes.append(_listing("folders that could not be opened", [str(error) for error in closed]))
    if others := Counter(path.suffix.lower() or "no ending" for path in found if path.suffix.lower() not in endings):
        kinds = ", ".join(f"{n} {ending}" for ending, n in others.most_common())
        notes.append(f"files that Pillow does not read, left alone: {kinds}")
    if not pictures:
        raise ValueError("\n".join([f"{folder} holds no picture: put .jpg or .png files there", *notes]))
    return pictures


def _read_picture(path: str | Path, shrink: int) -> np.ndarray:
    """The colours of a picture as ``(H, W, 3)`` uint8, its short side at most ``shrink`` pixels."""
    image = open_image(path, at_least=2 * shrink)  # twice as many, to have something to average
    image = from_tensor(to_tensor(image)) if image.mode == "I;16" else image.convert("RGB")
    return np.asarray(_resize(image, shrink) if min(image.size) > shrink else image)


def as_jpeg(pixels: np.ndarray) -> bytes:
    """A sixth of the memory, off by about one grey level, and decoded many times faster than a camera's file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def _read_all(files: Sequence[Path], read: Callable[[Path], Any], notes: list[str]) -> Iterator[tuple[Path, Any]]:
    """Read files side by side; yield each that can be read, in order, and note which cannot, and every warning."""
    current, failures, remarks = threading.local(), [], []

    def attempt(path: Path) -> Any:
        current.path = path
        try:
            return read(path)
        except (OSError, ValueError) as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: remarks.append(f"{getattr(current, 'path', '')}: {message}")
        bar = tqdm(pool.map(attempt, files), "reading", len(files), leave=False, disable=None)
        for path, outcome in zip(files, bar, strict=True):
            if isinstance(outcome, Exception):
                failures.append(str(outcome))
            else:
                yield path, outcome
    if len(failures) == len(files):
        raise ValueError(_listing("no picture can be used", failures))
    if failures:
        notes.append(_listing(f"left out, as they cannot be used: {len(failures)} of {len(files)} files", failures))
    if remarks:
        notes.append(_listing(f"warnings while reading ({len(remarks)})", sorted(remarks)))


def _listing(title: str, lines: Sequence[str]) -> str:
    """A note with the first ten of its lines; names that are not Unicode are made so that they can be printed."""
    more = [f"and {len(lines) - 10} more"] * (len(lines) > 10)
    return "\n  ".join([f"{title}:", *lines[:10], *more]).encode(errors="backslashreplace").decode()


def _hold_out(files: Sequence[Path], folder: Path) -> list[Path]:
    """About a tenth of the files, 1 to 32 and no more than half, by a hash of their names in the folder."""
    hashes = {path: hashlib.sha256(os.fsencode(path.relative_to(folder).as_posix())).digest() for path in files}
    ranked = sorted(files, key=hashes.get)
    return [path for path in ranked if hashes[path][0] < 26][: min(32, len(files) // 2)] or ranked[:1]
