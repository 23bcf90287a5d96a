"""From resolved parameters to the parts they describe, and to the identity of a run."""

from dataclasses import replace

import torch

from mixlab import data, runs
from mixlab.encoders import Encoder
from mixlab.errors import DataError, ParamError, problem
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS, EncoderGuide, saliency
from mixlab.params.mixing import MIXER_NAMES, mixer_fields
from mixlab.params.pretrain import METHOD_NAMES
from mixlab.rng import Key
from mixlab.views import RECIPES

PATHS_AND_PACE = ("data_dir", "runs_dir", "init_from", "device", "devices", "compile", "checkpoint_every", "knn_every",
                  "snapshot_every", "snapshot_dataset", "fresh", "interactive")
IN_THE_CHECKSUMS = ("intensity",)  # it changes what it changes through the pixels
LATER = {"mix_until": 1.0, "width": 64, "intensity": "depth"}
LATER |= dict.fromkeys(("grid", "pick_from", "pick_probs", "pick_per", "guide_from"))


def build_mixer(values, guide=saliency):
    """The mixer that resolved ``values`` describe.

    ``guide`` maps images to saliency maps where a mixer needs that; pictures, which have no encoder being trained,
    leave it at the map without parameters.
    """
    given = {n: values[n] for n in MIXER_NAMES if values[n] is not None} | {"guide_from": guide}
    if values["mixer"] == "pick":
        given["pick_from"] = tuple(_mixer(name, given) for name in values["pick_from"])
    return _mixer(values["mixer"], given)


def _mixer(name, given):
    taken = mixer_fields(name)
    return MIXERS[name](**{n: value for n, value in given.items() if n in taken})


def build_guide(values, mean, std):
    """The guide that the run named by ``guide_from`` gives for images normalised so; None if none is named.

    Raises:
        ParamError: there is no such run. CheckpointError: it is not finished, or damaged.
    """
    if values["guide_from"] in (None, "own"):
        return None
    run = runs.find(values["guide_from"], data.resolve(values["runs_dir"]), "guide_from")
    return EncoderGuide(runs.load_encoder(run), tuple(mean), tuple(std))


def build_method(values, num_classes, encoder_state=None, guide=None):
    """The method that resolved ``values`` describe, on the CPU, its weights drawn from the seed.

    With ``encoder_state`` the encoder starts from it, and so does a slow copy that the method makes of it. A mixer that
    needs a guide asks ``guide``, or, without one, the method's own encoder as it is at each step.
    """
    method = METHODS[values["method"]]
    arguments = {n: values[n] for n in METHOD_NAMES if values[n] not in (None, "auto")}
    if method.needs_labels:
        arguments["num_classes"] = num_classes
    with torch.random.fork_rng(devices=[]):  # torch's initialisers know the global generator only; it is put back
        torch.manual_seed(int(Key(values["seed"], "weights").generator().integers(2**63)))
        encoder = Encoder(values["encoder"], values["stem"], values["width"])
        if encoder_state is not None:
            encoder.load_state_dict(encoder_state)
        return method(encoder, build_mixer(values, guide or EncoderGuide(encoder)), **arguments)


def build(values, splits):
    """The method of resolved ``values``; its encoder freshly drawn from the seed, or from ``init_from``."""
    state = None if values["init_from"] == "none" else _stored_encoder(values)
    mean, std = data.channel_stats(splits.train)
    method = build_method(values, len(splits.train.classes), state, build_guide(values, mean, std))
    method.encoder.mean.copy_(torch.tensor(mean))
    method.encoder.std.copy_(torch.tensor(std))
    return method


def name_start(values):
    """Resolved ``values`` with the runs that ``runs.STARTS`` mean by name, and the checksums of their encoders.

    Raises:
        ParamError: there is no such run, or the encoder to start from is of another kind.
        CheckpointError: it is not finished, or damaged.
    """
    for parameter in runs.STARTS:
        if values[parameter] not in (None, "none", "own"):
            values = values | _named(values, parameter)
    if values["init_from"] != "none":
        _stored_encoder(values)
    return values


def _named(values, parameter):
    """The run that ``parameter`` means by its name, which outlives ``latest``, and the checksum of its encoder."""
    runs_dir = data.resolve(values["runs_dir"])
    run = runs.find(values[parameter], runs_dir, parameter)
    runs.load_encoder(run)
    name = run.name if run.path.parent == runs_dir else str(run.path)
    return {parameter: name, f"{parameter}_sha256": run.result()["encoder_sha256"]}


def _stored_encoder(values):
    """The weights of the encoder that ``init_from`` names, refused if it is another kind of encoder."""
    run = runs.find(values["init_from"], data.resolve(values["runs_dir"]), "init_from")
    stored = runs.load_encoder(run)
    if (stored.name, stored.stem_name, stored.width) != (values["encoder"], values["stem"], values["width"]):
        allowed = f"a run with encoder {values['encoder']}, stem {values['stem']} and width {values['width']}"
        todo = f"Use encoder {stored.name}, stem {stored.stem_name} and width {stored.width}"
        raise ParamError(problem("init_from", allowed, run.name, todo))
    return stored.state_dict()


def settle(values, train_size):
    """Resolved ``values`` with what the number of training images decides: a queue of half of them, at most 4096.

    A small data set still gets a queue of one batch.
    """
    if values["queue_size"] != "auto":
        return values
    return values | {"queue_size": max(min(4096, train_size // 2), values["batch_size"])}


def settle_split(values, checksum):
    """Resolved ``values`` with ``val_seed``, of the split that holds images out; as they are where none are held out.

    A run that starts from others which saw the same images holds out what they did. ``checksum`` is of those to train
    on, as ``data.Images`` has it.
    Raises:
        ParamError: there is no such split, see ``runs.split_seed``.
    """
    if not values["val_fraction"] or "val_seed" in values:
        return values
    return values | {"val_seed": runs.split_seed(values, checksum, data.resolve(values["runs_dir"]))}


def load_splits(values, log=print):
    """The images of resolved ``values``, refused where the method or the batch could not use them.

    ``log`` is called with a line of text every few seconds, where a folder takes that long.
    """
    needs_labels = METHODS[values["method"]].needs_labels
    splits = data.load_splits(values, log)
    settled = settle_split(values, splits.train.checksum)
    if data.val_seed(settled) != data.val_seed(values):
        splits = data.load_splits(settled, log)
    _check_unseen(values, splits)
    if needs_labels and splits.train.labels is None:
        raise DataError(problem("dataset", f"labelled images, because method {values['method']} needs labels",
                                values["dataset"], "Use method simclr, or sort the images into class subfolders"))
    if needs_labels and len(splits.train.classes) < 2:
        raise DataError(problem("dataset", f"at least two classes, because method {values['method']} compares classes",
                                splits.train.classes, "Use method simclr, or add classes"))
    if len(splits.train) < values["batch_size"]:
        raise ParamError(problem("batch_size", f"at most the {len(splits.train)} training images",
                                 values["batch_size"], "Lower it, or use more images"))
    return splits


def _check_unseen(values, splits):
    """Refuses held-out images among those that a start saw under another data set's name: CIFAR holds parts of itself.

    Of one checksum ``settle_split`` knows; folders of images are compared by path and checksum only.
    """
    starts = runs.lineage(values, data.resolve(values["runs_dir"])) if splits.knn_split == "val" else ()
    for theirs in [start.run.params() for start in starts if start.run is not None and start.is_trained]:
        other, place = theirs["dataset"], {"data_dir": values["data_dir"]}
        if not _is_related(values["dataset"], other):
            continue
        here = data.at_hand(other, None if values["data_dir"] == "auto" else values["data_dir"])
        seen = data.overlap(data.load_train(theirs | place), splits.queries) if here else len(splits.queries)
        if seen:
            words = f"{seen} of the {len(splits.queries)} images held out {'are' if here else 'may be'} of the {other}"
            raise ParamError(problem(
                "val_fraction", f"0, because {words} images that a run which it starts from was trained on",
                values["val_fraction"], "Write val_fraction: 0.0"))


def _is_related(name, other):
    """Whether two names are of different data sets that share images."""
    return name != other and {name, other} <= data.DATASETS.keys() and name.split("-")[0] == other.split("-")[0]


def identity(values, splits):
    """What changes the numbers: resolved ``values`` without paths, pace and device, and the checksums of the images.

    Parameters that came later are left out where they change nothing, so that older runs keep their names.
    """
    kept = {k: v for k, v in values.items()
            if k not in PATHS_AND_PACE + IN_THE_CHECKSUMS and (k not in LATER or v != LATER[k])}
    if "guide_from_sha256" in kept:
        del kept["guide_from"]
    if kept.get("val_seed") == kept["seed"]:
        del kept["val_seed"]
    return kept | {"dataset": kept["dataset"].split(":")[0], "data_checksum": splits.train.checksum,
                   "queries_checksum": splits.queries.checksum}


def view_names(values):
    """The names in ``RECIPES`` of the views that the method takes; for unmix those of its base."""
    return METHODS[values["base"] or values["method"]].views


def build_recipes(values, names, mean, std):
    """The recipes of the views ``names``, with the resolved ``values`` and the images' channel statistics filled in."""
    own = {"size": values["image_size"], "mean": tuple(mean), "std": tuple(std)}
    if values["crop_scale"] is not None:
        own |= {"crop_scale": (values["crop_scale"], 1.0)}
    scale = 1.0 if values["jitter"] is None else values["jitter"]
    return [replace(RECIPES[n], **own, jitter=tuple(scale * j for j in RECIPES[n].jitter)) for n in names]
