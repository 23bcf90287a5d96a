"""Whether an encoder has seen labels: by the facts of the methods that trained it, here and where it came from."""

from mixlab import runs
from mixlab.methods import METHODS


def labels_used(values, runs_dir):
    """Whether labels went into the encoder of the run of resolved ``values``; None where that cannot be known any more.

    They did if it was trained by a method that needs labels, or if so was a run that it starts from or is guided by.

    Args:
        runs_dir: where the run is; its starts are looked for there.
    """
    found = [_by_method(values)]
    for start in runs.lineage(values, runs_dir):
        found.append(None if start.run is None else _by_method(start.run.params()))
    return True if True in found else None if None in found else False


def _by_method(values):
    if values["epochs"] == 0:
        return False
    return METHODS[values["method"]].needs_labels if values["method"] in METHODS else None
