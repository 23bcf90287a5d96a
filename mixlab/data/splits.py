"""The images of one run, cut as its parameters say."""

from dataclasses import dataclass

from mixlab.data.images import Images
from mixlab.data.subsets import label_subset, split_validation, take


@dataclass(frozen=True)
class Splits:
    """What a run trains on, and what its kNN monitor asks about: a ``val`` split, held out or given, or ``test``."""

    train: Images
    queries: Images
    knn_split: str


def val_seed(values):
    """The seed of the validation split of a run: that of the run it starts from, where it took over its split."""
    return values.get("val_seed", values["seed"])


def cut(train, asked, values, split="test"):
    """Cuts the validation split, then the training subset, then the labelled fraction, each drawn from the seed.

    The split is drawn from ``val_seed(values)``.

    Args:
        train: all training images. asked: a function that loads those that kNN asks where none are held out, called
            only then.
        values: resolved parameters ``val_fraction``, ``train_size``, ``label_fraction``, ``seed``.
        split: which ``asked`` gives, ``val`` or ``test``.
    """
    train, validation = split_validation(train, values["val_fraction"], val_seed(values))
    if values["train_size"] != "auto":
        train = take(train, values["train_size"], values["seed"], "train_size")
    if values["label_fraction"] < 1:
        train = label_subset(train, values["label_fraction"], values["seed"])
    return Splits(train, validation, "val") if validation else Splits(train, asked(), split)
