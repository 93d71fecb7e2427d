"""Every notebook runs, its solutions pass their checks, its stubs do not, and its helpers say what is wrong."""

import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import misf_lite as ml
from misf_lite import checks
from misf_lite.checks import CheckFailed
from misf_lite.lesson import run_notebook, student_version

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
names = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


@names
@pytest.mark.filterwarnings("default")  # a warning raised inside papermill's event loop would leave it waiting
def test_a_notebook_runs_from_top_to_bottom_and_becomes_a_page(notebook, tmp_path):
    page, pictures, measured = run_notebook(notebook, tmp_path, "tiny")
    text = page.read_text(encoding="utf-8")
    assert "Traceback" not in text and measured and all(path.stat().st_size > 1000 for path in pictures)
    loaded = re.findall(r"""<(?:script|link|img|iframe)[^>]+(?:src|href)=["'](https?:)?//""", text)
    assert not loaded, "the page must not need a network"


def code_of(notebook):
    return {cell.id: cell for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"}


@names
def test_every_exercise_has_a_hint_a_solution_and_a_check(notebook):
    cells = nbformat.read(notebook, as_version=4).cells
    for i, cell in enumerate(cells):
        if cell.metadata.get("nbgrader", {}).get("solution"):
            assert "### BEGIN SOLUTION" in cell.source and "### END SOLUTION" in cell.source
            assert "<summary>A hint</summary>" in cells[i - 1].source
            assert "<summary>The solution</summary>" in cells[i - 1].source
            assert cells[i + 1].metadata["nbgrader"]["grade"] and cells[i + 1].source.startswith("checks.")


@names
def test_solutions_pass_and_stubs_fail_with_advice(notebook, capsys):
    solved, stubs = code_of(notebook), student_version(nbformat.read(notebook, as_version=4))
    assert not any("The solution" in cell.source for cell in stubs.cells)
    stubs = {cell.id: cell for cell in stubs.cells if cell.cell_type == "code"}
    exercises = [i for i, cell in solved.items() if cell.metadata.get("nbgrader", {}).get("solution")]
    tests = [i for i, cell in solved.items() if cell.metadata.get("nbgrader", {}).get("grade")]
    assert len(exercises) == len(tests) >= 3
    scope = {"torch": torch, "checks": checks, "ml": ml}
    for exercise, test in zip(exercises, tests, strict=True):
        assert "SOLUTION" not in stubs[exercise].source
        stub_scope = dict(scope)
        exec(stubs[exercise].source, stub_scope)
        with pytest.raises(CheckFailed, match="returns nothing yet"):
            exec(stubs[test].source, stub_scope)
        exec(solved[exercise].source, scope)
        exec(solved[test].source, scope)
    assert capsys.readouterr().out.count("✓") == len(tests)


def window(picture, kernel, row, column, start=None):
    N = len(kernel)
    start = N // 2 if start is None else start
    padded = torch.nn.functional.pad(picture, (N, N, N, N))
    top, left = row - start + N, column - start + N
    return (kernel * padded[top : top + N, left : left + N]).sum()


def raises(*arguments):
    raise IndexError("index 9 is out of bounds")


def weighted(output, target, mask, weight):
    return ((output - target).abs() * (1 + (weight - 1) * mask)).sum() / (1 + (weight - 1) * mask).sum() / 3


def cycle(step, top, last, peak, ease=lambda x: (1 - math.cos(math.pi * x)) / 2, start=1 / 25):
    if step <= top:
        return peak * (start + (1 - start) * ease(step / top))
    return peak * (1 - ease((step - top) / (last - top)))


def saved_in_place(path, text, write):
    write(path, text)
    return path


def saved_elsewhere(path, text, write):
    write(path.with_suffix(".part"), text)
    return path


def saved_over_nothing(path, text, write):
    path.unlink()
    write(path.with_suffix(".part"), text)
    return path.with_suffix(".part").rename(path)


def saved_safely(path, text, write):
    try:
        write(path.with_suffix(".part"), text)
    except OSError:
        return path
    return path.with_suffix(".part").replace(path)


WRONG = [
    ("by_hand", lambda: 2.0, "turned round"),
    ("by_hand", lambda: 3.0, r"gives 3\.0000 where 4\.0000"),
    ("composite", lambda o, i, m: o * (1 - m) + i * m, "mask is 1 in the hole"),
    ("composite", lambda o, i, m: o, "known pixels must be the image's own"),
    ("composite", lambda o, i, m: i, "the hole must be the output's"),
    ("composite", lambda o, i, m: o * m, "known pixels got lost"),
    ("composite", lambda o, i, m: (o * m + i * (1 - m))[0], r"returns the shape \(3, 4, 6\)"),
    ("composite", lambda o, i, m: None, "returns nothing yet"),
    ("filter_pixel", lambda p, k, r, c: window(p, k.T, r, c), "swapped"),
    ("filter_pixel", lambda p, k, r, c: window(p, k.flip(0, 1), r, c), "turned round"),
    ("filter_pixel", lambda p, k, r, c: window(p, k, r, c, start=0), "N // 2 before"),
    ("filter_pixel", lambda p, k, r, c: window(p, k, r, c) / k.sum(), "gives"),
    ("filter_pixel", raises, "stopped with IndexError: index 9"),
    ("hole_share", lambda k, m, r, c: 1 - window(m, k, r, c) / k.sum(), "1 in the hole"),
    ("hole_share", lambda k, m, r, c: window(m, k, r, c), "divide by the sum"),
    ("hole_share", lambda k, m, r, c: window(m, k.T, r, c) / k.sum(), "swapped"),
    ("hole_share", lambda k, m, r, c: float("nan"), "gives nan"),
    ("by_hand", lambda: "4", "returns a str, expected a number"),
    ("composite", lambda o, i, m: (o, i), "returns a tuple, expected a number or a tensor"),
    ("filter_pixel", lambda p, k, r, c: p.zero_().sum(), "gives"),
    ("composite", lambda o, i, m: (o.zero_(), i.zero_())[0], "gives"),
    ("weighted_l1", lambda o, t, m, w: weighted(o, t, 1 - m, w), "weight is given to known pixels"),
    ("weighted_l1", lambda o, t, m, w: ((o - t).abs() * (1 + (w - 1) * m)).mean(), "divide by the sum of the weights"),
    ("weighted_l1", lambda o, t, m, w: ((o - t).abs() * m).sum() / m.sum() / 3, "known pixels count too"),
    ("weighted_l1", lambda o, t, m, w: (o - t).abs().mean(), "the weight is not used"),
    ("weighted_l1", lambda o, t, m, w: weighted((o - t) ** 2, 0 * t, m, w), "not the squared one"),
    ("weighted_l1", lambda o, t, m, w: 3 * weighted(o, t, m, w), "gives"),
    ("weighted_l1", lambda o, t, m, w: (o - t).abs() * m, r"returns the shape \(3, 4, 6\)"),
    ("moving_average", lambda a, c, d: (1 - d) * a + d * c, "decay is the share that stays"),
    ("moving_average", lambda a, c, d: d * a + c, "add up to 1"),
    ("moving_average", lambda a, c, d: (a + c) / 2, "plain mean"),
    ("moving_average", lambda a, c, d: c, "nothing is left of the old average"),
    ("moving_average", lambda a, c, d: a.mul_(d), "gives"),
    ("share", lambda n, r, p: range(n), "every process takes every picture"),
    ("share", lambda n, r, p: range(n // p), "all processes take the same"),
    ("share", lambda n, r, p: range(r + 1, n + 1, p), "counted from 0"),
    ("share", lambda n, r, p: range(n) if r == 0 else [], "one process takes all"),
    ("share", lambda n, r, p: range(r, n - 1, p), "the last picture is left out"),
    ("share", lambda n, r, p: [r, r] * (n // p), "not every picture is taken exactly once"),
    ("share", lambda n, r, p: n // p, "stopped with TypeError"),
    ("largest_batch", lambda b, f, p, c: int(b // (p * c**2)), "take fixed away first"),
    ("largest_batch", lambda b, f, p, c: int((b - f) // (p * c)), "crop × crop"),
    ("largest_batch", lambda b, f, p, c: math.ceil((b - f) / (p * c**2)), "one too many"),
    ("largest_batch", lambda b, f, p, c: (b - f) / (p * c**2), "whole number"),
    ("largest_batch", lambda b, f, p, c: int((b + f) // (p * c**2)), "not added"),
    ("one_cycle", lambda *a: cycle(*a, ease=lambda x: x), "straight lines"),
    ("one_cycle", lambda *a: cycle(*a, start=0), "starts at peak / 25"),
    ("one_cycle", lambda s, t, n, p: p * (1 + math.cos(math.pi * s / n)) / 2, "first it has to rise"),
    ("one_cycle", lambda *a: cycle(*a, ease=lambda x: 1 - math.cos(math.pi * x)), "the whole wave"),
    ("one_cycle", lambda s, t, n, p: p, "gives"),
    ("atomic_save", saved_in_place, "under another name first"),
    ("atomic_save", saved_elsewhere, "never gets its name"),
    ("atomic_save", saved_over_nothing, "gone before the new one is whole"),
    ("atomic_save", lambda p, t, w: p.unlink() or p, "no file of that name"),
    ("atomic_save", lambda p, t, w: p.write_text("half") and p, "neither the old text nor the new"),
    ("atomic_save", lambda p, t, w: None, "returns nothing yet"),
    ("atomic_save", raises, "stopped with IndexError"),
]


@pytest.mark.parametrize(("exercise", "answer", "message"), WRONG)
def test_a_wrong_answer_is_told_what_is_suspected(exercise, answer, message):
    with pytest.raises(CheckFailed, match=message) as failed:
        getattr(checks, exercise)(answer)
    assert failed.value._render_traceback_() == [f"✗ {failed.value}"]


def in_place(picture, kernel, row, column):
    reach = len(kernel) // 2
    kernel *= picture[row - reach : row + reach + 1, column - reach : column + reach + 1]
    return kernel.sum().item()


RIGHT = [
    ("by_hand", lambda: np.float64(4)),
    ("composite", lambda o, i, m: torch.where(m.bool(), o, i).numpy()),
    ("filter_pixel", in_place),
    ("filter_pixel", lambda p, k, r, c: window(p, k, r, c).requires_grad_()),
    ("hole_share", lambda k, m, r, c: in_place(m, k / k.sum(), r, c)),
    ("weighted_l1", lambda o, t, m, w: weighted(o, t, m, w).item()),
    ("moving_average", lambda a, c, d: a.lerp_(c, 1 - d)),
    ("share", lambda n, r, p: torch.arange(n).chunk(p)[r]),
    ("share", lambda n, r, p: list(range(n))[r * n // p : (r + 1) * n // p]),
    ("largest_batch", lambda b, f, p, c: math.floor((b - f) / p / c / c)),
    ("one_cycle", lambda *a: torch.tensor(cycle(*a))),
    ("atomic_save", saved_safely),
]


@pytest.mark.parametrize(("exercise", "answer"), RIGHT)
def test_every_way_to_write_a_right_answer_passes(exercise, answer):
    getattr(checks, exercise)(answer)


def test_set_up_twice_does_no_harm_and_tells_the_device(capsys):
    from misf_lite.lesson import setup

    assert setup() == setup() == ml.device()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and all("device:" in line for line in said)


def test_a_missing_notebook_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="run this from a checkout"):
        run_notebook(tmp_path / "none.ipynb", tmp_path)
