"""How well holes are filled, band by band, under one protocol that is written down with every result.

Each picture is resized to a short side and gets one seeded random mask per band. The filled picture is composited with
the known pixels, rounded to 8 bit, and compared inside the hole and as a whole. Results are a CSV file under a first
line that holds the protocol as JSON: ``pandas.read_csv(path, skiprows=1)``.
"""

import hashlib
import io
import json
import os
import uuid
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from misf_lite.classical import Fill
from misf_lite.datasets import Pictures, load_photo
from misf_lite.device import device
from misf_lite.features import Features
from misf_lite.files import atomic_write, check_target, locked, naming
from misf_lite.masks import BANDS, is_hole, random_mask
from misf_lite.metrics import ENOUGH, feature_distance, gradient_energy, l1, open_frechet, open_lpips, psnr, ssim

BEGINNING = b'# {"protocol": '  # of every file of results
METRICS = ("psnr", "ssim", "l1", "efflite1", "gradients", "lpips")
NOTHING = "nothing to evaluate: give at least one method and one picture"


@dataclass(frozen=True)
class Protocol:
    """What has to be the same before two numbers may stand in one table."""

    data: str  # which pictures, in words
    pictures: int  # how many
    names: str  # a hash of their names, in order
    contents: str  # a hash of what they are, see `Pictures.contents`
    size: int = 128  # short side in pixels
    kind: str = "strokes"  # of masks; picture i has in band b random_mask(…, BANDS[b], kind, seed + 1000·b + i)
    seed: int = 0
    bands: tuple[tuple[float, float], ...] = BANDS  # shares of hole
    resize: str = "short side, Pillow Lanczos"
    hole: str = "mask of 0 and 1, composited"
    rounding: str = "8 bit"

    @classmethod
    def of(cls, pictures: Pictures, count: int | None = None, **changes: Any) -> "Protocol":
        """The protocol for the first ``count`` of these pictures, or for all."""
        names = pictures.names[:count]
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
        return cls(pictures.what, len(names), digest, pictures.contents(count), **changes)


def describe(protocol: Mapping[str, Any]) -> str:
    """A head's protocol in one line."""
    return "{pictures} {data}, short side {size}, {kind}, seed {seed}".format(**protocol)


def open_metrics(names: Sequence[str]) -> Callable[[Tensor, Tensor, Tensor], dict[str, float]]:
    """A function of the filled picture, the real one and the mask that gives every metric of one picture.

    Each of the whole picture and, as ``NAME_hole``, of the hole alone; LPIPS of the whole only. Raises ValueError for
    an unknown name, and what `Features` and `open_lpips` raise.
    """
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}: choose some of {', '.join(METRICS)}")
    functions: dict[str, Callable[..., Tensor]] = {"psnr": psnr, "ssim": ssim, "l1": l1, "gradients": gradient_energy}
    if "efflite1" in names:
        functions["efflite1"] = partial(feature_distance, Features("efflite1").to(device()))
    if "lpips" in names:
        functions["lpips"] = open_lpips().to(device())

    def values(filled: Tensor, image: Tensor, mask: Tensor) -> dict[str, float]:
        result = {}
        for name in names:
            result[name] = functions[name](filled, image).item()
            if name != "lpips":
                result[f"{name}_hole"] = functions[name](filled, image, mask).item()
        return result

    return values


def holes(image: Tensor, index: int, kind: str = "strokes", seed: int = 0) -> Iterator[tuple[int, Tensor]]:
    """The masks of `Protocol` for picture number ``index``: band and mask ``(1, 1, H, W)``."""
    for b, band in enumerate(BANDS):
        yield b, random_mask(tuple(image.shape[2:]), band, kind, seed + 1000 * b + index).to(image.device)


def fill_hole(fill: Fill, image: Tensor, mask: Tensor) -> Tensor:
    """What a method makes of a hole, without looking under it: known pixels are kept, and all are rounded to 8 bit."""
    hole = is_hole(mask)
    filled = torch.where(hole, fill(image.masked_fill(hole, 0), mask), image)
    if not filled.isfinite().all():
        raise FloatingPointError("a method has filled a hole with values that are not finite: leave it out")
    return eight_bit(filled)


def eight_bit(image: Tensor) -> Tensor:
    return (image * 255).round() / 255


@torch.no_grad()
def evaluate(
    methods: Mapping[str, Fill], images: Iterable[Tensor], *, kind: str = "strokes", seed: int = 0
) -> dict[str, list[dict[str, float]]]:
    """For each method and band the means of ``psnr`` and ``psnr_hole``, in decibels, and of ``ssim``.

    Args:
        methods: name -> function of image ``(1, 3, H, W)`` and mask ``(1, 1, H, W)`` that returns the filled image.
        images: each ``(1, 3, H, W)`` in [0, 1], with one hole per band. kind, seed: the masks, see `Protocol`.
    """
    measure_one = open_metrics(("psnr", "ssim"))
    rows = []
    for i, image in enumerate(images):
        image = eight_bit(image)
        for band, mask in holes(image, i, kind, seed):
            for method, fill in methods.items():
                values = measure_one(fill_hole(fill, image, mask), image, mask)
                rows.append({"method": method, "band": band, **values})
    if not rows:
        raise ValueError(NOTHING)
    means = pd.DataFrame(rows).groupby(["method", "band"])[["psnr", "psnr_hole", "ssim"]].mean()
    return {method: means.loc[method].to_dict("records") for method in methods}


class Results:
    """A table of measurements, one row per method, band and picture, on disk from the first row on.

    Each process appends its rows to a journal of its own beside the file; `finish` sorts them into the file. A run that
    was killed continues where its journals end.

    Args:
        path: the CSV file; None keeps the rows in memory alone.
        methods: name -> what it is (a hash of its weights, say), so that no two methods share a name.
        anew: begin anew. What is there, results or not, stays until `finish` replaces it.

    Raises:
        OSError: as `check_target`. ValueError: the file holds no results, or those of other pictures, or of another
            protocol, metric or method.
    """

    def __init__(
        self, path: Path | None, protocol: Protocol, metrics: Sequence[str], methods: dict[str, str], anew: bool = False
    ) -> None:
        self.path = path
        self.protocol = protocol
        self.ignored: set[Path] = set()
        head = {"protocol": asdict(protocol), "metrics": metrics, "methods": methods}
        self.head: dict[str, Any] = json.loads(json.dumps(head))  # as it comes back from a file
        self.rows: dict[tuple[str, int, str], dict[Any, Any]] = {}
        if self.path:
            check_target(self.path, overwrite=True)
            self.journal = self.path.with_name(f".{self.path.name}.journal-{uuid.uuid4().hex}")
            if anew:
                self.ignored = {self.path, *journals(self.path)}
            self._collect(self.path)

    def _collect(self, path: Path) -> None:
        """The rows of the file and of all journals, if they belong here."""
        for part in [path, *journals(path)]:
            if part in self.ignored or is_begun(part):
                continue
            head, rows = read_results(part)
            self._compare(head, part)
            self.head = head | self.head  # with its Fréchet distances, if it has any
            for row in rows.to_dict("records"):
                self.rows[row["method"], row["band"], row["picture"]] = row

    def _compare(self, head: dict[str, Any], path: Path) -> None:
        """Its methods join ours. Raises ValueError where it is the head of something else."""
        otherwise = "write to another file, or measure all anew with --force"
        if path != self.path:
            otherwise = f"delete it, it is of an unfinished run, or {otherwise}"
        ours = {**self.head["protocol"], "metrics": self.head["metrics"]}
        theirs = {"contents": "unknown", **head["protocol"], "metrics": head["metrics"]}
        differ = {k: f"{k} is {theirs.get(k)!r} there and {v!r} here" for k, v in ours.items() if theirs.get(k) != v}
        if differ:
            only_pictures = differ.keys() <= {"names", "contents"}
            what = "was measured on other pictures" if only_pictures else "has another protocol"
            raise ValueError(f"{path} {what} ({', '.join(differ.values())}): {otherwise}")
        for name, what in head["methods"].items():
            here = self.head["methods"].setdefault(name, what)
            if here != what:
                difference = f"another {name!r} ({what} there, {here} here)"
                raise ValueError(f"{path} holds {difference}: {otherwise}, or give it another name")

    def add(self, row: dict[str, Any]) -> None:
        """Keep a row, on disk at once."""
        self.rows[row["method"], row["band"], row["picture"]] = row
        if self.path:
            with naming(self.path), self.journal.open("a", newline="", encoding="utf-8") as file:
                text = self._text(pd.DataFrame([row]))
                file.write(text.split("\n", 2)[2] if file.tell() else text)  # two lines of head come once

    def table(self) -> pd.DataFrame:
        """All rows as `read_results` gives them: by method (in the order of their names), band and picture."""
        return pd.DataFrame([self.rows[key] for key in sorted(self.rows)])

    def finish(self) -> None:
        """Write all rows into the file, in order, with those of the other processes, and delete the journals."""
        if not self.path:
            return
        with locked(self.path):  # another evaluation may write its rows, too
            self._collect(self.path)
            with atomic_write(self.path, overwrite=True) as file:
                file.write(self._text(self.table()).encode())
            for journal in journals(self.path):
                journal.unlink()
            self.ignored.clear()  # from now on the file holds our own rows

    def _text(self, rows: pd.DataFrame) -> str:
        head = self.head | {"methods": dict(sorted(self.head["methods"].items()))}
        table = rows.to_csv(None, index=False, na_rep="nan", lineterminator="\n")
        return f"# {json.dumps(head, ensure_ascii=False)}\n{table}"


def read_results(path: str | os.PathLike[str]) -> tuple[dict[str, Any], pd.DataFrame]:
    """The head and the rows of a results file, as far as they were written: a crash may leave a torn line, or zeros.

    The head has ``protocol``, ``metrics``, ``methods`` and perhaps ``frechet``; the table has the columns ``method``,
    ``band`` (a number), ``picture``, ``hole`` (its share of the picture) and the metrics. Raises ValueError for a file
    that is none, or is damaged.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        first, _, rest = text[: text.rfind("\n") + 1].partition("\n")
        head = json.loads(first.removeprefix("# "))
        head["protocol"], head["metrics"], head["methods"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results: its first line is no protocol; name one of evaluate -o") from error
    written = [line for line in rest.split("\n") if "\0" not in line]
    try:
        table = io.StringIO("\n".join(written).strip() or "method,band,picture")
        rows = pd.read_csv(table, dtype=str, keep_default_na=False).dropna()  # of what is torn off
        numbers = [column for column in rows if column not in ("method", "picture")]
        return head, rows.astype(dict.fromkeys(numbers, float)).astype({"band": int})
    except (ValueError, KeyError) as error:
        raise ValueError(f"{path} is damaged ({error}): bring back a copy, or delete it and measure anew") from error


def is_begun(path: Path) -> bool:
    """Whether nothing is there yet but, at most, a part of the first line."""
    if not path.exists():
        return True
    start = path.read_bytes()
    return b"\n" not in start and (start.startswith(BEGINNING) or BEGINNING.startswith(start.rstrip(b"\0")))


def journals(path: Path) -> list[Path]:
    """What unfinished runs have left beside their file."""
    return sorted(path.parent.glob(f".{path.name}.journal-*"))


def fingerprint(path: str | os.PathLike[str]) -> str:
    """What weights are, to the bit."""
    return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}"


@torch.no_grad()
def measure(
    methods: Mapping[str, Fill], pictures: Pictures, results: Results, rank: int = 0, processes: int = 1
) -> None:
    """What `evaluate` does, on the `device`, for as many pictures as the protocol says; values that are there stay.

    Of ``processes`` that share the work each takes every n-th picture, from its ``rank`` on.
    """
    protocol = results.protocol
    if not methods or not protocol.pictures:
        raise ValueError(NOTHING)
    measure_one = open_metrics(results.head["metrics"])
    bands_done = Counter((method, picture) for method, _, picture in results.rows)
    for i in tqdm(range(rank, protocol.pictures, processes), "pictures", leave=False, disable=rank > 0 or None):
        name = pictures.names[i]
        missing = {method: fill for method, fill in methods.items() if bands_done[method, name] < len(BANDS)}
        if not missing:
            continue
        image = eight_bit(load_photo(pictures[i], protocol.size).to(device()))
        for band, mask in holes(image, i, protocol.kind, protocol.seed):
            for method, fill in missing.items():
                values = measure_one(fill_hole(fill, image, mask), image, mask)
                row = {"method": method, "band": band, "picture": name, "hole": round(mask.mean().item(), 4)}
                results.add(row | {metric: round(value, 5) for metric, value in values.items()})


@torch.no_grad()
def measure_sets(methods: Mapping[str, Fill], pictures: Pictures, results: Results) -> None:
    """The Fréchet distance of each method's filled pictures from the real ones, by band, into the results' head.

    Where they are too few, it is left out with a warning.
    """
    protocol = results.protocol
    if protocol.pictures < ENOUGH:
        few = f"{protocol.pictures} pictures are too few for a Fréchet distance, which takes {ENOUGH}"
        warnings.warn(few, stacklevel=2)
        return
    done = results.head.setdefault("frechet", {})
    features = Features("efflite1").to(device())
    for method in [name for name in methods if name not in done]:
        distances = [open_frechet(features).to(device()) for _ in BANDS]
        for i in tqdm(range(protocol.pictures), f"Fréchet distance, {method}", leave=False, disable=None):
            image = eight_bit(load_photo(pictures[i], protocol.size).to(device()))
            for band, mask in holes(image, i, protocol.kind, protocol.seed):
                distances[band].update(image, real=True)
                distances[band].update(fill_hole(methods[method], image, mask), real=False)
        done[method] = [round(distance.compute().item(), 5) for distance in distances]
