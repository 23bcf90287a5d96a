"""Checkpoints: exact, checked, safe, and never half-written."""


import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixlab import checkpoint
from mixlab.errors import CheckpointError

WHO = {"method": "simclr", "lr": 0.1}


def state(value=1.0):
    return {"weights": {"w": torch.full((40,), value)}, "progress": {"epoch": 2, "step": 3, "sums": {}}}


@pytest.fixture
def saved(tmp_path):
    checkpoint.save(tmp_path / "checkpoint.pt", state(1.0), WHO)
    checkpoint.save(tmp_path / "checkpoint.pt", state(2.0), WHO)
    return tmp_path / "checkpoint.pt"


def test_a_checkpoint_comes_back_bit_for_bit(saved):
    found, note = checkpoint.load(saved, WHO)
    assert torch.equal(found["weights"]["w"], torch.full((40,), 2.0)) and found["progress"]["step"] == 3 and not note


def test_the_one_before_is_kept_where_no_file_has_two_names(tmp_path, monkeypatch):
    def refused(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(checkpoint.os, "link", refused)
    path = tmp_path / "checkpoint.pt"
    for value in (1.0, 2.0, 3.0):
        checkpoint.save(path, state(value), WHO)
    path.unlink()
    found, note = checkpoint.load(path, WHO)
    assert found["weights"]["w"][0] == 2.0 and "used checkpoint.pt.previous" in note
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt.previous"]


def test_without_a_checkpoint_there_is_none(tmp_path):
    assert checkpoint.load(tmp_path / "checkpoint.pt", WHO) == (None, "")


@settings(max_examples=200)
@given(st.data())
def test_every_flipped_bit_is_noticed(tmp_path_factory, data):
    """Fault 8: never silently used; a broken header falls back to the checkpoint before, saying so."""
    path = tmp_path_factory.mktemp("flip") / "checkpoint.pt"
    checkpoint.save(path, state(2.0), WHO)
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(path, WHO)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_truncation_is_noticed(saved, share):
    """Fault 7: with a readable header the damage is named; without one the checkpoint before is used, saying so."""
    content = saved.read_bytes()
    saved.write_bytes(content[:int(share * len(content))])
    if share < 0.1:
        found, note = checkpoint.load(saved, WHO)
        assert found["weights"]["w"][0] == 1 and "used checkpoint.pt.previous" in note
    else:
        with pytest.raises(CheckpointError, match="damaged.*Delete it to continue from checkpoint.pt.previous"):
            checkpoint.load(saved, WHO)


def test_deleting_a_damaged_checkpoint_continues_from_the_one_before(saved):
    saved.unlink()
    found, note = checkpoint.load(saved, WHO)
    assert found["weights"]["w"][0] == 1 and "previous" in note


def test_a_checkpoint_of_another_run_is_refused_side_by_side(saved):
    """Faults 9 and 11."""
    with pytest.raises(CheckpointError, match=r"lr: 0\.1 there, 0\.2 here; method: simclr there, supcon here"):
        checkpoint.load(saved, {"method": "supcon", "lr": 0.2})


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_by_our_own_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("fuzz") / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        checkpoint.load(path, WHO)
