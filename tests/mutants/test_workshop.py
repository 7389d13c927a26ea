"""What counts as caught, and what only looks like it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.workshop import Ended, judge

TESTED = replace(MUTANTS[0], tests=("tests/a.py",), seeds=0)
SIMULATED = replace(TESTED, tests=(), seeds=3)
FAILED = "FAILED tests/a.py::test_b[302 Found] - assert 1 == 2\n1 failed in 3.4s\n"
TIMED_OUT = "FAILED tests/a.py::test_b - Failed: Timeout (>90.0s) from pytest-timeout.\n"


def test_a_failed_test_is_named() -> None:
    verdict = judge(TESTED, Ended(1, FAILED, 3.4))
    assert (verdict.caught_by, verdict.problem) == ("tests/a.py::test_b[302 Found]", "")


def test_a_violated_seed_is_named_though_the_run_was_ended_there() -> None:
    verdict = judge(SIMULATED, Ended(-9, "seed 2: I1 two exits   again: python -m tests.simulation\n", 9))
    assert (verdict.caught_by, verdict.problem) == ("seed 2: I1 two exits", "")


@pytest.mark.parametrize(("mutant", "output"), [(TESTED, "2 passed in 1s\n"), (SIMULATED, "3 runs, 0 violations\n")])
def test_what_nothing_notices_survives(mutant: object, output: str) -> None:
    verdict = judge(mutant, Ended(0, output, 1))  # type: ignore[arg-type]
    assert (verdict.caught_by, verdict.problem) == ("", "")


@pytest.mark.parametrize(
    ("ended", "problem"),
    [
        (Ended(2, "ERROR tests/a.py\n", 1), "status 2"),
        (Ended(1, "ERROR tests/a.py::test_b - fixture\n", 1), "no failed test"),
        (Ended(5, "no tests ran\n", 1), "status 5"),
        (Ended(1, "FAILED tests/a.py::test_b - NameError: name 'x' is not defined\n", 1), "does not run"),
        (Ended(1, TIMED_OUT, 90), "time limit"),
        (Ended(None, FAILED, 900), "time limit"),
    ],
)
def test_what_proves_nothing_is_a_problem_of_the_catalogue(ended: Ended, problem: str) -> None:
    verdict = judge(TESTED, ended)
    assert not verdict.caught_by
    assert problem in verdict.problem


def test_a_mutant_that_may_hang_is_caught_by_its_time_limit() -> None:
    assert judge(replace(TESTED, may_hang=True), Ended(1, TIMED_OUT, 90)).caught_by == "time limit"
