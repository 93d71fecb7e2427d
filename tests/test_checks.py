"""What the exercises' checks say to wrong answers, and that right ones pass however they are written.

The answers are in ``answers/``, one module for each module of checks.
"""

import importlib
from pathlib import Path

import pytest

from misf_lite.checks import CheckFailed

HERE = Path(__file__).parent
LESSONS = sorted(path.stem for path in (HERE / "answers").glob("*.py"))


def answers(kind):
    for lesson in LESSONS:
        checks = importlib.import_module(f"misf_lite.checks.{lesson}")
        for exercise, *answer in getattr(importlib.import_module(f"answers.{lesson}"), kind):
            yield pytest.param(getattr(checks, exercise), *answer, id=f"{lesson}-{exercise}")


def test_every_lesson_with_checks_has_answers():
    modules = {path.stem for path in (HERE.parent / "misf_lite" / "checks").glob("*.py")}
    assert modules - {"__init__", "check"} == set(LESSONS)


@pytest.mark.parametrize(("check", "answer", "message"), list(answers("WRONG")))
def test_a_wrong_answer_is_told_what_is_suspected(check, answer, message):
    with pytest.raises(CheckFailed, match=message) as failed:
        check(answer)
    assert failed.value._render_traceback_() == [f"✗ {failed.value}"]


@pytest.mark.parametrize(("check", "answer"), list(answers("RIGHT")))
def test_every_way_to_write_a_right_answer_passes(check, answer):
    check(answer)
