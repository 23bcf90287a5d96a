"""What is known of each cell: the run directory it means, whether that is finished, and the grid's own small files."""

import json
from types import SimpleNamespace

from mixlab import evaluate, runs
from mixlab.errors import CheckpointError
from mixlab.files import read_json
from mixlab.params import identity, load_splits, name_start, settle, settle_split

# What decides which images a run sees, and whether its method can use them.
DATA_NAMES = ("dataset", "data_dir", "image_size", "skip_broken", "intensity", "train_size", "val_fraction",
              "label_fraction", "method", "batch_size")


class Names:
    """Finds the run directory that a cell means; images are loaded once for each choice of them, and let go."""

    def __init__(self, runs_dir):
        self.runs_dir, self.known = runs_dir, {}

    def run(self, params):
        """The ``Run`` of a checked ``Pretrain``, whether it is there yet or not.

        Raises:
            ParamError, DataError: as ``train`` would before any work.
        """
        values = name_start(params.model_copy(update={"runs_dir": str(self.runs_dir)}).resolved())
        key = json.dumps([values[name] for name in DATA_NAMES])
        if key not in self.known:
            splits = load_splits(values)
            train, queries = (SimpleNamespace(checksum=part.checksum) for part in (splits.train, splits.queries))
            self.known[key] = SimpleNamespace(train=train, queries=queries), len(splits.train)
        checksums, count = self.known[key]
        values = settle(settle_split(values, checksums.train.checksum), count)
        return runs.Run(self.runs_dir / runs.run_name(identity(values, checksums)))


def evaluated(run, protocol):
    """Whether a finished run has a stored evaluation by exactly ``protocol`` (``Protocol.record()``)."""
    for file in evaluate.stored_files(run) if run.finished() else ():
        try:
            record = read_json(file)
        except CheckpointError:  # a damaged one is made again
            continue
        if record.get("status") == "ok" and record.get("protocol") == protocol:
            return True
    return False
