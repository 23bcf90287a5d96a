"""``python -m mixlab.grid FILE.yaml``: runs, or continues, the grid of a file of ``params/ablation``.

    python -m mixlab.grid params/ablation/quick.yaml
    python -m mixlab.grid params/ablation/laptop-*.yaml --table reports/laptop-study/runs.csv

With ``--table``, several files are a study: one after another, and every finished run becomes a row that is never made
again.
"""

import argparse
import sys
from pathlib import Path

from mixlab import grid
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.grid.study import Study, overview
from mixlab.grid.study import run as run_study
from mixlab.params import Ablation


def main(arguments):
    """Exit code 0 all finished, 1 some cells failed, 2 refused, 130 interrupted."""
    given = _parser().parse_args(arguments)
    try:
        if given.table:
            return _study(Study(tuple(given.files), Path(given.table)), given)
        if len(given.files) > 1:
            raise ParamError("FILE.yaml: one file, or several with --table; got "
                             f"{len(given.files)} files. Add --table CSV to run them as a study.")
        params = Ablation.from_yaml(given.files[0])
        if given.list:
            print("\n".join(cell.name for cell in params.cells))
            return 0
        outcome = grid.run(params.model_copy(update={"retry_failed": params.retry_failed or given.retry_failed}),
                           lambda line: print(line, flush=True))
    except (ParamError, DataError, CheckpointError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 1 if outcome.failed else 0


def _study(study, given):
    if given.list:
        print(overview(study))
        return 0
    outcomes = run_study(study, lambda line: print(line, flush=True))
    return 1 if any(outcome.failed for outcome in outcomes.values()) else 0


def _parser():
    parser = argparse.ArgumentParser("python -m mixlab.grid", description="Runs a grid, or what is left of it.")
    parser.add_argument("files", nargs="+", metavar="FILE.yaml", help="parameters of ablation.ipynb")
    parser.add_argument("--table", metavar="CSV", help="keep a row per finished run there, and never repeat it")
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--list", action="store_true", help="print the cells, or how a study stands, and run none")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
