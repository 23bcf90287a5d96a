"""Named data sets as uint8 tensors: the embedded CIFAR-10 mini set, CIFAR-10, CIFAR-100, a folder of images.

    images = load("cifar10-mini")           # or load("folder:photos", image_size=64)
    images.pixels                           # uint8 (N, H, W, 3)

All pixels are held in memory; augmentation is for ``mixlab.views``.
"""

import os
from pathlib import Path

import torch

from mixlab.data.cifar import is_here, read
from mixlab.data.folder import read_folder
from mixlab.data.images import Images, channel_stats, check_labels, overlap
from mixlab.data.known import CIFAR10_CLASSES, COARSE_CLASSES, FINE_CLASSES
from mixlab.data.splits import Splits, cut
from mixlab.data.subsets import label_subset, split_validation, take
from mixlab.errors import ParamError, nearest, problem
from mixlab.files import check_path

__all__ = ["DATASETS", "Images", "Splits", "at_hand", "channel_stats", "check_labels", "check_name", "label_subset",
           "load", "load_splits", "overlap", "project_folder", "resolve", "split_validation", "take"]

DATASETS = {
    "cifar10-mini": CIFAR10_CLASSES,
    "cifar10": CIFAR10_CLASSES,
    "cifar100": FINE_CLASSES,
    "cifar100-coarse": COARSE_CLASSES,
}


def load(name, data_dir=None, *, split="train", image_size=None, skip_broken=False):
    """Loads one split of a data set.

    Args:
        name: a name in ``DATASETS``, or ``folder:PATH`` (see ``mixlab.data.folder`` for what is read and how
            it is converted).
        data_dir: where CIFAR lies or is downloaded to; None for the environment variable MIXLAB_DATA, else
            ``data``. A relative path, also that of ``folder:``, starts at ``project_folder()``.
        split: ``train`` or ``test``.
        image_size: side of the images of a folder in pixels, 8..1024; None for 32. CIFAR is 32 and nothing else.
        skip_broken: leave out the broken files of a folder; ``Images.skipped`` names them.
    Raises:
        ParamError: a name, split, size or path that is not as stated.
        DataError: images that are missing, corrupted, or another data set than the name says.
    """
    check_name(name)
    _check(name, data_dir, split, image_size, skip_broken)
    if name.startswith("folder:"):
        return read_folder(resolve(name.removeprefix("folder:")), split, image_size or 32, skip_broken)
    pixels, labels = read(name, split, _folder(data_dir))
    return Images(torch.from_numpy(pixels), torch.from_numpy(labels).long(), DATASETS[name])


def _folder(data_dir):
    return resolve(data_dir or os.environ.get("MIXLAB_DATA") or "data")


def at_hand(name, data_dir=None):
    """Whether ``load`` would find the data set where it looks for it, and download nothing."""
    check_name(name)
    if name.startswith("folder:"):
        return resolve(name.removeprefix("folder:")).is_dir()
    return is_here(name, _folder(data_dir))


def load_splits(values):
    """The images that resolved pre-training parameters name, as ``Splits``. Errors as in ``load``."""
    place = {"data_dir": None if values["data_dir"] == "auto" else values["data_dir"],
             "image_size": values["image_size"], "skip_broken": values["skip_broken"]}
    name = values["dataset"]
    return cut(load(name, split="train", **place), lambda: load(name, split="test", **place), values)


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
    raise ParamError(problem("dataset", f"one of {', '.join(known)}", name, nearest(name, known)))


def _check(name, data_dir, split, image_size, skip_broken):
    is_cifar = name in DATASETS
    if not isinstance(data_dir, str | Path | None):
        raise ParamError(problem("data_dir", "a path, or None", data_dir, "Name the folder of the images in quotes"))
    check_path("data_dir", data_dir or ".")
    if split not in ("train", "test"):
        raise ParamError(problem("split", "train or test", split, nearest(split, ["train", "test"])))
    if not isinstance(skip_broken, bool) or (skip_broken and is_cifar):
        raise ParamError(problem("skip_broken", "true or false; false for CIFAR", skip_broken,
                                 "Leave it out, or use dataset folder:PATH" if is_cifar else "Write true or false"))
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
