"""What a folder of images takes of the memory, known before any is decoded."""

from collections import Counter
from dataclasses import dataclass

from mixlab.data import memory
from mixlab.errors import DataError

SPARE = 0.9  # of the available memory that images may take


@dataclass(frozen=True)
class Demand:
    """How much memory images take.

    Args:
        images: how many are decoded. size: their side. queries: how many of them are for kNN only. copies: how many
            are copied when the training images are cut.
    """

    images: int
    size: int
    queries: int = 0
    copies: int = 0

    def bytes_of(self, count):
        return count * self.size**2 * 3

    def bytes(self):
        return self.bytes_of(self.images + self.copies)


def demand(layout, values):
    """The ``Demand`` of a run with these resolved parameters."""
    train = len(layout.splits["train"])
    classes = Counter(map(layout.class_of, layout.splits["train"]))
    held = sum(int(count * values["val_fraction"] + 0.5) for count in classes.values())
    queries = held or len(layout.splits[asked_split(layout)])
    if values["train_size"] != "auto" and values["train_size"] < train - held:
        return Demand(values["train_size"] + queries, values["image_size"], queries)
    is_cut = held > 0 or values["label_fraction"] < 1
    return Demand(train + (0 if held else queries), values["image_size"], queries, train * is_cut)


def asked_split(layout):
    """The split that kNN asks during training, where no training images are held out for it."""
    return "val" if "val" in layout.splits else "test"


def check_memory(layout, wanted):
    """Refuses a ``Demand`` that the memory cannot meet, before anything is decoded.

    Raises:
        DataError: with count, need, what is available, and a ``train_size`` that fits.
    """
    left = memory.available()
    if left is None or wanted.bytes() <= SPARE * left:
        return
    most = int(SPARE * left // wanted.bytes_of(1)) - wanted.queries
    smaller = f"Set train_size to at most {most:,}, lower image_size" if most > 0 else "Lower image_size"
    raise DataError(f"{layout.name()}: images that fit into {100 * SPARE:g} % of the available memory "
                    f"({memory.in_words(left)}); got {in_words(wanted)}. {smaller}, or free memory.")


def needs(wanted):
    """What a ``Demand`` takes and what there is, in a sentence."""
    left = memory.available()
    found = "how much is available is not known" if left is None else f"{memory.in_words(left)} are available"
    return f"To decode: {in_words(wanted)} of memory; {found}."


def in_words(wanted):
    return (f"{wanted.images:,} images of {wanted.size} x {wanted.size}, which need "
            f"{memory.in_words(wanted.bytes())}")
