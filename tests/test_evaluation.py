"""Results: every picture's numbers on disk, under a protocol, whatever interrupts the run; and their statistics."""

import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from misf_lite import evaluation
from misf_lite.cli import main
from misf_lite.datasets import open_pictures
from misf_lite.evaluation import (
    METRICS,
    Protocol,
    Results,
    bootstrap,
    evaluate,
    mean_and_error,
    measure,
    one_table,
    open_metrics,
    read_results,
    show,
    summarise,
)
from misf_lite.masks import BANDS
from misf_lite.metrics import mean_fill

METHODS = {"grey": lambda image, mask: torch.full_like(image, 0.5), "mean": mean_fill}
NAMES = {"grey": "grey 1", "mean": "mean 1"}


def faces(n=4):
    pictures, _, _ = open_pictures("toy", size=40)
    return dict(list(pictures.items())[:n])


def protocol(pictures, **changes):
    return Protocol.of("toy faces", pictures, size=40, **changes)


def results(path, pictures, metrics=("psnr", "ssim", "l1"), methods=NAMES, rank=0, **changes):
    return Results(path, protocol(pictures, **changes), metrics, methods, rank)


def measured(path, pictures=None, **options):
    pictures = pictures or faces()
    table = results(path, pictures, **options)
    measure(METHODS, pictures, table)
    table.finish()
    return table.table()


# What is measured


def test_the_means_of_all_rows_are_those_of_evaluate():
    pictures = faces()
    rows, images = measured(None, pictures), [image for image in pictures.values()]
    expected = evaluate(METHODS, images)
    for key in ("psnr", "psnr_hole", "ssim"):
        table = summarise(rows, key)
        for method, bands in expected.items():
            assert [cell["mean"] for cell in table[method]] == pytest.approx([row[key] for row in bands], abs=1e-4)


def test_every_metric_has_a_value_for_the_whole_and_for_the_hole():
    image, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 10:20, 10:20] = 1
    offline = [name for name in METRICS if name != "lpips"]
    values = open_metrics(offline, torch.device("cpu"))(torch.where(mask > 0, 0.5, image), image, mask)
    assert list(values) == [key for name in offline for key in (name, f"{name}_hole")]
    assert values["l1"] < values["l1_hole"] and values["psnr"] > values["psnr_hole"] and values["efflite_hole"] > 0


def test_an_unknown_metric_is_named():
    with pytest.raises(ValueError, match="unknown metric 'beauty': choose some of psnr, ssim, l1, efflite, lpips"):
        open_metrics(["beauty"], torch.device("cpu"))


def test_no_method_can_peek_under_the_hole():
    _, images = zip(*faces().items(), strict=True)
    rows = evaluate({"peeking": lambda image, mask: image, "black": lambda image, mask: image * 0}, images)
    assert rows["peeking"] == rows["black"]


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(ValueError, match="at least one method and one picture"):
        measure(METHODS, {}, results(None, {}))


# The file


def test_a_file_gives_back_what_was_measured(tmp_path):
    rows = measured(tmp_path / "r.csv")
    head, read = read_results(tmp_path / "r.csv")
    assert read == rows and len(rows) == 2 * 3 * 4
    assert head["protocol"]["size"] == 40 and head["protocol"]["kind"] == "strokes" and head["methods"] == NAMES


def test_a_run_that_was_killed_goes_on_and_ends_in_the_same_file(tmp_path):
    command = ["evaluate", "--data", "toy", "--size", "32", "--count", "6", "--weights", "misf", "-o"]
    assert main([*command, str(tmp_path / "whole.csv")]) == 0
    # The same, but each row takes a while.
    slow = (
        "import sys, time; from misf_lite import cli, evaluation; add = evaluation.Results.add;"
        "evaluation.Results.add = lambda self, row: (time.sleep(0.1), add(self, row));"
        "cli.main(sys.argv[1:])"
    )
    killed = tmp_path / "killed.csv"
    process = subprocess.Popen([sys.executable, "-c", slow, *command, str(killed)])
    journal = tmp_path / ".killed.csv.journal-0"
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 12):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    begun = journal.read_bytes().count(b"\n")
    assert not killed.exists() and begun < (tmp_path / "whole.csv").read_bytes().count(b"\n")
    assert main([*command, str(killed)]) == 0
    assert killed.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not journal.exists()


def test_what_is_there_is_not_measured_again(tmp_path):
    pictures = faces()
    measured(tmp_path / "r.csv", pictures)

    def never(image, mask):
        raise AssertionError("measured again")

    measure(dict.fromkeys(METHODS, never), pictures, results(tmp_path / "r.csv", pictures))


def test_a_line_that_was_torn_off_is_measured_again(tmp_path):
    whole = measured(tmp_path / "whole.csv")
    pictures, path = faces(), tmp_path / "r.csv"
    half = results(path, pictures)
    measure(METHODS, dict(list(pictures.items())[:2]), half)
    journal = tmp_path / ".r.csv.journal-0"
    os.truncate(journal, journal.stat().st_size - 9)
    assert measured(path, pictures) == whole
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_processes_share_the_pictures_and_one_file_comes_out(tmp_path):
    pictures, path = faces(5), tmp_path / "r.csv"
    tables = [results(path, pictures, rank=rank) for rank in range(2)]
    for table in tables:
        measure(METHODS, pictures, table, processes=2)
    assert [len(table.rows) for table in tables] == [2 * 3 * 3, 2 * 3 * 2]
    tables[0].finish()
    measured(tmp_path / "alone.csv", pictures)
    assert path.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_two_processes_of_torchrun_write_what_one_writes(tmp_path):
    command = [
        "-m",
        "misf_lite",
        "evaluate",
        "--data",
        "toy",
        "--size",
        "32",
        "--count",
        "3",
        "--weights",
        "misf",
        "-o",
    ]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"MISF_LITE_DEVICE": "cpu"}
    for launcher, name in (([sys.executable], "one.csv"), (torchrun, "two.csv")):
        subprocess.run([*launcher, *command, tmp_path / name], env=environment, check=True, capture_output=True)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_methods_that_come_later_join_the_file(tmp_path):
    pictures, path = faces(), tmp_path / "r.csv"
    first = results(path, pictures, methods={"mean": "mean 1"})
    measure({"mean": mean_fill}, pictures, first)
    first.finish()
    assert measured(path, pictures) == measured(None, pictures)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"another protocol \(seed is 0 there and 1 here\)"),
        ({"kind": "box"}, r"another protocol \(kind is 'strokes' there and 'box' here\)"),
        ({"metrics": ("psnr",)}, r"other metrics"),
        (
            {"methods": NAMES | {"mean": "mean 2"}},
            r"another 'mean' \(mean 1 there, mean 2 here\): write to",
        ),
    ],
)
def test_what_does_not_belong_into_one_file_is_refused(tmp_path, change, message):
    measured(tmp_path / "r.csv")
    before = (tmp_path / "r.csv").read_bytes()
    with pytest.raises(ValueError, match=message):
        results(tmp_path / "r.csv", faces(), **change)
    assert (tmp_path / "r.csv").read_bytes() == before


def test_other_pictures_are_another_protocol(tmp_path):
    measured(tmp_path / "r.csv")
    with pytest.raises(ValueError, match="pictures is 4 there and 3 here"):
        results(tmp_path / "r.csv", faces(3))
    renamed = {f"other {name}": face for name, face in faces().items()}
    with pytest.raises(ValueError, match="names is"):
        results(tmp_path / "r.csv", renamed)


def test_files_of_one_protocol_make_one_table(tmp_path):
    pictures = faces()
    for name, fill in METHODS.items():
        table = results(tmp_path / f"{name}.csv", pictures, methods={name: f"{name} 1"})
        measure({name: fill}, pictures, table)
        table.finish()
    head, rows = one_table([tmp_path / "grey.csv", tmp_path / "mean.csv"])
    assert head["methods"] == NAMES and rows == measured(None, pictures)


def test_files_of_two_protocols_do_not(tmp_path):
    measured(tmp_path / "a.csv")
    measured(tmp_path / "b.csv", seed=5)
    with pytest.raises(ValueError, match=r"b\.csv was measured under another protocol .*seed is 5 there and 0 here"):
        one_table([tmp_path / "a.csv", tmp_path / "b.csv"])


def test_another_file_is_not_taken_for_results(tmp_path):
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="its first line is no protocol"):
        read_results(tmp_path / "r.csv")


# Statistics


def test_mean_and_standard_error_by_hand():
    assert mean_and_error([1.0, 2.0, 6.0]) == pytest.approx((3.0, math.sqrt(7 / 3)))  # variance (4 + 1 + 9) / 2
    assert mean_and_error([1.0])[0] == 1.0 and math.isnan(mean_and_error([1.0])[1])


def test_the_bootstrap_interval_is_that_of_the_normal_distribution_for_many_pictures():
    x = np.random.default_rng(3).normal(0.5, 2, 400)
    low, high = bootstrap(x)
    error = 2 * x.std(ddof=1) / math.sqrt(400)
    assert (low, high) == pytest.approx((x.mean() - 0.98 * error, x.mean() + 0.98 * error), abs=0.05 * error)


def test_without_any_spread_the_interval_is_a_point():
    assert bootstrap([0.25] * 7) == (0.25, 0.25)


def rows_of(method, values):
    names = ("x", "y", "z")
    return [{"method": method, "band": 0, "picture": p, "psnr": v} for p, v in zip(names, values, strict=True)]


def test_the_difference_is_taken_picture_by_picture():
    # Each picture gains exactly 1, however much the pictures differ.
    table = summarise(rows_of("a", [11.0, 21.0, 31.0]) + rows_of("b", [10.0, 20.0, 30.0]), "psnr", "b")
    cell = table["a"][0]
    assert (cell["mean"], cell["difference"], cell["low"], cell["high"]) == (21.0, 1.0, 1.0, 1.0)
    assert cell["error"] == pytest.approx(10 / math.sqrt(3))


def test_values_that_are_not_finite_are_left_out_and_counted():
    cell = summarise(rows_of("a", [11.0, math.inf, math.nan]), "psnr")["a"][0]
    assert (cell["n"], cell["mean"]) == (1, 11.0)


def test_the_frechet_distance_stays_with_the_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "ENOUGH", 4)
    file = tmp_path / "faces.csv"
    command = ["evaluate", "--data", "toy", "--size", "40", "--count", "4", "--weights", "misf", "-o", str(file)]
    assert main([*command, "--frechet"]) == 0
    said, written = capsys.readouterr().out, file.read_bytes()
    distances = read_results(file)[0]["frechet"]
    assert set(distances) == {"misf", "mean colour", "smooth guess"} and all(d > 0 for d in distances["misf"])
    assert "Fréchet distance" in said and f"{distances['misf'][2]:.1f}" in said
    assert main([*command, "--frechet"]) == 0 and main(command) == 0  # it is not measured again, nor lost
    assert file.read_bytes() == written


def test_too_few_pictures_have_no_frechet_distance(capsys):
    assert main(["evaluate", "--data", "toy", "--size", "40", "--count", "2", "--weights", "misf", "--frechet"]) == 0
    said = capsys.readouterr()
    assert "2 pictures are too few for a Fréchet distance, which takes 224" in said.err
    assert "Fréchet" not in said.out


def test_what_is_not_in_the_rows_is_named():
    with pytest.raises(ValueError, match="there is no 'lpips' in these results; there are psnr"):
        summarise(rows_of("a", [1.0, 2.0, 3.0]), "lpips")
    with pytest.raises(ValueError, match="there is no method 'b' to compare with; there are a"):
        summarise(rows_of("a", [1.0, 2.0, 3.0]), "psnr", "b")


def test_the_table_shows_means_errors_and_differences():
    rows = measured(None)
    text = show(rows, {"metrics": ["psnr"]}, ["mean", "grey"], baseline="grey")
    cell = summarise(rows, "psnr_hole", "grey")["mean"][0]
    line = next(line for line in text.splitlines() if line.startswith("mean "))
    assert "PSNR in the hole, dB" in text and all(f"{low:.0%} to {high:.0%}" in text for low, high in BANDS)
    assert f"{cell['mean']:.2f} ± {cell['error']:.2f}; {cell['difference']:+.2f} [{cell['low']:+.2f}, " in text
    assert "[" in line


# Pictures


def test_every_picture_of_a_folder_is_measured_and_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (90, 60)).save(tmp_path / "a.png")
    Image.new("L", (60, 90)).save(tmp_path / "in" / "b.png")
    (tmp_path / "c.png").write_text("no picture")
    pictures, what, notes = open_pictures(str(tmp_path), size=30)
    assert [(name, picture.size) for name, picture in pictures.items()] == [("a.png", (45, 30)), ("in/b.png", (30, 45))]
    assert what == f"pictures of {tmp_path.name}" and "1 of 3 files" in notes[0] and "c.png" in notes[0]


def test_data_that_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match="there is no data 'nowhere': choose photos, paintings, toy"):
        open_pictures("nowhere", size=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "beauty"], "unknown metric 'beauty'"),
        (["--baseline", "Telea"], "no method 'Telea' to compare with: misf, mean colour, smooth guess"),
        (["--weights", "misf", "misf"], "two of the weights are called 'misf'"),
        (["--weights", "nothing"], "there are no weights called 'nothing'"),
        (["--count", "0"], "at least one method and one picture"),
        (["--data", "nowhere"], "there is no data 'nowhere'"),
    ],
)
def test_what_cannot_be_evaluated_is_said_in_a_sentence(capsys, arguments, message):
    assert main(["evaluate", "--data", "toy", "--size", "32", "--weights", "misf", *arguments]) == 1
    assert message in capsys.readouterr().err
