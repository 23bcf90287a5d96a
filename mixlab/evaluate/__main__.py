"""``python -m mixlab.evaluate``: evaluates runs, or gathers what is stored into one table.

    python -m mixlab.evaluate latest
    python -m mixlab.evaluate 'cifar10-*' --runs-dir /disk/runs --param probes=[lbfgs] --param device=cuda
    python -m mixlab.evaluate params/linear_eval/quick.yaml
    python -m mixlab.evaluate --report runs reports/results.csv
"""

import argparse
import sys
from pathlib import Path

import yaml

from mixlab import data
from mixlab.errors import CheckpointError, DataError, NonFiniteLossError, ParamError, problem
from mixlab.evaluate import evaluate_all, write_report
from mixlab.files import load_yaml
from mixlab.params import LinearEval


def main(arguments):
    """Exit code 0 done, 2 refused, 130 interrupted."""
    given = _parser().parse_args(arguments)
    if not given.what and not given.report:
        _parser().error("name a run, a file of parameters, or --report RUNS_DIR CSV")
    try:
        if given.what:
            _evaluate(given.what, given.param, given.runs_dir)
        if given.report:
            _report(*given.report)
    except (ParamError, DataError, CheckpointError, NonFiniteLossError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was evaluated before is stored", file=sys.stderr)
        return 130
    return 0


def _parser():
    parser = argparse.ArgumentParser("python -m mixlab.evaluate", description="Evaluates finished runs.")
    parser.add_argument("what", nargs="*", metavar="RUN", help="latest, a name, a path, a glob over names (in quotes), "
                        "or a .yaml file of parameters")
    parser.add_argument("--param", action="append", default=[], metavar="NAME=VALUE", help="overrides the file")
    parser.add_argument("--runs-dir", metavar="DIR", help="the folder of the runs, as --param runs_dir=DIR")
    parser.add_argument("--report", nargs=2, metavar=("RUNS_DIR", "CSV"), help="write one table of all evaluations")
    return parser


def _evaluate(what, overrides, runs_dir):
    files = [name for name in what if name.endswith((".yaml", ".yml"))]
    named = [name for name in what if name not in files]
    values = {name: value for file in files for name, value in load_yaml(file).items()}
    values |= dict(_override(text) for text in overrides) | ({} if runs_dir is None else {"runs_dir": runs_dir})
    params = LinearEval.check(**values)
    runs = params.runs(named)
    for run, record in zip(runs, evaluate_all(runs, params.protocol()), strict=True):
        print(f"Result: {record.get('kept_in', run.path)}, evaluated on {record['dataset']}")


def _override(text):
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ParamError(problem("--param", "NAME=VALUE", text, "For example --param seed=1"))
    try:
        return name, yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ParamError(problem("--param", "NAME=VALUE", text, "The value cannot be read")) from error


def _report(runs_dir, path):
    count = write_report(data.resolve(runs_dir), Path(path))
    print(f"{count} rows: {path}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
