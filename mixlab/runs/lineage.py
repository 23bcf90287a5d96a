"""What a run started from: the runs whose encoders it took, theirs in turn, and which images none of them has seen."""

from dataclasses import dataclass
from pathlib import Path

from mixlab.errors import CheckpointError, ParamError, problem
from mixlab.runs.directory import Run

STARTS = ("init_from", "guide_from")  # parameters that name a run whose encoder this one takes; a later one joins here
NO_RUN = (None, "none", "own", "auto")
READING = ("train_size", "image_size", "skip_broken", "intensity")  # checksums of one folder compare where these agree


@dataclass(frozen=True)
class Start:
    """A run that another one started from, directly or not; ``run`` is None where it is not there any more."""

    name: str
    run: Run | None

    @property
    def is_trained(self):
        return self.run.params()["epochs"] > 0


def lineage(values, runs_dir):
    """Every ``Start`` of the run of resolved ``values``, the nearest first, each once.

    Args:
        runs_dir: where the run is or will be. A start is looked for there by its name, which outlives a move.
    """
    found, todo = {}, [(values, Path(runs_dir))]
    for known, folder in todo:  # grows while it is read
        for parameter in STARTS:
            name = known.get(parameter)
            if name not in NO_RUN and name not in found:
                run = _find(name, known.get(f"{parameter}_sha256"), folder)
                found[name] = Start(name, run)
                todo += [(run.params(), run.path.parent)] if run else []
    return list(found.values())


def _find(name, digest, folder):
    """The finished run of this name whose encoder is the one that was taken, or None."""
    for run in (Run(folder / name), Run(folder / Path(name).name)):
        try:
            result, _ = run.result(), run.params()
        except (CheckpointError, OSError):
            continue
        if result.get("status") == "ok" and digest in (None, result.get("encoder_sha256")):
            return run
    return None


def split_seed(values, checksum, runs_dir):
    """The seed of the split that the run of resolved ``values`` holds images out by.

    It is the run's own, but where a start was trained on the same images: then the start's, so that no image is held
    out that an encoder has seen, with a label or without. Smaller splits of one seed lie in larger ones.

    Args:
        checksum: of the images to train on, as ``data.Images`` has it. A folder of one path that is read in another
            way has another, and counts as the same images.
    Raises:
        ParamError: no such split of this ``val_fraction``, with the largest that there is.
    """
    seeds = {}
    for start in lineage(values, runs_dir) if values.get("val_fraction") else ():
        if start.run is None:
            raise _refusal(values, "0", start, "is not there to say what it has seen")
        most = _share_held_out(values, checksum, start)
        if most is not None and values["val_fraction"] > most:
            allowed, seen = (f"at most {most}", "the other ones") if most else ("0", "all of these images")
            raise _refusal(values, allowed, start, f"was trained on {seen}")
        if most is not None:
            theirs = start.run.params()
            seeds.setdefault(theirs.get("val_seed", theirs["seed"]), start)
    if len(seeds) > 1:
        first, other, *_ = seeds.values()
        raise _refusal(values, "0", first, f"held out other images than {other.name}")
    return next(iter(seeds), values["seed"])


def _share_held_out(values, checksum, start):
    """Which share of the images a start left out; None where it was trained on other images, or not at all."""
    theirs, same = start.run.params(), start.run.result().get("data_checksum") == checksum
    one_path = values["dataset"] == theirs["dataset"]
    if theirs["epochs"] == 0 or not (same or one_path):
        return None
    if not same and all(values.get(name) == theirs.get(name) for name in READING):
        raise _refusal(values, "0", start, "was trained on what was in this folder then")
    return theirs["val_fraction"]


def _refusal(values, allowed, start, why):
    """``allowed`` ends with the number to write."""
    return ParamError(problem("val_fraction", f"{allowed}, because {start.name}, which it starts from, {why}",
                              values["val_fraction"], f"Write val_fraction: {float(allowed.split()[-1])}"))
