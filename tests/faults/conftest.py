"""What the fault tests share: the process that forks, a folder of pictures, and the count of promises kept.

The table at the end is counted from the tests that ran; MIXLAB_FAULTS_TABLE names a file that it is also written to.
"""

import os
import re
from pathlib import Path

import pytest
from forks import Forks, pictures

PROMISE, ROW = "promise", re.compile(r"test_row_(\d\d)_")
ROWS = "Rows of the fault catalogue that behave as written in all their tests ({})"
counts, row_tests = {}, {}  # (tried, held) of each promise; outcomes of each row's tests by number and test


class Tally:
    """How often a promise was tried, and how often it held."""

    def __init__(self):
        self.tried, self.held = {}, {}

    def __call__(self, promise, holds, *details):
        """Counts one trial; one that does not hold fails the test."""
        self.tried[promise] = self.tried.get(promise, 0) + 1
        self.held[promise] = self.held.get(promise, 0) + bool(holds)
        assert holds, (promise, *details)


@pytest.fixture
def tally(record_property):
    count = Tally()
    yield count
    for promise, tried in count.tried.items():
        record_property(PROMISE, (promise, tried, count.held[promise]))


@pytest.fixture(scope="session")
def forks():
    server = Forks()
    yield server
    server.close()


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("images") / "pictures")


def pytest_runtest_logreport(report):
    row = ROW.search(report.nodeid)
    if row and (report.when == "call" or not report.passed):  # what fails before or after the test counts, too
        row_tests.setdefault(int(row[1]), {}).setdefault(report.nodeid, set()).add(report.outcome)
    for name, value in report.user_properties if report.when == "teardown" else ():
        if name == PROMISE:
            promise, tried, held = value
            before = counts.get(promise, (0, 0))
            counts[promise] = (before[0] + tried, before[1] + held)


def rows_line(row_tests, rows, waiting):
    """The table's line about rows: how many were tested, and in how many of these no test failed and one passed."""
    outcomes = {row: set().union(*tests.values()) for row, tests in row_tests.items()}
    tested = [found for found in outcomes.values() if found != {"skipped"}]
    skipped = sum("skipped" in test for tests in row_tests.values() for test in tests.values())
    words = f"{len(rows)} rows: {len(tested)} tested, {len(waiting)} waiting with a reason"
    words += f"; {skipped} tests skipped" if skipped else ""
    return {ROWS.format(words): (len(tested), sum("failed" not in found for found in tested))}


def pytest_terminal_summary(terminalreporter):
    from test_catalogue import ROWS as CATALOGUE
    from test_catalogue import WAITING

    rows = (rows_line(row_tests, CATALOGUE, WAITING) if row_tests else {}) | counts
    if not rows:
        return
    lines = ["| promise | tried | held |", "|---|---:|---:|"]
    lines += [f"| {promise} | {tried:,} | {held:,} |" for promise, (tried, held) in rows.items()]
    terminalreporter.write_line("\n" + "\n".join(lines))
    if os.environ.get("MIXLAB_FAULTS_TABLE"):
        Path(os.environ["MIXLAB_FAULTS_TABLE"]).write_text("\n".join(lines) + "\n")
