"""What tables of measurements say: means, differences and how much of them is chance; and the same as text.

``rows`` (and ``head``) are as `misf_lite.evaluation.read_results` gives them: a row per method, band and picture.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy.stats
from numpy.typing import ArrayLike

from misf_lite.masks import BANDS

RESAMPLES = 10_000
LABELS = [f"{low:.0%} to {high:.0%}" for low, high in BANDS]
TITLES = {
    "psnr": "PSNR{}, dB",
    "ssim": "SSIM{}",
    "l1": "L1{}, %",
    "efflite": "EffLite0 distance{}",  # of older results: what training looks through is no judge
    "efflite1": "EffLite distance{}",
    "gradients": "Gradient energy{}",
    "lpips": "LPIPS{}",
}


def summarise(rows: pd.DataFrame, metric: str = "psnr_hole", baseline: str | None = None) -> pd.DataFrame:
    """Means of one metric by method and band; with a baseline, compared with that method picture by picture.

    The table has the index ``(method, band)``, sorted, and the columns ``n``, ``mean``, ``error`` (the mean's standard
    error), and with a baseline ``difference``, ``low``, ``high`` (its `bootstrap` interval). Values that are not finite
    (the SSIM of a hole at the border, the PSNR of a perfect copy) are left out of ``n``. Raises ValueError if the rows
    have no such metric or baseline.
    """
    if rows.empty or metric not in rows:
        known = ", ".join(rows.columns.drop(["method", "band", "picture"], errors="ignore"))
        raise ValueError(f"there is no {metric!r} in these results; there are {known or 'none'}")
    methods = rows["method"].unique()
    if baseline not in (None, *methods):
        raise ValueError(f"there is no method {baseline!r} to compare with; there are {', '.join(methods)}")
    values = rows.pivot(index=["method", "band"], columns="picture", values=metric)
    values = values.where(np.isfinite(values))
    table = pd.DataFrame({"n": values.count(axis=1), "mean": values.mean(axis=1), "error": values.sem(axis=1)})
    if baseline is not None:
        for method, band in table.index:
            paired = (values.loc[method, band] - values.loc[baseline, band]).dropna()
            table.loc[(method, band), ["difference", "low", "high"]] = [paired.mean(), *bootstrap(paired)]
    return table


def bootstrap(differences: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean of paired differences: the pictures are drawn anew, with replacement.

    (Efron & Tibshirani 1993, percentile interval, 10,000 resamples.) It tells the chance in the choice of pictures. A
    network that is trained again differs as well: see `bootstrap_seeds`.
    """
    x = np.asarray(differences, float)
    if len(x) < 2:
        return (x[0], x[0]) if len(x) else (np.nan, np.nan)
    batch = 10**7 // len(x)  # at most 80 MB
    result = scipy.stats.bootstrap((x,), np.mean, n_resamples=RESAMPLES, batch=batch, method="percentile", rng=seed)
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def bootstrap_seeds(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """As `bootstrap`, for ``(seeds, pictures)`` each: pictures are drawn anew in pairs, and so are each side's seeds.

    Of n seeds n - 1 are drawn, which makes up for there being few of them (Rao & Wu 1988).
    """
    rng = np.random.default_rng(0)

    def weights(n: int, drawn: int) -> np.ndarray:  # how much each of n counts, (RESAMPLES, n)
        return rng.multinomial(drawn, np.full(n, 1 / n), size=RESAMPLES) / drawn

    a, b = (weights(len(side), max(1, len(side) - 1)) @ side for side in (ours, theirs))  # (RESAMPLES, pictures)
    differences = ((a - b) * weights(ours.shape[1], ours.shape[1])).sum(1)
    low, high = np.quantile(differences, (0.025, 0.975))
    return float(low), float(high)


def cubes(rows: pd.DataFrame, metric: str = "psnr_hole") -> dict[str, np.ndarray]:
    """For methods called NAME/SEED, each name's values as ``(seeds, bands, pictures)``, the pictures in one order."""
    table = rows.pivot(index=["method", "band"], columns="picture", values=metric)
    names = table.index.get_level_values("method").str.split("/").str[0]
    return {name: part.to_numpy().reshape(-1, len(BANDS), table.shape[1]) for name, part in table.groupby(names)}


def gap(ours: np.ndarray, theirs: np.ndarray, draw_seeds: bool = False) -> dict[str, float]:
    """The ``difference`` of two of the `cubes`, seeds and bands averaged, and its interval from ``low`` to ``high``.

    With ``draw_seeds`` the interval knows the chance in the seeds as well; where there is one only, it cannot.
    """
    differences = ours.mean((0, 1)) - theirs.mean((0, 1))
    low, high = bootstrap_seeds(ours.mean(1), theirs.mean(1)) if draw_seeds else bootstrap(differences)
    return {"difference": differences.mean(), "low": low, "high": high}


def columns(rows: pd.DataFrame, metrics: Iterable[str]) -> list[str]:
    """The columns of each metric: in the hole, where it has such a one, and of the whole picture."""
    wanted = [column for metric in metrics for column in (f"{metric}_hole", metric)]
    return [column for column in wanted if column in rows]


def metric_table(rows: pd.DataFrame, column: str, baseline: str | None = None, bold: bool = False) -> pd.DataFrame:
    """One metric as texts, the best method in large holes first: mean ± standard error, below it the difference.

    ``bold`` marks the best of each band in Markdown.
    """
    summary = summarise(rows, column, baseline)
    means = summary["mean"].unstack()  # methods × bands
    more_is_better = column.startswith(("psnr", "ssim"))
    means = means.sort_values(means.columns[-1], ascending=not more_is_better)
    best = means.idxmax() if more_is_better else means.idxmin()
    digits = 2 if column.startswith(("psnr", "l1")) else 3
    metric = column.removesuffix("_hole")
    title = TITLES[metric].format("" if metric == column else " in the hole")
    table = pd.DataFrame("", means.index.rename(title), LABELS)
    for (method, band), cell in summary.iterrows():
        text = f"{cell['mean']:.{digits}f} ± {cell['error']:.{digits}f}"
        if bold and best[band] == method:
            text = f"**{text}**"
        if baseline not in (None, method):
            text += "\n" + difference_text(cell, digits)
        table.loc[method, LABELS[band]] = text
    return table


def difference_text(cell: Mapping[str, float] | pd.Series, digits: int = 2) -> str:
    return f"{cell['difference']:+.{digits}f} [{cell['low']:+.{digits}f}, {cell['high']:+.{digits}f}]"


def show(rows: pd.DataFrame, head: Mapping[str, Any], baseline: str | None = None) -> str:
    """The means of all metrics, for a terminal."""
    tables = [metric_table(rows, column, baseline) for column in columns(rows, head["metrics"])]
    if head.get("frechet"):
        distances = pd.DataFrame(head["frechet"], index=LABELS).T.sort_values(LABELS[-1])
        tables.append(distances.map("{:.1f}".format).rename_axis("Fréchet distance"))
    note = f"; difference to {baseline} [95 % bootstrap interval]" if baseline else ""
    return "\n\n".join([f"mean ± standard error{note}", *map(as_text, tables)])


def as_text(table: pd.DataFrame) -> str:
    """A table of texts for a terminal, its columns aligned."""
    in_one_line = table.replace("\n", "; ", regex=True)
    return in_one_line.rename_axis(index=None, columns=table.index.name).to_string(col_space=12)
