"""The paper's ablations as one command, and their tables by hand."""

from dataclasses import replace

import pandas as pd
import pytest

from experiments.__main__ import main
from experiments.ablations import (
    ABLATIONS,
    CONDITIONS,
    MAIN,
    REFERENCE,
    ablation_table,
    generalisation_table,
    runs,
)
from experiments.report import as_markdown
from misf_lite.datasets import data_folder
from misf_lite.evaluation import read_results
from misf_lite.model import MISFConfig
from misf_lite.recipe import Recipe
from misf_lite.weights import load_pretrained


@pytest.fixture
def small(monkeypatch):
    config = MISFConfig.toy(width=2, blocks=(0, 0))
    recipe = Recipe.toy(l1=0.0, mse=20.0, steps=2, batch=2, crops=(16,))
    tiny = {
        "misf": (config, recipe),
        "level-1": (replace(config, levels=(0, 1)), recipe),
        "l1": (config, replace(recipe, l1=1.0, mse=0.0)),
    }
    monkeypatch.setitem(ABLATIONS, "toy", tiny)
    monkeypatch.setitem(CONDITIONS, "toy", [("toy", "strokes"), ("toy", "box")])


def rows_of(values):
    """The same in all bands, for pictures x and y."""
    return pd.DataFrame(
        {"method": method, "band": band, "picture": picture, "psnr_hole": value}
        for method, pair in values.items()
        for band in range(3)
        for picture, value in zip("xy", pair, strict=True)
    )


def test_some_ablations_can_be_measured_without_the_whole(small, tmp_path, capsys):
    ablate = ["ablate", "--only", "level-1", "--seeds", "1", "--size", "32", "-o", str(tmp_path)]
    assert main(ablate) == 0
    said = capsys.readouterr().out
    assert "level-1" in said and "smooth guess" in said and "misf less no-filter" not in said


def test_the_main_five_are_trained_once_per_seed_and_the_others_once():
    todo = runs("toy", None, 3)
    assert len(todo) == 15 + len(ABLATIONS["toy"]) - 5
    assert [name for name in todo if name.startswith("misf/")] == ["misf/seed-0", "misf/seed-1", "misf/seed-2"]
    assert {recipe.seed for name, (_, recipe) in todo.items() if name.startswith("misf/")} == {0, 1, 2}
    assert [name for name in todo if name.startswith("shared/")] == ["shared/seed-0"]


def test_each_ablation_changes_the_architecture_or_the_recipe_and_no_budget():
    for data, ablations in ABLATIONS.items():
        config, recipe = ablations["misf"]
        others = {name: run for name, run in ablations.items() if name != "misf"}
        for name, (architecture, training) in others.items():
            assert (architecture != config) != (training != recipe), (data, name)
            assert (architecture.width, architecture.blocks) == (config.width, config.blocks)
            assert (training.steps, training.batch, training.crops) == (recipe.steps, recipe.batch, recipe.crops)
        assert len(set(ablations.values())) == len(ablations)


def test_the_main_five_on_toy_faces_are_the_shipped_networks_half_as_wide():
    for name in MAIN:
        shipped = load_pretrained(name).config
        assert ABLATIONS["toy"][name][0] == replace(shipped, width=8)


def test_every_ablation_is_one_that_the_results_hold():
    for data, ablations in ABLATIONS.items():
        for where, kind in CONDITIONS[data]:
            head, _ = read_results(data_folder() / "results" / f"ablate-{data}" / f"{where}-{kind}.csv")
            assert head["methods"].keys() == {*runs(data, None, 3), REFERENCE}
        assert ablations.keys() >= set(MAIN)


def test_networks_that_are_tested_on_paintings_have_learnt_from_none():
    recipe = ABLATIONS["photos"]["misf"][1]
    assert recipe.data == "no-paintings" and ("paintings", "strokes") in CONDITIONS["photos"]
    assert recipe.kinds == ("strokes",)  # so that the other kinds of holes are new to them


def test_one_command_trains_measures_and_compares(tmp_path, small, capsys):
    command = ["ablate", "--seeds", "2", "--size", "32", "-o", str(tmp_path)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "| misf | 2 |" in said and "| level-1 | 1 |" in said and "64 toy faces, short side 32" in said
    _, rows = read_results(tmp_path / "toy-strokes.csv")
    trained = {"misf/seed-0", "misf/seed-1", "level-1/seed-0", "l1/seed-0"}
    assert set(rows["method"]) == trained | {REFERENCE} and len(rows) == 5 * 3 * 64
    head, _ = read_results(tmp_path / "toy-box.csv")
    assert head["protocol"]["kind"] == "box" and "| 64 toy faces, short side 32, box, seed 0 |" in said
    files = [*tmp_path.glob("*.csv"), *tmp_path.glob("*/*/weights.safetensors")]
    written = [file.read_bytes() for file in files]
    assert main(command) == 0  # everything is there
    assert as_markdown(ablation_table(rows)) in capsys.readouterr().out
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
        (["--data", "photos", "--only", "raw"], "unknown ablation 'raw': choose some of misf, semantic-only"),
        (["--part", "3/2"], "--part takes K/N with K from 1 to N, such as 1/2, got '3/2'"),
        (["--part", "half"], "--part takes K/N"),
    ],
)
def test_what_cannot_be_ablated_is_said_in_a_sentence(tmp_path, capsys, arguments, message):
    assert main(["ablate", "-o", str(tmp_path), *arguments]) == 1
    assert message in capsys.readouterr().err


def test_the_table_shows_how_seeds_differ_and_the_difference_of_pictures_by_hand():
    rows = rows_of({"raw/seed-0": (12.0, 22.0), "misf/seed-0": (10.0, 20.0), "misf/seed-1": (12.0, 22.0)})
    table = ablation_table(rows)
    assert list(table.index) == ["misf", "raw"]  # as they are listed in the code
    assert table.loc["misf"].tolist() == ["2", *["16.00 ± 1.41"] * 3]  # the seeds' means are 15 and 17
    assert table.loc["raw"].tolist() == ["1", *["17.00 (+1.00 [+1.00, +1.00])"] * 3]


def test_what_a_network_gains_on_new_pictures_is_counted_from_the_smooth_guess():
    values = {"misf/seed-0": (10.0, 20.0), "misf/seed-1": (12.0, 22.0), "no-filter/seed-0": (9.0, 19.0)}
    table = generalisation_table({"paintings": rows_of(values | {REFERENCE: (10.0, 19.0)})})
    assert list(table.columns) == ["smooth guess", "misf", "no-filter", "misf less no-filter"]
    assert table.loc["paintings"].tolist() == [
        "14.50",
        "+1.50 [+0.00, +3.00]",
        "-0.50 [-1.00, +0.00]",
        "+2.00 [+1.00, +3.00]",
    ]
