"""The list of mutants fits the source: each text stands there once, so ``tests/mutation.py`` breaks what it names."""

from pathlib import Path

import mutation
import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("mutant", mutation.MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_stands_once(mutant):
    assert (ROOT / "mixlab" / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    assert all((ROOT / "tests" / word).exists() for word in mutant.tests.split() if word.endswith(".py"))


def test_there_are_enough_with_names_of_their_own():
    assert len({mutant.name for mutant in mutation.MUTANTS}) == len(mutation.MUTANTS) >= 30
