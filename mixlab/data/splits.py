"""The images of one run, cut as its parameters say."""

from dataclasses import dataclass

from mixlab.data.images import Images
from mixlab.data.subsets import label_subset, split_validation, take


@dataclass(frozen=True)
class Splits:
    """What a run trains on, and what its kNN monitor asks about: the ``val`` or the ``test`` split."""

    train: Images
    queries: Images
    knn_split: str


def cut(train, test, values):
    """Cuts the validation split, then the training subset, then the labelled fraction, each drawn from the seed.

    Args:
        train: all training images. test: a function that loads the test images, called only when they are asked.
        values: resolved parameters ``val_fraction``, ``train_size``, ``label_fraction``, ``seed``.
    """
    train, validation = split_validation(train, values["val_fraction"], values["seed"])
    if values["train_size"] != "auto":
        train = take(train, values["train_size"], values["seed"], "train_size")
    if values["label_fraction"] < 1:
        train = label_subset(train, values["label_fraction"], values["seed"])
    return Splits(train, validation, "val") if validation else Splits(train, test(), "test")
