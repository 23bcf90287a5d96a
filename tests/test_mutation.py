"""The list of mutants fits the source: each text stands there once, so ``tests/mutation.py`` breaks what it names."""

import ast
from pathlib import Path

import pytest
from mutants import MUTANTS

ROOT = Path(__file__).parents[1]
ARITHMETIC = [file for part in ("losses", "mixers", "methods") for file in (ROOT / "mixlab" / part).glob("*.py")
              if file.name != "__init__.py"]
SCHEDULE = [ROOT / "mixlab" / name for name in ("optim.py", "momentum.py", "rng.py", "params/mixing.py",
                                                "train/trainer.py")]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_text_stands_once_and_the_tests_are_there(mutant):
    assert (ROOT / "mixlab" / mutant.file).read_text().count(mutant.old) == 1
    assert mutant.new != mutant.old
    for word in mutant.tests.split():
        name, _, test = word.partition("::")
        if name.endswith(".py"):
            tree = ast.parse((ROOT / "tests" / name).read_text())
            assert test in {"", *(node.name for node in tree.body if isinstance(node, ast.FunctionDef))}


@pytest.mark.parametrize("file", ARITHMETIC + SCHEDULE, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_file_with_arithmetic_is_broken_somewhere(file):
    assert str(file.relative_to(ROOT / "mixlab")) in {mutant.file for mutant in MUTANTS}


def test_every_mixer_is_broken_somewhere():
    from mixlab.mixers import MIXERS

    named = {mutant.name.split(":")[0] for mutant in MUTANTS}
    assert set(MIXERS) <= named


def test_there_are_enough_with_names_of_their_own():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 100
