"""The page of results: its tables, its verdicts, and the part of it that README shows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from experiments import report
from experiments.__main__ import main
from misf_lite.classical import mean_fill
from misf_lite.datasets import data_folder, open_dataset
from misf_lite.evaluation import Protocol, Results, measure, read_results
from misf_lite.statistics import metric_table


def fill_with(grey):
    return lambda image, mask: image * 0 + grey


def write_results(path, pictures, methods):
    protocol = Protocol.of(pictures, size=32)
    results = Results(path, protocol, ("psnr", "ssim", "l1"), dict.fromkeys(methods, "here"))
    measure(methods, pictures, results)
    results.finish()
    return results


def noises(folder, low=0):
    """Three pictures, with values from ``low`` to 255."""
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(low, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return open_dataset(str(folder), "test")


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A data folder with one file of results."""
    folder = tmp_path / "data" / "results"
    folder.mkdir(parents=True)
    monkeypatch.setattr(report, "data_folder", lambda: tmp_path / "data")
    methods = {"biharmonic": mean_fill, "grey": fill_with(0.5)}
    return write_results(folder / "noise-32.csv", noises(tmp_path / "noises"), methods)


def test_the_page_has_a_table_for_each_metric_and_a_figure(tmp_path, results):
    page = tmp_path / "results.md"
    assert main(["report", "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "## noise-32\n\n3 pictures of noises, short side 32, strokes, seed 0." in text
    for title in ("| PSNR in the hole, dB |", "| SSIM in the hole |", "| L1 in the hole, % |"):
        assert title in text
    rows = results.table()
    mean = rows[(rows["method"] == "grey") & (rows["band"] == 2)]["psnr_hole"].mean()
    assert f"{mean:.2f} ±" in text
    for name in ("results-noise-32.png", "results-eyes.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 1000 and name in text


def test_the_page_says_which_claims_of_the_paper_hold(tmp_path, results):
    brightness = {
        "semantic-only": 0.3,
        "image-only": 0.2,
        "misf": 0.3,
        "no-filter": 0.25,
        "not-interactive": 0.3,
        "Telea": 0.1,
    }
    methods = {name: fill_with(grey) for name, grey in brightness.items()}
    whites = noises(tmp_path / "whites", low=255)  # the brighter, the better
    write_results(tmp_path / "data" / "results" / "toy-64.csv", whites, methods)
    report.write_report(tmp_path / "results.md")
    verdicts = {}
    for line in (tmp_path / "results.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("|") and " less " in line:
            verdicts[line.split(":")[0].strip("| ")] = line.split("**")[1]
    assert verdicts["Filtering beats the plain encoder–decoder"] == "holds"
    assert verdicts["Image-level filtering beats semantic filtering in the smallest holes"] == "contradicted"
    assert verdicts["The link between the branches helps"] == "not decided"


def test_the_main_table_goes_between_the_marks_of_a_readme(tmp_path, results, monkeypatch, capsys):
    monkeypatch.setattr(report, "SHOWN", "noise-32")
    readme, page = tmp_path / "README.md", tmp_path / "docs" / "results.md"
    page.parent.mkdir()
    readme.write_text("mine")
    assert main(["report", "-o", str(page), "--readme", str(readme)]) == 1
    assert "has no line <!-- results -->" in capsys.readouterr().err and readme.read_text() == "mine"
    readme.write_text(f"before\n{report.BEGIN}old\n{report.END}after\n")
    assert main(["report", "-o", str(page), "--readme", str(readme)]) == 0
    text = readme.read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| PSNR in the hole, dB |" in text and "](docs/results-noise-32.png)" in text
    assert "[docs/results.md](docs/results.md)" in text


def test_the_readme_and_the_page_show_the_results_that_come_along():
    _, rows = read_results(data_folder() / "results" / f"{report.SHOWN}.csv")
    root = Path(__file__).parents[1]
    shown = report.as_markdown(metric_table(rows, "psnr_hole", bold=True))
    assert shown in (root / "README.md").read_text(encoding="utf-8")
    compared = report.as_markdown(metric_table(rows, "psnr_hole", "biharmonic", bold=True))
    page = (root / "docs" / "results.md").read_text(encoding="utf-8")
    assert compared in page and "(findings.md)" in page and (root / "docs" / "findings.md").exists()


def test_a_page_is_not_replaced_unasked(tmp_path, results, capsys):
    page = tmp_path / "results.md"
    page.write_text("mine")
    assert main(["report", "-o", str(page)]) == 1
    assert "exists; pass --force" in capsys.readouterr().err and page.read_text() == "mine"
    assert main(["report", "--force", "-o", str(page)]) == 0


def test_without_results_the_page_says_how_to_make_some(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(report, "data_folder", lambda: tmp_path)
    assert main(["report", "-o", str(tmp_path / "results.md")]) == 1
    assert "make some with misf-lite evaluate -o" in capsys.readouterr().err


def test_a_table_of_texts_in_markdown():
    table = pd.DataFrame({"one": ["a\nb", "c"], "two": ["1.0", "10.0"]}, index=["x", "long"]).rename_axis("name")
    assert report.as_markdown(table).splitlines() == [
        "| name | one | two |",
        "| --- | --- | --- |",
        "| x | a<br>b | 1.0 |",
        "| long | c | 10.0 |",
    ]
