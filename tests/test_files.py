"""The one write, JSON, strict YAML, and names."""

import contextlib
import errno
import json
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mixlab import files
from mixlab.errors import CheckpointError, ParamError, nearest, problem


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone does not exist.*Put the folder back"):
        files.write(tmp_path / "gone" / "x", "text")


def test_others_may_read_what_the_umask_lets_them(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "result.json", "{}")
    finally:
        os.umask(before)
    assert (tmp_path / "result.json").stat().st_mode & 0o777 == 0o640


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / ".state.bin.abc.tmp").write_text("half")
    (tmp_path / "state.bin").write_text("whole")
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["state.bin"]


def test_json_never_holds_what_other_readers_refuse(tmp_path):
    record = {"nan": float("nan"), "inf": [float("inf")], "tensor": torch.tensor(2), "array": np.arange(2)}
    files.write_json(tmp_path / "r.json", record)
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"nan": None, "inf": [None], "tensor": 2, "array": [0, 1]}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\xff"])
def test_damaged_json_is_named(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"r\.json"):
        files.read_json(tmp_path / "r.json")


def test_one_checksum_for_bytes_arrays_tensors_and_files(tmp_path):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    (tmp_path / "x").write_bytes(array.tobytes())
    digests = {files.sha256(v) for v in (array.tobytes(), array, torch.from_numpy(array), tmp_path / "x")}
    assert len(digests) == 1


@given(st.text())
def test_safe_names_are_one_part_of_a_path(text):
    name = files.safe_name(text)
    assert name and len(name) <= 80 and "/" not in name and name not in (".", "..")


def test_yaml_that_is_not_utf8_or_not_there(tmp_path):
    (tmp_path / "p.yaml").write_bytes(b"lr: \xff\xfe")
    for path, complaint in (("p.yaml", "line 1: the byte 0xff is not UTF-8"),
                            ("missing.yaml", r"\(No such file or directory\)\. Name a file that exists"),
                            (".", r"\(Is a directory\)\. Name a file that exists")):
        with pytest.raises(ParamError, match=f"cannot be read as parameters.*{complaint}"):
            files.load_yaml(tmp_path / path)


@pytest.mark.parametrize(("number", "todo"), [
    (errno.ENOSPC, "Free 4 bytes there"), (errno.EDQUOT, "Free 4 bytes there"),
    (errno.EFBIG, "Allow files of 4 bytes there"), (errno.EROFS, "Make that folder writable")])
def test_a_write_that_fails_says_what_to_do(tmp_path, monkeypatch, number, todo):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=f"needs 4 bytes, .* are free.*unchanged. {todo}.* and start again to continue"):
        files.write(tmp_path / "x", "text")
    assert not os.listdir(tmp_path)


def test_a_folder_that_cannot_be_written_says_what_to_name():
    with pytest.raises(ParamError, match="runs_dir: a folder that can be written; .*; name another folder, or make"):
        files.writable_folder("/proc/mixlab", "runs_dir")


@given(st.binary(max_size=300))
def test_any_bytes_are_parameters_or_a_param_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "p.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ParamError):
        assert isinstance(files.load_yaml(path), dict)


def test_plain_yaml_is_read_as_written(tmp_path):
    (tmp_path / "p.yaml").write_text("lr: 1.0e-3\nepochs: 7\nmethod: simclr\nlr_decay_epochs: [1, 2]\nfresh: true\n")
    assert files.load_yaml(tmp_path / "p.yaml") == {
        "lr": 1e-3, "epochs": 7, "method": "simclr", "lr_decay_epochs": [1, 2], "fresh": True}


def test_messages_have_one_form():
    assert problem("lr", "a number > 0", "x", "Write 0.1") == "lr: a number > 0; got 'x' (str). Write 0.1."
    assert nearest("Mix-SupCon", ["simclr", "mixsupcon"]) == 'Did you mean "mixsupcon"'
    assert nearest("zzz", ["simclr"]) == ""
