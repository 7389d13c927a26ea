"""What the catalogue of mutants must keep to; `make mutants` runs them."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS, Mutant

BASE_DIR = Path(__file__).resolve().parents[2]
MUTANTS_MIN = 25


def test_there_are_enough_and_each_has_its_own_name() -> None:
    assert len(MUTANTS) >= MUTANTS_MIN
    assert [name for name, times in Counter(mutant.name for mutant in MUTANTS).items() if times > 1] == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_is_one_change_that_compiles_and_names_what_must_notice_it(mutant: Mutant) -> None:
    source = (BASE_DIR / mutant.path).read_text()
    assert source.count(mutant.old) == 1
    changed = source.replace(mutant.old, mutant.new)
    assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    assert bool(mutant.tests) != bool(mutant.seeds)
    for test in mutant.tests:
        path, _, function = test.partition("::")
        assert not function or f"def {function}(" in (BASE_DIR / path).read_text()
        assert (BASE_DIR / path).is_file()
