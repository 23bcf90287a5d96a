"""The table that the fault programme prints: what it counts as tried, and what as held."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = """
import pytest

@pytest.fixture
def broken():
    raise OSError("no space left")

def test_row_01_holds(tally):
    tally("Kept", True)

@pytest.mark.parametrize("number", range(3))
def test_row_02_has_many_tests(number, tally):
    tally("Kept", number < 2)

def test_row_03_cannot_even_start(broken):
    pass

def test_row_04_is_skipped():
    pytest.skip("no reason")

@pytest.mark.parametrize("number", range(2))
def test_row_05_is_skipped_in_part(number):
    if number:
        pytest.skip("no reason")
"""


def test_rows_are_counted_once_and_an_error_before_a_test_is_not_held(tmp_path):
    """Of rows 1, 2, 3 and 5 that are tested, 2 and 3 do not hold; row 4 is not tested."""
    for name in ("conftest.py", "forks.py", "test_catalogue.py"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "test_rows.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={tmp_path}", "test_rows.py"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True,
                         env=os.environ | {"MIXLAB_FAULTS_TABLE": str(tmp_path / "table.md")})
    assert ran.returncode == 1, ran.stdout
    _, _, rows, kept = (tmp_path / "table.md").read_text().splitlines()
    assert "64 rows: 4 tested, " in rows and "; 2 tests skipped" in rows and rows.endswith("| 4 | 2 |")
    assert kept == "| Kept | 4 | 3 |"
