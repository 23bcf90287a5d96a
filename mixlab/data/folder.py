"""A folder of a person's own images as one uint8 tensor.

Which files, classes and splits: ``mixlab.data.layout``. What becomes of one image: ``mixlab.data.convert``.

**Part of a large folder.** Where ``train_size`` leaves images out, those to train on are chosen by their paths and
labels, and only they and the queries are decoded: the same images as if all were. Of the others the head is checked
and the content hashed, since the checksum names all training images: SHA-256 of their paths, of their files' content
and of how they are converted. Damage behind their heads is not noticed. With ``skip_broken`` every image is decoded
once to know the broken ones, since the choice is among the good. Where nothing is left out, the checksum is that of
the pixels.
"""

import hashlib
import os
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from mixlab.data.convert import TYPE, Scale, centre_square, check_file, find_scale, read_image, value_range
from mixlab.data.demand import Demand, check_memory, in_words
from mixlab.data.images import Images
from mixlab.data.layout import BOXES, FORMATS, read_layout, refuse_empty_classes, shown
from mixlab.data.progress import each
from mixlab.data.splits import cut
from mixlab.data.subsets import split_validation
from mixlab.errors import DataError, problem

__all__ = ["BOXES", "FORMATS", "centre_square", "names", "read_folder", "read_image", "read_part", "shown"]

DEEP = "has more than 8 bits"  # no fault: it waits for the scale of the whole set


@dataclass(frozen=True)
class Reading:
    """How the images of a folder are read.

    Args:
        layout: a ``Layout``. size: side in pixels. skip_broken: leave broken files out, instead of refusing the folder.
        intensity: ``depth``, ``type`` or ``range``, see ``mixlab.data.convert``. log: called with lines of progress.
    """

    layout: object
    size: int
    skip_broken: bool = False
    intensity: str = "depth"
    log: object = print

    def trial(self):
        """A scale that refuses what ``intensity`` refuses, where only that is asked."""
        return Scale(-1, 1, 0) if self.intensity == "range" else TYPE


def read_folder(layout, split, image_size, skip_broken, intensity="depth", log=print):
    """All images of one split of a folder; N x image_size x image_size x 3 bytes are held in memory.

    Args:
        layout: what ``read_layout`` found. split: one of ``layout.splits``. The others: as ``Reading``.
    Raises:
        DataError: no images, an empty class, more than the memory holds; or broken files: those of all splits, at once.
    """
    if split not in layout.splits:
        raise DataError(problem("split", f"one of {', '.join(layout.splits)} for {layout.name()}", split,
                                "Add such a folder, or name another split"))
    reading, every = Reading(layout, image_size, skip_broken, intensity, log), layout.splits[split]
    check_memory(layout, Demand(len(every), image_size))
    pixels, broken, scale = _decode(reading, every)
    if broken and not skip_broken:
        raise DataError(_all_broken(reading, broken, split))
    files = _Files(layout, [file for file in every if file not in broken])
    _refuse_too_few(layout, split, files.names)
    return _images(files, pixels, broken, scale)


def names(path, split):
    """Relative POSIX paths of the images of one split, in their order; broken ones are among them.

    Raises:
        DataError: as ``read_layout``.
    """
    return read_layout(path).splits[split]


# Part of it

def read_part(layout, values, log=print, validation=True):
    """What ``splits.cut`` gives, where ``train_size`` leaves images out; None where it leaves out none.

    Args:
        values: resolved parameters. validation: whether images that ``val_fraction`` holds out are decoded, too.
    Returns:
        ``Splits``, whose queries are None unless they are such images.
    Raises:
        ParamError, DataError: as ``read_folder`` and ``cut``.
    """
    reading = Reading(layout, values["image_size"], values["skip_broken"], values["intensity"], log)
    every = layout.splits["train"]
    wrong, digests = _look_into(reading, every) if reading.skip_broken else (_strays(layout, every), {})
    good = _Files(layout, [file for file in every if file not in wrong])
    _refuse_too_few(layout, "train", good.names)
    left, _ = split_validation(good, values["val_fraction"], values["seed"])
    if values["train_size"] == len(left):
        return None
    chosen = cut(good, lambda: None, values)
    if not reading.skip_broken:
        wrong, digests = _look_into(reading, every)
    return _decode_chosen(reading, chosen if validation else replace(chosen, queries=None), wrong,
                          [(file, digests[file]) for file in good.names])


def _decode_chosen(reading, chosen, wrong, content):
    """The chosen ``_Files`` as ``Images``. ``content`` are the pairs (name, SHA-256) that the checksum names."""
    train, held = chosen.train.names, chosen.queries.names if chosen.queries else []
    check_memory(reading.layout, Demand(len(train) + len(held), reading.size, len(held)))
    pixels, broken, scale = _decode(reading, train + held)
    broken = wrong | broken
    if broken and not reading.skip_broken:
        raise DataError(_all_broken(reading, broken, "train"))
    digest = hashlib.sha256(repr((reading.size, scale)).encode())
    for name, sha256 in content:
        digest.update(os.fsencode(name) + f"\0{sha256}\n".encode())
    parts = [_images(files, part, broken, scale, digest.hexdigest()) if files else None for files, part in
             ((chosen.train, pixels[:len(train)]), (chosen.queries, pixels[len(train):]))]
    return replace(chosen, train=parts[0], queries=parts[1])


def _look_into(reading, files):
    """``({file: what is wrong with it}, {file: SHA-256 of its content})``; the top says how far it is looked into."""
    looks = each(partial(_look, reading), files, doing="Looking into", log=reading.log)
    wrong = {file: reason for file, (reason, _) in zip(files, looks, strict=True) if reason}
    return wrong, {file: digest for file, (_, digest) in zip(files, looks, strict=True)}


def _look(reading, file):
    digests = []

    def act(path):
        check_file(path)
        with open(path, "rb") as content:
            digests.append(hashlib.file_digest(content, "sha256").hexdigest())
        if reading.skip_broken:
            read_image(path, reading.size, reading.trial())
        else:
            Image.open(path, formats=FORMATS).close()

    return _wrong(reading.layout, file, act), "".join(digests)


# What is in them

@dataclass(frozen=True)
class _Files:
    """Images that are not decoded yet; can be cut as ``Images`` can."""

    layout: object
    names: list

    def __len__(self):
        return len(self.names)

    @property
    def classes(self):
        return tuple(shown(name) for name in self.layout.classes)

    @property
    def labels(self):
        if not self.layout.classes:
            return None
        number = {name: k for k, name in enumerate(self.layout.classes)}
        return torch.tensor([number[self.layout.class_of(file)] for file in self.names], dtype=torch.int64)

    def subset(self, index):
        return _Files(self.layout, [self.names[i] for i in index])


def _images(files, pixels, broken, scale, checksum=""):
    return Images(torch.from_numpy(pixels), files.labels, files.classes, checksum,
                  tuple(map(shown, broken)), () if scale is None else (scale.sentence(),))


def _decode(reading, files):
    """Pixels (N, size, size, 3) of the good files, {file: what is wrong with it} of the others, and the ``Scale`` of
    those of more than 8 bits, None where there are none.
    """
    pixels, scale = _room(reading, len(files)), None
    first = TYPE if reading.intensity == "type" else None
    wrong = each(partial(_decode_into, reading.layout, first), files, pixels, log=reading.log)
    deep = [i for i, reason in enumerate(wrong) if reason == DEEP]
    if deep:
        scale = _scale_of_all(reading)
        again = each(partial(_decode_into, reading.layout, scale), [files[i] for i in deep], [pixels[i] for i in deep],
                     log=reading.log)
        for i, reason in zip(deep, again, strict=True):
            wrong[i] = reason
    good = [i for i, reason in enumerate(wrong) if not reason]
    for place, i in enumerate(good if len(good) < len(files) else ()):  # without a second array
        pixels[place] = pixels[i]
    return pixels[:len(good)], {file: reason for file, reason in zip(files, wrong, strict=True) if reason}, scale


def _room(reading, count):
    try:
        return np.empty((count, reading.size, reading.size, 3), np.uint8)
    except MemoryError as error:
        raise DataError(f"{reading.layout.name()}: images that fit into memory; got "
                        f"{in_words(Demand(count, reading.size))}. Lower train_size or image_size, or free memory."
                        ) from error


def _scale_of_all(reading):
    """The ``Scale`` that the images of all splits have together."""
    files = [reading.layout.root / file for file in reading.layout.files()]
    found = each(partial(value_range, intensity=reading.intensity), files, doing="Measuring", log=reading.log)
    return find_scale([extremes for extremes in found if extremes], reading.intensity)


def _decode_into(layout, scale, file, out):
    def act(path):
        pixels = read_image(path, len(out), scale)
        if pixels is None:
            return DEEP
        out[:] = pixels

    return _wrong(layout, file, act)


def _strays(layout, files):
    return {file: reason for file in files if (reason := _wrong(layout, file, lambda path: ""))}


def _wrong(layout, file, act):
    """What is wrong with a file, by what ``act(path)`` says or raises; "" if nothing."""
    if layout.classes and layout.class_of(file) is None:
        return "lies beside the class folders, in none of them"
    try:
        return act(layout.root / file) or ""
    except MemoryError:
        raise
    except UnidentifiedImageError:
        return "is not an image in one of these formats, or its head is damaged"
    except Exception as error:  # decoders meet damage with many types of error
        return shown(str(error)) or type(error).__name__


# What is refused

def _refuse_too_few(layout, split, files):
    if split == "train":
        refuse_empty_classes(layout, files)
    if not files:
        todo = "Add images" if split == "train" else "Add images, or a folder test beside a folder train"
        raise DataError(problem(layout.name(), f"at least one readable image in the {split} split", 0, todo))


def _all_broken(reading, broken, split):
    """The refusal of the broken files of one split, with those of the others."""
    for files in (files for name, files in reading.layout.splits.items() if name != split):
        reasons = each(partial(_tried, reading), files, doing="Looking into", log=reading.log)
        broken = broken | {file: reason for file, reason in zip(files, reasons, strict=True) if reason}
    lines = "\n".join(f"- {shown(file)}: {broken[file]}" for file in sorted(broken, key=os.fsencode))
    return (f"{reading.layout.name()}: files that are images ({', '.join(FORMATS)}); got {len(broken)} that are not. "
            f"Replace or remove them, or set skip_broken to leave them out.\n{lines}")


def _tried(reading, file):
    def act(path):
        read_image(path, reading.size, reading.trial())

    return _wrong(reading.layout, file, act)
