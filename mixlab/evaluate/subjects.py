"""What is evaluated, on which images; and what is refused before any work."""

from fnmatch import fnmatchcase

from mixlab import __version__, data, runs
from mixlab.errors import CheckpointError, DataError, ParamError, problem
from mixlab.files import safe_name


def select_runs(names, runs_dir, log=print):
    """The runs that ``names`` (one text, or a list) mean: each ``latest``, a name, a path, or a glob over names.

    A glob takes the finished runs it matches and says which others it leaves out; it must match a finished one.
    Returns:
        list of ``Run``, each once, in the order asked; those of one glob by name.
    Raises:
        ParamError: nothing is meant by a name.
    """
    found = []
    for name in [names] if isinstance(names, str) else names:
        found += _glob(name, runs_dir, log) if any(c in name for c in "*?[") else [runs.find(name, runs_dir)]
    return list({run.path.resolve(): run for run in found}.values())


def _glob(pattern, runs_dir, log):
    matching = [run for run in runs.list_runs(runs_dir) if fnmatchcase(run.name, pattern)]
    finished = [run for run in matching if run.finished()]
    for run in matching:
        if run not in finished:
            log(f"Left out: {run.name} is {run.state()}.")
    if not finished:
        raise ParamError(problem("run", f"a pattern that a finished run below {runs_dir} matches", pattern,
                                 f"It matches {len(matching)} runs, none of them finished"))
    return sorted(finished, key=lambda run: run.name)


def check_run(run, protocol):
    """Marks (a list of sentences) that an evaluation of ``run`` must carry.

    Code of the same release but other source is marked; another release is refused, or marked where
    ``allow_other_version`` asks for it.
    Raises:
        CheckpointError: an unfinished run, or one of another release.
    """
    if not run.finished():
        raise CheckpointError(f"{run.path}: is {run.state()}, not finished. Start it again to finish it.")
    made_by, code = run.result().get("versions", {}).get("mixlab", "unknown"), runs.code_version()
    if made_by.split("+")[0] != __version__ and not protocol.allow_other_version:
        raise CheckpointError(f"{run.path}: was made by mixlab {made_by}, and this is {code}. "
                              "Use that mixlab, or set allow_other_version: true to evaluate and mark it.")
    return [f"trained by mixlab {made_by}, evaluated by {code}"] if made_by != code else []


def leaks(run, protocol):
    """The mark (a list of one sentence, or none) of a run that held out what the run it starts from may have seen.

    Training refuses such splits; earlier releases did not.
    """
    values = run.params()
    leak = "images it held out may be among those that the run it starts from was trained on, so val may be too kind"
    if not values["val_fraction"] or not is_own(run, protocol):
        return []
    try:
        seed = runs.split_seed(values, run.result().get("data_checksum"), run.path.parent)
    except ParamError:
        return [leak]
    return [leak] if seed != data.val_seed(values) else []


def load_images(run, protocol):
    """The labelled images to evaluate ``run`` on: ``{"train", "test"}``, and ``"val"`` where the run held some out.

    Of its own data set these are the images the run trained on, all with their labels, and its validation split; of
    another one all training images (``train_size`` of them if that is given).
    Raises:
        DataError: images without labels, of one class only, or with another checksum than the run's (training images,
            and test images where the run recorded theirs).
        ParamError, DataError: as ``data.load``; k larger than the bank.
    """
    values, own = run.params(), is_own(run, protocol)
    name, place = _place(run, values, protocol)
    if own:
        parts = _own_parts(values | place, protocol)
        _check_labels(name, parts["train"], parts["test"])
        _check_checksums(run, parts["train"], parts["test"])
    else:
        parts = _foreign_parts(name, values | place, protocol)
        _check_labels(name, parts["train"], parts["test"])
    protocol.k_for(len(parts["train"]))
    return parts


def _own_parts(values, protocol):
    """As ``load_images``, unchecked. Where the run left images of a folder out, so does this, whatever ``train_size``:
    a checksum of all pixels cannot be compared with one of files.
    """
    size = values["train_size"] if protocol.train_size == "auto" else protocol.train_size
    whole = values["train_size"] == "auto"
    splits = data.load_splits(values | {"label_fraction": 1.0, "train_size": "auto" if whole else size})
    train = data.take(splits.train, size, values["seed"], "train_size") if whole and size != "auto" else splits.train
    test = {} if splits.knn_split == "test" else {"test": _test(values)}
    return {"train": train, splits.knn_split: splits.queries, **test}


def _foreign_parts(name, values, protocol):
    values = {"intensity": "depth"} | values | {"dataset": name, "val_fraction": 0.0, "label_fraction": 1.0,
                                                "train_size": protocol.train_size}
    return {"train": data.load_train(values), "test": _test(values)}


def _test(values):
    place = {part: values[part] for part in ("image_size", "skip_broken")}
    if values["dataset"].startswith("folder:"):
        place["intensity"] = values.get("intensity", "type")
    return data.load(values["dataset"], None if values["data_dir"] == "auto" else values["data_dir"], split="test",
                     **place)


def own_images(run, data_dir="auto"):
    """``{"train", "test"}`` and, where the run held some out, ``"val"``: the images of a run, all with their labels.

    Args:
        data_dir: where they lie now, as in ``place_of``.
    Raises:
        DataError: other images than the run's, as ``load_images`` refuses them.
        ParamError, DataError: as ``data.load``.
    """
    values = run.params() | {"label_fraction": 1.0}
    other = followed(values, data_dir)
    if other != values["dataset"]:
        return {split: data.load(other, split=split) for split in ("train", "test")}
    values["dataset"], values["data_dir"] = place_of(values, data_dir)
    check_there(run, values["dataset"])
    splits = data.load_splits(values)
    found = {"train": splits.train, splits.knn_split: splits.queries}
    if splits.knn_split != "test":
        found["test"] = _test(values)
    result = run.result()
    check_checksum("data_checksum", result.get("data_checksum", "unknown"),
                   f"the images {run.name} was trained on", splits.train)
    queries = result.get("queries_checksum")
    if queries is not None and result.get("knn_split") == splits.knn_split:
        check_checksum("queries_checksum", queries, f"the {splits.knn_split} images of {run.name}", splits.queries)
    return found


def place_of(values, data_dir="auto"):
    """``(dataset, data_dir)`` under which the images of a run with parameters ``values`` lie now.

    Args:
        data_dir: ``auto`` for where the run had them; else a folder: the one that holds CIFAR or, of a run on a
            ``folder:`` data set, that of its images itself.
    """
    name = values["dataset"]
    if data_dir == "auto":
        return name, values["data_dir"]
    return (f"folder:{data_dir.removeprefix('folder:')}" if name.startswith("folder:") else name), data_dir


def check_there(run, name):
    """Refuses a ``folder:`` data set ``name`` of a run that is not there any more, saying how to name where it is."""
    if name.startswith("folder:") and not data.at_hand(name):
        raise DataError(problem(name, f"the images {run.name} was trained on", "no folder there",
                                "Set data_dir to the folder where they lie now"))


def check_checksum(name, checksum, whose, images):
    """Refuses images of another checksum; ``name`` is the record's word for it, ``whose`` says which they should be."""
    if images.checksum != checksum:
        raise DataError(problem(name, f"{checksum[:12]}..., that of {whose}", images.checksum,
                                "Put those images back, or set data_dir to where they are"))


def dataset_of(run, protocol):
    """The data set that the protocol asks of a run; for ``auto`` the run's own, or see ``followed``."""
    return followed(run.params(), protocol.data_dir) if protocol.dataset == "auto" else protocol.dataset


def followed(values, data_dir="auto"):
    """The run's own data set; where that is not at hand and its snapshots are of another one, that one.

    So the run that comes with the package is looked at and scored on the images that come with the package.
    """
    own, other = values["dataset"], values.get("snapshot_dataset", values["dataset"])
    if other == own:
        return own
    name, place = place_of(values, data_dir)
    return own if data.at_hand(name, None if place == "auto" else place) else other


def is_own(run, protocol):
    """Whether the protocol's data set is the one that the run trained on."""
    return dataset_of(run, protocol) == run.params()["dataset"]


def file_names(run, protocol):
    """Names of the record and of the embeddings inside the run's directory; transfer names its data set."""
    suffix = "" if is_own(run, protocol) else f"-{safe_name(dataset_of(run, protocol))}"
    return f"linear_eval{suffix}.json", f"embeddings{suffix}.npz"


def _place(run, values, protocol):
    """The name of the images that the protocol asks of a run, and parameters that say where they are and how read."""
    name, data_dir = place_of(values, protocol.data_dir)
    if is_own(run, protocol):
        check_there(run, name)
    else:
        name = dataset_of(run, protocol)
        data_dir = values["data_dir"] if protocol.data_dir == "auto" else protocol.data_dir
    folder = name.startswith("folder:")
    return name, {"dataset": name, "data_dir": data_dir, "image_size": values["image_size"] if folder else 32,
                  "skip_broken": folder and (protocol.skip_broken or values["skip_broken"])}


def _check_labels(name, train, test):
    if train.labels is None or test.labels is None:
        raise DataError(problem("dataset", "labelled images, because an evaluation compares classes", name,
                                "Sort the images into class folders, or name another data set"))
    if len(train.classes) < 2:
        raise DataError(problem("dataset", "at least two classes", train.classes, "Add classes"))


def _check_checksums(run, train, test):
    """The images must be those of the run; its test images are known where its own kNN asked them."""
    result = run.result()
    trained_on, queries = result.get("data_checksum", "unknown"), result.get("queries_checksum")
    check_checksum("data_checksum", trained_on, f"the images {run.name} was trained on", train)
    if queries is not None and result.get("knn_split") == "test":
        check_checksum("queries_checksum", queries, f"the test images of {run.name}", test)
