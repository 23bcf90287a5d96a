"""The one way mixlab writes a file: whole or not at all. Also checksums, JSON, strict YAML and safe names."""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

import yaml

from mixlab.errors import CheckpointError, ParamError, is_read_only, problem


def write(path, content):
    """Writes bytes or text to ``path`` atomically: temporary file, fsync, rename, fsync of the folder.

    A kill at any instant leaves the old file or the new one. A full disk leaves the old one. Who may read the new one
    is left to the umask.
    Raises:
        OSError: naming the path, the bytes needed and the bytes free.
    """
    path = Path(path)
    content = content.encode() if isinstance(content, str) else content
    temporary = _beside(path)
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary.exists():
            temporary.unlink()
        raise type(error)(error.errno, f"{error.strerror}: {path} needs {len(content):,} bytes, "
                                       f"{_free(path.parent)}. The previous file is unchanged. "
                                       f"{_remedy(error, len(content))} and start again to continue") from error
    _sync_folder(path.parent)


def _beside(path):
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")


def _free(folder):
    return f"{shutil.disk_usage(folder).free:,} are free" if folder.exists() else f"{folder} does not exist"


def _remedy(error, size):
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"Free {size:,} bytes there"
    if error.errno == errno.EFBIG:
        return f"Allow files of {size:,} bytes there (ulimit -f)"
    return "Put the folder back" if error.errno == errno.ENOENT else "Make that folder writable"


def _sync_folder(folder):
    if not hasattr(os, "O_DIRECTORY"):  # Windows opens no folder, and has no such step
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def can_be_written(folder):
    """Whether files can be made in an existing folder, as trying shows; a full disk is no read-only one."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        if is_read_only(error):
            return False
        raise


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
        record = json.loads(Path(path).read_text("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
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
        todo = f"{error.strerror}; name another folder, or make this one writable"
        raise ParamError(problem(name, "a folder that can be written", str(path), todo)) from error


def check_path(name, text):
    """Refuses a text or ``Path`` that no path can be.

    Raises:
        ParamError: naming the parameter ``name``: NUL, a part or a whole too long for a file system, or the home of
            somebody unknown.
    """
    try:
        content = os.fsencode(Path(text).expanduser())
    except RuntimeError as error:
        todo = "Its ~ is nobody's home; write the path in full"
        raise ParamError(problem(name, "a path", str(text), todo)) from error
    except UnicodeEncodeError as error:
        raise ParamError(problem(name, "a path that UTF-8 can write", str(text), "Name another")) from error
    if b"\0" in content:
        raise ParamError(problem(name, "a path without a zero byte", str(text), "Remove it"))
    if len(content) >= PATH_BYTES or max(map(len, content.split(b"/"))) > PART_BYTES:
        allowed = f"a path of less than {PATH_BYTES:,} bytes, at most {PART_BYTES} in each part"
        raise ParamError(problem(name, allowed, str(text), "Name a shorter one"))


YAML_BYTES = 65536
PART_BYTES, PATH_BYTES = 255, 4096  # what file systems take
DECIMAL = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
SPECIAL = r"[+-]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"


class _StrictLoader(yaml.SafeLoader):
    """YAML without its surprises: a repeated name, an alias and a word or number read as another type are refused."""

    def construct_mapping(self, node, deep=False):
        names = [self.construct_object(key) for key, _ in node.value]
        for (key, _), name in zip(node.value, names, strict=True):
            if not isinstance(name, str):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a name must be text, not {name!r}")
            if names.count(name) > 1:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: {name} stands more than once")
        return super().construct_mapping(node, deep)

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"line {self.peek_event().start_mark.line + 1}: aliases are not used here")
        return super().compose_node(parent, index)

    def construct_scalar(self, node):
        surprise = _surprise(node) if isinstance(node, yaml.ScalarNode) and node.style is None else ""
        if surprise:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {surprise}")
        return super().construct_scalar(node)


def _surprise(node):
    text = node.value
    if node.tag.endswith(":bool") and text.lower() not in ("true", "false"):
        return f"{text} would be read as {text.lower() in ('yes', 'on')}; write true, false, or quote it"
    if node.tag.endswith(":int") and not re.fullmatch(r"[+-]?(0|[1-9][0-9]*)", text):
        return f"{text} would not be read as written; write a plain whole number"
    if node.tag.endswith(":float") and not re.fullmatch(f"{DECIMAL}|{SPECIAL}", text):
        return f"{text} would not be read as written; write a plain decimal number, such as 0.05"
    if node.tag.endswith(":str") and re.fullmatch(DECIMAL, text):
        return f"{text} would be read as text; write {_spelt(text)}"
    if node.tag.endswith((":timestamp", ":merge")):
        return f"{text} is a {node.tag.rsplit(':', 1)[1]}; quote it"
    return ""


def _spelt(text):
    """The number ``text`` so that YAML 1.1 reads it as one: a float with a dot, and a sign in its exponent."""
    number = int(text) if re.fullmatch("[+-]?[0-9]+", text) else float(text)
    return re.sub(r"^(-?[0-9]+)e", r"\1.0e", repr(number)).replace("inf", ".inf")


def load_yaml(path):
    """A flat mapping from a YAML file, read strictly: what could be misread is refused with its line.

    Raises:
        ParamError: missing, not UTF-8, larger than 64 KiB, empty, not a mapping, a repeated name, an alias, or a value
            such as ``on``, ``010``, ``1:30.5`` or ``1e-3`` that YAML 1.1 reads as something else.
    """
    path, refused = Path(path), f"{path}: cannot be read as parameters"
    check_path("file", path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ParamError(f"{refused} ({error.strerror}). Name a file that exists and can be read.") from error
    if len(content) > YAML_BYTES:
        raise ParamError(f"{refused} (it has {len(content):,} bytes; at most {YAML_BYTES:,} are read). Shorten it.")
    try:
        values = yaml.load(content.decode(), _StrictLoader)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ParamError(f"{refused} (line {line}: the byte {content[error.start]:#04x} is not UTF-8). "
                         "Save the file as UTF-8.") from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        raise ParamError(f"{refused} ({' '.join(str(error).split())}). Mend that line.") from error
    if not isinstance(values, dict):
        raise ParamError(problem(str(path), "lines of the form name: value", values, "Write one parameter a line"))
    return values
