"""Evaluation under a protocol; and results on disk, whatever interrupts the run."""

import errno
import math
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import Image

import misf_lite as ml
from misf_lite import evaluation
from misf_lite.classical import mean_fill
from misf_lite.cli import main
from misf_lite.datasets import data_folder, open_dataset
from misf_lite.evaluation import (
    METRICS,
    Protocol,
    Results,
    evaluate,
    fingerprint,
    measure,
    open_metrics,
    read_results,
)
from misf_lite.masks import BANDS
from misf_lite.weights import pretrained, weights_path

METHODS = {"grey": lambda image, mask: torch.full_like(image, 0.5), "mean": mean_fill}
NAMES = {"grey": "grey 1", "mean": "mean 1"}
FACES = open_dataset("toy", "test", shrink=40)
KEY = ["method", "band", "picture"]


def results(path, count=4, names=None, metrics=("psnr", "ssim", "l1"), methods=NAMES, **changes):
    faces = FACES if names is None else replace(FACES, names=names)
    protocol = Protocol.of(faces, count, size=40, **changes)
    return Results(path, protocol, metrics, methods)


def measured(path, count=4, **options):
    table = results(path, count, **options)
    measure(METHODS, FACES, table)
    table.finish()
    return table.table()


# What is measured


def test_evaluation_composites_rounds_and_keeps_the_bands_apart():
    images = [torch.full((1, 3, 32, 32), 128 / 255) for _ in range(2)]
    seen = []

    def grey(image, mask):
        seen.append(mask.mean().item())
        return torch.full_like(image, 153.4 / 255)  # also wrong outside the hole, where it must not count

    rows = evaluate({"grey": grey}, images)["grey"]
    areas = [seen[b::3] for b in range(3)]
    for (low, high), shares, row in zip(BANDS, areas, rows, strict=True):
        assert all(low <= share <= high for share in shares)
        assert row["psnr_hole"] == pytest.approx(-20 * math.log10((153 - 128) / 255), abs=1e-3)
        assert row["psnr"] > row["psnr_hole"]


def test_evaluation_gives_every_method_the_same_holes():
    seen = {"a": [], "b": []}

    def method(name):
        def fill(image, mask):
            seen[name].append(mask)
            return image

        return fill

    evaluate({name: method(name) for name in seen}, [torch.rand(1, 3, 20, 20)])
    assert all(torch.equal(a, b) for a, b in zip(seen["a"], seen["b"], strict=True)) and len(seen["a"]) == 3


def test_what_is_not_finite_is_never_measured():
    with pytest.raises(FloatingPointError, match="not finite"):
        evaluate({"ruined": lambda image, mask: image / 0}, [torch.rand(1, 3, 20, 20)])


def test_no_method_can_peek_under_the_hole():
    images = [ml.load_photo(face, 40) for face in FACES][:4]
    rows = evaluate({"peeking": lambda image, mask: image, "black": lambda image, mask: image * 0}, images)
    assert rows["peeking"] == rows["black"]


def test_the_means_of_all_rows_are_those_of_evaluate():
    rows = measured(None)
    images = [ml.load_photo(face, 40) for face in FACES][:4]
    for method, bands in evaluate(METHODS, images).items():
        for band, expected in enumerate(bands):
            means = rows[(rows["method"] == method) & (rows["band"] == band)][list(expected)].mean()
            assert means.to_dict() == pytest.approx(expected, abs=1e-4)


def test_every_metric_has_a_value_for_the_whole_and_for_the_hole():
    image, mask = torch.rand(1, 3, 32, 32), torch.zeros(1, 1, 32, 32)
    mask[..., 10:20, 10:20] = 1
    offline = [name for name in METRICS if name != "lpips"]
    values = open_metrics(offline)(torch.where(mask > 0, 0.5, image), image, mask)
    assert list(values) == [key for name in offline for key in (name, f"{name}_hole")]
    assert values["l1"] < values["l1_hole"] and values["psnr"] > values["psnr_hole"] and values["efflite1_hole"] > 0


def test_an_unknown_metric_is_named():
    with pytest.raises(
        ValueError, match="unknown metric 'beauty': choose some of psnr, ssim, l1, efflite1, gradients, lpips"
    ):
        open_metrics(["beauty"])


def test_nothing_to_evaluate_is_an_error():
    for methods, count in (({}, 4), (METHODS, 0)):
        with pytest.raises(ValueError, match="at least one method and one picture"):
            measure(methods, FACES, results(None, count))
    with pytest.raises(ValueError, match="at least one method and one picture"):
        evaluate(METHODS, [])


def test_every_picture_of_a_folder_is_measured_and_what_cannot_be_read_is_said(tmp_path, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, colour in (("a.png", "red"), ("b.png", "blue")):
        Image.new("RGB", (50, 40), colour).save(folder / name)
    (folder / "broken.png").write_bytes(b"no picture")
    command = ["evaluate", "--data", str(folder), "--size", "32", "--weights", "misf", "-o", str(tmp_path / "r.csv")]
    assert main(command) == 0
    said = capsys.readouterr()
    assert "2 pictures of mine, short side 32" in said.out and "broken.png" in said.err
    _, rows = read_results(tmp_path / "r.csv")
    assert set(rows["picture"]) == {"a.png", "b.png"}


def test_a_shipped_network_fills_as_its_shipped_results_say():
    head, rows = read_results(data_folder() / "results" / "toy-64.csv")
    faces = open_dataset("toy", "test", shrink=64)
    assert Protocol.of(faces, size=64) == Protocol(**head["protocol"] | {"bands": BANDS})
    table = Results(None, Protocol.of(faces, 2, size=64), ("psnr", "ssim", "l1"), {})
    measure({name: ml.load_pretrained(name).to(ml.device()) for name in ("misf", "photos")}, faces, table)
    again = table.table().set_index(KEY)
    shipped = rows.set_index(KEY).loc[again.index, again.columns]
    assert (again - shipped).abs().max().max() < 1e-3  # of another processor, a pixel may round the other way


def test_the_shipped_results_belong_to_the_shipped_weights():
    here = {name: fingerprint(weights_path(name)) for name in pretrained()}
    for path in (data_folder() / "results").glob("*.csv"):
        head, _ = read_results(path)
        networks = {name: what for name, what in head["methods"].items() if what.startswith("sha256")}
        assert networks.items() <= here.items(), path.name


# The file


def test_a_file_gives_back_what_was_measured(tmp_path):
    rows = measured(tmp_path / "r.csv")
    head, read = read_results(tmp_path / "r.csv")
    assert read.equals(rows) and len(rows) == 2 * 3 * 4
    assert head["protocol"]["size"] == 40 and head["protocol"]["kind"] == "strokes" and head["methods"] == NAMES


def test_values_that_are_not_finite_come_back_and_so_do_odd_names(tmp_path):
    table = results(tmp_path / "r.csv", names=["nan", 'a "b", #c'], metrics=("psnr",))
    for name, value in (("nan", math.inf), ('a "b", #c', math.nan)):
        table.add({"method": "mean", "band": 0, "picture": name, "hole": 0.1, "psnr": value})
    table.finish()
    _, rows = read_results(tmp_path / "r.csv")
    assert rows["picture"].tolist() == ['a "b", #c', "nan"]
    assert math.isnan(rows["psnr"][0]) and rows["psnr"][1] == math.inf


def test_a_run_that_was_killed_continues_and_ends_in_the_same_file(tmp_path):
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
    deadline = time.monotonic() + 120
    while sum(journal.read_bytes().count(b"\n") for journal in evaluation.journals(killed)) < 12:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (journal,) = evaluation.journals(killed)
    begun = journal.read_bytes().count(b"\n")
    assert not killed.exists() and begun < (tmp_path / "whole.csv").read_bytes().count(b"\n")
    assert main([*command, str(killed)]) == 0
    assert killed.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not journal.exists()


def test_what_is_there_is_not_measured_again(tmp_path):
    measured(tmp_path / "r.csv")

    def never(image, mask):
        raise AssertionError("measured again")

    measure(dict.fromkeys(METHODS, never), FACES, results(tmp_path / "r.csv"))


def test_a_line_that_was_torn_off_is_measured_again(tmp_path):
    whole = measured(tmp_path / "whole.csv")
    path = tmp_path / "r.csv"
    half = results(path)
    for row in whole.to_dict("records")[:10]:
        half.add(row)
    os.truncate(half.journal, half.journal.stat().st_size - 9)
    assert len(results(path).rows) == 9
    assert measured(path).equals(whole)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_processes_share_the_pictures_and_one_file_comes_out(tmp_path):
    path = tmp_path / "r.csv"
    tables = [results(path, 5) for _ in range(2)]
    for rank, table in enumerate(tables):
        measure(METHODS, FACES, table, rank, processes=2)
    assert [len(table.rows) for table in tables] == [2 * 3 * 3, 2 * 3 * 2]
    tables[0].finish()
    measured(tmp_path / "alone.csv", 5)
    assert path.read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith(".")] == []


def test_two_processes_of_torchrun_write_what_one_writes(tmp_path):
    command = ["-m", "misf_lite", "evaluate", "--data", "toy", "--size", "32", "--count", "3", "--weights", "misf"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"MISF_LITE_DEVICE": "cpu"}
    for launcher, name in (([sys.executable], "one.csv"), (torchrun, "two.csv")):
        run = [*launcher, *command, "-o", tmp_path / name]
        subprocess.run(run, env=environment, check=True, capture_output=True)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_methods_that_come_later_join_the_file(tmp_path):
    path = tmp_path / "r.csv"
    first = results(path, methods={"mean": "mean 1"})
    measure({"mean": mean_fill}, FACES, first)
    first.finish()
    assert measured(path).equals(measured(None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, r"another protocol \(seed is 0 there and 1 here\)"),
        ({"kind": "box"}, r"another protocol \(kind is 'strokes' there and 'box' here\)"),
        ({"metrics": ("psnr",)}, r"another protocol \(metrics is \['psnr', 'ssim', 'l1'\] there and \['psnr'\] here\)"),
        ({"count": 3}, r"pictures is 4 there and 3 here"),
        ({"names": ["a", "b", "c", "d"]}, r"measured on other pictures \(names is .* contents is"),
        ({"methods": NAMES | {"mean": "mean 2"}}, r"another 'mean' \(mean 1 there, mean 2 here\): write to"),
    ],
)
def test_what_does_not_belong_into_one_file_is_refused(tmp_path, change, message):
    measured(tmp_path / "r.csv")
    before = (tmp_path / "r.csv").read_bytes()
    with pytest.raises(ValueError, match=message):
        results(tmp_path / "r.csv", **change)
    assert (tmp_path / "r.csv").read_bytes() == before


def folder_of(folder, colours):
    folder.mkdir(parents=True)
    for i, colour in enumerate(colours):
        Image.new("RGB", (40, 40), colour).save(folder / f"{i}.png")
    return open_dataset(str(folder), "test")


def test_pictures_are_known_by_what_they_show_and_not_by_their_names(tmp_path):
    reds, again, blues = (folder_of(tmp_path / f / "test", [f[1:], "grey"]) for f in ("1red", "2red", "3blue"))
    assert Protocol.of(reds) == Protocol.of(again) and Protocol.of(reds, 1) != Protocol.of(reds)
    Results(tmp_path / "r.csv", Protocol.of(reds), ("psnr",), {"mean": "1"}).finish()
    with pytest.raises(ValueError, match=r"measured on other pictures \(contents is 'sha256 .*write to another file"):
        Results(tmp_path / "r.csv", Protocol.of(blues), ("psnr",), {"mean": "1"})


@pytest.mark.parametrize("content", [b'{"my":"settings"}', b"notes", b"a,b\n1,2\n", b"# my notes"])
def test_a_foreign_file_is_kept_however_short_it_is(tmp_path, content):
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.csv holds no results"):
        results(tmp_path / "r.csv")
    assert (tmp_path / "r.csv").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"#", b'# {"protocol": {"data": "toy f', bytes(40)])
def test_a_file_that_was_only_begun_is_written(tmp_path, content):
    (tmp_path / "r.csv").write_bytes(content)
    assert measured(tmp_path / "r.csv").equals(measured(None))


@pytest.mark.parametrize("anew", [False, True])
def test_what_is_no_regular_file_is_neither_read_nor_replaced(tmp_path, anew):
    os.mkfifo(tmp_path / "pipe")  # to read it would wait for ever
    with pytest.raises(OSError, match="pipe is no regular file"):
        Results(tmp_path / "pipe", Protocol.of(FACES), ("psnr",), {}, anew=anew)


def test_results_that_are_to_be_replaced_stay_until_the_new_ones_are_complete(tmp_path):
    path = tmp_path / "r.csv"
    measured(path)
    before = path.read_bytes()
    results(path).add(
        {"method": "mean", "band": 0, "picture": "gone", "hole": 0.1, "psnr": 9.0, "ssim": 0.0, "l1": 0.0}
    )
    anew = Results(path, Protocol.of(FACES, 1, size=40, seed=7), ("psnr",), NAMES, anew=True)
    measure(METHODS, FACES, anew)
    assert path.read_bytes() == before
    anew.finish()
    head, rows = read_results(path)
    assert head["protocol"]["seed"] == 7 and len(rows) == 2 * 3 and "gone" not in set(rows["picture"])
    assert os.listdir(tmp_path) == ["r.csv"]


def test_two_evaluations_into_one_file_lose_no_row_of_either(tmp_path):
    path = tmp_path / "r.csv"
    protocol = Protocol.of(FACES, 1, size=40)
    tables = {name: Results(path, protocol, ("psnr",), {name: "1"}) for name in "abcd"}

    def write(name):
        tables[name].add({"method": name, "band": 0, "picture": "face 00", "hole": 0.1, "psnr": 1.0})
        tables[name].finish()

    write("a")  # one after the other
    with ThreadPoolExecutor(3) as pool:  # and at once
        list(pool.map(write, "bcd"))
    assert read_results(path)[1]["method"].tolist() == ["a", "b", "c", "d"]


def test_a_journal_of_something_else_is_named_and_kept(tmp_path):
    measured(tmp_path / "r.csv")
    other = Results(tmp_path / "r.csv", Protocol.of(FACES, 1, size=40, seed=7), ("psnr",), NAMES, anew=True)
    other.add({"method": "mean", "band": 0, "picture": "face 00", "hole": 0.1, "psnr": 1.0})  # and killed
    with pytest.raises(
        ValueError, match=rf"{other.journal.name} has another protocol .*: delete it, it is of an unfin"
    ):
        results(tmp_path / "r.csv")
    assert other.journal.exists()


def test_zeros_that_a_crash_left_in_a_journal_are_passed_over(tmp_path):
    whole = measured(tmp_path / "whole.csv")
    half = results(tmp_path / "r.csv")
    for row in whole.to_dict("records")[:10]:
        half.add(row)
    with half.journal.open("ab") as file:
        file.write(b"mean,2,face\0\0\n" + bytes(50))
    assert len(results(tmp_path / "r.csv").rows) == 10
    assert measured(tmp_path / "r.csv").equals(whole)


def test_a_damaged_file_of_results_is_named(tmp_path):
    measured(tmp_path / "r.csv")
    text = (tmp_path / "r.csv").read_text()
    (tmp_path / "r.csv").write_text(text.replace(",0.", ",o.", 1))
    with pytest.raises(ValueError, match=r"r\.csv is damaged \(could not convert .* bring back a copy"):
        read_results(tmp_path / "r.csv")


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", b"", b"\x89PNG\r\n\xff", b'# {"protocol": {}}\n'])
def test_another_file_is_not_taken_for_results(tmp_path, content):
    (tmp_path / "r.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.csv holds no results: its first line is no protocol"):
        read_results(tmp_path / "r.csv")


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        results(tmp_path / "nowhere" / "r.csv")


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
    command[command.index("misf")] = "photos"
    assert main([*command, "--frechet"]) == 0  # another method joins the others
    assert read_results(file)[0]["frechet"].keys() == {*distances, "photos"}


def test_too_few_pictures_have_no_frechet_distance(capsys):
    assert main(["evaluate", "--data", "toy", "--size", "40", "--count", "2", "--weights", "misf", "--frechet"]) == 0
    said = capsys.readouterr()
    assert "2 pictures are too few for a Fréchet distance, which takes 224" in said.err
    assert "Fréchet" not in said.out


def test_a_full_disk_is_told_with_the_name_of_the_results(tmp_path, monkeypatch):
    def full(rows):
        raise OSError(errno.ENOSPC, "No space left on device")

    results = Results(tmp_path / "r.csv", Protocol("toy", 1, "names", "contents"), ["psnr"], {"grey": "1"})
    monkeypatch.setattr(results, "_text", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*r\.csv'"):
        results.add({"method": "grey", "band": 0, "picture": "0.png", "hole": 0.1, "psnr": 1.0})
