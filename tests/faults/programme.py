"""The whole fault programme: every test in this folder, the mutants beside it, and what was promised, tried and held.

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
    with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "mutants.log", "w+") as log:
        file, one = Path(folder) / "table.md", os.environ | {"OMP_NUM_THREADS": "1"}
        beside = subprocess.Popen([sys.executable, "tests/mutation.py"], cwd=ROOT, env=one, stdout=log)
        code = subprocess.run([sys.executable, "-m", "pytest", "tests/faults", "-m", "", "-q", "--durations=8"],
                              cwd=ROOT, env=one | {"MIXLAB_FAULTS_TABLE": str(file)}).returncode
        promises = file.read_text() if file.exists() else ""
        mutants_code = beside.wait()
        log.seek(0)
        mutants = log.read().splitlines()
    print("\n".join(mutants))
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
