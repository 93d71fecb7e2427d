"""What the exercises' checks say to wrong answers, and that right ones pass however they are written.

The answers are in ``answers/``, one module for each module of checks.
"""

import importlib
from pathlib import Path

import pytest
import torch

from misf_lite.checks import Check, CheckFailed

HERE = Path(__file__).parent
LESSONS = sorted(path.stem for path in (HERE / "answers").glob("*.py"))


def answers(kind):
    for lesson in LESSONS:
        checks = importlib.import_module(f"misf_lite.checks.{lesson}")
        for exercise, *answer in getattr(importlib.import_module(f"answers.{lesson}"), kind):
            yield pytest.param(getattr(checks, exercise), *answer, id=f"{lesson}-{exercise}")


def test_every_lesson_with_checks_has_answers():
    modules = {path.stem for path in (HERE.parent / "misf_lite" / "checks").glob("*.py")}
    assert modules - {"__init__", "check", "windows"} == set(LESSONS)


@pytest.mark.parametrize(("check", "answer", "message"), list(answers("WRONG")))
def test_a_wrong_answer_is_told_what_is_suspected(check, answer, message):
    with pytest.raises(CheckFailed, match=message) as failed:
        check(answer)
    assert failed.value._render_traceback_() == [f"✗ {failed.value}"]


@pytest.mark.parametrize(("check", "answer"), list(answers("RIGHT")))
def test_every_way_to_write_a_right_answer_passes(check, answer):
    check(answer)


def double(x):
    return x + x


def test_a_check_uses_the_same_numbers_each_time_and_leaves_the_notebooks_random_numbers_alone():
    state = torch.get_rng_state()
    one, two = Check(double, double), Check(double, double)
    assert torch.equal(one.rand(3), two.rand(3)) and torch.equal(one.randn(3), two.randn(3))
    assert torch.equal(torch.get_rng_state(), state)


def test_what_an_answer_does_to_its_arguments_changes_nothing_for_the_oracle():
    def spoils(numbers):
        return [2 * numbers.pop(), 2]

    check = Check(spoils, lambda numbers: [2 * numbers[-1], len(numbers)])
    check.case([3, 4])
    check.run()


def test_the_first_misconception_that_agrees_in_all_cases_is_named():
    check = Check(lambda x, n: x, lambda x, n: x * n)
    check.case(3.0, 1)
    check.case(3.0, 2)
    check.as_if("agrees in one case", n=2)
    check.as_if("the number of times is not used", n=1)

    @check.suspects("named too late")
    def unchanged(x, n):
        return x

    with pytest.raises(CheckFailed, match="<lambda>: the number of times is not used"):
        check.run(otherwise="something else")


def test_an_answer_that_agrees_with_no_misconception_is_told_a_number_or_what_the_check_says_otherwise():
    check = Check(double, lambda x: 3 * x)
    check.case(1.0)
    with pytest.raises(CheckFailed, match=r"double gives 2\.0000 where 3\.0000 is right"):
        check.run()
    with pytest.raises(CheckFailed, match="double: it is not three times as much"):
        check.run(otherwise="it is not three times as much")


def test_a_numpy_array_that_is_turned_round_is_an_answer():
    check = Check(lambda x: x.numpy()[::-1], lambda x: x.flip(0))
    check.case(torch.arange(3.0))
    check.run()
