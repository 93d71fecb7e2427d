"""The command line, and what it says to input it cannot use: one line, no traceback, nothing lost."""

import contextlib
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import misf_lite as ml
from misf_lite import evaluation, training
from misf_lite.cli import main
from misf_lite.evaluation import read_results
from misf_lite.lite import LiteConfig


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a picture, its mask and small weights, to work in."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save("image.png")
    hole = np.zeros((40, 56), np.uint8)
    hole[10:20, 15:30] = 255
    Image.fromarray(hole).save("mask.png")
    torch.manual_seed(0)
    ml.save_weights(ml.MISF(ml.MISFConfig.toy(width=2, blocks=(1, 1))), "small.safetensors")
    return tmp_path


def fill(*arguments):
    return main(["inpaint", "--weights", "small.safetensors", *map(str, arguments)])


def test_a_hole_is_filled_and_known_pixels_are_kept(folder, capsys):
    assert fill("image.png", "mask.png", "-o", "out.png") == 0
    before, after, hole = (np.array(Image.open(folder / name)) for name in ("image.png", "out.png", "mask.png"))
    assert np.array_equal(before[hole == 0], after[hole == 0])
    assert not np.array_equal(before[hole > 0], after[hole > 0])
    assert "out.png: 56×40, a hole of 6.70%, filled in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("white", "note"),
    [
        (0, "mask.png has no hole, so nothing is filled"),
        (24, "60% of the picture: is the mask inverted?"),
        (40, "100%"),
    ],
)
def test_a_mask_that_may_not_be_meant_is_noted(folder, capsys, white, note):
    hole = np.zeros((40, 56), np.uint8)
    hole[:white] = 255
    Image.fromarray(hole).save("mask.png")
    assert fill("image.png", "mask.png", "-o", "out.png") == 0
    said = capsys.readouterr()
    assert note in said.err and f"a hole of {white / 40:.2%}" in said.out
    assert fill("image.png", "other.png", "-o", "out.png", "--force") == 1 and "other.png" in capsys.readouterr().err


def test_the_default_weights_are_those_for_photographs(folder):
    assert main(["inpaint", "image.png", "mask.png", "-o", "out.png"]) == 0
    expected = ml.inpaint("image.png", "mask.png", ml.load_pretrained("photos"))
    assert np.array_equal(np.array(Image.open("out.png")), np.array(expected))


def test_an_existing_output_is_kept_unless_forced(folder, capsys):
    (folder / "out.png").write_bytes(b"precious")
    assert fill("image.png", "mask.png", "-o", "out.png") == 1
    assert "--force" in capsys.readouterr().err and (folder / "out.png").read_bytes() == b"precious"
    assert fill("image.png", "mask.png", "-o", "out.png", "--force") == 0
    with Image.open(folder / "out.png") as image:
        assert image.size == (56, 40)


def png_header(width, height):
    """A PNG that promises more pixels than it has."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg(folder):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 56, 3), np.uint8)).save(folder / "whole.jpg")
    return (folder / "whole.jpg").read_bytes()


BAD_IMAGES = {
    "a text file named .png": (lambda folder: b"this is not a picture", "not an image"),
    "a truncated JPEG": (lambda folder: jpeg(folder)[:700], "truncated"),
    "a truncated PNG": (lambda folder: (folder / "image.png").read_bytes()[:3000], "truncated"),
    "an empty file": (lambda folder: b"", "empty"),
    "a 100-megapixel bomb": (lambda folder: png_header(10_000, 10_000), "100.0 megapixels"),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("role", ["image", "mask"])
def test_a_file_that_cannot_be_used_is_named_with_the_reason(folder, capsys, kind, role):
    make, message = BAD_IMAGES[kind]
    (folder / "bad.png").write_bytes(make(folder))
    pair = ("bad.png", "mask.png") if role == "image" else ("image.png", "bad.png")
    assert fill(*pair, "-o", "out.png") == 1
    said = capsys.readouterr().err
    assert said.startswith("misf-lite: error: ") and "bad.png" in said and message in said
    assert said.count("\n") == 1 and not (folder / "out.png").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing.png", "mask.png", "-o", "out.png"), "nothing.png"),
        ((".", "mask.png", "-o", "out.png"), "is a folder"),
        (("image.png", "small.png", "-o", "out.png"), "56×40 and mask is 20×20"),
        (("image.png", "turned.png", "-o", "out.png"), "rotated by 90°"),
        (("image.png", "mask.png", "-o", "away/out.png"), "no folder"),
        (("image.png", "mask.png", "-o", "."), "out|folder|ends in"),
        (("image.png", "mask.png", "-o", "out.docx"), ".png"),
        (("image.png", "mask.png", "-o", "out.png", "--tile", "8"), "at least 64 pixels"),
    ],
)
def test_a_wrong_argument_gets_one_line_that_says_what_to_do(folder, capsys, arguments, message):
    Image.new("L", (20, 20)).save("small.png")
    Image.new("L", (40, 56)).save("turned.png")
    assert fill(*arguments) == 1
    said = capsys.readouterr().err
    assert any(part in said for part in message.split("|")) and said.count("\n") == 1
    assert not (folder / "out.png").exists()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("faces", "there are no weights called 'faces'"),
        ("nothing.safetensors", "no weights at nothing.safetensors"),
        ("cut.safetensors", "truncated"),
        ("image.png", "not a safetensors file"),
    ],
)
def test_weights_that_cannot_be_used_are_never_replaced_by_random_ones(folder, capsys, weights, message):
    (folder / "cut.safetensors").write_bytes((folder / "small.safetensors").read_bytes()[:2000])
    assert main(["inpaint", "image.png", "mask.png", "-o", "out.png", "--weights", weights]) == 1
    assert message in capsys.readouterr().err and not (folder / "out.png").exists()


def test_running_out_of_memory_is_one_line_with_advice(folder, capsys, monkeypatch):
    def too_large(*arguments):
        raise RuntimeError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr("misf_lite.cli.inpaint", too_large)
    assert fill("image.png", "mask.png", "-o", "out.png") == 1
    said = capsys.readouterr().err
    assert "out of memory" in said and "--tile 256" in said and said.count("\n") == 1


def test_what_the_program_notices_is_a_note_without_a_traceback(folder, capsys):
    Image.new("RGB", (56, 40)).save("moving.gif", save_all=True, append_images=[Image.new("RGB", (56, 40), "red")])
    assert fill("moving.gif", "mask.png", "-o", "out.png") == 0
    said = capsys.readouterr().err
    assert "misf-lite: note: " in said and "2 frames" in said


@pytest.mark.parametrize("command", [[], *(["inpaint"], ["train"], ["evaluate"], ["demo"], ["student"], ["doctor"])])
def test_every_command_explains_itself(capsys, command):
    with pytest.raises(SystemExit) as stop:
        main([*command, "--help"])
    assert stop.value.code == 0 and "usage: misf-lite" in capsys.readouterr().out


def test_the_module_and_the_console_script_are_the_same_program():
    said = subprocess.run([sys.executable, "-m", "misf_lite", "--version"], check=True, capture_output=True, text=True)
    assert said.stdout == f"misf-lite {ml.__version__}\n"


def test_an_installation_with_everything_in_place_is_healthy(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for fact in (
        "python",
        f"torch {torch.__version__.split('+')[0]}",
        "device",
        "memory",
        "252 of 252",
        "photos",
        "filled|took",
    ):
        assert any(part in said for part in fact.split("|")), fact
    assert "Everything is in place." in said


def test_the_doctor_names_what_is_missing_and_the_remedy(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("misf_lite.datasets.data_folder", lambda: tmp_path)
    monkeypatch.setattr("misf_lite.weights.data_folder", lambda: tmp_path)
    monkeypatch.setenv("MISF_LITE_DEVICE", "meta")
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    for problem in ("photographs are missing", "weights 'photos' are missing", "MISF_LITE_DEVICE is 'meta'"):
        assert problem in said
    assert "3 to mend" in said


def test_the_doctor_tells_what_is_too_old_and_what_is_not_there(capsys, monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version

    def version(name):
        if name == "papermill":
            raise importlib.metadata.PackageNotFoundError(name)
        return "9.0.0" if name == "pillow" else real(name)

    monkeypatch.setattr("importlib.metadata.version", version)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "pillow 9.0.0 is too old, >=10.1 is needed: pip install" in said
    assert "papermill is not installed: pip install 'papermill>=2.6'" in said


def test_the_doctor_survives_damaged_weights(capsys, monkeypatch):
    def damaged(*arguments):
        raise ValueError("photos.safetensors is truncated")

    monkeypatch.setattr("misf_lite.doctor.inpaint", damaged)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "python" in said and "a hole could not be filled: photos.safetensors is truncated" in said


def test_a_missing_package_is_named_on_import():
    program = "import sys; sys.modules['scipy'] = None; import misf_lite"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr
    assert "misf_lite needs scipy" in said and "pip install scipy" in said


def test_the_device_can_be_chosen_by_a_variable(monkeypatch):
    monkeypatch.setenv("MISF_LITE_DEVICE", "cpu")
    assert ml.device() == torch.device("cpu")
    assert "MISF_LITE_DEVICE" in ml.device.__doc__


def test_evaluation_prints_every_band_for_the_weights_and_the_mean_colour(folder, capsys):
    assert main(["evaluate", "--weights", "small.safetensors", "--size", "32", "--split", "val", "--count", "2"]) == 0
    said = capsys.readouterr().out
    for part in ("2 photographs of the val split", "0% to 20%", "40% to 60%", "small ", "mean colour"):
        assert part in said


@pytest.fixture
def tiny_presets(monkeypatch):
    tiny = {"lite": LiteConfig(width=2, blocks=(1, 1), passes=2), "toy": ml.MISFConfig.toy(width=2, blocks=(1, 1))}
    monkeypatch.setattr("misf_lite.cli.ARCHITECTURES", {name: lambda c=config: c for name, config in tiny.items()})


def teach(*arguments):
    return main(["train", "--steps", "2", "--batch", "2", "--crops", "16", "--workers", "0", *arguments])


def test_a_few_steps_of_training_write_weights_that_inpaint(folder, tiny_presets):
    assert teach("--preset", "toy", "-o", "run") == 0
    assert fill("image.png", "mask.png", "-o", "out.png", "--weights", "run/weights.safetensors") == 0


def test_own_pictures_and_the_switches_reach_the_training(folder, tiny_presets, capsys):
    changes = ["--set", "levels=0,", "softmax=False,False", "kernel_size=5,3"]
    options = ["--perceptual", "0.01", "--precision", "bf16", "--seed", "3"]
    (folder / "holes").mkdir()
    shutil.move("mask.png", "holes")
    assert teach("--data", ".", "--masks", "holes", *changes, *options, "-o", "run") == 0
    said = capsys.readouterr().out
    assert "pictures in .: 1 to learn from" in said and "masks in holes: 1" in said
    config = ml.load_weights("run/weights.safetensors").config
    assert config == LiteConfig((0,), width=2, blocks=(1, 1), passes=2, softmax=(False, False), kernel_size=(5, 3))


def test_training_goes_on_from_weights_with_their_architecture(folder, tiny_presets):
    assert teach("--start", "small.safetensors", "--data", "toy", "-o", "run") == 0
    assert ml.load_weights("run/weights.safetensors").config == ml.load_weights("small.safetensors").config


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "there is no data 'nowhere'"),
        (["--data", "celeba"], "To download it, run"),
        (["--data", "places365"], "To download it, run"),
        (["--masks", "nowhere", "--data", "toy"], "there is no folder nowhere"),
        (["--start", "nothing"], "there are no weights called 'nothing'"),
        (["--precision", "int8"], "precision must be one of"),
        (["--features", "resnet"], "features must be one of"),
        (["--l1", "0"], "one of them more than 0"),
        (["--set", "width"], "--set takes FIELD=VALUE, got 'width'"),
        (["--set", "depth=3"], "the fields are levels, interactive, composite"),
        (["--set", "norm=maybe"], "norm takes a value such as False, got 'maybe'"),
        (["--set", "kernel_size=5"], "kernel_size takes a value such as (3, 3), got '5'"),
        (["--set", "kernel_size=4,3"], "kernels have odd sides"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_sentence(folder, tiny_presets, capsys, arguments, message):
    assert teach(*arguments, "-o", "run") == 1
    assert message in capsys.readouterr().err


def test_an_interrupted_training_ends_with_the_status_of_an_interrupt(folder, tiny_presets, monkeypatch):
    validate = training.Run.validate

    def interrupted(self, held_out):
        validate(self, held_out)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(training.Run, "validate", interrupted)
    long = ["--preset", "toy", "--steps", "50", "--every", "1", "-o", "run"]
    assert teach(*long) == 130
    monkeypatch.setattr(training.Run, "validate", validate)
    assert teach(*long) == 0


def test_a_typo_in_the_baseline_loses_no_results(folder, capsys):
    (folder / "r.csv").write_text("precious")
    evaluate = ["evaluate", "--weights", "small.safetensors", "--size", "32", "--count", "1", "-o", "r.csv", "--force"]
    assert main([*evaluate, "--baseline", "tela"]) == 1
    assert "there is no method 'tela' to compare with: small, mean colour" in capsys.readouterr().err
    assert (folder / "r.csv").read_text() == "precious"


@pytest.mark.parametrize("options", [["--metrics", "beauty"], ["--seed", "-1"], ["--data", "nowhere"]])
def test_whatever_is_wrong_a_forced_evaluation_loses_no_results(folder, options):
    (folder / "r.csv").write_text("precious")
    evaluate = ["evaluate", "--weights", "small.safetensors", "--size", "32", "--count", "1", "-o", "r.csv", "--force"]
    with contextlib.suppress(SystemExit):
        assert main([*evaluate, *options]) == 1
    assert (folder / "r.csv").read_text() == "precious"


def test_forced_results_replace_others_and_a_link_stays_a_link(folder):
    (folder / "old.csv").write_text("old")
    (folder / "r.csv").symlink_to("old.csv")
    evaluate = ["evaluate", "--weights", "small.safetensors", "--size", "32", "--count", "1", "-o", "r.csv"]
    assert main([*evaluate, "--force"]) == 0 and main(evaluate) == 0
    assert (folder / "r.csv").is_symlink() and (folder / "old.csv").read_text().startswith('# {"protocol"')


@pytest.mark.parametrize("name", ["smooth guess", "Telea", "mean colour"])
def test_weights_never_take_the_name_of_another_method(folder, capsys, name):
    shutil.copy("small.safetensors", f"{name}.safetensors")
    assert main(["evaluate", "--weights", f"{name}.safetensors", "--size", "32", "--count", "1"]) == 1
    assert f"two methods are called {name!r}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--size", "--count"])
@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many"])
def test_numbers_of_things_start_at_one(capsys, option, value):
    with pytest.raises(SystemExit):
        main(["evaluate", option, value])
    assert f"expected a whole number from 1 on, got '{value}'" in capsys.readouterr().err


def test_a_runs_folder_and_its_checkpoints_can_be_used_as_weights(folder, tiny_presets, capsys):
    assert teach("--preset", "toy", "--every", "1", "-o", "run") == 0
    for weights in ("run", "run/", "run/checkpoint-0000002.pt"):
        assert fill("image.png", "mask.png", "-o", "out.png", "--force", "--weights", weights) == 0
    assert np.array_equal(
        Image.open("out.png"), ml.inpaint("image.png", "mask.png", ml.load_weights("run/weights.safetensors"))
    )
    (folder / "run" / "weights.safetensors").unlink()  # as if it had been interrupted
    both = ["run", "run/checkpoint-0000001.pt"]
    assert main(["evaluate", "--weights", *both, "--data", "toy", "--size", "32", "--count", "1", "-o", "r.csv"]) == 0
    assert {"run", "checkpoint-0000001"} <= read_results("r.csv")[0]["methods"].keys()
    (folder / "photos").mkdir()
    shutil.copy("run/checkpoint-0000001.pt", "photos")
    capsys.readouterr()
    assert main(["inpaint", "image.png", "mask.png", "-o", "other.png"]) == 0
    assert "photos is taken from the project; for the folder here say ./photos" in capsys.readouterr().err
    (folder / "empty").mkdir()
    assert fill("image.png", "mask.png", "-o", "out.png", "--force", "--weights", "empty") == 1
    assert "there are no weights called 'empty'" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["cp437", "ascii"])
def test_a_console_that_does_not_know_a_character_stops_nothing(folder, encoding):
    command = [sys.executable, "-m", "misf_lite", "inpaint", "image.png", "mask.png", "-o", "≤ü.png"]
    options = ["--weights", "small.safetensors"]
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([*command, *options], env=environment, capture_output=True)
    assert done.returncode == 0 and b"filled in" in done.stdout and not done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_pictures_with_names_of_any_bytes_are_measured_and_their_rows_are_kept(folder):
    for name in (b"a\xff.png", b"b\r.png", b"c#1.png", b'd",.png'):
        (folder / "odd").mkdir(exist_ok=True)
        shutil.copy("image.png", os.path.join(b"odd", name))
    command = ["evaluate", "--data", "odd", "--weights", "small.safetensors", "--size", "32", "-o", "r.csv"]
    assert main(command) == 0 and main(command) == 0
    expected = {"a\\udcff.png", "b\\r.png", "c#1.png", 'd",.png'}
    assert set(read_results("r.csv")[1]["picture"]) == expected == set(pd.read_csv("r.csv", skiprows=1)["picture"])


@pytest.mark.parametrize("number", training.SIGNALS)
def test_an_evaluation_that_is_ended_keeps_its_rows_and_says_so(folder, monkeypatch, capsys, number):
    add = evaluation.Results.add

    def ended(self, row):
        add(self, row)
        signal.raise_signal(number)

    monkeypatch.setattr(evaluation.Results, "add", ended)
    command = ["evaluate", "--data", "toy", "--weights", "small.safetensors", "--size", "32", "--count", "1"]
    handlers = {other: signal.getsignal(other) for other in training.SIGNALS}
    try:
        assert main([*command, "-o", "r.csv"]) == 130
    finally:
        for other, handler in handlers.items():
            signal.signal(other, handler)
    assert "misf-lite: interrupted" in capsys.readouterr().err
    assert len(evaluation.read_results(evaluation.journals(Path("r.csv"))[0])[1]) == 1


def test_an_error_without_words_is_named(folder, capsys, monkeypatch):
    def full(*arguments):
        raise MemoryError

    monkeypatch.setattr("misf_lite.cli.inpaint", full)
    assert fill("image.png", "mask.png", "-o", "out.png") == 1
    assert "misf-lite: error: MemoryError" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{}", "[]", '{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', "\xff"]
)
def test_what_is_no_notebook_is_named(folder, capsys, text):
    Path("n.ipynb").write_text(text, encoding="latin-1")
    assert main(["student", "n.ipynb", "-o", "out.ipynb"]) == 1
    assert "n.ipynb is not a notebook" in capsys.readouterr().err and not Path("out.ipynb").exists()


def test_the_notebook_with_the_solutions_is_never_replaced(folder, capsys):
    tour = Path(__file__).parent.parent / "notebooks" / "00_start_here.ipynb"
    shutil.copy(tour, "tour.ipynb")
    Path("link.ipynb").symlink_to("tour.ipynb")
    for output in ("tour.ipynb", "link.ipynb"):
        assert main(["student", "tour.ipynb", "-o", output, "--force"]) == 1
        assert "is the notebook with the solutions, which stays" in capsys.readouterr().err
    assert Path("tour.ipynb").read_bytes() == tour.read_bytes()


def test_the_students_version_of_a_notebook_has_no_solutions_and_replaces_nothing(folder, capsys):
    tour = Path(__file__).parent.parent / "notebooks" / "00_start_here.ipynb"
    assert main(["student", str(tour), "-o", "mine.ipynb"]) == 0
    text = (folder / "mine.ipynb").read_text(encoding="utf-8")
    assert "SOLUTION" in tour.read_text(encoding="utf-8") and "SOLUTION" not in text and "your code here" in text
    (folder / "mine.ipynb").write_text("my work")
    assert main(["student", str(tour), "-o", "mine.ipynb"]) == 1
    assert "--force" in capsys.readouterr().err and (folder / "mine.ipynb").read_text() == "my work"
    assert main(["student", "image.png", "-o", "other.ipynb"]) == 1
    assert "image.png is not a notebook" in capsys.readouterr().err
