"""Which numbers may be averaged or held against each other: the rules they were measured by, and the run's setting."""

from mixlab.errors import CheckpointError
from mixlab.files import read_json, write_json
from mixlab.runs import identity_hash

# What is measured, not how. train_size is here because the record says how many images there really were.
CHOOSING = ("dataset", "train_size", "layers", "knn_k", "probes", "few_label_fractions", "robustness", "geometry")
SGD = ("probe_epochs", "probe_batch_size", "probe_lr", "probe_lr_decay_epochs", "probe_lr_decay_rate",
       "probe_momentum", "probe_weight_decay", "seed")
EVERYWHERE = ("train_images", "test_images", "train_data", "test_data", "precision")
# What decides each kind of number, beside ``EVERYWHERE`` and what stands in its own row, such as k.
DECIDING = {"knn": ("knn_temperature",), "sgd": SGD, "sgd_augmented": (*SGD, "augmented_passes"), "lbfgs": ("seed",),
            "own": (), "few": ("few_label_draws", "seed"), "robustness": ("robustness_size", *SGD, "augmented_passes"),
            "geometry": ("seed",)}
# What does not make two runs different settings: they differ in their draws, or in where and how fast they ran.
SAME_SETTING = ("seed", "val_seed", "data_dir", "runs_dir", "device", "compile", "checkpoint_every", "knn_every",
                "snapshot_every", "fresh", "interactive")


def rules(record, kind=None):
    """``{name: value}`` of what changed the numbers of an evaluation: only equal rules make numbers comparable.

    Args:
        record: as ``linear_eval.json`` holds it.
        kind: a key of ``DECIDING`` for what changed that kind of number; None for what changed any.
    """
    found = {name: value for name, value in record["protocol"].items() if name not in CHOOSING}
    found |= {f"{part}_images": record.get(f"{part}_images") for part in ("train", "test")}
    found |= {f"{part}_data": record["data_checksum"].get(part) for part in ("train", "test")}
    return found if kind is None else {name: found.get(name) for name in (*EVERYWHERE, *DECIDING[kind])}


def differing(several):
    """Names whose values are not the same in all of ``several`` rules, in their order."""
    names = dict.fromkeys(name for one in several for name in one)
    return [name for name in names if any(one.get(name) != several[0].get(name) for one in several)]


def in_words(found, names):
    """``probe_lr 0.1, 500 train images``: the rules ``names`` of ``found``."""
    return ", ".join(_words(name, found.get(name)) for name in names)


def _words(name, value):
    if name.endswith("_images"):
        return f"{value} {name.replace('_', ' ')}"
    if name.endswith("_data"):
        return f"{name.replace('_', ' ')} {str(value)[:8]}"
    return f"{'evaluation seed' if name == 'seed' else name} {value}"


def setting(values):
    """What makes runs one setting: the parameters ``values`` without the seed and what changes no number."""
    return {name: value for name, value in values.items() if name not in SAME_SETTING}


def kept_name(record, name):
    """Where the evaluation ``record`` stays when a later one takes the file ``name``: equal protocols, equal names."""
    asked = {key: value for key, value in record["protocol"].items() if key != "dataset"}
    return name.replace(".json", f"-{identity_hash({**asked, 'dataset': record['dataset']})}.json")


def stored_files(run):
    """The files of all evaluations of a run: the newest on each data set before earlier ones, its own data first."""
    return sorted(run.path.glob("linear_eval*.json"), key=lambda file: (len(file.name), file.name))


def keep_earlier(file, record):
    """Copies what is stored in ``file`` to its kept name, unless it is of the protocol of ``record``, or damaged."""
    try:
        earlier = read_json(file)
        name = kept_name(earlier, file.name)
    except (FileNotFoundError, CheckpointError, KeyError, TypeError, AttributeError):
        return  # nothing there that could be read again
    if name != kept_name(record, file.name):
        write_json(file.with_name(name), earlier)
