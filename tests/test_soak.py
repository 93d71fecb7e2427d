"""The soak test itself: that it notices what it is there for. Its half hour is run by hand."""

import random
import signal
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast

import pytest

if sys.platform != "linux":
    pytest.skip("the soak test takes Linux", allow_module_level=True)

from experiments.__main__ import main
from experiments.disturbed import COMMANDS, Ground, mutated
from experiments.soak import KEPT, KINDS, damage, killed, run_case
from misf_lite.images import open_mask


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("train", "evaluate"):  # they take seconds
            patch.delitem(COMMANDS, name)
        yield Ground(tmp_path_factory.mktemp("soak") / "run")


def test_a_mutation_always_changes_something_and_comes_again_with_its_seed():
    data = bytes(100)
    all_of_them = [mutated(data, random.Random(seed)) for seed in range(200)]
    assert data not in all_of_them and len(set(all_of_them)) > 100
    assert all_of_them == [mutated(data, random.Random(seed)) for seed in range(200)]


def blind(path):
    return path.read_bytes()


def nameless(path):
    if path.parent.name != "given":
        raise ValueError("something is damaged")


@pytest.mark.parametrize(
    ("read", "ended"), [(open_mask, KEPT), (blind, "silent"), (nameless, "failed"), (lambda path: 1 / 0, "failed")]
)
def test_a_damaged_file_must_be_refused_by_its_name(ground, monkeypatch, capsys, read, ended):
    monkeypatch.setitem(KINDS, "damaged", (damage("given/mask.png", read), 1))
    number = ["silent", "failed", KEPT].index(ended) + 10 * (read is nameless)
    assert run_case(ground, 0, "damaged", number) == ended
    said = capsys.readouterr().out
    assert said.startswith(f"--seed 0 --case 'damaged {number}' {ended}: ") if ended != KEPT else not said


def kill(ground, name, way, change):
    case = ground.folder / name
    case.mkdir()
    draw = SimpleNamespace(random=lambda: 0, choice=lambda _: way, randint=lambda *_: change, randrange=lambda _: 100)
    return killed(ground, case, cast(random.Random, draw), "inpaint")


def test_a_command_dies_before_a_change_or_in_the_middle_of_a_write_and_must_leave_the_old_file_or_the_new_one(
    ground, monkeypatch
):
    assert kill(ground, "before it is replaced", "change", 2) == KEPT
    assert kill(ground, "in the write", "write", 1) == KEPT
    assert kill(ground, "not at all", "change", 1000) == "missed"

    def torn(image, path, overwrite):
        path.write_bytes(b"half of it")
        signal.raise_signal(signal.SIGKILL)

    monkeypatch.setattr("misf_lite.cli.save_image", torn)
    with pytest.raises(AssertionError, match="neither the old file nor the new one"):
        kill(ground, "torn", "change", 1000)


def test_an_exception_that_nobody_expected_is_a_failure(ground, monkeypatch):
    monkeypatch.setattr("misf_lite.cli.open_mask", lambda path: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        ground.run(ground.given, COMMANDS["inpaint"])


def test_the_command_prints_a_table_and_fails_if_anything_went_wrong(tmp_path, monkeypatch, capsys):
    for name in list(COMMANDS):
        monkeypatch.delitem(COMMANDS, name)
    for name in list(KINDS):
        monkeypatch.delitem(KINDS, name)
    monkeypatch.setitem(KINDS, "damaged mask", (damage("given/mask.png", open_mask), 3))
    assert main(["soak", "-o", str(tmp_path / "good"), "--minutes", "0"]) == 0
    assert "| damaged mask | 3 | 3 | 0 | 0 | 0 |" in capsys.readouterr().out
    monkeypatch.setitem(KINDS, "unread mask", (damage("given/mask.png", blind), 2))
    assert main(["soak", "-o", str(tmp_path / "bad"), "--minutes", "0"]) == 1
    said = capsys.readouterr().out
    assert "--seed 0 --case 'unread mask 1' silent" in said and "| unread mask | 2 | 0 | 0 | 0 | 2 |" in said
    assert main(["soak", "-o", str(tmp_path / "one"), "--case", "damaged mask 7"]) == 0
    assert "| damaged mask | 1 | 1 |" in capsys.readouterr().out
    assert main(["soak", "-o", str(tmp_path / "one")]) == 1 and "name a new folder" in capsys.readouterr().err
    assert main(["soak", "-o", str(tmp_path / "two"), "--case", "damaged"]) == 1
    assert "a case is one of damaged mask, unread mask, and a number, got 'damaged'" in capsys.readouterr().err
