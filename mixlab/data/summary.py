"""What a data set is, in lines of text for the start of a run: classes, counts, split, memory."""

from collections import Counter

from mixlab.data.demand import asked_split, demand, needs
from mixlab.data.layout import listed, shown

MOST = 12  # classes that are named with their counts
CIFAR_COUNTS = {"cifar10-mini": (200, 100), "cifar10": (5000, 1000), "cifar100": (500, 100),
                "cifar100-coarse": (2500, 500)}  # training and test images of each class


def cifar_lines(name, classes, values):
    """Lines about CIFAR, whose counts and split are known."""
    counts = [Counter({k: count for k in classes}) for count in CIFAR_COUNTS[name]]
    return [_classes(name, classes, dict(zip(("training", "test"), counts, strict=True))),
            f"Split: as published.{_cut(values, 'test')}"]


def folder_lines(layout, values):
    """Lines about a folder, from its names alone."""
    words = {"train": "training", "val": "val", "test": "test"}
    counts = {words[split]: Counter(map(layout.class_of, files)) for split, files in layout.splits.items()}
    lines = [_classes(layout.name(), layout.classes, counts),
             f"Split: {layout.rule}{_cut(values, asked_split(layout))}"]
    if layout.ignored:
        found = [_printable(name) + (f" ({count:,})" if count > 1 else "") for name, count in layout.ignored]
        lines.append(f"Ignored, as no images: {listed(found)}.")
    return [*lines, needs(demand(layout, values))]


def _classes(name, classes, counts):
    """Counts of all classes, or of the first of many, in the order of ``counts``: {"training": Counter, ...}."""
    total = f"{_and([f'{sum(c.values()):,} {split}' for split, c in counts.items()])} images"
    if not classes:
        return f"Data: {_printable(name)}, {total} without labels."
    each = [f"{_printable(k)} {' + '.join(f'{c[k]:,}' for c in counts.values())}" for k in classes[:MOST]]
    rest = [c for k in classes[MOST:] for c in [next(iter(counts.values()))[k]]]
    more = f"; and {len(rest):,} more, of {min(rest):,} to {max(rest):,} training images" if rest else ""
    number = f"{len(classes):,} class{'es' if len(classes) > 1 else ''}"
    return f"Data: {_printable(name)}, {total}, {number} ({' + '.join(counts)}): {', '.join(each)}{more}."


def _cut(values, asked):
    """What the parameters hold out and leave out."""
    parts = [] if asked == "val" else ["kNN asks the test images"]
    if values["val_fraction"]:
        parts = [f"val_fraction {values['val_fraction']:g} of each class's training images are held out for kNN"]
    if values["train_size"] != "auto":
        parts.append(f"train_size {values['train_size']:,} of the training images are trained on")
    if values["label_fraction"] < 1:
        parts.append(f"label_fraction {values['label_fraction']:g} of each class of these")
    return f" Here {', '.join(parts)}." if parts else ""


def _and(words):
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def _printable(text):
    """Text that keeps to its line and direction."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in shown(text))
