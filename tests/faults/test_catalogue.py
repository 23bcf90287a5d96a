"""Every row of the fault catalogue, 1 to 64, has a test here that bears its number, or a reason why not.

What a row is about, the names of its tests say: ``pytest tests/faults -m '' --collect-only -q -k row_`` lists them.
"""

import ast
import re
from pathlib import Path

ROWS = range(1, 65)
WAITING = {
    42: "worker processes: none exist; threads that changed at a resume are told and recorded (row 24)",
}
# Rows that behave otherwise than the catalogue says, because the design decides so; the tests hold the design.
DIFFERENT = {
    11: "a changed parameter, epochs included, is another run: nothing is resumed with other values",
    12: "fewer epochs are another run too",
    16: "the lock is the operating system's, so a dead owner on any host has let go",
    18: "params.json keeps the folders as they were given; what is read or continued asks where it is now",
    38: "a function names the first bad row; losses do not call it: to look at targets waits for the device every step",
    43: "several processes under torchrun are supported; any other launcher is refused",
}


def rows_of_tests():
    for file in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            found = re.match(r"test_row_(\d\d)_", node.name) if isinstance(node, ast.FunctionDef) else None
            if found:
                yield int(found[1])


def test_every_row_has_a_test_or_a_reason():
    tested = set(rows_of_tests())
    assert not set(ROWS) - tested - set(WAITING), "rows without a test"
    assert not tested & set(WAITING), "no longer waiting: take it off the list"
    assert tested <= set(ROWS) and set(DIFFERENT) <= tested
