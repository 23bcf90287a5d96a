"""Checkpoints that are whole, checked and safe: one header line, then the payload whose sha256 it names.

A flipped bit in a plain ``torch.save`` file loads without complaint and with wrong weights; here it is always noticed.
Nothing loaded can run code: the payload is read with ``weights_only=True``.
"""

import io
import json
import os
from pathlib import Path

import torch

from mixlab.errors import CheckpointError
from mixlab.files import sha256, write

FORMAT = 1


def save(path, state, belongs_to):
    """Writes ``state`` (nested dicts and lists of tensors and plain values) atomically; keeps the one before.

    Args:
        path: the file; the checkpoint it replaces stays beside it as ``<name>.previous``.
        belongs_to: flat dict of plain values that identify the run; checked again by ``load``.
    Raises:
        OSError: full disk and the like; the old checkpoint is unchanged.
    """
    path, buffer = Path(path), io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    header = {"mixlab_checkpoint": FORMAT, "belongs_to": belongs_to, "bytes": len(payload), "sha256": sha256(payload)}
    if path.exists():
        _link(path, _previous(path))
    write(path, json.dumps(header).encode() + b"\n" + payload)


def load(path, belongs_to, device="cpu"):
    """The state saved at ``path``, or the one before it where ``path`` is missing or has no readable header.

    Returns:
        ``(state, note)``: note says which file was used when it was not ``path``; ``(None, "")`` if there is none.
    Raises:
        CheckpointError: damaged, unsafe, or of another run; says what to do.
    """
    path = Path(path)
    for file in (path, _previous(path)):
        header = _read_header(file) if file.exists() else None
        if header:
            note = "" if file == path else f"{path.name} has no readable header; used {file.name} instead"
            return _read_payload(file, header, belongs_to, device), note
    if path.exists():
        raise CheckpointError(f"{path}: damaged, its header cannot be read. {_remedy(path)}")
    return None, ""


def _previous(path):
    return path.with_name(path.name + ".previous")


def _link(path, target):
    """Gives the file a second name, or makes a copy, in one step: no instant is without a checkpoint."""
    if target.exists() and path.samefile(target):  # a kill came right after this step; a rename would then do nothing
        return
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(path, temporary)
    except OSError:  # a file system without second names, such as exFAT
        write(target, path.read_bytes())
    else:
        os.replace(temporary, target)


def _read_header(path):
    with open(path, "rb") as file:
        line = file.readline(65536)
    try:
        header = json.loads(line)
        return header if header["mixlab_checkpoint"] and line.endswith(b"\n") else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def _read_payload(path, header, belongs_to, device):
    if header["mixlab_checkpoint"] != FORMAT:
        raise CheckpointError(f"{path}: has format {header['mixlab_checkpoint']}, this mixlab reads {FORMAT}. "
                              "Use the mixlab that wrote it.")
    payload = path.read_bytes().split(b"\n", 1)[1]
    if len(payload) != header.get("bytes") or sha256(payload) != header.get("sha256"):
        raise CheckpointError(f"{path}: damaged, its content does not match its sha256. {_remedy(path)}")
    stored = header.get("belongs_to", {})
    differing = {k for k in stored.keys() | belongs_to.keys() if stored.get(k) != belongs_to.get(k)}
    if differing:
        rows = "; ".join(f"{k}: {stored.get(k)} there, {belongs_to.get(k)} here" for k in sorted(differing))
        raise CheckpointError(f"{path}: belongs to another run ({rows}). Move it away, or use its own parameters.")
    try:
        return torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
    except Exception as error:  # what is no archive of tensors makes readers raise many types of error
        raise CheckpointError(f"{path}: holds something other than tensors and plain values, and was not loaded. "
                              f"{_remedy(path)}") from error


def _remedy(path):
    if not path.name.endswith(".previous") and _previous(path).exists():
        return f"Delete it to continue from {_previous(path).name}, or start again with fresh: true."
    return "Delete it, or start again with fresh: true."
