"""``python -m mixlab.benchmark``: measures, writes ``reports/benchmark.csv``, and says which targets are held.

    python -m mixlab.benchmark
    python -m mixlab.benchmark loss step --param rounds=9
    python -m mixlab.benchmark params/benchmark/full.yaml
"""

import argparse
import sys

import yaml

from mixlab.benchmark import cost_table, run, targets_table
from mixlab.errors import DataError, ParamError, problem
from mixlab.files import load_yaml
from mixlab.params import Benchmark


def main(arguments):
    """Exit code 0 measured, 2 refused, 130 interrupted. Whether targets are held does not change it."""
    parser = argparse.ArgumentParser("python -m mixlab.benchmark", description="Measures speed against peers.")
    parser.add_argument("what", nargs="*", help="parts to measure (default: all), or a .yaml file of parameters")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="overrides the file")
    given = parser.parse_args(arguments)
    try:
        rows = run(_params(given.what, given.param), log=_say)
    except (ParamError, DataError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; parts that were measured are written", file=sys.stderr)
        return 130
    print(f"\n{targets_table(rows)}\n\n{cost_table(rows)}")
    return 0


def _say(line):
    print(line, flush=True)


def _params(what, overrides):
    files = [name for name in what if name.endswith((".yaml", ".yml"))]
    parts = [name for name in what if name not in files]
    values = {name: value for file in files for name, value in load_yaml(file).items()}
    return Benchmark.check(**values | ({"parts": parts} if parts else {}) | dict(map(_override, overrides)))


def _override(text):
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ParamError(problem("--param", "NAME=VALUE", text, "For example --param rounds=9"))
    return name, yaml.safe_load(value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
