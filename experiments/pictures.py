"""More and larger photographs to train on, out of Debian packages: `python -m experiments pictures -o FOLDER`.

The bundled photographs are small. Many of the train split are larger where they come from; and there are others, under
free licences, that no one measures on. Nothing else of those packages is written: the rest is for testing.
"""

import bz2
import csv
import io
import itertools
import re
import shutil
import struct
import subprocess
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from misf_lite.datasets import HELD_OUT, attributions, data_folder, lot, open_dataset
from misf_lite.images import open_image, save_image

SHORT_SIDE = 720  # of the largest that are written, in pixels
LARGER = 1.3  # an original is worth having when its short side is so many times that of our copy
SAME = 6.0  # grey levels: the mean difference of a copy and its original, made as small, is below it
NEAR = 0.25  # `difference` of two thumbnails: below it for one picture, even cut to 2:1; other views lie above
COLUMNS = (  # of data/photos/attribution.csv, and where the picture lies in its package
    *("file", "split", "scene", "category", "licence", "author", "source_url", "origin_package", "note"),
    *("width", "height", "original"),
)
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")

ORIGINALS = {  # package and version, and how `origin_package` in data/photos/attribution.csv begins
    "gcompris-qt-data=3.1-2": "gcompris-qt-data",
    "lomiri-wallpapers-16.04=20.04.0-2": "lomiri-wallpapers-16.04",
    "lxqt-themes=1.2.0-1": "lxqt-themes",
    "palapeli-data=4:22.12.3-1": "palapeli-data",
    "plasma-workspace-data=4:5.27.5-2+deb12u2": "plasma-workspace-data",
    "python3-scipy=1.10.1-2": "python3-scipy",
    "python3-skimage=0.19.3-8": "scikit-image",
    "python3-sklearn=1.2.1+dfsg-1": "scikit-learn",
    "wordpress-theme-twentytwentyone=6.1.9+dfsg1-0+deb12u1": "wordpress-theme-twentytwentyone",
}
MATE, PLASMA = "mate-backgrounds=1.26.0-1", "plasma-workspace-wallpapers=4:5.27.5-2"
FOLDERS = {MATE: "usr/share/backgrounds/mate/nature", PLASMA: "usr/share/wallpapers"}
LICENCES = {MATE: "GPL-2+", PLASMA: "LGPL-3 (the picture's metadata), GPL-2+ (the package's copyright file)"}
PHOTOGRAPHS = {  # those which are photographs, each looked at: file, category, author
    MATE: [
        ("Aqua.jpg", "textures", "Charles Barbin"),
        ("Blinds.jpg", "plants", "Lennart Poettering, Andrea Cimitan"),
        ("Dune.jpg", "landscape", "Marco Cogoni, Hylke Bons"),
        ("FreshFlower.jpg", "plants", "Jens Ansorg"),
        ("Garden.jpg", "plants", "Charles Barbin"),
        ("GreenMeadow.jpg", "plants", "Timothy Schellhase, Lapo Calamandrei"),
        ("LadyBird.jpg", "animals", "Charles Barbin"),
        ("RainDrops.jpg", "plants", "blackcombwhistler07"),
        ("Storm.jpg", "landscape", "Sergey Nazarov"),
        ("TwoWings.jpg", "plants", "Charles Barbin, Hylke Bons"),
        ("Wood.jpg", "textures", "Jean-François Fortin Tam"),
        ("YellowFlower.jpg", "plants", "Charles Barbin"),
    ],
    PLASMA: [
        ("BytheWater/contents/images/2560x1600.jpg", "landscape", "Maciej Wiklo"),
        ("ColdRipple/contents/images/2560x1600.jpg", "landscape", "Risto Saukonpää"),
        ("ColorfulCups/contents/images/2560x1600.jpg", "objects", "Dmitri Popov"),
        ("DarkestHour/contents/images/2560x1600.jpg", "landscape", "Risto Saukonpää"),
        ("EveningGlow/contents/images/2560x1600.jpg", "landscape", "Ian Hex"),
        ("FallenLeaf/contents/images/2560x1600.jpg", "plants", "Martin Klapetek"),
        ("Grey/contents/images/2560x1600.jpg", "buildings", "Sigi Sagi"),
        ("Kite/contents/images/2560x1600.jpg", "landscape", "Risto Saukonpää"),
        ("OneStandsOut/contents/images/2560x1600.jpg", "plants", "Risto Saukonpää"),
        ("Path/contents/images/2560x1600.jpg", "landscape", "Risto Saukonpää"),
        ("summer_1am/contents/images/2560x1600.jpg", "landscape", "Risto Saukonpää"),
    ],
}

Row = dict[str, str]


@dataclass
class Packed:
    """A picture in a package: its path, with that inside a resource file behind it, and how to open it."""

    path: str
    open: Callable[[], Image.Image]


@dataclass
class Written:
    """What has been written, and what has not, and why."""

    folder: Path
    rows: list[Row] = field(default_factory=list)
    larger: set[str] = field(default_factory=set)  # the bundled pictures whose original has been written
    left_out: dict[str, list[str]] = field(default_factory=dict)  # why, and which
    nearest: list[tuple[float, str, str]] = field(default_factory=list)  # to each new picture, of all bundled ones


def write_pictures(output: Path) -> Written:
    """Fetch the packages, write ``output/train``, ``output/val`` and ``output/attribution.csv``, whole or not at all.

    Raises:
        FileExistsError: ``output`` holds what this has not written. NotADirectoryError: it is a file.
        FileNotFoundError: there is no folder for it; no apt-get. OSError: a package is not to be had.
    """
    output = output.resolve()
    check_folder(output)
    with TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as scratch:
        written = Written(Path(scratch, "pictures"))
        for split in ("train", "val"):
            (written.folder / split).mkdir(parents=True)
        bundled = {row["file"]: thumbnail(Image.open(data_folder() / "photos" / row["file"])) for row in attributions()}
        for package in tqdm([*ORIGINALS, *PHOTOGRAPHS], "packages", leave=False, disable=None):
            root = fetch(package, Path(scratch, "packages"))
            if package in ORIGINALS:
                add_originals(written, package, root, bundled)
            else:
                add_photographs(written, package, root, bundled)
            shutil.rmtree(root)
        add_bundled(written)
        with (written.folder / "attribution.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            table.writerows(sorted(written.rows, key=lambda row: row["file"]))
        check_split(written)
        if output.exists():
            output.rename(Path(scratch, "before"))
        written.folder.rename(output)
        written.folder = output
    return written


def check_folder(output: Path) -> None:
    """Whether ``output`` is new, empty, or what `write_pictures` has written and nothing else."""
    if not output.parent.is_dir():
        raise FileNotFoundError(f"{output} cannot be written: there is no folder {output.parent}; make it first")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"{output} is a file; name a folder")
    there = {path for path in output.rglob("*") if not path.is_dir()}
    if not there:
        return
    table = output / "attribution.csv"
    own = {table}
    if table.is_file():
        with table.open(newline="", encoding="utf-8") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ()) == COLUMNS:
                own |= {output / row["file"] for row in rows}
    others = sorted(there - own)
    if others or len(own) == 1:
        what = others[0] if others else table
        raise FileExistsError(f"{output} holds what this command has not written, such as {what}; name a new folder")


def fetch(package: str, folder: Path) -> Path:
    """Download a Debian package, ``name=version``, and unpack it. Returns where."""
    name = package.partition("=")[0]
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise FileNotFoundError("there is no apt-get or dpkg-deb here: run this on Debian 12, or in a container of it")
    folder.mkdir(exist_ok=True)
    root = folder / name
    try:
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, capture_output=True, text=True)
        (archive,) = folder.glob(f"{name}_*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, root], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip() or f"exit status {error.returncode}"
        advice = "run apt-get update first; Debian 12 (bookworm) has this version, other releases have others"
        raise OSError(f"the package {package} is not to be had: {said}\n{advice}") from error
    archive.unlink()
    return root


def packed(root: Path) -> list[Packed]:
    """The pictures in an unpacked package, those in Qt's resource files too."""
    found = []
    for path in sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink()):
        name = path.relative_to(root).as_posix()
        if path.suffix == ".rcc":
            for inside, content in resources(path.read_bytes()):
                if inside.lower().endswith(ENDINGS):
                    found.append(Packed(f"{name}:{inside}", partial(_open, content)))
        elif path.name == "face.dat":  # scipy's raccoon: bare pixels, packed
            face = partial(Image.frombytes, "RGB", (1024, 768), bz2.decompress(path.read_bytes()))
            found.append(Packed(name, face))
        elif path.suffix.lower() in ENDINGS:
            found.append(Packed(name, partial(Image.open, path)))
    return found


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files in a Qt resource file (rcc, versions 1 to 3), each with its path; zstd-packed ones are passed over."""
    magic, version, tree, contents, names = struct.unpack_from(">4s4I", data)
    if magic != b"qres" or version not in (1, 2, 3):
        raise ValueError(f"not a Qt resource file of version 1 to 3: it begins with {data[:8]!r}")
    entry = 14 if version == 1 else 22  # bytes: newer ones end in a date

    def walk(index: int, parent: str) -> Iterator[tuple[str, bytes]]:
        name_at, flags = struct.unpack_from(">IH", data, tree + entry * index)
        (length,) = struct.unpack_from(">H", data, names + name_at)
        start = names + name_at + 6  # behind the length and a hash
        path = f"{parent}/{data[start : start + 2 * length].decode('utf-16-be')}".lstrip("/")
        first, second = struct.unpack_from(">II", data, tree + entry * index + 6)
        if flags & 2:  # a folder: how many are in it, and the first of them
            for child in range(second, second + first):
                yield from walk(child, path)
        elif not flags & 4:
            (size,) = struct.unpack_from(">I", data, contents + second)
            content = data[contents + second + 4 : contents + second + 4 + size]
            yield path, zlib.decompress(content[4:]) if flags & 1 else content

    yield from walk(0, "")


def add_originals(written: Written, package: str, root: Path, bundled: Mapping[str, np.ndarray]) -> None:
    """Write the larger originals of the train split that are in this package."""
    pictures = packed(root)
    for row in attributions():
        if row["split"] != "train" or row["origin_package"].split()[0] != ORIGINALS[package]:
            continue
        copy = open_image(data_folder() / "photos" / row["file"]).convert("RGB")
        found = find_original(Path(row["file"]).stem, copy, pictures)
        if found is None:
            why = f"copied small, as {package} holds no original of {LARGER} times the size"
            written.left_out.setdefault(why, []).append(row["file"])
            continue
        path, original = found
        others = {file: thumb for file, thumb in bundled.items() if file != row["file"]}
        new = row | {"origin_package": package.replace("=", " "), "original": path}
        if _add(written, Path(row["file"]).stem, new, original, others):
            written.larger.add(row["file"])


def find_original(stem: str, copy: Image.Image, pictures: Sequence[Packed]) -> tuple[str, Image.Image] | None:
    """The picture that ``copy`` was made of: larger, of such a name, and with its pixels. None if there is none."""
    wanted = _plain(re.sub(r"_(\d|b)$", "", stem))
    for picture in pictures:
        name = _plain(Path(picture.path).stem)
        if len(name) < 3 or not (name in wanted or wanted in name):
            continue
        with picture.open() as image:
            if min(image.size) < LARGER * min(copy.size):
                continue
            original = open_image(image).convert("RGB")
        if pixel_difference(original, copy) < SAME:
            return picture.path, original
    return None


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9]", "", stem.lower())


def pixel_difference(original: Image.Image, copy: Image.Image) -> float:
    """The mean absolute difference, in grey levels, of ``copy`` and the original's middle made as small."""
    small = ImageOps.fit(original, copy.size, Image.Resampling.LANCZOS)
    return float(np.abs(np.asarray(small, float) - np.asarray(copy, float)).mean())


def add_photographs(written: Written, package: str, root: Path, bundled: Mapping[str, np.ndarray]) -> None:
    """Write the photographs of this package that `PHOTOGRAPHS` lists."""
    chosen = {f"{FOLDERS[package]}/{name}" for name, _, _ in PHOTOGRAPHS[package]}
    others = [picture.path for picture in packed(root) if picture.path not in chosen]
    why = f"left out of {package}, being drawings, renders or previews"
    written.left_out[why] = [path.removeprefix(f"{FOLDERS[package]}/") for path in others]
    for name, category, author in PHOTOGRAPHS[package]:
        path = f"{FOLDERS[package]}/{name}"
        stem = f"{package.partition('-')[0]}_{Path(name).parts[0].removesuffix('.jpg').lower()}"
        origin = {"origin_package": package.replace("=", " "), "original": path}
        row = {"split": "train", "scene": stem, "category": category, "licence": LICENCES[package], "author": author}
        _add(written, stem, row | origin, open_image(root / path).convert("RGB"), bundled)


def _add(written: Written, stem: str, row: Row, image: Image.Image, others: Mapping[str, np.ndarray]) -> bool:
    """Write a picture into train, unless it is like one of ``others``. Returns whether it did."""
    thumb = thumbnail(image)
    off, nearest = min((difference(thumb, other), file) for file, other in others.items())
    if off < NEAR:
        written.left_out.setdefault(f"left out, being too like {nearest} ({off:.2f})", []).append(row["original"])
        return False
    written.nearest.append((off, stem, nearest))
    note = "JPEG made anew"
    if min(image.size) > SHORT_SIDE:
        scale = SHORT_SIDE / min(image.size)
        width, height = (round(scale * side) for side in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
        note = "resized"
    file = file_name("train", stem)
    with warnings.catch_warnings(action="ignore"):  # it tells of each that JPEG changes pixels
        save_image(image, written.folder / file)
    size = {"width": str(image.width), "height": str(image.height)}
    written.rows.append(row | size | {"file": file, "note": note})
    return True


def thumbnail(image: Image.Image) -> np.ndarray:
    """``(32, 32, 3)``: an image made small, its mean subtracted, divided by its standard deviation."""
    small = np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BOX), float)
    return (small - small.mean()) / max(small.std(), 1e-6)


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """The mean absolute difference of two thumbnails: 0 for the same, up to about 1 for what has nothing in common."""
    return float(np.abs(a - b).mean())


def add_bundled(written: Written) -> None:
    """Copy the bundled val pictures, and those of train of which there is nothing larger."""
    for row in attributions():
        if row["split"] == "val" or (row["split"] == "train" and row["file"] not in written.larger):
            file = file_name(row["split"], Path(row["file"]).stem)
            shutil.copyfile(data_folder() / "photos" / row["file"], written.folder / file)
            written.rows.append(row | {"file": file, "original": ""})


def file_name(split: str, stem: str) -> str:
    """The first of split/stem.jpg, split/stem-2.jpg, … that `open_dataset` counts to that split, by a hash of it."""
    names = itertools.chain([f"{split}/{stem}.jpg"], (f"{split}/{stem}-{n}.jpg" for n in itertools.count(2)))
    return next(name for name in names if (lot(name)[0] < HELD_OUT) == (split == "val"))


def check_split(written: Written) -> None:
    """Whether `open_dataset` validates on the folder's val pictures and on no other."""
    found = open_dataset(str(written.folder), "val").names
    expected = sorted(row["file"] for row in written.rows if row["split"] == "val")
    if found != expected:
        raise AssertionError(f"open_dataset holds out {found}, not {expected}: has the way it chooses changed?")


def summary(written: Written) -> str:
    """How many pictures came from where, how large they are, what was left out and why, and what is most alike."""
    made = [row for row in written.rows if row["original"]]
    lines = [f"{n:4} from {package}" for package, n in Counter(row["origin_package"] for row in made).items()]
    splits = Counter(row["split"] for row in written.rows if not row["original"])
    lines += [f"{n:4} bundled, copied as they are, of {split}" for split, n in splits.items()]
    for why, names in written.left_out.items():
        lines += ["", f"{why}: {len(names)}", f"  {', '.join(names)}"]
    lines += [
        "",
        f"the nearest pairs of a picture made anew and another bundled one (0 is the same, left out below {NEAR}):",
    ]
    lines += [f"  {off:.2f}  {name} and {other}" for off, name, other in sorted(written.nearest)[:10]]
    sides = np.array([min(int(row["width"]), int(row["height"])) for row in written.rows if row["split"] == "train"])
    size = sum(path.stat().st_size for path in written.folder.rglob("*.jpg")) / 1e6
    shorts = f"short side {sides.min()} to {sides.max()} pixels, median {np.median(sides):.0f}"
    lines += ["", f"{written.folder}: {len(sides)} pictures to learn from ({shorts}); {size:.0f} MB in all"]
    return "\n".join(lines)
