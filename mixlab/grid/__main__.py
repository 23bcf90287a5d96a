"""``python -m mixlab.grid FILE.yaml``: runs, or continues, the grid of a file of ``params/ablation``."""

import argparse
import sys

from mixlab import grid
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.params import Ablation


def main(arguments):
    """Exit code 0 all finished, 1 some cells failed, 2 refused, 130 interrupted."""
    given = _parser().parse_args(arguments)
    try:
        params = Ablation.from_yaml(given.file)
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


def _parser():
    parser = argparse.ArgumentParser("python -m mixlab.grid", description="Runs a grid, or what is left of it.")
    parser.add_argument("file", metavar="FILE.yaml", help="parameters of ablation.ipynb")
    parser.add_argument("--retry-failed", action="store_true", help="run failed cells again")
    parser.add_argument("--list", action="store_true", help="print the cells and run none")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
