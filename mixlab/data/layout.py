"""Which files of a folder are images, in which order, of which class and of which split.

**Splits.** Folders whose names stand in ``split_names.SPLITS``, in any capitals, with or without accents, spaces, ``_``
and ``-``, and with or without a word such as ``set`` or ``images`` behind them: one for training beside one for
validation or for the test. What lies beside them is not read. ``test`` is the test set, which stays for the end; where
``val`` is there too, kNN asks ``val`` during training; without ``test``, ``val`` is the test set. Without such folders
15 % of each class, rounded, and at least one image of a class that has two, are the test set: those whose relative
paths have the smallest SHA-256. So that split depends on the names alone.

**Classes.** Subfolders, named in Unicode's NFC and numbered in the byte order of their names on the disk; a class may
have folders of its own. Without subfolders the images have no labels. Top folders that share the names of their
subfolders look like splits and are refused, and so are splits inside a class. A single folder that holds splits, or
classes, and nothing else is looked through.

**Ignored**, and named once: what systems and authors leave beside images (``Thumbs.db``, README, LICENSE and the like).
Without a word: names that begin with a dot, and a ``boxes.csv`` beside the images or class folders (see
``mixlab.attention.boxes``). Links are followed unless they lead in a circle. The order of the images is the byte order
of their relative POSIX paths.
"""

import hashlib
import os
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from PIL import Image

from mixlab.data.split_names import split_of
from mixlab.errors import DataError, problem

BOXES = "boxes.csv"  # where the objects are; no image
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS: opening one starts another program
TEST_SHARE = 0.15

LEFT_FILES = {"thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "icon\r"}
LEFT_FOLDERS = {"__macosx", "@eadir", "$recycle.bin", "system volume information", "__pycache__"}
DOCUMENTS = {"readme", "license", "licence", "copying", "notice", "citation", "changelog"}


@dataclass(frozen=True)
class Layout:
    """The images of a folder.

    Args:
        root: the folder that their paths start at.
        splits: {"train": [relative POSIX path, ...], "test": [...]}, and "val" where a folder of its own is given.
        classes: names of the classes in their order; () without labels.
        depth: how many parts of a relative path stand before the class.
        rule: how it is split, in a sentence.
        ignored: names of files and folders that are no images, with how often each was met.
    """

    root: Path
    splits: dict
    classes: tuple = ()
    depth: int = 0
    rule: str = ""
    ignored: tuple = ()

    def class_of(self, file):
        """The class of a relative path; None without labels, and for what lies beside the class folders."""
        parts = file.split("/")
        return _nfc(parts[self.depth]) if self.classes and len(parts) > self.depth + 1 else None

    def files(self):
        """The images of all splits."""
        return [file for files in self.splits.values() for file in files]

    def name(self):
        return f"folder:{self.root}"


def read_layout(path):
    """The ``Layout`` of a folder; no image is opened.

    Raises:
        DataError: no folder, an empty class, or folders that are neither clearly splits nor clearly classes.
    """
    root = Path(path)
    if not root.is_dir():
        what = "a file" if root.exists() else "nothing there"
        raise DataError(problem(f"folder:{root}", "a folder of images", what, "Name one that exists"))
    outer, ignored = root, Counter()
    root = _inside_wrapper(outer)
    if root != outer:
        _visible(outer, ignored)
    folders = _folders(root)
    roles = _roles(folders)
    if _are_splits(roles):
        layout = _given_splits(root, roles, ignored)
    elif folders and sum(map(len, roles.values())) == len(folders):
        raise DataError(problem(f"folder:{root}", "class folders, or train beside test or val", folders,
                                f"Name {root / folders[0]} itself to have it split"))
    else:
        layout = _split_by_name(root, folders, ignored)
    _refuse_inner_splits(layout)
    _refuse_likely_splits(layout)
    refuse_empty_classes(layout, layout.splits["train"])
    through = "" if root == outer else f" ({shown(root.name)}/, the only folder in {shown(outer.name)}/, is read.)"
    return replace(layout, ignored=tuple(sorted(ignored.items())), rule=layout.rule + through)


def shown(name):
    """A file name as printable text, also where it is not valid UTF-8."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _nfc(name):
    return unicodedata.normalize("NFC", name)


# Splits

def _roles(folders):
    """{split: the folders that mean it}"""
    found = {}
    for name in folders:
        if split_of(name):
            found.setdefault(split_of(name), []).append(name)
    return found


def _are_splits(roles):
    return "train" in roles and ("test" in roles or "val" in roles)


def _given_splits(root, roles, ignored):
    used = ["train", "val", "test"] if "test" in roles else ["train", "val"]
    for split in used:
        if len(roles.get(split, ())) > 1 and (split != "val" or "test" not in roles):
            raise DataError(problem(f"folder:{root}", f"one folder for {split}", roles[split],
                                    "Put their images together, or move one elsewhere"))
    places = {split: roles[split][0] for split in used if len(roles.get(split, ())) == 1}
    files = {split: _files(root, ignored, place) for split, place in places.items()}
    beside = [name for name in sorted(_visible(root, ignored), key=os.fsencode) if name not in places.values()]
    rule = _rule(places, beside)
    if "test" not in files:
        files["test"] = files.pop("val")
    classes = tuple(dict.fromkeys(map(_nfc, _folders(root / places["train"]))))
    _refuse_unknown_classes(root, places, classes)
    return Layout(root, files, classes, 1, rule)


def _rule(places, beside):
    names = {split: f"{shown(place)}/" for split, place in places.items()}
    parts = [f"{names['train']} is trained on"]
    if "test" not in names:
        parts.append(f"{names['val']} is the test set, since there is no other")
    else:
        parts += [f"kNN asks {names[split]}" for split in names if split == "val"]
        parts.append(f"{names['test']} is the test set" + (", for the end" if "val" in names else ""))
    unread = f" Not read, as beside these: {listed([shown(name) for name in beside])}." if beside else ""
    return f"{', '.join(parts)}.{unread}"


def listed(names, most=8):
    """Names with commas, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def _refuse_unknown_classes(root, places, classes):
    for place in list(places.values())[1:]:
        unknown = [name for name in _folders(root / place) if _nfc(name) not in classes]
        if unknown:
            raise DataError(problem(f"folder:{root}", f"the classes of {shown(places['train'])} in {shown(place)}, too",
                                    sorted(map(shown, unknown)), f"Add them to {shown(places['train'])}, or remove "
                                    "them"))


def _split_by_name(root, folders, ignored):
    files = _files(root, ignored)
    layout = Layout(root, {"train": files}, tuple(dict.fromkeys(map(_nfc, folders))))
    groups = {}
    for file in files:
        groups.setdefault(layout.class_of(file), []).append(file)
    test = {file for group in groups.values() for file in _test_files(group)}
    rule = (f"{100 * TEST_SHARE:g} % of {'each class' if folders else 'the images'}, those whose paths have the "
            "smallest SHA-256, are the test set; the others are trained on.")
    return replace(layout, rule=rule, splits={"train": [file for file in files if file not in test],
                                              "test": [file for file in files if file in test]})


def _test_files(files):
    count = max(int(len(files) * TEST_SHARE + 0.5), 1) if len(files) > 1 else 0
    return sorted(files, key=lambda file: hashlib.sha256(os.fsencode(file)).digest())[:count]


def _refuse_likely_splits(layout):
    """Top folders that hold no image themselves and the same subfolders are more likely splits than classes."""
    inner = {}
    for file in layout.files() if layout.depth == 0 else ():
        parts = file.split("/")
        if len(parts) == 2 and _is_image_name(file):
            inner[parts[0]] = None
        elif len(parts) > 2 and inner.setdefault(parts[0], set()) is not None:
            inner[parts[0]].add(_nfc(parts[1]).casefold())
    for (one, names), (other, others) in combinations([item for item in inner.items() if item[1]], 2):
        both = sorted(names & others)
        if len(both) >= 2 and 2 * len(both) > min(len(names), len(others)):
            shared = listed(list(map(shown, both)))
            raise DataError(f"{layout.name()}: class folders, or splits named train, val and test; got {shown(one)} "
                            f"and {shown(other)}, which share the subfolders {shared}. If these are splits, rename "
                            "them to train, val or test; if they are classes, give their subfolders names that differ.")


def _refuse_inner_splits(layout):
    """Splits below a class, or below more than one folder that holds nothing else."""
    inner = {}
    for file in layout.files():
        parts = file.split("/")
        for depth in range(layout.depth + 1, len(parts) - 1):
            inner.setdefault("/".join(parts[:depth]), {})[parts[depth]] = None
    for place, folders in inner.items():
        if _are_splits(_roles(folders)):
            raise DataError(problem(f"{layout.name()}", "splits as the top folders, classes inside them",
                                    f"{shown(place)} with {listed(list(map(shown, folders)))}",
                                    f"Move the splits to the top, or name {shown(place)} itself if they hold classes"))


def refuse_empty_classes(layout, files):
    """Refuses a class that none of ``files`` is of."""
    filled = {layout.class_of(file) for file in files}
    empty = [shown(name) for name in layout.classes if name not in filled]
    if empty:
        raise DataError(f"{layout.name()}: at least one readable image in each class; got none in "
                        f"{', '.join(empty)}. Add images, or remove these folders.")


# What lies where

def _inside_wrapper(root):
    """The folder to read: ``root``, or the only folder in it where that holds splits or several classes."""
    folders = _folders(root)
    if len(folders) != 1 or split_of(folders[0]) or _holds_images(root) or _holds_images(root / folders[0]):
        return root
    inner = _folders(root / folders[0])
    return root / folders[0] if len(inner) > 1 else root


def _holds_images(folder):
    return any(_is_image_name(name) for name, is_folder in _visible(folder, Counter()).items() if not is_folder)


def _is_image_name(name):
    return Image.registered_extensions().get(os.path.splitext(name)[1].lower()) in FORMATS


def _is_left(name, is_folder):
    """Whether a system or an author left this beside the images."""
    plain = name.casefold()
    if is_folder:
        return plain in LEFT_FOLDERS
    return plain in LEFT_FILES or (re.split(r"[._ -]", plain)[0] in DOCUMENTS and not _is_image_name(name))


def _visible(folder, ignored):
    """{name: whether it is a folder} of what may be images; what else is met is counted in ``ignored``."""
    try:
        found = {entry.name: _is_folder(entry) for entry in os.scandir(folder) if not entry.name.startswith(".")}
    except OSError as error:
        raise DataError(f"{shown(str(folder))}: a folder that can be listed; got {error.strerror}. "
                        f"Correct or remove it.") from error
    ignored.update(shown(name) + "/" * is_folder for name, is_folder in found.items() if _is_left(name, is_folder))
    return {name: is_folder for name, is_folder in found.items() if not _is_left(name, is_folder)}


def _is_folder(entry):
    try:
        return entry.is_dir()  # most systems told this with the name; only links are asked after
    except OSError:  # a link that leads to itself
        return False


def _folders(folder):
    return sorted((name for name, is_folder in _visible(folder, Counter()).items() if is_folder), key=os.fsencode)


def _files(root, ignored, below=""):
    paths = (os.path.relpath(path, root).replace(os.sep, "/") for path in _walk(root / below, ignored))
    return sorted((path for path in paths if path != BOXES), key=os.fsencode)


def _walk(folder, ignored, above=()):
    place = os.stat(folder)
    mark = (place.st_dev, place.st_ino)
    if mark in above:
        raise DataError(problem(shown(str(folder)), "a folder that does not contain itself",
                                "a link to one of its parents", "Remove the link"))
    for name, is_folder in _visible(folder, ignored).items():
        path = os.path.join(folder, name)
        if is_folder:
            yield from _walk(path, ignored, (*above, mark))
        else:
            yield path
