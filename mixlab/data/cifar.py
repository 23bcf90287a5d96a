"""CIFAR-10, CIFAR-100 and the embedded mini set: found, fetched, decoded, and checked to be what they say.

In the data folder they lie as lossless sheets, ``cifar10/train_00.webp`` and so on (2,500 images a sheet, 50 a row,
row by row), or as torchvision leaves them, ``cifar-10-batches-py/`` and ``cifar-100-python/``. Whatever the
form, the decoded arrays are compared with their published SHA-256 before anyone sees them.
"""

import os
import shutil
import socket
import tarfile
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image

from mixlab.data.known import ARCHIVE_BYTES, COARSE_OF_FINE, SHA256, SHEET_SHA256
from mixlab.errors import DataError, problem
from mixlab.files import sha256
from mixlab.locks import taken

ASSETS = Path(__file__).parent.parent / "assets"
TIMEOUT = 20  # seconds without an answer after which a download is given up
DOWNLOAD = ".download-"  # how the names of temporary folders begin


def read(name, split, data_dir):
    """Pixels uint8 (N, 32, 32, 3) and labels uint8 (N,) of a CIFAR data set, checked.

    Args:
        name: ``cifar10-mini``, ``cifar10``, ``cifar100`` (fine labels) or ``cifar100-coarse``.
        split: ``train`` or ``test``.
        data_dir: folder, used by all but the mini set. What is missing is downloaded into it.
    Raises:
        DataError: missing (and not to be downloaded), corrupted, or another data set than the name says.
    """
    stored = name.removesuffix("-coarse")
    folder = ASSETS if name == "cifar10-mini" else Path(data_dir)
    if stored == "cifar10-mini" or _has_sheets(stored, folder / stored):
        pixels, labels = _read_sheets(stored, split, folder / stored)
    else:
        pixels, labels = _read_batches(stored, split, folder)
    if name == "cifar100-coarse":
        labels = np.array(COARSE_OF_FINE, np.uint8)[labels]
        _check(f"{name} {split} labels", labels, "the table of superclasses")
    return pixels, labels


def is_here(name, data_dir):
    """Whether a CIFAR data set lies in the folder ``data_dir``, so that reading it downloads nothing."""
    stored, folder = name.removesuffix("-coarse"), Path(data_dir)
    return (stored == "cifar10-mini" or _has_sheets(stored, folder / stored)
            or (folder / _torchvision_class(stored).base_folder).exists())


def _check(array_name, array, where):
    got, known = sha256(np.ascontiguousarray(array)), SHA256[array_name]
    if got != known:
        raise DataError(problem(array_name, f"the sha256 {known}", got, f"Corrupted: {where}{_really(got)}"))


def _really(digest):
    """Says whose data these are, when a known data set lies under another's name."""
    known = [name for name, value in SHA256.items() if value == digest]
    return f". These are the {known[0]}" if known else ""


# Sheets

def sheet_files(stored, split):
    """File names of the sheets of one split, in order."""
    if stored == "cifar10-mini":
        return [f"{split}.webp"]
    return [f"{split}_{i:02d}.webp" for i in range(20 if split == "train" else 4)]


def label_file(stored, split):
    """File name of the labels beside the sheets."""
    return f"{split}_fine.npy" if stored == "cifar100" else f"{split}_labels.npy"


def _has_sheets(stored, folder):
    return any((folder / file).exists() for split in ("train", "test") for file in sheet_files(stored, split))


def _read_sheets(stored, split, folder):
    paths = [folder / file for file in sheet_files(stored, split)]
    missing = [p.name for p in [*paths, folder / label_file(stored, split)] if not p.is_file()]
    if missing:
        raise DataError(f"{stored}: all files of the {split} split in {folder}; got all but {', '.join(missing)}. "
                        f"Copy the missing files there.")
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes outside of Python's lock
        sheets = list(pool.map(_read_sheet, paths))
    pixels = np.concatenate(sheets)
    got = sha256(pixels)
    if got != SHA256[f"{stored} {split} pixels"]:
        _check(f"{stored} {split} pixels", pixels, folder if _really(got) else _damaged(stored, split, paths, sheets))
    labels = _read_labels(folder / label_file(stored, split))
    _check(f"{stored} {split} labels", labels, folder / label_file(stored, split))
    return pixels, labels


def _read_sheet(path):
    try:
        with Image.open(path, formats=("WEBP",)) as image:
            sheet = np.asarray(image.convert("RGB"))
        tiles = sheet.reshape(sheet.shape[0] // 32, 32, -1, 32, 3).swapaxes(1, 2)  # (rows, columns, 32, 32, 3)
        return np.ascontiguousarray(tiles).reshape(-1, 32, 32, 3)
    except MemoryError:
        raise
    except Exception as error:  # decoders meet damage with many types of error
        raise DataError(f"{path}: a lossless WebP sheet of 32 x 32 images; got one that is corrupted ({error}). "
                        f"Replace it.") from error


def _damaged(stored, split, paths, sheets):
    lines = []
    for path, sheet, known in zip(paths, sheets, SHEET_SHA256[f"{stored} {split}"].split(), strict=True):
        got = sha256(sheet)[:12]
        if got != known:
            lines.append(f"{path} (sha256 of its pixels begins {got}, not {known})")
    return ", ".join(lines) or "the order of the sheets"


def _read_labels(path):
    try:
        labels = np.load(path, allow_pickle=False)
    except Exception as error:  # as for sheets; a pickle in disguise is refused here, too
        raise DataError(f"{path}: labels as a uint8 array; got a file that is corrupted ({error}). "
                        f"Replace it.") from error
    if labels.dtype != np.uint8 or labels.ndim != 1:
        got = f"{labels.dtype} {labels.shape}"
        raise DataError(problem(str(path), "labels as a uint8 array (N,)", got, "Corrupted; replace it"))
    return labels


# torchvision's files

def _read_batches(stored, split, folder):
    source = _torchvision_class(stored)
    if not (folder / source.base_folder).exists():
        _fetch(stored, source, folder)
    try:
        whole = source(folder, train=split == "train")  # checks the MD5 of every file before it unpickles any
    except RuntimeError as error:
        raise DataError(_damaged_batches(stored, source, folder)) from error
    pixels, labels = np.ascontiguousarray(whole.data), np.array(whole.targets, np.uint8)
    _check(f"{stored} {split} pixels", pixels, folder / source.base_folder)
    _check(f"{stored} {split} labels", labels, folder / source.base_folder)
    return pixels, labels


def _torchvision_class(stored):
    from torchvision import datasets  # not needed where the data lie as sheets

    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[stored]


def _files_with_md5(source):
    return [*source.train_list, *source.test_list, (source.meta["filename"], source.meta["md5"])]


def _damaged_batches(stored, source, folder):
    from torchvision.datasets.utils import calculate_md5

    lines = []
    for file, md5 in _files_with_md5(source):
        path = folder / source.base_folder / file
        if not path.is_file():
            lines.append(f"{path}: missing")
        elif (got := calculate_md5(path)) != md5:
            lines.append(f"{path}: corrupted, md5 {got}{_whose(got)}, not {md5}")
    return (f"{stored}: torchvision's files in {folder / source.base_folder}, whole; got {len(lines)} that are not. "
            f"Replace them, or remove the folder to have it downloaded.\n" + "\n".join(lines))


def _whose(md5):
    for stored in ARCHIVE_BYTES:
        for file, known in _files_with_md5(_torchvision_class(stored)):
            if md5 == known:
                return f" (this is {file} of {stored})"
    return ""


# Download

def _fetch(stored, source, folder):
    """Brings torchvision's files into ``folder``, or leaves it as it was.

    Everything happens in a temporary folder beside the final name, and one rename ends it: whoever comes second
    finds the name taken and uses what is there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _temporary(folder) as temporary:
            _unpack(source, folder / source.filename, temporary)
            _rename(Path(temporary) / source.base_folder, folder / source.base_folder)
    except (OSError, RuntimeError, HTTPException, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(_missing(stored, source, folder, error)) from error


@contextmanager
def _temporary(folder):
    """A folder whose lock this process holds while it lives; those that killed processes left are removed."""
    for left in folder.glob(f"{DOWNLOAD}*"):
        with _lock(left) as held:
            if held:
                shutil.rmtree(left, ignore_errors=True)
        if held:
            shutil.rmtree(left, ignore_errors=True)  # Windows keeps the lock's own file while it is open
    while True:
        with tempfile.TemporaryDirectory(prefix=DOWNLOAD, dir=folder) as temporary, _lock(temporary) as held:
            if held is not False and os.path.isdir(temporary):  # else taken for abandoned before it was locked
                yield temporary
                return


@contextmanager
def _lock(folder):
    """Yields whether this process got the folder's lock; None where the file system has no locks, or it is gone."""
    with ExitStack() as stack:
        try:
            held = stack.enter_context(taken(Path(folder) / ".lock"))
        except OSError:
            held = None
        yield held


def _unpack(source, archive, temporary):
    from torchvision.datasets import utils

    if not archive.is_file():
        with _impatient_sockets():
            utils.download_url(source.url, temporary, source.filename, source.tgz_md5)
        archive = Path(temporary) / source.filename
    elif (got := utils.calculate_md5(archive)) != source.tgz_md5:
        raise DataError(problem(str(archive), f"the md5 {source.tgz_md5}", got, "Corrupted; replace or remove it"))
    _take_out(source, archive, Path(temporary))


def _take_out(source, archive, folder):
    """The files that are known by name, and nothing else: no path of the archive's own is followed, and no link."""
    wanted = {f"{source.base_folder}/{file}" for file, _ in _files_with_md5(source)}
    (folder / source.base_folder).mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in wanted and member.isreg():
                (folder / member.name).write_bytes(tar.extractfile(member).read())


@contextmanager
def _impatient_sockets():
    """torchvision's download has no timeout of its own; without one a dead network would hang for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _rename(unpacked, final):
    try:
        unpacked.rename(final)
    except OSError:
        if not final.is_dir():  # else another process was first, and its files are as good
            raise


def _missing(stored, source, folder, error):
    files = ", ".join(f"{file} (md5 {md5})" for file, md5 in _files_with_md5(source))
    train = sheet_files(stored, "train")
    return (
        f"{stored}: its files in {folder}; got none, and the download (which waits {TIMEOUT} s for an answer) failed: "
        f"{error}. "
        f"Put one of these there, or name another folder by data_dir or MIXLAB_DATA:\n"
        f"- {folder / source.filename} ({ARCHIVE_BYTES[stored]:,} bytes, md5 {source.tgz_md5}, from {source.url}); "
        f"it is unpacked when needed\n"
        f"- {folder / source.base_folder}/ with {files}\n"
        f"- {folder / stored}/ with {train[0]} to {train[-1]}, {sheet_files(stored, 'test')[0]} to "
        f"{sheet_files(stored, 'test')[-1]}, {label_file(stored, 'train')}, {label_file(stored, 'test')} "
        f"(lossless sheets)")
