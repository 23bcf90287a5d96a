"""Named data sets as uint8 tensors: the embedded CIFAR-10 mini set, CIFAR-10, CIFAR-100, a folder of images.

    images = load("cifar10-mini")           # or load("folder:photos", image_size=64)
    images.pixels                           # uint8 (N, H, W, 3)

All pixels are held in memory; augmentation is for ``mixlab.views``.
"""

import os
from dataclasses import replace
from pathlib import Path

import torch

from mixlab.data.cifar import is_here, read
from mixlab.data.convert import INTENSITIES
from mixlab.data.demand import asked_split, check_memory, demand
from mixlab.data.folder import read_folder, read_part
from mixlab.data.images import Images, channel_stats, check_labels, overlap
from mixlab.data.known import CIFAR10_CLASSES, COARSE_CLASSES, FINE_CLASSES
from mixlab.data.layout import read_layout
from mixlab.data.splits import Splits, cut, val_seed
from mixlab.data.subsets import label_subset, split_validation, take
from mixlab.data.summary import cifar_lines, folder_lines
from mixlab.errors import ParamError, nearest, problem
from mixlab.files import check_path

__all__ = ["DATASETS", "INTENSITIES", "Images", "Splits", "at_hand", "channel_stats", "check_labels",
           "check_name", "describe", "label_subset", "load", "load_splits", "load_train", "overlap", "project_folder",
           "resolve", "split_validation", "take", "val_seed"]

DATASETS = {
    "cifar10-mini": CIFAR10_CLASSES,
    "cifar10": CIFAR10_CLASSES,
    "cifar100": FINE_CLASSES,
    "cifar100-coarse": COARSE_CLASSES,
}


def load(name, data_dir=None, *, split="train", image_size=None, skip_broken=False, intensity="auto", log=print):
    """Loads one split of a data set.

    Args:
        name: a name in ``DATASETS``, or ``folder:PATH`` (see ``mixlab.data.layout`` for what is read and
            ``mixlab.data.convert`` for how it is converted).
        data_dir: where CIFAR lies or is downloaded to; None for the environment variable MIXLAB_DATA, else
            ``data``. A relative path, also that of ``folder:``, starts at ``project_folder()``.
        split: ``train`` or ``test``; or ``val`` of a folder that has both.
        image_size: side of the images of a folder in pixels, 8..1024; None for 32. CIFAR is 32 and nothing else.
        skip_broken: leave out the broken files of a folder; ``Images.skipped`` names them.
        intensity: what is white in images of a folder with more than 8 bits: ``depth`` (``auto``), ``type`` or
            ``range``.
        log: called with a line of text every few seconds, where a folder takes that long.
    Raises:
        ParamError: a name, split, size or path that is not as stated.
        DataError: images that are missing, corrupted, more than the memory holds, or another data set than the name
            says.
    """
    check_name(name)
    _check(name, data_dir, split, image_size, skip_broken, intensity)
    if name.startswith("folder:"):
        intensity = "depth" if intensity == "auto" else intensity
        return read_folder(_layout(name), split, image_size or 32, skip_broken, intensity, log)
    pixels, labels = read(name, split, _folder(data_dir))
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels).long(), DATASETS[name])


def _layout(name):
    return read_layout(resolve(name.removeprefix("folder:")))


def _folder(data_dir):
    return resolve(data_dir or os.environ.get("MIXLAB_DATA") or "data")


def at_hand(name, data_dir=None):
    """Whether ``load`` would find the data set where it looks for it, and download nothing."""
    check_name(name)
    if name.startswith("folder:"):
        return resolve(name.removeprefix("folder:")).is_dir()
    return is_here(name, _folder(data_dir))


def load_splits(values, log=print):
    """The images that resolved pre-training parameters name, as ``Splits``; of a folder no more than they need.

    kNN asks the images that ``val_fraction`` holds out; else those of a folder's own ``val``; else the test images.
    ``log`` and the errors are as in ``load``.
    """
    name, place = values["dataset"], _place(values, log)
    if not name.startswith("folder:") or _is_earlier(values):
        return cut(load(name, split="train", **place), lambda: load(name, split="test", **place), values)
    layout = _layout(name)
    asked = asked_split(layout)
    check_memory(layout, demand(layout, values))
    part = read_part(layout, values, log) if values["train_size"] != "auto" else None
    if part is None:
        return cut(load(name, split="train", **place), lambda: load(name, split=asked, **place), values, asked)
    return part if part.queries else replace(part, queries=load(name, split=asked, **place), knn_split=asked)


def load_train(values, log=print):
    """The training images alone that ``load_splits`` gives for ``values``, without what kNN asks."""
    name, part = values["dataset"], None
    if name.startswith("folder:") and values["train_size"] != "auto" and not _is_earlier(values):
        part = read_part(_layout(name), values, log, validation=False)
    return (part or cut(load(name, split="train", **_place(values, log)), lambda: None, values)).train


def _is_earlier(values):
    """Whether the parameters are those of a run from before ``intensity``: its checksums name all pixels of a folder,
    those of 16 bits by their high byte, and its kNN asked ``test`` also where there was a ``val``.
    """
    return "intensity" not in values


def _place(values, log):
    place = {"data_dir": None if values["data_dir"] == "auto" else values["data_dir"],
             "image_size": values["image_size"], "skip_broken": values["skip_broken"]}
    if values["dataset"].startswith("folder:"):
        place |= {"intensity": values.get("intensity", "type"), "log": log}
    return place


def describe(values, log=print):
    """Tells what resolved pre-training parameters make of a data set, line by line; no image is decoded.

    Its classes with their counts, the rule of the split, what is ignored, and what a folder takes of the memory.
    """
    name = values["dataset"]
    is_folder = name.startswith("folder:")
    for line in folder_lines(_layout(name), values) if is_folder else cifar_lines(name, DATASETS[name], values):
        log(line)


def check_name(name):
    """Refuses what is neither a name in ``DATASETS`` nor ``folder:PATH`` with a text that can be a path.

    Raises:
        ParamError: with the nearest name, or what is wrong with the path.
    """
    if isinstance(name, str) and name.startswith("folder:") and name != "folder:":
        return check_path("dataset", name.removeprefix("folder:"))
    if isinstance(name, str) and name in DATASETS:
        return
    known = [*DATASETS, "folder:PATH"]
    todo = _as_folder(name) or nearest(name, known)
    raise ParamError(problem("dataset", f"one of {', '.join(known)}", name, todo))


def _as_folder(name):
    """What to write where a path was given; "" where it was none."""
    if not isinstance(name, str) or not name.strip() or name.startswith("folder:"):
        return ""
    if any(sign in name for sign in ("/", "\\")) or name[0] in "~.":
        return f'To read a folder of images, write "folder:{name}"'
    try:
        check_path("dataset", name)
    except ParamError:
        return ""
    return f'Did you mean "folder:{name}"' if not nearest(name, DATASETS) and resolve(name).is_dir() else ""


def _check(name, data_dir, split, image_size, skip_broken, intensity):
    is_cifar = name in DATASETS
    if not isinstance(data_dir, str | Path | None):
        raise ParamError(problem("data_dir", "a path, or None", data_dir, "Name the folder of the images in quotes"))
    check_path("data_dir", data_dir or ".")
    splits = ["train", "test"] if is_cifar else ["train", "test", "val"]
    if split not in splits:
        raise ParamError(problem("split", " or ".join(splits), split, nearest(split, splits)))
    if not isinstance(skip_broken, bool) or (skip_broken and is_cifar):
        raise ParamError(problem("skip_broken", "true or false; false for CIFAR", skip_broken,
                                 "Leave it out, or use dataset folder:PATH" if is_cifar else "Write true or false"))
    scales = ("auto",) if is_cifar else ("auto", *INTENSITIES)
    if intensity not in scales:
        raise ParamError(problem("intensity", "auto for CIFAR" if is_cifar else f"one of {', '.join(scales)}",
                                 intensity, nearest(intensity, scales)))
    if image_size is None:
        return
    low, high = (32, 32) if is_cifar else (8, 1024)
    if not isinstance(image_size, int) or isinstance(image_size, bool) or not low <= image_size <= high:
        allowed = "32 or None for CIFAR" if is_cifar else "an integer in 8..1024"
        todo = "Leave it out, or use dataset folder:PATH" if is_cifar else "Write 32, for example"
        raise ParamError(problem("image_size", allowed, image_size, todo))


def resolve(path):
    """An absolute path; ``~`` is the home folder, and a relative path starts at ``project_folder()``."""
    return project_folder() / Path(path).expanduser()


def project_folder():
    """The nearest parent of the working folder that holds ``pyproject.toml`` and ``notebooks/``, else that folder.

    Lab's kernel runs in ``notebooks/`` and papermill's where its caller stands; both mean the same ``data``.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here
