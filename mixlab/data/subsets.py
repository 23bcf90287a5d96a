"""Parts of a data set: a validation split, a smaller training set, a share of the labels. All stratified by class."""

import numpy as np

from mixlab.errors import DataError, ParamError, listed, problem
from mixlab.rng import Key


def split_validation(images, val_fraction, seed):
    """Splits off a validation set: the same share, rounded, of every class (at random without labels).

    Args:
        images: Images of the training set.
        val_fraction: in [0, 1); 0 for none.
        seed: integer; the same seed gives the same split.
    Returns:
        (train, val): two Images in their original order; val is None for val_fraction 0.
    Raises:
        ParamError: val_fraction outside its range.
        DataError: naming the classes too small to have an image in both parts.
    """
    _check_fraction("val_fraction", val_fraction, 0 <= _number(val_fraction) < 1, "a number in [0, 1)")
    if val_fraction == 0:
        return images, None
    groups, counts = _shuffled_classes(images, Key(seed, "val_split")), {}
    for k, group in groups.items():
        counts[k] = _rounded(len(group) * val_fraction)
    _refuse_small(images, {k: len(g) for k, g in groups.items() if not 0 < counts[k] < len(g)},
                  f"val_fraction {val_fraction}", "an image in both parts")
    val = np.sort(np.concatenate([group[:counts[k]] for k, group in groups.items()]))
    return images.subset(np.setdiff1d(np.arange(len(images)), val)), images.subset(val)


def take(images, size, seed, role):
    """A stratified random subset of ``size`` images in their original order.

    Each class gets its proportional share by Webster's method (the i-th of n images of a class stands at
    (i + 0.5) / n, ties at random; the first ``size`` are taken), so that smaller subsets lie in larger ones.

    Args:
        images: Images.
        size: 1..len(images).
        seed: integer.
        role: what the subset is for; names the draw and, in errors, the parameter, e.g. ``"train_size"``.
    Raises:
        ParamError: size outside its range.
    """
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= len(images):
        raise ParamError(problem(role, f"an integer in 1..{len(images)}", size))
    if size == len(images):
        return images
    key = Key(seed, role)
    standing = np.empty(len(images))
    for group in _shuffled_classes(images, key).values():
        standing[group] = (np.arange(len(group)) + 0.5) / len(group)
    order = np.lexsort((key.child("ties").generator().random(len(images)), standing))
    return images.subset(np.sort(order[:size]))


def label_subset(images, fraction, seed):
    """The images that keep their label when only a fraction of every class is labelled, in their original order.

    Args:
        images: Images with labels.
        fraction: in (0, 1]; of each class the share is rounded. Smaller fractions lie in larger ones.
        seed: integer.
    Raises:
        ParamError: fraction outside its range.
        DataError: no labels; or naming the classes that would get no image.
    """
    _check_fraction("label_fraction", fraction, 0 < _number(fraction) <= 1, "a number in (0, 1]")
    if images.labels is None:
        raise DataError(problem("label_fraction", "images with labels", "images without", "Use class folders"))
    if fraction == 1:
        return images
    groups = _shuffled_classes(images, Key(seed, "label_fraction"))
    kept = {k: group[:_rounded(len(group) * fraction)] for k, group in groups.items()}
    _refuse_small(images, {k: len(groups[k]) for k in groups if not len(kept[k])},
                  f"label_fraction {fraction}", "at least one image")
    return images.subset(np.sort(np.concatenate(list(kept.values()))))


def _shuffled_classes(images, key):
    """{class: its indices in random order}; all images as one class where there are no labels."""
    generator = key.generator()
    if images.labels is None:
        return {None: generator.permutation(len(images))}
    labels = images.labels.numpy()
    return {int(k): generator.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)}


def _rounded(number):
    return int(number + 0.5)


def _number(value):
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return value if is_number else float("nan")


def _check_fraction(name, value, is_allowed, allowed):
    if not is_allowed:
        raise ParamError(problem(name, allowed, value))


def _refuse_small(images, sizes, parameter, wanted):
    if sizes:
        names = listed(f"{images.classes[k] if k is not None else 'all'} ({n})" for k, n in sizes.items())
        raise DataError(f"{parameter}: {wanted} of every class; got classes too small for it: {names}. "
                        f"Choose another fraction, or add images.")
