"""Every notebook runs, its solutions pass their checks, and its stubs do not."""

import importlib
import re
from pathlib import Path

import nbformat
import pytest
import torch

import misf_lite as ml
from misf_lite.checks import CheckFailed
from misf_lite.publish import run_notebook, student_version

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
    lesson = re.search(
        r"from misf_lite.checks import (\w+) as checks", "".join(cell.source for cell in solved.values())
    )
    checks = importlib.import_module(f"misf_lite.checks.{lesson.group(1)}")
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
