"""What an evaluated run gets wrong: the confusion matrix, the most confused pairs, and the wrong images themselves."""

import matplotlib.pyplot as plt
import numpy as np

from mixlab import data
from mixlab.errors import DataError, ParamError
from mixlab.evaluate.subjects import check_there, place_of
from mixlab.plots.evaluated import PROBES
from mixlab.plots.evaluation import note
from mixlab.plots.style import short, verbatim

ANNOTATED = 20  # classes up to which the matrix carries names and numbers


def confusion_of(one):
    """``(matrix int (K, K) rows true and columns predicted, names of the classes)`` of the stored predictions.

    Raises:
        DataError: the evaluation has no stored predictions.
    """
    labels, predictions, names = answers_of(one)
    matrix = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix, names


def answers_of(one):
    """``(labels (N,), predictions (N,), names of the classes)``: of the stored probe, of kNN where there was none.

    Raises:
        DataError: the evaluation has no stored predictions.
    """
    arrays = one.arrays()
    predictions = arrays.get("predictions", arrays.get("knn_predictions"))
    if predictions is None:
        raise DataError(f"{one.file}: stored predictions; got none. Evaluate {one.run.name} again with fresh: true.")
    return arrays["labels"], predictions, [str(name) for name in arrays["classes"]]


def answerer(one):
    """Whose predictions are stored, in words."""
    return PROBES.get(one.record.get("predictions_of"), "kNN")


def confusion(one):
    """The confusion matrix of one evaluation: each row a true class, in percent of its test images."""
    matrix, names = confusion_of(one)
    shares = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)  # (K, K)
    small = len(names) <= ANNOTATED
    side = 0.42 * len(names) + 2.2 if small else 7
    figure, ax = plt.subplots(figsize=(side + 1.2, side), layout="constrained")
    image = ax.imshow(shares, cmap="cividis", vmin=0, vmax=100)
    if small:
        _write_numbers(ax, shares)
    places = np.arange(len(names)) if small else []
    shown = [short(name) for name in names] if small else []
    ax.set_xticks(places, shown, rotation=45, ha="right", fontsize=8)
    ax.set_yticks(places, shown, fontsize=8)
    ax.set(xlabel="predicted", ylabel="true class")
    ax.set_title(verbatim(f"{one.run.name}\n{answerer(one)} on {one.dataset}"), fontsize=9)
    figure.colorbar(image, ax=ax, shrink=0.7, label="% of the true class")
    return figure


def _write_numbers(ax, shares):
    for row, column in np.argwhere(shares >= 0.5):
        colour = "black" if shares[row, column] > 55 else "white"  # cividis is dark below
        ax.text(column, row, f"{shares[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)


def confused_pairs(one, data_dir="auto", pairs=6, images=8):
    """The most frequent mistakes, a row each, with the images that were mistaken.

    Args:
        data_dir: as in the parameters; the test images are loaded from there and checked against the record.
    """
    found = worst_pairs(one, pairs)
    if not found:
        return note(f"{one.run.name}: every test image was recognised.")
    pixels, problem = images_of(one, data_dir)
    if pixels is None:
        return note(problem)
    figure, axes = plt.subplots(len(found), images, figsize=(10, 1.12 * len(found) + 0.5), squeeze=False,
                                layout="constrained")
    names = answers_of(one)[2]
    for row, (true, predicted, count, total) in zip(axes, found, strict=True):
        _strip(row, pixels, wrong_index(one, true, predicted)[:images])
        label = f"{short(names[true])} → {short(names[predicted])}\n{count} of {total}"
        row[0].set_ylabel(label, fontsize=9, rotation=0, ha="right", va="center")
    figure.suptitle(f"true class → what was said ({answerer(one)})", fontsize=10)
    return figure


def _strip(axes, pixels, index):
    for ax in axes:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    for ax, i in zip(axes, index, strict=False):
        ax.imshow(pixels[i])


def worst_pairs(one, count):
    """``[(true, predicted, how many, of how many)]``, the most frequent confusions first."""
    matrix, _ = confusion_of(one)
    wrong = matrix * (1 - np.eye(len(matrix), dtype=np.int64))
    order = np.argsort(-wrong, axis=None, kind="stable")[:count]
    pairs = [tuple(int(i) for i in np.unravel_index(place, wrong.shape)) for place in order]
    return [(t, p, int(wrong[t, p]), int(matrix[t].sum())) for t, p in pairs if wrong[t, p]]


def wrong_index(one, true, predicted):
    """Places of the test images of class ``true`` that were taken for ``predicted``; None takes any class."""
    labels, predictions, _ = answers_of(one)
    fits = labels != predictions
    if true is not None:
        fits &= labels == true
    if predicted is not None:
        fits &= predictions == predicted
    return np.flatnonzero(fits)


def images_of(one, data_dir="auto"):
    """``(pixels uint8 (N, H, W, 3), "")`` of the test images that were evaluated, or ``(None, why not)``."""
    name, folder = one.record["dataset"], one.record["dataset"].startswith("folder:")
    own = name == one.record["trained_on"]
    place = one.values.get("data_dir", "auto") if data_dir == "auto" else data_dir
    name = place_of({"dataset": name, "data_dir": place}, data_dir)[0] if own else name
    size, skip = (one.values.get(n) if folder else other for n, other in (("image_size", None), ("skip_broken", False)))
    try:
        scale = {"intensity": one.values.get("intensity", "type")} if folder else {}  # as the evaluation read them
        if own:
            check_there(one.run, name)
        images = data.load(name, None if place == "auto" else place, split="test", image_size=size,
                           skip_broken=bool(skip), **scale)
    except (DataError, ParamError, OSError) as error:
        return None, f"The images cannot be shown: {error}"
    if images.checksum != one.record["data_checksum"]["test"]:
        return None, (f"The images cannot be shown: the test set of {name} is not the one that was evaluated. "
                      "Set data_dir to where that one lies.")
    return images.pixels.numpy(), ""
