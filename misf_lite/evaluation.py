"""How well holes are filled, band by band, under one protocol that is written down with every result.

Each picture is resized to a short side (`load_photo`) and given one seeded random mask per band; the filled picture is
composited with the known pixels, rounded to 8 bit, and compared inside the hole and as a whole.

Results are a CSV file whose first line, a comment, holds the protocol as JSON: pandas reads it with ``comment="#"``.
"""

import csv
import hashlib
import io
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from misf_lite.datasets import load_photo
from misf_lite.images import Source
from misf_lite.losses import Features
from misf_lite.masks import BANDS, random_mask
from misf_lite.metrics import ENOUGH, feature_distance, l1, open_frechet, open_lpips, psnr, ssim

Method = Callable[[Tensor, Tensor], Tensor]
Measure = Callable[[Tensor, Tensor, Tensor], dict[str, float]]

METRICS = ("psnr", "ssim", "l1", "efflite", "lpips")
RESAMPLES = 10_000


@dataclass(frozen=True)
class Protocol:
    """What has to be the same before two numbers may stand in one table.

    Attributes:
        data: which pictures, in words. pictures: how many. names: a hash of their names in order.
        size: short side in pixels.
        kind, seed: the masks; picture i in band b gets ``random_mask(…, BANDS[b], kind, seed + 1000·b + i)``.
        bands: shares of hole.
        resize, hole, rounding: the rules.
    """

    data: str
    pictures: int
    names: str
    size: int = 128
    kind: str = "strokes"
    seed: int = 0
    bands: tuple[tuple[float, float], ...] = BANDS
    resize: str = "short side, Pillow Lanczos"
    hole: str = "mask of 0 and 1, composited"
    rounding: str = "8 bit"

    @classmethod
    def of(cls, data: str, pictures: Iterable[str], **changes) -> "Protocol":
        """The protocol for pictures of these names."""
        names = list(pictures)
        return cls(data, len(names), hashlib.sha256("\n".join(names).encode()).hexdigest()[:12], **changes)


def open_metrics(names: Sequence[str], device: torch.device) -> Measure:
    """A function of the filled picture, the real one and the mask, one picture at a time, that gives every metric.

    Of each the value of the whole picture and, as ``NAME_hole``, of the hole alone; LPIPS is of the whole only.

    Raises:
        ValueError: an unknown name. ImportError, FileNotFoundError: what EffLite or LPIPS need is missing.
    """
    for name in names:
        if name not in METRICS:
            raise ValueError(f"unknown metric {name!r}: choose some of {', '.join(METRICS)}")
    efflite = Features("efflite").to(device) if "efflite" in names else None
    functions = {
        "psnr": psnr,
        "ssim": ssim,
        "l1": l1,
        "efflite": lambda *pictures: feature_distance(efflite, *pictures),
        "lpips": open_lpips() if "lpips" in names else None,
    }

    def measure(filled: Tensor, image: Tensor, mask: Tensor) -> dict[str, float]:
        values = {}
        for name in names:
            values[name] = functions[name](filled, image).item()
            if name != "lpips":
                values[f"{name}_hole"] = functions[name](filled, image, mask).item()
        return values

    return measure


def holes(image: Tensor, index: int, kind: str, seed: int) -> Iterator[tuple[int, Tensor]]:
    """The protocol's masks for one picture: band number and mask ``(1, 1, H, W)``."""
    for b, band in enumerate(BANDS):
        yield b, random_mask(tuple(image.shape[2:]), band, kind, seed + 1000 * b + index).to(image.device)


def composite(fill: Method, image: Tensor, mask: Tensor) -> Tensor:
    """One method on one hole, which it cannot peek under: composited, and rounded to 8 bit."""
    filled = torch.where(mask > 0, fill(image * (1 - mask), mask), image)
    return (filled * 255).round() / 255


def score(fill: Method, image: Tensor, mask: Tensor, measure: Measure) -> dict[str, float]:
    """The same, measured. The image is of 8 bit."""
    return measure(composite(fill, image, mask), image, mask)


@torch.no_grad()
def evaluate(
    methods: dict[str, Method], images: Iterable[Tensor], *, kind: str = "strokes", seed: int = 0
) -> dict[str, list[dict[str, float]]]:
    """Fill one hole per picture and band with every method, and take the means.

    Args:
        methods: name -> function of image ``(1, 3, H, W)`` and mask ``(1, 1, H, W)`` that returns the filled image.
        images: each ``(1, 3, H, W)`` in [0, 1].
        kind, seed: the masks, see `Protocol`.

    Returns:
        For each method, one row per band: ``psnr`` of the whole picture and ``psnr_hole`` inside the hole, in
        decibels, and ``ssim`` of the whole picture, each the mean over the pictures.
    """
    names = ("psnr", "psnr_hole", "ssim")

    def measure(filled: Tensor, image: Tensor, mask: Tensor) -> dict[str, float]:
        values = psnr(filled, image), psnr(filled, image, mask), ssim(filled, image)
        return {name: value.item() for name, value in zip(names, values, strict=True)}

    scores = {name: [[] for _ in BANDS] for name in methods}
    for i, image in enumerate(images):
        image = (image * 255).round() / 255
        for b, mask in holes(image, i, kind, seed):
            for name, fill in methods.items():
                scores[name][b].append(score(fill, image, mask, measure))
    if not scores or not all(bands[0] for bands in scores.values()):
        raise ValueError("nothing to evaluate: give at least one method and one image")
    return {
        name: [{key: float(np.mean([row[key] for row in rows])) for key in names} for rows in bands]
        for name, bands in scores.items()
    }


class Results:
    """A table of measurements, one row per method, band and picture, on disk from the first row on.

    Rows are appended to a journal beside the file, and each process has its own. When all is measured, `finish` sorts
    them into the file. A run that was killed goes on where its journals end.

    Args:
        path: the CSV file; None keeps the rows in memory alone.
        protocol, metrics: what the rows are measured by.
        methods: name -> what it is (a hash of its weights, say), so that no two methods share a name.
        rank: the number of this process.

    Raises:
        FileNotFoundError: there is no folder for the file.
        ValueError: it holds results of another protocol, of other metrics, or of another method of that name.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        protocol: Protocol,
        metrics: Sequence[str],
        methods: Mapping[str, str],
        rank: int = 0,
    ) -> None:
        self.path, self.rows, self.rank = path and Path(path), {}, rank
        self.head = {"protocol": json.loads(json.dumps(asdict(protocol))), "metrics": list(metrics)}
        self.methods = dict(methods)
        if self.path and not self.path.parent.is_dir():
            raise FileNotFoundError(
                f"{self.path} cannot be written: there is no folder {self.path.parent}; make it first"
            )
        if self.path:
            if self._journal.exists():  # a line that was torn off must not run into the next
                whole = self._journal.read_bytes()
                os.truncate(self._journal, whole.rfind(b"\n") + 1)
            for part in [self.path, *self._journals()]:
                self._take(part)

    @property
    def _journal(self) -> Path:
        return self.path.with_name(f".{self.path.name}.journal-{self.rank}")

    def _journals(self) -> list[Path]:
        return sorted(self.path.parent.glob(f".{self.path.name}.journal-*"))

    def _take(self, part: Path) -> None:
        if not part.exists() or b"\n" not in part.read_bytes():
            return
        head, rows = read_results(part)
        _same(self.head["protocol"], head["protocol"], f"{self.path} was measured under another protocol")
        _same(
            {"metrics": self.head["metrics"]},
            {"metrics": head["metrics"]},
            f"{self.path} was measured in other metrics",
        )
        for name, what in head["methods"].items():
            if self.methods.setdefault(name, what) != what:
                raise ValueError(
                    f"{self.path} holds another {name!r} ({what} there, {self.methods[name]} here): "
                    "write to another file, or give it another name"
                )
        if "frechet" in head:
            self.head["frechet"] = head["frechet"]
        self.rows |= {_key(row): row for row in rows}

    def add(self, row: dict) -> None:
        """Keep a row, on disk at once."""
        self.rows[_key(row)] = row
        if self.path:
            with self._journal.open("a", newline="", encoding="utf-8") as file:
                text = self._text([row])
                file.write(text.split("\n", 2)[2] if file.tell() else text)  # the head comes once

    def finish(self) -> None:
        """All rows, in order, to a temporary name and then to the file; the journals go."""
        if self.path:
            for journal in self._journals():  # of the other processes
                self._take(journal)
            part = self.path.with_name(f".{self.path.name}.part")
            part.write_text(self._text(self.table()), encoding="utf-8")
            part.replace(self.path)
            for journal in self._journals():
                journal.unlink()

    def table(self) -> list[dict]:
        """All rows, by method (in the order of their names), band and picture."""
        return [self.rows[key] for key in sorted(self.rows)]

    def _text(self, rows: Sequence[dict]) -> str:
        file = io.StringIO()
        head = self.head | {"methods": dict(sorted(self.methods.items()))}
        file.write(f"# {json.dumps(head, ensure_ascii=False)}\n")
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return file.getvalue()


def _key(row: dict) -> tuple[str, int, str]:
    return row["method"], row["band"], row["picture"]


def fingerprint(path: str | os.PathLike) -> str:
    """What weights are, to the bit: the beginning of their file's hash."""
    return f"sha256 {hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]}"


def _same(ours: dict, theirs: dict, sentence: str) -> None:
    differ = [key for key in ours | theirs if ours.get(key) != theirs.get(key)]
    if differ:
        listed = ", ".join(f"{key} is {theirs.get(key)!r} there and {ours.get(key)!r} here" for key in differ)
        raise ValueError(f"{sentence} ({listed}): such numbers do not belong in one table; write to another file")


def read_results(path: str | os.PathLike) -> tuple[dict, list[dict]]:
    """The protocol (with metrics and methods) and the rows of a results file.

    Returns:
        A dict with ``protocol``, ``metrics``, ``methods``; and rows of ``method``, ``band`` (a number), ``picture``,
        ``hole`` (its share of the picture) and the metrics. A last line that was torn off is left out.

    Raises:
        ValueError: not such a file.
    """
    text = Path(path).read_text(encoding="utf-8")
    first, _, rest = text[: text.rfind("\n") + 1].partition("\n")
    try:
        head = json.loads(first.removeprefix("# "))
        head["protocol"], head["metrics"], head["methods"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no results: its first line is no protocol; name a file of evaluate -o"
        ) from error
    rows = list(csv.DictReader(io.StringIO(rest)))
    words = ("method", "picture")
    return head, [{k: v if k in words else int(v) if k == "band" else float(v) for k, v in row.items()} for row in rows]


@torch.no_grad()
def measure(
    methods: Mapping[str, Method],
    pictures: Mapping[str, Source],
    results: Results,
    device: torch.device | str = "cpu",
    processes: int = 1,
) -> None:
    """Fill one hole per picture and band with every method, and add each value to the results that is not there yet.

    Args:
        methods: name -> function of image ``(1, 3, H, W)`` and mask ``(1, 1, H, W)`` that returns the filled image.
        pictures: name -> what `load_photo` takes.
        processes: how many share the work; each does every so-manieth picture, from ``results.rank`` on.
    """
    if not methods or not pictures:
        raise ValueError("nothing to evaluate: give at least one method and one picture")
    protocol, values = results.head["protocol"], open_metrics(results.head["metrics"], torch.device(device))
    mine = list(enumerate(pictures.items()))[results.rank :: processes]
    todo = [
        (i, name, source)
        for i, (name, source) in mine
        if any((method, b, name) not in results.rows for method in methods for b in range(len(BANDS)))
    ]
    for i, name, source in tqdm(todo, "pictures", leave=False, disable=None if results.rank == 0 else True):
        image = load_photo(source, protocol["size"]).to(device)
        image = (image * 255).round() / 255
        for b, mask in holes(image, i, protocol["kind"], protocol["seed"]):
            for method, fill in methods.items():
                if (method, b, name) not in results.rows:
                    row = {"method": method, "band": b, "picture": name, "hole": round(mask.mean().item(), 4)}
                    measured = score(fill, image, mask, values)
                    results.add(row | {key: round(value, 5) for key, value in measured.items()})


@torch.no_grad()
def measure_sets(
    methods: Mapping[str, Method], pictures: Mapping[str, Source], results: Results, device: torch.device | str = "cpu"
) -> None:
    """The Fréchet distance of each method's filled pictures from the real ones, by band, into the results' head.

    It belongs to all pictures together: it has no place in the rows, and no standard error. Where the pictures are too
    few for it, it is left out with a warning.
    """
    if len(pictures) < ENOUGH:
        warnings.warn(
            f"{len(pictures)} pictures are too few for a Fréchet distance, which takes {ENOUGH}", stacklevel=2
        )
        return
    protocol, features = results.head["protocol"], Features("efflite").to(device)
    done = results.head.setdefault("frechet", {})
    todo = {name: [open_frechet(features).to(device) for _ in BANDS] for name in methods if name not in done}
    needed = pictures.values() if todo else ()  # a file may hold them all
    for i, source in enumerate(tqdm(needed, "Fréchet distance", leave=False, disable=None)):
        image = load_photo(source, protocol["size"]).to(device)
        for b, mask in holes(image, i, protocol["kind"], protocol["seed"]):
            for name, distances in todo.items():
                distances[b].update(image, real=True)
                distances[b].update(composite(methods[name], image, mask), real=False)
    for name, distances in todo.items():
        done[name] = [round(distance.compute().item(), 5) for distance in distances]


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and its standard error: the sample's standard deviation / √n."""
    x = np.asarray(values, float)
    return float(x.mean()), float(x.std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else math.nan


def bootstrap(differences: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean of paired differences, by drawing the pictures anew, with replacement.

    (Efron & Tibshirani 1993, percentile interval, 10,000 resamples.) What it tells is the chance in the choice of
    pictures; a network that is trained again differs as well, and that is another matter.
    """
    x = np.asarray(differences, float)
    draws = np.random.default_rng(seed).integers(len(x), size=(RESAMPLES, len(x)))
    low, high = np.quantile(x[draws].mean(1), (0.025, 0.975))
    return float(low), float(high)


def summarise(rows: Sequence[dict], metric: str, baseline: str | None = None) -> dict[str, list[dict[str, float]]]:
    """Means of one metric by method and band.

    Args:
        rows: of `read_results`, all of one protocol.
        baseline: a method to compare the others with, picture by picture.

    Returns:
        For each method, one dict per band: ``n``, ``mean``, ``error`` (standard error), and with a baseline
        ``difference``, ``low``, ``high`` (its `bootstrap` interval). Values that are not finite (the SSIM of a hole in
        the border, the PSNR of a perfect copy) are left out of ``n``.

    Raises:
        ValueError: there is no such metric or baseline in the rows.
    """
    if not rows or metric not in rows[0]:
        known = ", ".join(k for k in (rows[0] if rows else {}) if k not in ("method", "band", "picture"))
        raise ValueError(f"there is no {metric!r} in these results; there are {known or 'none'}")
    values: dict[str, list[dict[str, float]]] = {}
    for row in rows:
        bands = values.setdefault(row["method"], [{} for _ in BANDS])
        if math.isfinite(row[metric]):
            bands[row["band"]][row["picture"]] = row[metric]
    if baseline is not None and baseline not in values:
        raise ValueError(f"there is no method {baseline!r} to compare with; there are {', '.join(values)}")
    table = {}
    for method, bands in values.items():
        table[method] = []
        for b, band in enumerate(bands):
            mean, error = mean_and_error(list(band.values())) if band else (math.nan, math.nan)
            cell = {"n": len(band), "mean": mean, "error": error}
            if baseline is not None:
                other = values[baseline][b]
                pairs = [band[picture] - other[picture] for picture in band if picture in other]
                low, high = bootstrap(pairs) if pairs else (math.nan, math.nan)
                cell |= {"difference": float(np.mean(pairs)) if pairs else math.nan, "low": low, "high": high}
            table[method].append(cell)
    return table


def one_table(paths: Sequence[str | os.PathLike]) -> tuple[dict, list[dict]]:
    """The rows of several results files, and the head they share.

    Raises:
        ValueError: they were measured under different protocols, or give one name to two methods.
    """
    (head, rows), *others = [read_results(path) for path in paths]
    table = {_key(row): row for row in rows}
    for path, (other, more) in zip(paths[1:], others, strict=True):
        _same(head["protocol"], other["protocol"], f"{path} was measured under another protocol than {paths[0]}")
        for name in other["methods"].keys() & head["methods"].keys():
            if head["methods"][name] != other["methods"][name]:
                raise ValueError(f"{path} holds another {name!r} than {paths[0]}: give it another name")
        head["metrics"] = [metric for metric in head["metrics"] if metric in other["metrics"]]
        head["methods"] |= other["methods"]
        for row in more:
            table.setdefault(_key(row), row)
    return head, list(table.values())


def discard(path: Path) -> None:
    """Forget the results in a file, and those of its interrupted run."""
    for part in [path, *path.parent.glob(f".{path.name}.journal-*")]:
        part.unlink(missing_ok=True)


TITLES = {"psnr": "PSNR{}, dB", "ssim": "SSIM{}", "l1": "L1{}, %", "efflite": "EffLite distance{}", "lpips": "LPIPS{}"}


def describe(protocol: dict) -> str:
    """The protocol in one line."""
    return "{pictures} {data}, short side {size}, {kind}, seed {seed}".format(**protocol)


def columns(rows: Sequence[dict], metrics: Sequence[str]) -> list[str]:
    """Each metric in the hole, where there is such a one, and of the whole picture."""
    return [key for metric in metrics for key in (f"{metric}_hole", metric) if key in rows[0]]


def title(column: str) -> str:
    return TITLES[column.removesuffix("_hole")].format(" in the hole" * column.endswith("_hole"))


def mean_text(cell: dict[str, float], column: str) -> str:
    """A cell of `summarise`: mean ± standard error."""
    digits = _digits(column)
    return f"{cell['mean']:.{digits}f} ± {cell['error']:.{digits}f}"


def difference_text(cell: dict[str, float], column: str = "psnr_hole") -> str:
    """The same: difference to the baseline [95 % interval]."""
    digits = _digits(column)
    return f"{cell['difference']:+.{digits}f} [{cell['low']:+.{digits}f}, {cell['high']:+.{digits}f}]"


def _digits(column: str) -> int:
    return 2 if column.startswith(("psnr", "l1")) else 3


def show(rows: Sequence[dict], head: dict, methods: Sequence[str], baseline: str | None = None) -> str:
    """The means of all metrics as text, the methods in the order given. Rows and head as of `one_table`."""

    def text(name: str, cell: dict[str, float], column: str) -> str:
        mean = mean_text(cell, column)
        return mean if baseline in (None, name) else f"{mean}; {difference_text(cell, column)}"

    tables = {
        title(column): {
            name: [text(name, cell, column) for cell in cells]
            for name, cells in summarise(rows, column, baseline).items()
        }
        for column in columns(rows, head["metrics"])
    }
    if "frechet" in head:
        tables["Fréchet distance"] = {
            name: [f"{distance:.1f}" for distance in head["frechet"].get(name, [math.nan] * len(BANDS))]
            for name in methods
        }
    first = max(map(len, [*tables, *methods]))
    others = 2 + max(len(cell) for table in tables.values() for cells in table.values() for cell in cells)
    lines = ["mean ± standard error" + f"; difference to {baseline} [95 % bootstrap interval]" * bool(baseline)]
    for heading, table in tables.items():
        lines += ["", f"{heading:{first}}" + "".join(f"{f'{low:.0%} to {high:.0%}':>{others}}" for low, high in BANDS)]
        lines += [f"{name:{first}}" + "".join(f"{cell:>{others}}" for cell in table[name]) for name in methods]
    return "\n".join(lines)
