"""``python -m mixlab.runs verify RUN``: whether a stored run is still what it says it is.

    python -m mixlab.runs verify latest
    python -m mixlab.runs verify 'cifar10-*' --runs-dir runs
    python -m mixlab.runs verify latest --retrain
"""

import argparse
import sys

from mixlab import data
from mixlab.errors import CheckpointError, ParamError
from mixlab.verify import retrain, select, verify


def main(arguments):
    """Exit code 0 sound, 1 damaged or incomplete, 2 no such run, 130 interrupted."""
    given = _parser().parse_args(arguments)
    try:
        results = [_sound(run, given.retrain) for run in select(given.run, data.resolve(given.runs_dir))]
    except (ParamError, CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0 if all(results) else 1


def _parser():
    parser = argparse.ArgumentParser("python -m mixlab.runs", description="Looks after run directories.")
    verbs = parser.add_subparsers(required=True, metavar="verify")
    verb = verbs.add_parser("verify", help="re-check the files of a run", description="Re-checks the files of a run. "
                            "Nothing is written or downloaded.")
    verb.add_argument("run", metavar="RUN", help="latest, a name, a path, or a glob over names (in quotes)")
    verb.add_argument("--retrain", action="store_true", help="also train the first epoch again and compare its rows")
    verb.add_argument("--runs-dir", default="runs", metavar="DIR", help="where the runs lie (default: runs)")
    return parser


def _sound(run, again):
    """Prints a line per check and a last one; whether all are sound."""
    print(run.path, flush=True)
    found = []
    for check in _checks(run, again):
        print(f"  {check}", flush=True)
        found.append(check)
    sound = all(check.sound for check in found)
    skipped = sum(check.state == "not checked" for check in found)
    print(f"  {'sound' if sound else 'NOT SOUND'}: {len(found) - skipped} checked, {skipped} not checked", flush=True)
    return sound


def _checks(run, again):
    yield from verify(run)
    if again:
        yield retrain(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
