"""Breaks mixlab on purpose, one sign or index at a time, and asks whether the tests notice.

    python tests/mutation.py                 every mutant, in a copy of the project; exit code 1 if one survives
    python tests/mutation.py losses resume   only those whose name holds one of the words

Each mutant of ``mutants.py`` runs the one test file (or the part of it) that has to catch it; before that the same
tests must pass unbroken. A mutant whose text is not found exactly once is an error, so that the list can't rot.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from mutants import MUTANTS

ROOT = Path(__file__).parents[1]
COPIED = ("mixlab", "tests", "notebooks", "params", "pyproject.toml", "README.md", "reports", "constraints.txt")
SECONDS = 600  # a mutant that makes its tests hang counts as noticed


def main(words):
    chosen = [m for m in MUTANTS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        folder = Path(name)
        copy(folder)
        for tests in dict.fromkeys(m.tests for m in chosen):
            if not passes(folder, tests, show=True):
                sys.exit(f"{tests}: fails already without a mutant; mend that first.")
        survivors = [m.name for m in chosen if survives(folder, m)]
    print(f"\n{len(chosen) - len(survivors)} of {len(chosen)} mutants noticed.")
    return 1 if survivors else 0


def copy(folder):
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder)


def survives(folder, mutant):
    """Breaks the copy, runs the tests, mends it again; prints a row of the table."""
    file, started = folder / "mixlab" / mutant.file, time.monotonic()
    whole = file.read_text()
    if whole.count(mutant.old) != 1:
        sys.exit(f"{mutant.name}: {mutant.old!r} stands {whole.count(mutant.old)} times in {mutant.file}; once is due.")
    file.write_text(whole.replace(mutant.old, mutant.new))
    try:
        alive = passes(folder, mutant.tests)
    finally:
        file.write_text(whole)
    verdict = "SURVIVED" if alive else "noticed"
    print(f"| {mutant.name} | {mutant.tests} | {verdict} | {time.monotonic() - started:.0f} s |", flush=True)
    return alive


def passes(folder, tests, show=False):
    """Whether the tests pass in the copy; they import the copy's mixlab, because they run in its folder."""
    arguments = [f"tests/{word}" if ".py" in word else word for word in shlex.split(tests)]
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "--assert=plain", "-p", "no:cacheprovider", *arguments]
    environment = os.environ | {"PYTHONPATH": str(folder), "CI": "true"}
    try:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return False
    if show and done.returncode:
        print(done.stdout[-4000:])
    if done.returncode not in (0, 1, 2):  # 2: the mutant broke an import
        sys.exit(f"pytest {tests}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
