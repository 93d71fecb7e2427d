"""The paper's ablations as one command, their table by hand, and the page of results."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import MISFConfig, report
from misf_lite.ablations import (
    ABLATIONS,
    BUDGETS,
    CONDITIONS,
    MAIN,
    REFERENCE,
    bootstrap_seeds,
    runs,
    show_generalisation,
    show_spread,
    spread,
)
from misf_lite.cli import main
from misf_lite.datasets import data_folder
from misf_lite.evaluation import Protocol, Results, bootstrap, measure, read_results
from misf_lite.metrics import mean_fill
from misf_lite.report import write_report
from misf_lite.training import Recipe

EVERY = list(ABLATIONS)


@pytest.fixture
def small(monkeypatch):
    config, recipe = MISFConfig.toy(width=2, blocks=0), Recipe.toy(l1=0.0, mse=20.0, steps=2, batch=2, crops=(16,))
    monkeypatch.setitem(BUDGETS, "toy", (config, recipe))
    monkeypatch.setitem(CONDITIONS, "toy", [("toy", "strokes"), ("toy", "box")])


def test_the_main_five_are_trained_once_per_seed_and_the_others_once():
    todo = runs("toy", EVERY, 3)
    assert sum(name.startswith(tuple(f"{main}/" for main in MAIN)) for name in todo) == 15
    assert len(todo) == 15 + len(EVERY) - 5 - 1
    assert "filter-composite/seed-0" not in todo  # as the toy network does that anyway
    assert {recipe.seed for name, (_, recipe) in todo.items() if name.startswith("misf/")} == {0, 1, 2}


def test_each_ablation_changes_the_architecture_or_the_recipe_and_no_budget():
    todo = runs("toy", EVERY, 1)
    config, recipe = todo.pop("misf/seed-0")
    seen = {(config, recipe)}
    for name, (architecture, training) in todo.items():
        assert (architecture != config) != (training != recipe), name
        assert (training.steps, training.batch, training.crops) == (recipe.steps, recipe.batch, recipe.crops)
        seen.add((architecture, training))
    assert len(seen) == len(todo) + 1


def test_the_main_five_are_those_of_the_weights_that_come_along():
    for data in ("toy", "photos"):
        config = BUDGETS[data][0]
        got = {name: runs(data, [name], 1)[f"{name}/seed-0"][0] for name in MAIN}
        assert got["semantic-only"] == replace(config, image=False)
        assert got["image-only"] == replace(config, semantic=False, filtered="input")
        assert got["no-filter"] == replace(config, semantic=False, image=False)
        assert got["not-interactive"] == replace(config, interactive=False)


def test_one_command_trains_measures_and_compares(tmp_path, small, capsys):
    command = ["ablate", "--only", "misf", "level-1", "l1", "--seeds", "2", "--size", "32", "-o", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "| misf | 2 |" in said and "| level-1 | 1 |" in said and "64 toy faces, short side 32" in said
    _, rows = read_results(tmp_path / "toy-strokes.csv")
    trained = {"misf/seed-0", "misf/seed-1", "level-1/seed-0", "l1/seed-0"}
    assert {row["method"] for row in rows} == trained | {REFERENCE}
    assert len(rows) == 5 * 3 * 64
    head, _ = read_results(tmp_path / "toy-box.csv")
    assert head["protocol"]["kind"] == "box" and "| 64 toy faces, short side 32, box, seed 0 |" in said
    files = [*tmp_path.glob("*.csv"), *tmp_path.glob("*/*/weights.safetensors")]
    written = [file.read_bytes() for file in files]
    assert main(command) == 0  # everything is there
    assert show_spread(rows) in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == written


def test_the_work_can_be_shared(tmp_path, small):
    command = ["ablate", "--only", "misf", "level-1", "l1", "--seeds", "1", "-o", str(tmp_path), "--part"]
    assert main([*command, "2/2"]) == 0
    assert [path.parent.parent.name for path in tmp_path.glob("*/*/weights.safetensors")] == ["level-1"]
    assert not [*tmp_path.glob("*.csv")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "magic"], "unknown ablation 'magic': choose some of misf, semantic-only"),
        (["--part", "3/2"], "--part takes K/N with K from 1 to N, such as 1/2, got '3/2'"),
        (["--part", "half"], "--part takes K/N"),
    ],
)
def test_what_cannot_be_ablated_is_said_in_a_sentence(tmp_path, capsys, arguments, message):
    assert main(["ablate", "-o", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_spread_of_seeds_and_the_difference_of_pictures_by_hand():
    values = {"misf/seed-0": (10.0, 20.0), "misf/seed-1": (12.0, 22.0), "raw/seed-0": (12.0, 22.0)}
    rows = [
        {"method": method, "band": band, "picture": name, "psnr_hole": value}
        for method, pair in values.items()
        for band in range(3)
        for name, value in zip("xy", pair, strict=True)
    ]
    table = spread(rows)
    assert table["misf"][0]["mean"] == 16 and table["misf"][0]["spread"] == pytest.approx(math.sqrt(2))
    cell = table["raw"][0]
    assert (cell["mean"], cell["seeds"], cell["difference"], cell["low"], cell["high"]) == (17, 1, 1, 1, 1)
    assert "| raw | 1 | 17.00 (+1.00 [+1.00, +1.00])" in show_spread(rows)


def test_intervals_that_know_the_seeds_are_as_wide_as_their_spread():
    # Many pictures that are all alike: what chance there is lies in the seeds.
    ours, theirs = np.random.default_rng(1).normal(size=(2, 40, 1)).repeat(200, 2)
    low, high = bootstrap_seeds(ours, theirs)
    error = np.sqrt((ours[:, 0].var(ddof=1) + theirs[:, 0].var(ddof=1)) / 40)
    assert (low + high) / 2 == pytest.approx(ours.mean() - theirs.mean(), abs=0.1 * error)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_with_one_seed_each_only_the_pictures_are_left_to_chance():
    ours, theirs = np.random.default_rng(1).normal(size=(2, 1, 30))
    assert bootstrap_seeds(ours, theirs) == pytest.approx(bootstrap((ours - theirs)[0]), abs=0.02)


def test_what_a_network_gains_on_new_pictures_is_counted_from_the_smooth_guess():
    values = {"misf/seed-0": (10.0, 20.0), "misf/seed-1": (12.0, 22.0), "no-filter/seed-0": (9.0, 19.0)}
    rows = [
        {"method": method, "band": band, "picture": name, "psnr_hole": value}
        for method, pair in (values | {REFERENCE: (10.0, 19.0)}).items()
        for band in range(3)
        for name, value in zip("xy", pair, strict=True)
    ]
    lines = show_generalisation({"paintings": rows}).splitlines()
    assert lines[0] == "| | smooth guess | misf | no-filter | misf less no-filter |"
    assert lines[2] == "| paintings | 14.50 | +1.50 [+0.00, +3.00] | -0.50 [-1.00, +0.00] | +2.00 [+1.00, +3.00] |"


def test_networks_that_are_tested_on_paintings_have_learnt_from_none():
    assert BUDGETS["photos"][1].data == "no-paintings" and ("paintings", "strokes") in CONDITIONS["photos"]
    assert BUDGETS["photos"][1].kinds == ("strokes",)  # so that the other kinds of holes are new to them


# The page of results


@pytest.fixture
def results(tmp_path, monkeypatch):
    """A data folder with one file of results."""
    folder = tmp_path / "data" / "results"
    folder.mkdir(parents=True)
    pictures = {f"{i}": torch.rand(1, 3, 32, 32) for i in range(3)}
    fills = {"biharmonic": mean_fill, "grey": lambda image, mask: torch.full_like(image, 0.5)}
    protocol = Protocol.of("noises", pictures, size=32)
    table = Results(folder / "noise-32.csv", protocol, ("psnr", "ssim", "l1"), dict.fromkeys(fills, "here"))
    measure(fills, pictures, table)
    table.finish()
    monkeypatch.setattr(report, "data_folder", lambda: tmp_path / "data")
    return table


def test_the_page_has_a_table_for_each_metric_and_a_figure(tmp_path, results):
    page = tmp_path / "results.md"
    assert main(["report", "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "## noise-32\n\n3 noises, short side 32, strokes, seed 0." in text
    for title in ("| PSNR in the hole, dB |", "| SSIM in the hole |", "| L1 in the hole, % |"):
        assert title in text
    mean = sum(row["psnr_hole"] for row in results.table() if row["method"] == "grey" and row["band"] == 2) / 3
    assert f"{mean:.2f} ±" in text and "## Published" in text
    for name in ("results-noise-32.png", "results-eyes.png"):
        with Image.open(tmp_path / name) as picture:
            assert picture.width > 1000 and name in text


def test_the_page_says_which_claims_of_the_paper_hold(tmp_path, results):
    better = {
        "semantic-only": 0.3,
        "image-only": 0.2,
        "misf": 0.3,
        "no-filter": 0.25,
        "not-interactive": 0.3,
        "Telea": 0.1,
    }
    pictures = {f"{i}": torch.rand(1, 3, 32, 32) for i in range(3)}
    fills = {name: lambda image, mask, x=x: image * 0 + x for name, x in better.items()}
    whites = {name: torch.ones_like(image) for name, image in pictures.items()}
    table = Results(
        tmp_path / "data/results/toy-64.csv",
        Protocol.of("whites", whites, size=32),
        ("psnr",),
        dict.fromkeys(fills, ""),
    )
    measure(fills, whites, table)
    table.finish()
    write_report(tmp_path / "results.md")
    lines = (tmp_path / "results.md").read_text(encoding="utf-8").splitlines()
    verdicts = {
        line.split(":")[0].strip("| "): line.split(" | ")[1].split("**")[1]
        for line in lines
        if line.startswith("|") and " less " in line
    }
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


def test_the_readme_shows_the_results_that_come_along():
    text = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
    _, rows = read_results(data_folder() / "results" / f"{report.SHOWN}.csv")
    assert report._table(rows, "psnr_hole", None) in text


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
