"""Features kept over epochs: always the same images, whole files only, and refusals by name."""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mixlab import files, runs, snapshots
from mixlab.data import Images, Splits
from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError


def splits(count=30, labelled=True, seed=0):
    draw = np.random.Generator(np.random.Philox(seed))
    pixels = torch.from_numpy(draw.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    labels = torch.from_numpy(draw.integers(0, 2, count)) if labelled else None
    images = Images(pixels, labels, ("cat", "dog") if labelled else ())
    return Splits(images, images, "test")


@pytest.fixture(scope="module")
def encoder():
    return Encoder("resnet10")


@pytest.fixture
def run(tmp_path):
    return runs.Run(tmp_path)


@pytest.mark.parametrize("labelled", [True, False])
def test_what_is_recorded_is_read_back(run, encoder, labelled):
    those, encoder = splits(labelled=labelled), encoder.train()
    for epoch in (10, 0, 2):
        file = snapshots.record(run, encoder, those, epoch)
    assert file.name == "epoch-00002.npz" and encoder.training
    found = snapshots.read(run)
    assert found.epochs == (0, 2, 10) and found.features.shape == (3, 30, 512)
    assert found.index.tolist() == list(range(30)) and found.features.dtype == np.float32
    assert found.checksum == those.queries.checksum and found.split == "test"
    assert (found.labels is None) != labelled
    assert not labelled or found.labels.tolist() == those.queries.labels.tolist()
    expected = snapshots.features(encoder, those.queries.pixels)
    assert np.abs(found.features[0] - expected.numpy()).max() < 2e-3 and np.array_equal(*found.features[:2])


def test_of_which_data_set_they_are_is_kept_and_one_run_keeps_one(run, encoder):
    snapshots.record(run, encoder, splits(), 0, dataset="cifar10-mini")
    assert snapshots.read(run).dataset == "cifar10-mini"
    snapshots.record(run, encoder, splits(), 1)
    with pytest.raises(CheckpointError, match="other images"):
        snapshots.read(run)


def test_the_subset_is_fixed_and_its_rows_are_those_images(run, encoder, monkeypatch):
    monkeypatch.setattr(snapshots, "features", lambda encoder, pixels, precision: pixels[:, 0, 0].float())
    those = splits(3000)
    snapshots.record(run, encoder, those, 1)
    found = snapshots.read(run)
    assert len(found.index) == 2000 and (np.diff(found.index) > 0).all()
    assert np.array_equal(found.features[0], those.queries.pixels[found.index, 0, 0].numpy())
    assert np.array_equal(found.labels, those.queries.labels[found.index].numpy())
    assert set(snapshots.subset(3000, 50)) < set(found.index) == set(snapshots.subset(3000))


def test_none_kept_is_none(run):
    assert snapshots.read(run) is None
    (run.path / "snapshots").mkdir()
    (run.path / "snapshots" / ".epoch-00001.npz.x.tmp").write_bytes(b"half")
    assert snapshots.read(run) is None


def test_a_kill_leaves_no_half_file(run, encoder, monkeypatch):
    """Killed between writing the bytes and naming the file, for real, in a child process."""
    monkeypatch.setattr(snapshots, "features", lambda encoder, pixels, precision: torch.ones(len(pixels), 4))
    snapshots.record(run, encoder, splits(), 0)
    before = (run.path / "snapshots" / "epoch-00000.npz").read_bytes()
    child = os.fork()
    if not child:
        try:
            files.os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
            snapshots.record(run, encoder, splits(), 1)
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list((run.path / "snapshots").glob(".*.tmp"))) == 1, "the kill came too early"
    assert snapshots.read(run).epochs == (0,)
    snapshots.record(run, encoder, splits(), 2)
    assert sorted(os.listdir(run.path / "snapshots")) == ["epoch-00000.npz", "epoch-00002.npz"]
    assert (run.path / "snapshots" / "epoch-00000.npz").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04half", b"no archive"])
def test_a_damaged_snapshot_is_named(run, encoder, content):
    snapshots.record(run, encoder, splits(6), 3).write_bytes(content)
    with pytest.raises(CheckpointError, match=r"epoch-00003.npz: is not a readable snapshot .*Delete it"):
        snapshots.read(run)


def test_a_snapshot_of_other_images_is_named(run, encoder):
    snapshots.record(run, encoder, splits(6, seed=1), 1)
    snapshots.record(run, encoder, splits(6), 2)
    with pytest.raises(CheckpointError, match=r"epoch-00001.npz: holds other images"):
        snapshots.read(run)


def test_half_precision_does_not_overflow(run, encoder, monkeypatch):
    monkeypatch.setattr(snapshots, "features", lambda *_: torch.full((6, 3), 1e9))
    snapshots.record(run, encoder, splits(6), 1)
    assert np.isfinite(snapshots.read(run).features).all()


def test_the_validation_split_is_remembered(run, encoder):
    snapshots.record(run, encoder, replace(splits(6), knn_split="val"), 1)
    assert snapshots.read(SimpleNamespace(path=run.path)).split == "val"
