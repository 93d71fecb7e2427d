"""The results as a page: every table and figure of docs/results.md, from the files in data/results.

README shows the first of its tables, and that table's figure, between two marks.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import misf_lite as ml
from experiments.ablations import CONDITIONS, ablation_table, generalisation_table
from experiments.kernels import save_figure
from misf_lite.datasets import data_folder
from misf_lite.evaluation import describe, read_results
from misf_lite.figures import show_differences, show_strips, with_hole
from misf_lite.files import atomic_write, check_target
from misf_lite.statistics import columns, cubes, difference_text, gap, metric_table

Measured = tuple[dict[str, Any], pd.DataFrame]  # head and rows

HEAD = """\
# Results

Made by `python -m experiments report` on {day}, at commit {commit}, from the files in `data/results`: they hold
every picture's numbers, under a protocol that each names in its first line. What they mean, and what the paper has
published, is in [findings.md](findings.md).

Means ± standard errors; where a difference follows, it is to the method that has none, with its 95 % bootstrap interval
over the pictures. Each picture has a hole of its own in each band. *photos* has learnt from photographs, *misf* and
what is named after its parts from toy faces: where one meets the other's pictures, it shows what it can do with things
it has never seen."""
ABLATIONS_HEAD = """\
What each part is worth: networks that differ in one thing, trained with one budget. PSNR in the hole, dB: mean ±
standard deviation of the seeds (difference to *misf*, seeds averaged, with interval). The intervals know the chance
in the pictures; how much the same network differs when it is trained again is in the ±."""
GENERALISATION_HEAD = """\
And on what is new to them, all bands together: the smooth guess, by how much each network beats it, and by how much
filtering beats the plain encoder–decoder. The first line is like what they have learnt; the others are new to them."""
CLAIMS_HEAD = """\
The intervals know the chance in the pictures and, where there are several, in the seeds; the shipped networks are one
run each. Why some claims do not hold here: [findings.md](findings.md)."""
CLAIMS = [  # the claim, which network should be better than which, and in which bands
    ("Semantic filtering beats image-level filtering in the largest holes", "semantic-only", "image-only", (2,)),
    ("Image-level filtering beats semantic filtering in the smallest holes", "image-only", "semantic-only", (0,)),
    ("Both together are at least as good as semantic filtering alone", "misf", "semantic-only", (0, 1, 2)),
    ("Both together are at least as good as image-level filtering alone", "misf", "image-only", (0, 1, 2)),
    ("Filtering beats the plain encoder–decoder", "misf", "no-filter", (0, 1, 2)),
    ("The link between the branches helps", "misf", "not-interactive", (0, 1, 2)),
]
README = """\
{protocol}; mean ± standard error. All measures, the ablations,
and where the paper is contradicted: [{page}]({page}), made by `python -m experiments report`
on {day} at commit {commit}. *photos* has learnt from other photographs, *misf* from toy faces alone.

{table}

![PSNR in the hole, difference to biharmonic, by band]({picture})
"""
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->\n"
SHOWN = "photos-128"  # in README


def write_report(page: Path, overwrite: bool = False, readme: Path | None = None) -> list[Path]:
    """Write the page, and its figures beside it. Returns the files written.

    Args:
        readme: a file in which what stands between `BEGIN` and `END` is replaced by the main table and its figure.

    Raises:
        FileExistsError, FileNotFoundError: the page exists and ``overwrite`` is not set; there is no folder for it, or
            there are no results.
        ValueError: the readme has no such marks.
    """
    check_target(page, overwrite=overwrite)
    folder = data_folder() / "results"
    results = {path.stem: read_results(path) for path in sorted(folder.glob("*.csv"))}
    if not results:
        raise FileNotFoundError(f"there are no results in {folder}: make some with misf-lite evaluate -o")
    if readme and not (BEGIN in readme.read_text(encoding="utf-8") and SHOWN in results):
        raise ValueError(f"{readme} has no line {BEGIN.strip()}, or there are no results {SHOWN} to put there")
    ablations = {data: read_conditions(folder, data) for data in CONDITIONS}
    pictures = {stem: page.with_name(f"results-{stem}.png") for stem in results}
    eyes = page.with_name("results-eyes.png")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True).stdout
    made = {"day": str(date.today()), "commit": commit.strip() or "unknown"}

    text = [HEAD.format(**made)]
    for stem, (head, rows) in results.items():
        text += results_section(stem, head, rows, pictures[stem])
    text += ["## One eye covered", f"![Toy faces with one eye covered, filled]({eyes.name})"]
    show_covered_eyes(eyes)
    for data, measured in ablations.items():
        text += ablations_section(data, measured)
    text += claims_section(results, ablations)
    with atomic_write(page, overwrite=overwrite) as file:
        file.write(("\n\n".join(text) + "\n").encode())
    written = [page, *pictures.values(), eyes]
    if readme:
        show_in_readme(readme, *results[SHOWN], page, pictures[SHOWN], made)
        written.append(readme)
    return written


def read_conditions(folder: Path, data: str) -> list[Measured]:
    """What there is of the ablations' files, in the order of `CONDITIONS`."""
    files = [folder / f"ablate-{data}" / f"{where}-{kind}.csv" for where, kind in CONDITIONS[data]]
    return [read_results(file) for file in files if file.exists()]


def results_section(stem: str, head: Mapping[str, Any], rows: pd.DataFrame, picture: Path) -> list[str]:
    """One file of results: a table for each metric, and a figure, which is written to ``picture``."""
    baseline = "misf" if "no-filter" in head["methods"] else "biharmonic"
    text = [f"## {stem}", f"{describe(head['protocol'])}."]
    for column in columns(rows, head["metrics"]):
        compared = baseline if column == "psnr_hole" else None
        text.append(as_markdown(metric_table(rows, column, compared, bold=True)))
    save_figure(show_differences(rows, baseline).figure, picture, overwrite=True)
    return [*text, f"![PSNR in the hole, difference to {baseline}, by band]({picture.name})"]


def show_covered_eyes(picture: Path) -> None:
    """Eight toy faces that no training has drawn, and what each of the toy weights makes of a hole over an eye."""
    faces = ml.toy_faces(8, seed=2**31 + 11)
    mask = torch.zeros_like(faces[:, :1])
    mask[..., 22:38, 34:48] = 1
    strips = {"the hole": with_hole(faces, mask)}
    for name in ("image-only", "no-filter", "semantic-only", "misf"):
        strips[name] = ml.fill(ml.load_pretrained(name), faces, mask)
    strips["the truth"] = faces
    save_figure(show_strips(strips), picture, overwrite=True)


def ablations_section(data: str, measured: list[Measured]) -> list[str]:
    if not measured:
        return []
    head, rows = measured[0]
    return [
        f"## ablate-{data}",
        f"{describe(head['protocol'])}.",
        ABLATIONS_HEAD,
        as_markdown(ablation_table(rows)),
        GENERALISATION_HEAD,
        as_markdown(generalisation_table({where(head): rows for head, rows in measured})),
    ]


def where(head: Mapping[str, Any]) -> str:
    return "{pictures} {data}, {kind}".format(**head["protocol"])


def claims_section(results: Mapping[str, Measured], ablations: Mapping[str, list[Measured]]) -> list[str]:
    """The orders that the paper claims, each with what our measurements say of it."""
    trials: dict[str, dict[str, np.ndarray]] = {}
    if "toy-64" in results:
        trials["toy-64: the shipped networks, one run each"] = cubes(results["toy-64"][1])
    for data, measured in ablations.items():
        if measured:
            head, rows = measured[0]
            trials[f"ablate-{data}: {where(head)}"] = cubes(rows)
    if not trials:
        return []
    verdicts: dict[str, list[str]] = {}
    for claim, better, worse, bands in CLAIMS:
        row = f"{claim}: {better} less {worse}"
        verdicts[row] = []
        for cube in trials.values():
            gaps = [gap(cube[better][:, [band]], cube[worse][:, [band]], draw_seeds=True) for band in bands]
            verdicts[row].append(verdict(gaps))
    table = pd.DataFrame(verdicts, index=list(trials)).T.rename_axis("the paper's claim")
    return ["## The paper's claims", as_markdown(table), CLAIMS_HEAD]


def verdict(gaps: Sequence[Mapping[str, float]]) -> str:
    """Whether a claim holds in all these bands, and the differences in each."""
    word = "not decided"
    if all(gap["low"] > 0 for gap in gaps):
        word = "holds"
    elif any(gap["high"] < 0 for gap in gaps):
        word = "contradicted"
    return "\n".join([f"**{word}**", *map(difference_text, gaps)])


def as_markdown(table: pd.DataFrame) -> str:
    """A table of texts in Markdown."""
    head = [table.index.name or "", *table.columns]
    lines = [head, ["---"] * len(head), *table.reset_index().to_numpy().tolist()]
    return "\n".join("| " + " | ".join(line).replace("\n", "<br>") + " |" for line in lines)


def show_in_readme(
    readme: Path, head: Mapping[str, Any], rows: pd.DataFrame, page: Path, picture: Path, made: Mapping[str, str]
) -> None:
    """Replace what stands between the marks."""
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    folder = readme.resolve().parent
    shown = README.format(
        table=as_markdown(metric_table(rows, "psnr_hole", bold=True)),
        protocol=describe(head["protocol"]),
        page=Path(os.path.relpath(page.resolve(), folder)).as_posix(),
        picture=Path(os.path.relpath(picture.resolve(), folder)).as_posix(),
        **made,
    )
    with atomic_write(readme, overwrite=True) as file:
        file.write((before + BEGIN + shown + END + rest.partition(END)[2]).encode())
