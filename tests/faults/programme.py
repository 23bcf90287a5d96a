"""The whole fault programme: every test in this folder, then the mutants, and what was promised, tried and held.

    python tests/faults/programme.py                     prints the tables; exit code 1 if something did not hold
    python tests/faults/programme.py reports/faults.md   also writes them there
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAD = "# What was promised, how often it was tried, and how often it held\n"


def main(arguments):
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "table.md"
        code = subprocess.run([sys.executable, "-m", "pytest", "tests/faults", "-m", "", "-q", "--durations=8"],
                              cwd=ROOT, env=os.environ | {"MIXLAB_FAULTS_TABLE": str(file)}).returncode
        promises = file.read_text() if file.exists() else ""
    *mutants, mutants_code = follow(["tests/mutation.py"])
    minutes = (time.monotonic() - started) / 60
    took = f"Measured in {minutes:.0f} minutes by `make faults`, Python {platform.python_version()}."
    table = [line for line in mutants if line.startswith("|")]
    last = mutants[-1] if mutants else ""
    report = "\n".join([HEAD, promises, f"{took}\n", "## Mutants of the source\n", f"{last}\n",
                        "| mutant | tests | verdict | time |\n|---|---|---|---:|", *table]) + "\n"
    print(f"\n{promises}\n{last}\n{took}")
    if arguments:
        Path(arguments[0]).write_text(report)
    return int(bool(code or mutants_code))


def follow(command):
    """Prints a program's lines as they come, and yields them; at last its exit code."""
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        for line in program.stdout:
            print(line, end="", flush=True)
            yield line.rstrip("\n")
    yield program.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
