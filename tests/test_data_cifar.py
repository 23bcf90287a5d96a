"""CIFAR-10 and CIFAR-100 in a data folder: as sheets, as torchvision's files, downloaded, missing, damaged."""

import hashlib
import http.server
import os
import pickle
import shutil
import socket
import tarfile
import threading
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets
from torchvision.datasets import utils

from mixlab import data
from mixlab.data import cifar, known
from mixlab.errors import DataError

MINI = cifar.ASSETS / "cifar10-mini"
FULL = os.environ.get("MIXLAB_DATA")
needs_full_sets = pytest.mark.skipif(not FULL, reason="MIXLAB_DATA does not name a folder with CIFAR-10 and CIFAR-100")


@pytest.fixture(autouse=True)
def _offline(monkeypatch, request):
    """No test reaches the network; those that download talk to a server of their own."""
    def refuse(*_, **__):
        raise URLError("no network in tests")
    if "server" not in request.fixturenames:
        monkeypatch.setattr(utils, "download_url", refuse)
    if "full" not in request.node.name:
        monkeypatch.delenv("MIXLAB_DATA", raising=False)


def digest(array):
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# Sheets

def write_sheet(path, pixels):
    """Writes (N, 32, 32, 3) as a lossless sheet, 50 images a row."""
    rows = len(pixels) // 50
    Image.fromarray(pixels.reshape(rows, 50, 32, 32, 3).swapaxes(1, 2).reshape(rows * 32, 1600, 3)).save(
        path, lossless=True, method=0)


@pytest.fixture
def sheets(tmp_path, monkeypatch):
    """A data folder with 1,000 mini images as the twenty training sheets of "cifar10", declared to be right."""
    mini = data.load("cifar10-mini")
    pixels, labels = mini.pixels.numpy()[:1000], mini.labels.numpy()[:1000].astype(np.uint8)
    (tmp_path / "cifar10").mkdir()
    for i in range(20):
        write_sheet(tmp_path / "cifar10" / f"train_{i:02d}.webp", pixels[i * 50:i * 50 + 50])
    np.save(tmp_path / "cifar10" / "train_labels.npy", labels)
    monkeypatch.setitem(known.SHA256, "cifar10 train pixels", digest(pixels))
    monkeypatch.setitem(known.SHA256, "cifar10 train labels", digest(labels))
    prefixes = " ".join(digest(pixels[i * 50:i * 50 + 50])[:12] for i in range(20))
    monkeypatch.setitem(known.SHEET_SHA256, "cifar10 train", prefixes)
    return tmp_path


def test_sheets_are_read_in_order(sheets):
    mini = data.load("cifar10-mini")
    images = data.load("cifar10", sheets)
    assert torch.equal(images.pixels, mini.pixels[:1000]) and torch.equal(images.labels, mini.labels[:1000])


def test_data_dir_then_environment_then_data(sheets, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("MIXLAB_DATA", str(tmp_path_factory.mktemp("empty")))
    assert len(data.load("cifar10", str(sheets))) == 1000
    monkeypatch.setenv("MIXLAB_DATA", str(sheets))
    assert len(data.load("cifar10")) == 1000
    monkeypatch.delenv("MIXLAB_DATA")
    home = tmp_path_factory.mktemp("project")
    shutil.copytree(sheets / "cifar10", home / "data" / "cifar10")
    monkeypatch.chdir(home)
    assert len(data.load("cifar10")) == 1000


def test_wrong_pixels_are_corrupted_with_file_and_both_checksums(sheets):
    path = sheets / "cifar10" / "train_07.webp"
    pixels = np.asarray(Image.open(path)).copy()
    pixels[5, 5, 0] ^= 1
    Image.fromarray(pixels).save(path, lossless=True)
    with pytest.raises(DataError, match="Corrupted") as caught:
        data.load("cifar10", sheets)
    message = str(caught.value)
    assert known.SHA256["cifar10 train pixels"] in message and str(path) in message and "train_06" not in message
    whole = np.concatenate([cifar._read_sheet(p) for p in sorted(path.parent.glob("*.webp"))])
    assert digest(whole) in message


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated_sheet_is_named(sheets, keep):
    path = sheets / "cifar10" / "train_03.webp"
    content = path.read_bytes()
    path.write_bytes(content[:keep if isinstance(keep, int) else int(len(content) * keep)])
    with pytest.raises(DataError, match=r"train_03\.webp.*corrupted"):
        data.load("cifar10", sheets)


def test_swapped_sheets_are_named(sheets):
    folder = sheets / "cifar10"
    (folder / "train_01.webp").rename(folder / "spare")
    (folder / "train_02.webp").rename(folder / "train_01.webp")
    (folder / "spare").rename(folder / "train_02.webp")
    with pytest.raises(DataError, match=r"train_01\.webp.*train_02\.webp"):
        data.load("cifar10", sheets)


def test_missing_sheet_is_missing_not_corrupted(sheets):
    (sheets / "cifar10" / "train_11.webp").unlink()
    with pytest.raises(DataError, match=r"all but train_11\.webp") as caught:
        data.load("cifar10", sheets)
    assert "orrupted" not in str(caught.value)
    with pytest.raises(DataError, match=r"test split .*all but test_00\.webp.*test_labels\.npy"):
        data.load("cifar10", sheets, split="test")


@pytest.mark.parametrize("change", ["flip", "truncate", "pickle", "floats"])
def test_damaged_labels_are_named(sheets, change):
    path = sheets / "cifar10" / "train_labels.npy"
    labels = np.load(path)
    if change == "flip":
        labels[3] ^= 1
        np.save(path, labels)
    elif change == "truncate":
        path.write_bytes(path.read_bytes()[:-7])
    elif change == "pickle":
        np.save(path, np.array([Bomb(path.with_name("ran"))], dtype=object), allow_pickle=True)
    else:
        np.save(path, labels.astype(np.float32))
    with pytest.raises(DataError, match=r"(?i)corrupted") as caught:
        data.load("cifar10", sheets)
    assert str(path) in str(caught.value)
    assert not path.with_name("ran").exists()


def test_mini_given_as_cifar10_is_refused_by_name(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    pixels = data.load("cifar10-mini").pixels.numpy()
    for i in range(20):
        write_sheet(folder / f"train_{i:02d}.webp", pixels[i * 100:i * 100 + 100])
    shutil.copy(MINI / "train_labels.npy", folder)
    with pytest.raises(DataError, match="These are the cifar10-mini train pixels") as caught:
        data.load("cifar10", tmp_path)
    assert "47af8b02cfcfb6cdf3dbbd1969ad7f1b70f4413f6f80f437b020ee4e5bc8304a" in str(caught.value)


# torchvision's files

class Bomb:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def write_batches(folder, source, monkeypatch, content):
    """Writes torchvision's files with ``content`` = {file: object}, and declares their MD5 right."""
    (folder / source.base_folder).mkdir(parents=True)
    md5 = {}
    for file, record in content.items():
        raw = pickle.dumps(record)
        (folder / source.base_folder / file).write_bytes(raw)
        md5[file] = hashlib.md5(raw).hexdigest()
    for name in ("train_list", "test_list"):
        monkeypatch.setattr(source, name, [[file, md5[file]] for file, _ in getattr(source, name)])
    monkeypatch.setattr(source, "meta", {**source.meta, "md5": md5[source.meta["filename"]]})


@pytest.fixture
def batches(tmp_path, monkeypatch):
    """A data folder with 100 mini images as torchvision's five training files of "cifar10"."""
    mini = data.load("cifar10-mini")
    planes, labels = mini.pixels.numpy().transpose(0, 3, 1, 2).reshape(-1, 3072), mini.labels.tolist()
    content = {f"data_batch_{i + 1}": {"data": planes[i * 20:i * 20 + 20], "labels": labels[i * 20:i * 20 + 20]}
               for i in range(5)}
    content["test_batch"] = {"data": planes[100:120], "labels": labels[100:120]}
    content["batches.meta"] = {"label_names": list(mini.classes)}
    write_batches(tmp_path, datasets.CIFAR10, monkeypatch, content)
    for split, part in [("train", slice(0, 100)), ("test", slice(100, 120))]:
        monkeypatch.setitem(known.SHA256, f"cifar10 {split} pixels", digest(mini.pixels.numpy()[part]))
        monkeypatch.setitem(known.SHA256, f"cifar10 {split} labels", digest(np.array(labels[part], np.uint8)))
    return tmp_path


def test_batches_are_read_in_order(batches):
    mini = data.load("cifar10-mini")
    assert torch.equal(data.load("cifar10", batches).pixels, mini.pixels[:100])
    assert torch.equal(data.load("cifar10", batches, split="test").labels, mini.labels[100:120])


def test_cifar100_batches_with_fine_and_coarse_labels(tmp_path, monkeypatch):
    pixels = data.load("cifar10-mini").pixels.numpy()[:100]
    fine = np.arange(100, dtype=np.uint8)
    record = {"data": pixels.transpose(0, 3, 1, 2).reshape(-1, 3072), "fine_labels": fine.tolist()}
    write_batches(tmp_path, datasets.CIFAR100, monkeypatch,
                  {"train": record, "test": record, "meta": {"fine_label_names": list(known.FINE_CLASSES)}})
    monkeypatch.setitem(known.SHA256, "cifar100 train pixels", digest(pixels))
    monkeypatch.setitem(known.SHA256, "cifar100 train labels", digest(fine))
    coarse = np.array(known.COARSE_OF_FINE, np.uint8)
    monkeypatch.setitem(known.SHA256, "cifar100-coarse train labels", digest(coarse))
    assert data.load("cifar100", tmp_path).labels.tolist() == list(range(100))
    images = data.load("cifar100-coarse", tmp_path)
    assert images.labels.tolist() == coarse.tolist() and len(images.classes) == 20


def test_table_of_superclasses():
    assert len(known.FINE_CLASSES) == len(set(known.FINE_CLASSES)) == 100 and len(known.COARSE_CLASSES) == 20
    assert sorted(known.COARSE_CLASSES) == list(known.COARSE_CLASSES)
    names = [hashlib.sha256(" ".join(c).encode()).hexdigest()[:16] for c in (known.FINE_CLASSES, known.COARSE_CLASSES)]
    assert names == ["77827c4c023a75b4", "9f0b4e4059589cdb"]
    assert np.bincount(known.COARSE_OF_FINE).tolist() == [5] * 20
    fine = known.FINE_CLASSES.index("whale")
    assert known.COARSE_CLASSES[known.COARSE_OF_FINE[fine]] == "aquatic_mammals"


@pytest.mark.parametrize("file", ["data_batch_2", "test_batch", "batches.meta"])
def test_stranger_pickle_is_never_loaded(batches, file):
    path, marker = batches / "cifar-10-batches-py" / file, batches / "ran"
    path.write_bytes(pickle.dumps(Bomb(marker)))
    got = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(DataError, match=f"{file}: corrupted, md5 {got}"):
        data.load("cifar10", batches)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # the bomb is live


def test_missing_and_corrupted_batches_are_told_apart(batches):
    folder = batches / "cifar-10-batches-py"
    (folder / "data_batch_1").unlink()
    (folder / "data_batch_4").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        data.load("cifar10", batches)
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 2 and lines[0].endswith("data_batch_1: missing")
    assert "data_batch_4: corrupted, md5 d41d8cd98f00b204e9800998ecf8427e, not " in lines[1]


def test_batches_of_another_set_are_recognised(batches):
    raw = (batches / "cifar-10-batches-py" / "data_batch_3").read_bytes()
    (batches / "cifar-100-python").mkdir()
    (batches / "cifar-100-python" / "train").write_bytes(raw)
    with pytest.raises(DataError, match=r"train: corrupted, .*this is data_batch_3 of cifar10"):
        data.load("cifar100", batches)


def test_right_files_with_wrong_pixels_are_refused(batches, monkeypatch):
    monkeypatch.setitem(known.SHA256, "cifar10 train pixels", "0" * 64)
    with pytest.raises(DataError, match="cifar10 train pixels: the sha256 0000.*Corrupted"):
        data.load("cifar10", batches)


# Missing, and downloaded

def test_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "sets").touch()
    with pytest.raises(DataError, match="cifar10: its files in .*sets"):
        data.load("cifar10", tmp_path / "sets")


@pytest.fixture
def archive(batches, monkeypatch, tmp_path_factory):
    """The official archive as a small one, with its MD5 declared right; the data folder is emptied."""
    path = tmp_path_factory.mktemp("official") / datasets.CIFAR10.filename
    with tarfile.open(path, "w:gz") as tar:
        tar.add(batches / "cifar-10-batches-py", "cifar-10-batches-py")
    shutil.rmtree(batches / "cifar-10-batches-py")
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    return path


def test_archive_in_the_data_folder_is_unpacked(archive, batches):
    shutil.copy(archive, batches)
    assert len(data.load("cifar10", batches)) == 100
    assert {p.name for p in batches.iterdir()} == {"cifar-10-batches-py", "cifar-10-python.tar.gz"}


def test_archive_that_is_not_the_official_one_is_not_unpacked(archive, batches):
    (batches / archive.name).write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DataError, match=f"md5 {datasets.CIFAR10.tgz_md5}; got '[0-9a-f]{{32}}'.*Corrupted"):
        data.load("cifar10", batches)
    assert [p.name for p in batches.iterdir()] == [archive.name]


@pytest.fixture
def server(archive, monkeypatch):
    """Serves the archive's folder on this machine, in the place of the official address."""
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=archive.parent)

        def log_message(self, *_):
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{web.server_port}/{archive.name}")
    yield web
    web.shutdown()
    thread.join()
    web.server_close()


def test_download(server, batches):
    assert len(data.load("cifar10", batches / "new")) == 100
    assert [p.name for p in (batches / "new").iterdir()] == ["cifar-10-batches-py"]


def test_broken_download_leaves_nothing(server, archive, batches):
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(DataError, match="download .* failed: File not found or corrupted"):
        data.load("cifar10", batches)
    assert list(batches.iterdir()) == []


def test_two_downloads_give_one_winner(server, batches, monkeypatch):
    """The other process ends first: its folder stays as it is, and is used."""
    real = utils.download_url

    def second(*arguments):
        monkeypatch.setattr(utils, "download_url", real)
        data.load("cifar10", batches)
        (batches / "cifar-10-batches-py" / "first").touch()
        real(*arguments)

    monkeypatch.setattr(utils, "download_url", second)
    assert len(data.load("cifar10", batches)) == 100
    assert (batches / "cifar-10-batches-py" / "first").exists()
    assert [p.name for p in batches.iterdir()] == ["cifar-10-batches-py"]


def test_dead_network_does_not_hang(server, batches, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{silent.getsockname()[1]}/x.tar.gz")
        monkeypatch.setattr(cifar, "TIMEOUT", 0.2)
        with pytest.raises(DataError, match="timed out"):
            data.load("cifar10", batches)
    assert socket.getdefaulttimeout() is None


# The full sets

@needs_full_sets
@pytest.mark.parametrize("name, classes", [("cifar10", 10), ("cifar100", 100), ("cifar100-coarse", 20)])
def test_full_sets(name, classes):
    train, test = (data.load(name, split=split) for split in ("train", "test"))
    assert torch.bincount(train.labels).tolist() == [50_000 // classes] * classes
    assert torch.bincount(test.labels).tolist() == [10_000 // classes] * classes


@needs_full_sets
def test_full_statistics_and_mini_index():
    full, mini = data.load("cifar10"), data.load("cifar10-mini")
    mean, std = data.channel_stats(full)
    np.testing.assert_allclose(mean, (0.49140, 0.48216, 0.44653), atol=5e-6)
    np.testing.assert_allclose(std, (0.24703, 0.24349, 0.26159), atol=5e-6)
    index = torch.from_numpy(np.load(MINI / "train_index.npy").astype(np.int64))
    assert torch.equal(full.pixels[index], mini.pixels) and torch.equal(full.labels[index], mini.labels)
