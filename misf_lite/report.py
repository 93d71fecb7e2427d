"""The results, as a page: every table and figure of docs/results.md comes from the files in data/results.

README shows the first of its tables, and that table's figure, between two marks.
"""

import os
import subprocess
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import torch
from torch import Tensor

from misf_lite.ablations import CONDITIONS, show_generalisation, show_spread, spread
from misf_lite.datasets import data_folder, toy_faces
from misf_lite.evaluation import columns, describe, difference_text, mean_text, read_results, summarise, title
from misf_lite.figures import save_figure, show_differences, show_strips, with_hole
from misf_lite.inpainting import load_pretrained
from misf_lite.masks import BANDS

HEAD = """\
# Results

Made by `misf-lite report` on {day}, at commit {commit}, from the files in `data/results`: they hold every picture's
numbers, under a protocol that each names in its first line. Means ± standard errors; where a difference follows, it is
to the method that has none, with its 95 % bootstrap interval over the pictures. Each picture has a hole of its own in
each band. *photos* has learnt from photographs, *misf* and what is named after its parts from toy faces: where one
meets the other's pictures, it shows what it can do with things it has never seen.
"""
ABLATIONS_HEAD = """\
What each part is worth: networks that differ in one thing, trained with one budget. PSNR in the hole, dB: mean ±
standard deviation of the seeds (difference to *misf*, seeds averaged, with interval). The intervals know the chance
in the pictures; how much the same network differs when it is trained again is in the ±.
"""
GENERALISATION_HEAD = """\
And on what is new to them, all bands together: the smooth guess, by how much each network beats it, and by how much
filtering beats the plain encoder–decoder. The first line is like what they have learnt; the others are new to them.
"""
WHY = """\
The intervals know the chance in the pictures and, where there are several, in the seeds; the shipped networks are one
run each. Why some claims do not hold here:

**Large holes: it matters what the image-level kernels act on.** From an empty hole they can only pull the rim
inwards, one ring of pixels per pass of a 3×3 kernel, and what they do not reach stays black. The toy network that
filters alone does so once, with 5×5; most holes are wider than that, and lesson 01 measures what more passes do about
it. The networks on photographs filter the empty hole sixteen times, *misf* among them, and its decoder has to paint
against what the filter leaves dark. That, and not filtering as such, costs it the larger holes. The rows
*filter-input* and *filter-composite* show it: they filter the picture with its hole, or what the decoder made of it,
and change little else. On faces filtering the input loses decibels in every band; on photographs filtering the
composite wins back nearly all that *misf* lacks.

**Small holes: image-level filtering alone.** One of the three runs on photographs died: its softmax kernels have all
their weight on one corner, the same at every pixel, and no gradient. Hence its low mean and its large ±. The two that
live come close to semantic filtering in the smallest holes, and do not beat it.

**The link.** Wherever it was measured, networks with and without it differ by less than two runs of the same network.

**What carries over to the new** is the claim that holds best. Networks that have learnt from strokes alone meet thin
lines, text and faces in `ablate-photos`, and there the one that filters is decibels ahead of the plain encoder–decoder:
to take a pixel's colour from where real pixels are near is right in any picture. In wide holes, box or blobs, there are
none near, and *misf* loses as it does on strokes. After so short a training from an empty hole no network reaches the
smooth guess, which is why the weights *photos* start from it.
"""
PUBLISHED = """\
## Published

What the paper says of MISF (PSNR of the whole picture in dB / SSIM / L1 % / LPIPS) stands here to be read, not to be
compared: other pictures, other masks, other sizes, a network fifty times as large.

| published | 0% to 20% | 20% to 40% | 40% to 60% |
|---|---|---|---|
| Places2 | 31.34 / .951 / 0.73 / .043 | 24.24 / .844 / 2.34 / .150 | 20.04 / .693 / 4.97 / .250 |
| CelebA | 34.60 / .970 / 0.47 / .031 | 26.69 / .892 / 1.60 / .094 | 21.64 / .772 / 3.80 / .189 |
"""


README = """\
{protocol}; mean ± standard error. All measures, the ablations,
and where the paper is contradicted: [{page}]({page}), made by `misf-lite report` on {day} at commit {commit}.
*photos* has learnt from other photographs, *misf* from toy faces alone.

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
    if page.exists() and not overwrite:
        raise FileExistsError(f"{page} exists; pass --force to replace it, or choose another name")
    if not page.parent.is_dir():
        raise FileNotFoundError(f"{page} cannot be written: there is no folder {page.parent}; make it first")
    folder = data_folder() / "results"
    results = {path.stem: read_results(path) for path in sorted(folder.glob("*.csv"))}
    if not results:
        raise FileNotFoundError(f"there are no results in {folder}: make some with misf-lite evaluate -o")
    if readme and not (BEGIN in readme.read_text(encoding="utf-8") and SHOWN in results):
        raise ValueError(f"{readme} has no line {BEGIN.strip()}, or there are no results {SHOWN} to put there")
    text, written = [], [page]
    for stem, (head, rows) in results.items():
        text += [f"## {stem}", f"{describe(head['protocol'])}."]
        baseline = "misf" if "no-filter" in head["methods"] else "biharmonic"
        for column in columns(rows, head["metrics"]):
            text.append(_table(rows, column, baseline if column == "psnr_hole" else None))
        picture = page.with_name(f"results-{stem}.png")
        written.append(save_figure(show_differences(rows, baseline).figure, picture, overwrite=True))
        text.append(f"![PSNR in the hole, difference to {baseline}, by band]({picture.name})")
    eyes = page.with_name("results-eyes.png")
    written.append(save_figure(show_strips(_covered_eyes()), eyes, overwrite=True))
    text += ["## One eye covered", f"![Toy faces with one eye covered, filled]({eyes.name})"]
    trials = {"toy-64: the shipped networks, one run each": results["toy-64"][1]} if "toy-64" in results else {}
    for data, conditions in CONDITIONS.items():
        files = [folder / f"ablate-{data}" / f"{where}-{kind}.csv" for where, kind in conditions]
        measured = [read_results(file) for file in files if file.exists()]
        if measured:
            named = {"{pictures} {data}, {kind}".format(**head["protocol"]): rows for head, rows in measured}
            trials[f"ablate-{data}: {next(iter(named))}"] = measured[0][1]
            text += [f"## ablate-{data}", f"{describe(measured[0][0]['protocol'])}.", ABLATIONS_HEAD.strip()]
            text += [show_spread(measured[0][1]), GENERALISATION_HEAD.strip(), show_generalisation(named)]
    if trials:
        text += ["## The paper's claims", _against_the_paper(trials), WHY.strip()]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=folder, capture_output=True, text=True).stdout
    made = {"day": date.today(), "commit": commit.strip() or "unknown"}
    _replace(page, "\n\n".join([HEAD.format(**made).strip(), *text, PUBLISHED.strip()]) + "\n")
    if readme:
        head, rows = results[SHOWN]
        before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
        where = os.path.relpath(page.resolve(), readme.resolve().parent)
        shown = README.format(
            table=_table(rows, "psnr_hole", None),
            protocol=describe(head["protocol"]),
            page=Path(where).as_posix(),
            picture=Path(where).with_name(f"results-{SHOWN}.png").as_posix(),
            **made,
        )
        _replace(readme, before + BEGIN + shown + END + rest.partition(END)[2])
        written.append(readme)
    return written


def _replace(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(file)


def _against_the_paper(trials: Mapping[str, Sequence[dict]]) -> str:
    """The orders that the paper claims, each with what our measurements say of it, as Markdown."""
    claims = [
        ("Semantic filtering beats image-level filtering in the largest holes", "semantic-only", "image-only", (2,)),
        ("Image-level filtering beats semantic filtering in the smallest holes", "image-only", "semantic-only", (0,)),
        ("Both together are at least as good as semantic filtering alone", "misf", "semantic-only", (0, 1, 2)),
        ("Both together are at least as good as image-level filtering alone", "misf", "image-only", (0, 1, 2)),
        ("Filtering beats the plain encoder–decoder", "misf", "no-filter", (0, 1, 2)),
        ("The link between the branches helps", "misf", "not-interactive", (0, 1, 2)),
    ]
    lines = [f"| the paper's claim | {' | '.join(trials)} |", "|---|" + "---|" * len(trials)]
    for claim, better, worse, bands in claims:
        cells = [
            _verdict([spread(rows, baseline=worse, seeds=True)[better][b] for b in bands]) for rows in trials.values()
        ]
        lines.append(f"| {claim}: {better} less {worse} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _verdict(cells: Sequence[dict[str, float]]) -> str:
    verdict = "not decided"
    if all(cell["low"] > 0 for cell in cells):
        verdict = "holds"
    elif any(cell["high"] < 0 for cell in cells):
        verdict = "contradicted"
    return f"**{verdict}**<br>" + "<br>".join(map(difference_text, cells))


def _covered_eyes() -> dict[str, Tensor]:
    """Eight toy faces that no training has drawn, and what each of the toy weights makes of a hole over an eye."""
    faces = toy_faces(8, seed=2**31 + 11)
    mask = torch.zeros_like(faces[:, :1])
    mask[..., 22:38, 34:48] = 1
    names = ("image-only", "no-filter", "semantic-only", "misf")
    filled = {name: load_pretrained(name).trace(faces, mask).composite.clamp(0, 1) for name in names}
    return {"the hole": with_hole(faces, mask)} | filled | {"the truth": faces}


def _table(rows: Sequence[dict], column: str, baseline: str | None) -> str:
    """One metric as Markdown, the best of each band in bold."""
    table = summarise(rows, column, baseline)
    best = max if column.startswith(("psnr", "ssim")) else min
    champions = [best(table, key=lambda name, b=b: table[name][b]["mean"]) for b in range(len(BANDS))]
    lines = [f"| {title(column)} | " + " | ".join(f"{low:.0%} to {high:.0%}" for low, high in BANDS) + " |"]
    lines.append("|---|" + "---|" * len(BANDS))
    for name in sorted(table, key=lambda name: table[name][-1]["mean"], reverse=best is max):
        cells = []
        for b, cell in enumerate(table[name]):
            text = mean_text(cell, column)
            text = f"**{text}**" if champions[b] == name else text
            cells.append(f"{text}<br>{difference_text(cell)}" if baseline and name != baseline else text)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
