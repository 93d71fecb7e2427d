"""Means, intervals and tables: by hand, by the normal distribution, and as text."""

import math

import numpy as np
import pandas as pd
import pytest

from misf_lite.datasets import data_folder
from misf_lite.evaluation import read_results
from misf_lite.statistics import (
    as_text,
    bootstrap,
    bootstrap_seeds,
    columns,
    cubes,
    gap,
    metric_table,
    show,
    summarise,
)


def rows_of(metric="psnr_hole", **values):
    """Values of each method for three pictures, the same in all bands."""
    rows = []
    for method, numbers in values.items():
        for band in range(3):
            for picture, value in zip("xyz", numbers, strict=True):
                rows.append({"method": method, "band": band, "picture": picture, "hole": 0.1, metric: value})
    return pd.DataFrame(rows)


# Means


def test_mean_and_standard_error_by_hand():
    cell = summarise(rows_of(a=[1.0, 2.0, 6.0])).loc[("a", 0)]
    # variance (4 + 1 + 9) / 2, divided by three pictures
    assert (cell["n"], cell["mean"], cell["error"]) == pytest.approx((3, 3, math.sqrt(7 / 3)))


def test_the_difference_is_taken_picture_by_picture():
    # Each picture gains exactly 1, however much the pictures differ.
    rows = rows_of(a=[11.0, 21.0, 31.0], b=[10.0, 20.0, 30.0])
    shuffled = rows.sample(frac=1, random_state=0)
    for table in (summarise(rows, baseline="b"), summarise(shuffled, baseline="b")):
        cell = table.loc[("a", 0)]
        assert (cell["mean"], cell["difference"], cell["low"], cell["high"]) == (21, 1, 1, 1)
        assert cell["error"] == pytest.approx(10 / math.sqrt(3))
        assert table.loc[("b", 2), "difference"] == 0


def test_values_that_are_not_finite_are_left_out_and_counted():
    rows = rows_of(a=[11.0, math.inf, math.nan], b=[math.nan] * 3, c=[10.0, 1.0, 2.0])
    table = summarise(rows, baseline="c")
    assert table.loc[("a", 0), ["n", "mean", "difference", "low"]].tolist() == [1, 11, 1, 1]
    assert table.loc[("b", 0), "n"] == 0 and math.isnan(table.loc[("b", 0), "difference"])


def test_what_is_not_in_the_rows_is_named():
    rows = rows_of("psnr", a=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="there is no 'lpips' in these results; there are hole, psnr"):
        summarise(rows, "lpips")
    with pytest.raises(ValueError, match="there is no method 'b' to compare with; there are a"):
        summarise(rows, "psnr", "b")


# Chance


def test_the_bootstrap_interval_is_that_of_the_normal_distribution_for_many_pictures():
    x = np.random.default_rng(3).normal(0.5, 2, 400)
    low, high = bootstrap(x)
    error = 2 * x.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((x.mean() - 0.98 * error, x.mean() + 0.98 * error), abs=0.05 * error)


def test_the_bootstrap_interval_is_that_of_drawing_by_hand():
    x = np.random.default_rng(3).normal(size=35)
    rng = np.random.default_rng(1)
    means = [rng.choice(x, 35).mean() for _ in range(10_000)]
    assert bootstrap(x) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.02)
    assert bootstrap(x) == bootstrap(x) != bootstrap(x, seed=1)


def test_without_any_difference_among_pictures_the_interval_is_a_point():
    assert bootstrap([0.25] * 7) == (0.25, 0.25) and bootstrap([0.25]) == (0.25, 0.25)
    assert np.isnan(bootstrap([])).all()


def test_intervals_that_know_the_seeds_are_as_wide_as_the_seeds_differ():
    # Many pictures that are all alike: what chance there is lies in the seeds.
    ours, theirs = np.random.default_rng(1).normal(size=(2, 40, 1)).repeat(200, 2)
    low, high = bootstrap_seeds(ours, theirs)
    error = np.sqrt((ours[:, 0].var(ddof=1) + theirs[:, 0].var(ddof=1)) / 40)
    assert (low + high) / 2 == pytest.approx(ours.mean() - theirs.mean(), abs=0.1 * error)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)


def test_with_one_seed_each_only_the_pictures_are_left_to_chance():
    ours, theirs = np.random.default_rng(1).normal(size=(2, 1, 30))
    assert bootstrap_seeds(ours, theirs) == pytest.approx(bootstrap((ours - theirs)[0]), abs=0.02)


def test_seeds_and_pictures_are_told_apart_by_the_methods_names():
    rows = rows_of(**{"misf/seed-0": [1.0, 2.0, 3.0], "misf/seed-1": [3.0, 4.0, 5.0], "guess": [0.0, 0.0, 3.0]})
    by_name = cubes(rows.sample(frac=1, random_state=0))
    assert by_name["misf"].shape == (2, 3, 3) and by_name["misf"][1, 2].tolist() == [3, 4, 5]
    assert by_name["guess"].shape == (1, 3, 3)
    assert gap(by_name["misf"], by_name["guess"])["difference"] == 2
    apart = gap(by_name["misf"], by_name["guess"], draw_seeds=True)
    alone = gap(by_name["misf"], by_name["guess"])
    assert apart["low"] <= alone["low"] and apart["high"] >= alone["high"]


# Text


def test_a_table_has_the_best_method_first_and_its_mark():
    rows = rows_of(bad=[1.0, 2.0, 3.0], good=[11.0, 12.0, 16.0])
    table = metric_table(rows, "psnr_hole", baseline="bad", bold=True)
    assert table.index.name == "PSNR in the hole, dB" and list(table.index) == ["good", "bad"]
    assert list(table.columns) == ["0% to 20%", "20% to 40%", "40% to 60%"]
    assert table.loc["good", "0% to 20%"].startswith("**13.00 ± 1.53**\n+11.00 [+10.00, ")
    assert table.loc["bad", "0% to 20%"] == "2.00 ± 0.58"
    errors = metric_table(rows.rename(columns={"psnr_hole": "l1"}), "l1")
    assert list(errors.index) == ["bad", "good"] and errors.index.name == "L1, %"  # less is better


def test_a_table_of_texts_is_aligned_for_a_terminal():
    table = pd.DataFrame({"one": ["a\nb", "c"], "two": ["1.0", "10.0"]}, index=["x", "long"]).rename_axis("name")
    lines = as_text(table).splitlines()
    assert [line.split() for line in lines] == [["name", "one", "two"], ["x", "a;", "b", "1.0"], ["long", "c", "10.0"]]
    assert len({len(line) for line in lines}) == 1


def test_what_is_shown_has_a_table_for_each_metric_in_the_hole_and_as_a_whole():
    head, rows = read_results(data_folder() / "results" / "photos-128.csv")
    assert columns(rows, ["psnr", "lpips"]) == ["psnr_hole", "psnr"]
    text = show(rows, head, "biharmonic")
    assert text.startswith("mean ± standard error; difference to biharmonic [95 % bootstrap interval]\n\nPSNR in the")
    assert text.count("0% to 20%") == 2 * len(head["metrics"])
    cell = summarise(rows, "psnr_hole", "biharmonic").loc[("photos", 2)]
    line = next(line for line in text.splitlines() if line.startswith("photos "))
    assert f"{cell['mean']:.2f} ± {cell['error']:.2f}; {cell['difference']:+.2f} [{cell['low']:+.2f}, " in line


def test_the_frechet_distance_has_a_table_of_its_own():
    rows = rows_of(a=[1.0, 2.0, 3.0], b=[1.0, 2.0, 3.0])
    head = {"metrics": ["psnr"], "frechet": {"a": [1, 2, 30.04], "b": [3, 2, 10]}}
    assert show(rows, head).splitlines()[-3:] == [
        "Fréchet distance    0% to 20%   20% to 40%   40% to 60%",
        "b                         3.0          2.0         10.0",
        "a                         1.0          2.0         30.0",
    ]
