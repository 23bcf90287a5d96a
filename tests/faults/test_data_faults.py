"""Rows 54 to 64 of the fault catalogue: data that is missing, damaged, hostile, lopsided, changed or leaked."""

import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import signal
import tarfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.error import URLError

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from forks import pictures, the_run, until, values
from PIL import Image
from torchvision import datasets
from torchvision.datasets import utils

from mixlab import data, explorers, plots, runs
from mixlab.data import cifar, known
from mixlab.errors import DataError
from mixlab.evaluate import Protocol, collect, evaluate
from mixlab.explorers.browser import Browser
from mixlab.params import Pretrain, Visualize
from mixlab.plots.ours import ours
from mixlab.train import train


def quiet(line):
    """Takes a line of log and drops it."""


def paint(path, colour=(10, 20, 30), size=(12, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)


def load(root, split="train", **options):
    return data.load(f"folder:{root}", split=split, **options)


def refuse(*_, **__):
    raise URLError("no network in tests")


# The data sets of the papers

@pytest.mark.parametrize("name, archive, first", [
    ("cifar10", "cifar-10-python.tar.gz (170,498,071 bytes, md5 c58f30108f718f92721af3b95e74349a", "data_batch_1"),
    ("cifar100-coarse", "cifar-100-python.tar.gz (169,001,437 bytes, md5 eb9058c3a382ffc7106e4002c42a8d85", "train")],
    ids=["cifar10", "cifar100"])
def test_row_54_missing_offline_says_what_goes_where(tmp_path, monkeypatch, name, archive, first):
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match="no network in tests") as caught:
        data.load(name, tmp_path / "sets")
    message = str(caught.value)
    assert f"{tmp_path / 'sets'}/{archive}" in message and f"{first} (md5 " in message and "waits 20 s" in message
    assert "train_00.webp" in message and "MIXLAB_DATA" in message and "orrupted" not in message
    assert list((tmp_path / "sets").iterdir()) == []


@pytest.fixture
def mini(tmp_path, monkeypatch):
    """The embedded set in a folder that may be harmed."""
    monkeypatch.setattr(cifar, "ASSETS", tmp_path)
    return Path(shutil.copytree(Path(data.__file__).parent.parent / "assets" / "cifar10-mini",
                                tmp_path / "cifar10-mini"))


@pytest.mark.parametrize(("harm", "words"), [
    ("truncate", r"test\.webp.*corrupted"), ("swap", "These are the cifar10-mini train labels"),
    ("shuffle", "cifar10-mini test labels: the sha256 .*Corrupted"), ("remove", r"got all but test\.webp")])
def test_row_55_corrupted_is_told_from_missing_with_file_and_checksums(mini, harm, words):
    if harm == "truncate":
        os.truncate(mini / "test.webp", (mini / "test.webp").stat().st_size // 2)
    elif harm == "swap":
        shutil.copy(mini / "train_labels.npy", mini / "test_labels.npy")
    elif harm == "shuffle":
        np.save(mini / "test_labels.npy", np.random.default_rng(0).permutation(np.load(mini / "test_labels.npy")))
    else:
        (mini / "test.webp").unlink()
    with pytest.raises(DataError, match=words) as caught:
        data.load("cifar10-mini", split="test")
    words = str(caught.value).replace(str(mini), "")
    assert words != str(caught.value) and ("orrupted" in words) == (harm != "remove")
    if harm in ("swap", "shuffle"):
        assert known.SHA256["cifar10-mini test labels"] in str(caught.value)


def test_row_55_cifar_10_given_as_cifar_100_is_recognised(tmp_path, monkeypatch):
    """By torchvision's files: a real first batch is not at hand, so its MD5 is declared to be that of another file."""
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(b"the third batch")
    md5 = hashlib.md5(b"the third batch").hexdigest()
    batches = [[file, md5 if file == "data_batch_3" else known_md5] for file, known_md5 in datasets.CIFAR10.train_list]
    monkeypatch.setattr(datasets.CIFAR10, "train_list", batches)
    with pytest.raises(DataError, match="train: corrupted, .*this is data_batch_3 of cifar10"):
        data.load("cifar100", tmp_path)


@pytest.fixture
def official(tmp_path, monkeypatch):
    """A small archive in the place of the official one: 20 mini images as each of torchvision's batches."""
    mini, folder = data.load("cifar10-mini"), tmp_path / "official" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    planes, labels = mini.pixels.numpy().transpose(0, 3, 1, 2).reshape(-1, 3072), mini.labels.numpy()
    for i, (name, listed) in enumerate([(f"data_batch_{k}", "train_list") for k in range(1, 6)]
                                       + [("test_batch", "test_list")]):
        record = {"data": planes[i * 20:i * 20 + 20], "labels": labels[i * 20:i * 20 + 20].tolist()}
        (folder / name).write_bytes(pickle.dumps(record))
        md5 = hashlib.md5((folder / name).read_bytes()).hexdigest()
        entries = [[file, md5 if file == name else old] for file, old in getattr(datasets.CIFAR10, listed)]
        monkeypatch.setattr(datasets.CIFAR10, listed, entries)
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(mini.classes)}))
    md5 = hashlib.md5((folder / "batches.meta").read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5})
    for kind, array in (("pixels", mini.pixels.numpy()[:100]), ("labels", labels[:100].astype(np.uint8))):
        monkeypatch.setitem(known.SHA256, f"cifar10 train {kind}",
                            hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest())
    archive = tmp_path / "official" / datasets.CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive


class Handler(http.server.BaseHTTPRequestHandler):
    """Sends the archive; with a file ``slow`` beside it, the first half only, and then nothing for long."""

    def do_GET(self):
        content, slow = self.server.archive.read_bytes(), self.server.archive.with_name("slow").exists()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:len(content) // 2] if slow else content)
        self.wfile.flush()
        if slow:
            time.sleep(60)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(official, monkeypatch):
    """A process that serves the archive, so that the processes that download can be forked beside it."""
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.archive, web.daemon_threads = official, True
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(datasets.CIFAR10, "url", f"http://127.0.0.1:{web.server_port}/{official.name}")
    child = os.fork()
    if not child:
        web.serve_forever()
    web.server_close()
    yield official
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def downloading(folder):
    """A process that loads CIFAR-10 from ``folder``; its exit code is 0 if it got all of it."""
    child = os.fork()
    if not child:
        code = 1
        try:
            utils.tqdm.set_lock(threading.RLock())  # killed with the one it shares, it would stop its parent for ever
            code = 0 if len(data.load("cifar10", folder)) == 100 else 2
        finally:
            os._exit(code)
    return child


def test_row_56_a_killed_download_leaves_nothing_under_the_final_name_and_is_made_again(server, tmp_path):
    server.with_name("slow").touch()
    child = downloading(tmp_path / "sets")
    until(lambda: list((tmp_path / "sets").rglob("*.tar.gz*")), 30)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not [p for p in (tmp_path / "sets").iterdir() if not p.name.startswith(".download-")]
    server.with_name("slow").unlink()
    beside = tmp_path / "sets" / ".download-of-another"
    beside.mkdir()
    with cifar._lock(beside) as held:
        assert held and len(data.load("cifar10", tmp_path / "sets")) == 100
    left = {p.name for p in (tmp_path / "sets").iterdir()}
    assert left == {beside.name, "cifar-10-batches-py"}, "what the dead one left is gone, what a live one fills is not"


def test_row_56_two_processes_that_download_both_end_with_the_data(server, tmp_path):
    children = [downloading(tmp_path / "sets") for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    assert [p.name for p in (tmp_path / "sets").iterdir()] == ["cifar-10-batches-py"]


@pytest.mark.parametrize("known_sum", [False, True], ids=["unknown", "as if official"])
@pytest.mark.parametrize("kind", ["above", "absolute", "link"])
def test_row_57_an_archive_that_reaches_outside_writes_nothing_there(official, tmp_path, monkeypatch, kind, known_sum):
    """Only the official archive is opened, known by its checksum; even then its own paths and links are not followed.

    Pickles that are not the official ones are never loaded: tests/test_data_cifar.py.
    """
    folder, evil = tmp_path / "sets", tmp_path / "evil"
    folder.mkdir()
    with tarfile.open(folder / official.name, "w:gz") as tar:
        if kind == "link":
            inside = tarfile.TarInfo("cifar-10-batches-py")
            inside.type, inside.linkname = tarfile.SYMTYPE, str(tmp_path)
            tar.addfile(inside)
        name = {"above": "../../evil", "absolute": str(evil), "link": "cifar-10-batches-py/evil"}[kind]
        member = tarfile.TarInfo(name)
        member.size = 4
        tar.addfile(member, io.BytesIO(b"evil"))
    if known_sum:
        md5 = hashlib.md5((folder / official.name).read_bytes()).hexdigest()
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5)
    with pytest.raises(DataError, match="missing" if known_sum else "the md5 .*Corrupted; replace or remove it"):
        data.load("cifar10", folder)
    assert not evil.exists() and not list(tmp_path.rglob("evil"))


# One's own images

def test_row_58_small_classes_work_where_they_can_and_are_named_where_not(tmp_path):
    for name, count in (("one", 1), ("two", 2), ("many", 9)):
        for i in range(count):
            paint(tmp_path / "some" / name / f"{i}.png", (i, 0, 0))
    train_part, test_part = load(tmp_path / "some"), load(tmp_path / "some", "test")
    assert torch.bincount(train_part.labels).tolist() == [8, 1, 1], "a lonely image is for training"
    assert sorted(test_part.labels.tolist()) == [0, 2]
    with pytest.raises(DataError, match=r"class one \(1\)|one"):
        data.split_validation(train_part, 0.5, 0)
    for i in range(3):
        paint(tmp_path / "single" / "only" / f"{i}.png")
    assert load(tmp_path / "single").labels.tolist() == [0, 0]
    for name in ("bird", "ant"):
        (tmp_path / "some" / name).mkdir()
    with pytest.raises(DataError, match="got none in ant, bird"):
        load(tmp_path / "some")


@pytest.mark.parametrize("size", [(1, 1), (10_000, 1), (1, 10_000), (33, 31)])
def test_row_59_extreme_shapes_become_squares(tmp_path, size):
    paint(tmp_path / "train" / "x.png", (9, 8, 7), size)
    paint(tmp_path / "test" / "y.png")
    assert load(tmp_path).pixels.flatten(0, 2).unique(dim=0).tolist() == [[9, 8, 7]]


def test_row_59_all_modes_in_one_folder_and_what_has_no_rule_is_named(tmp_path):
    """Each mode by itself, and turned photographs: tests/test_data_folder.py."""
    for mode, colour in (("L", 70), ("1", 1), ("LA", (70, 0)), ("RGBA", (9, 9, 9, 0)), ("I;16", 0x4DFF), ("P", 3)):
        paint(tmp_path / "train" / f"{mode.replace(';', '')}.png", colour, mode=mode)
    paint(tmp_path / "test" / "y.png")
    assert load(tmp_path).pixels.shape == (6, 32, 32, 3)
    Image.new("F", (4, 4), 0.5).save(tmp_path / "train" / "float.tiff")
    with pytest.raises(DataError, match=r"got 1 that are not.*\n- train/float\.tiff: has pixels of mode F"):
        load(tmp_path)


def test_row_60_one_broken_file_among_a_thousand_is_listed_or_left_out_and_recorded(tmp_path):
    folder = tmp_path / "pictures"
    for i in range(1000):
        paint(folder / "ab"[i % 2] / f"{i}.png", (i % 256, i // 256, 0), (4, 4))
    cut = next((folder / "a").iterdir()).read_bytes()[:40]
    (folder / "a" / "cut.png").write_bytes(cut)
    (folder / "b" / "notes.txt").write_text("no image")
    (folder / "b" / "empty.png").write_bytes(b"")
    (folder / "b" / "dangling.png").symlink_to(folder / "gone.png")
    broken = ["a/cut.png", "b/dangling.png", "b/empty.png", "b/notes.txt"]
    params = {"train_size": 16, "epochs": 0, "knn_every": 0, "batch_size": 8}
    with pytest.raises(DataError, match="got 4 that are not") as caught:
        train(Pretrain.check(**values(folder, tmp_path / "runs", **params)), log=quiet)
    assert [line.removeprefix("- ").split(":")[0] for line in str(caught.value).split("\n")[1:]] == broken
    assert "skip_broken" in str(caught.value) and not the_run(tmp_path / "runs")
    parts = [load(folder, split, skip_broken=True) for split in ("train", "test")]
    assert sorted(sum((part.skipped for part in parts), ())) == broken and sum(map(len, parts)) == 1000
    run = train(Pretrain.check(**values(folder, tmp_path / "runs", **params, skip_broken=True)), log=quiet)
    assert run.result()["data_skipped"] == list(parts[0].skipped)


def test_row_61_any_names_have_one_order_and_a_loop_of_links_is_refused(tmp_path, monkeypatch):
    """Accents, spaces, 250 letters, two cases of a name, hidden files; the system's own order does not matter."""
    if os.path.exists(str(tmp_path).swapcase()):
        pytest.skip("this file system does not tell cases apart")
    names = ["b.png", "a.png", "B.png", "é.png", "10.png", "9.png", "a b.png", "日本.png", "a" * 250 + ".png"]
    for i, name in enumerate(names):
        paint(tmp_path / "train" / "Cat" / name, (i, 0, 0))
        paint(tmp_path / "train" / "cat" / name, (i, 1, 0))
    paint(tmp_path / "test" / "cat" / "x.png")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "cat" / "._a.png").write_bytes(b"x")
    expected, scandir = load(tmp_path), os.scandir
    assert expected.classes == ("Cat", "cat") and torch.bincount(expected.labels).tolist() == [9, 9]
    order = [names.index(name) for name in sorted(names, key=str.encode)]
    assert expected.pixels[:, 0, 0, 0].tolist() == order * 2
    monkeypatch.setattr(os, "scandir", lambda folder: sorted(scandir(folder), key=lambda e: e.name[::-1]))
    assert load(tmp_path).checksum == expected.checksum
    (tmp_path / "train" / "cat" / "loop").symlink_to(tmp_path / "train")
    with pytest.raises(DataError, match="a folder that does not contain itself.*Remove the link"):
        load(tmp_path)


HOSTILE = ("<script>alert(1)<", "$\\frac{x$", "two\nlines", "\u202egnp.exe", "&quot;'\"><img src=x onerror=alert(1)>")


def test_row_62_hostile_class_and_run_names_are_text_in_pictures_pages_and_widgets(tmp_path):
    """Real folders with such names, trained on and shown; the raw tag is in nothing that is rendered."""
    for k, name in enumerate(HOSTILE):
        for i in range(4):
            paint(tmp_path / "evil" / name / f"{i}.png", (40 * k, i, 0), (16, 16))
    images = load(tmp_path / "evil", image_size=16)
    assert set(images.classes) == set(HOSTILE)
    params = Pretrain.check(**values(tmp_path / "evil", tmp_path / "runs", epochs=0, knn_every=0))
    run = train(params, log=quiet)
    run.path.rename(run.path.with_name("<img src=x onerror=alert(1)>$x"))
    shown = Visualize.check(runs_dir=str(tmp_path / "runs"))
    browser, page = Browser(tmp_path / "runs"), explorers.run_browser(shown).data
    for text in (page, browser.table.value, browser.said.value):
        assert "<img" not in text and "<script>alert" not in text
    plots.mixtures(params, images=5).savefig(io.BytesIO(), format="png")
    plt.close("all")
    html = explorers.twin.page(HOSTILE[0], "", {"classes": HOSTILE}, "0")
    assert "<script>alert" not in html and "<img" not in html and "\u202e" not in html


def test_row_63_changed_images_of_the_same_names_are_another_data_set(tmp_path):
    """Another run, its checksum in the result, and never in one average or comparison with the first."""
    folder, found = pictures(tmp_path / "pictures"), []
    knn = Protocol(probes=(), few_label_fractions=(), geometry=False, knn_k=(5,), layers=("encoder",))
    for _ in range(2):
        params = Pretrain.check(**values(folder, tmp_path / "runs", epochs=0, knn_every=0))
        found.append(train(params, log=quiet))
        evaluate(found[-1], knn, quiet)
        for file in folder.rglob("*.png"):
            paint(file, (1, 2, 3), (16, 16))
    checksums = {run.result()["data_checksum"] for run in found}
    assert len(checksums) == 2 and found[0].name != found[1].name and len(runs.list_runs(tmp_path / "runs")) == 2
    evaluations = plots.evaluated(tmp_path / "runs")
    figure = plots.accuracy_bars(evaluations, evaluations)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    dots = [len(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert len(labels) == 2 == len(set(labels)) and all("train data" in label for label in labels) and dots == [1, 1]
    plt.close(figure)
    scores = ours(evaluations)
    assert [score.seeds for score in scores] == [1, 1] and all("test data" in score.caveat for score in scores)
    rows = collect(tmp_path / "runs")
    assert len({row["setting"] for row in rows}) == 1 and len({row["protocol_hash"] for row in rows}) == 2 == len(rows)


def test_row_64_images_in_both_train_and_test_are_counted(tmp_path):
    """By their pixels, whatever their names; equal images only, as is said where it is counted."""
    for part, numbers in (("train", range(6)), ("test", (4, 5, 9))):
        for i in numbers:
            paint(tmp_path / part / "class" / f"{part}-{i}.png", (i, i, i))
    train_part, test_part = load(tmp_path), load(tmp_path, "test")
    assert data.overlap(train_part, test_part) == 2 and data.overlap(train_part, train_part) == 6
    assert data.overlap(train_part, data.load("cifar10-mini", split="test")) == 0


def test_row_64_an_evaluation_says_and_stores_how_many_test_images_were_trained_on(tmp_path):
    folder, little = pictures(tmp_path / "whole"), Protocol(probes=(), few_label_fractions=(), geometry=False)
    for part, numbers in (("train", range(12)), ("test", (10, 11, 12, 13))):
        for name, i in [(name, i) for name in ("dark", "light") for i in numbers]:
            (tmp_path / "leaky" / part / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name / f"{i}.png", tmp_path / "leaky" / part / name / f"{part}{i}.png")
    for place, leaked in ((tmp_path / "leaky", 4), (folder, 0)):
        lines = []
        run = train(Pretrain.check(**values(place, tmp_path / "runs", epochs=0, knn_every=0)), log=quiet)
        assert evaluate(run, little, lines.append)["train_test_duplicates"] == leaked
        assert json.loads((run.path / "linear_eval.json").read_text())["train_test_duplicates"] == leaked
        said = [line for line in lines if "training images too" in line]
        assert [f"4 of the {8} test images" in line for line in said] == [True] * bool(leaked)
