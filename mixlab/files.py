"""The one way mixlab writes a file: whole or not at all. Also checksums, JSON and safe names."""

import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from pathlib import Path

from mixlab.errors import CheckpointError, ParamError, problem


def write(path, content):
    """Writes bytes or text to ``path`` atomically: temporary file, fsync, rename, fsync of the folder.

    A kill at any instant leaves the old file or the new one. A full disk leaves the old one.
    Raises:
        OSError: naming the path, the bytes needed and the bytes free.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    handle, temporary = None, None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise type(error)(error.errno, f"{error.strerror}: {path} needs {len(content):,} bytes, "
                                       f"{_free(path.parent)}. The previous file is unchanged") from error
    _sync_folder(path.parent)


def _free(folder):
    return f"{shutil.disk_usage(folder).free:,} are free" if folder.exists() else f"{folder} does not exist"


def _sync_folder(folder):
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder):
    """Deletes temporary files that a killed process left in ``folder``."""
    for file in Path(folder).glob(".*.tmp"):
        file.unlink(missing_ok=True)


def plain(value):
    """Numbers, containers and paths as JSON knows them; NaN and infinities become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write_json(path, record):
    """Writes ``record`` as indented JSON that every reader accepts (no bare NaN)."""
    write(path, json.dumps(plain(record), indent=2, allow_nan=False) + "\n")


def read_json(path):
    """Reads a JSON object; a damaged file is named.

    Raises:
        CheckpointError: not JSON, or not an object.
    """
    try:
        record = json.loads(Path(path).read_text())
    except (UnicodeDecodeError, ValueError) as error:
        raise CheckpointError(f"{path}: is not readable JSON ({error}). Delete it and run again.") from error
    if not isinstance(record, dict):
        raise CheckpointError(problem(str(path), "a JSON object", record, "Delete it and run again"))
    return record


def sha256(content):
    """Hex digest of bytes, of a NumPy array's or CPU tensor's C-contiguous data, or of a file's content."""
    if isinstance(content, Path):
        content = content.read_bytes()
    elif hasattr(content, "numpy"):
        content = content.contiguous().numpy()
    return hashlib.sha256(content).hexdigest()


def safe_name(text):
    """``text`` as one part of a path: letters, digits, '.', '_' and '-' only; at most 80 characters."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", str(text)).strip("._")[:80] or "_"


def writable_folder(path, name):
    """Creates folder ``path`` if needed and proves that it can be written.

    Raises:
        ParamError: naming the parameter ``name`` and whether it is a file, missing or read-only.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except FileExistsError as error:
        raise ParamError(problem(name, "a folder", str(path), "It is a file; name a folder")) from error
    except NotADirectoryError as error:
        raise ParamError(problem(name, "a folder", str(path), "One of its parents is a file; name another")) from error
    except OSError as error:
        raise ParamError(problem(name, "a folder that can be written", str(path), error.strerror)) from error
