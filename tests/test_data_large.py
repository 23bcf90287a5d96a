"""Folders larger than the memory: what is decoded, what is said, what is refused, and that the numbers stay."""

import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mixlab import data
from mixlab.data import folder, memory, progress
from mixlab.errors import DataError, ParamError
from mixlab.evaluate import Protocol
from mixlab.evaluate.subjects import load_images, own_images
from mixlab.params import Pretrain, identity
from mixlab.runs import identity_hash
from mixlab.train import train


@pytest.fixture
def pictures(tmp_path):
    for k, (name, count) in enumerate({"ant": 30, "bee": 12, "cat": 6}.items()):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, k, 9)).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def values(pictures, **changes):
    small = {"batch_size": 2, "epochs": 0, "knn_every": 0, "warmup_epochs": 0, "device": "cpu", "precision": "fp32"}
    return Pretrain.check(**small | {"dataset": f"folder:{pictures}", "image_size": 8} | changes)


def splits(pictures, **changes):
    return data.load_splits(values(pictures, **changes).resolved())


@pytest.fixture
def decoded(monkeypatch):
    """Paths of the images that were decoded."""
    paths, whole = [], folder.read_image

    def counting(path, *arguments):
        paths.append(path)
        return whole(path, *arguments)

    monkeypatch.setattr(folder, "read_image", counting)
    return paths


def same(one, other):
    return torch.equal(one.pixels, other.pixels) and torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("changes", [{}, {"val_fraction": 0.25}, {"label_fraction": 0.5, "method": "supcon"},
                                     {"val_fraction": 0.25, "label_fraction": 0.5, "seed": 3}])
def test_train_size_decodes_the_images_it_ever_chose_and_no_others(pictures, decoded, changes):
    given = values(pictures, train_size=14, **changes).resolved()
    found = data.load_splits(given)
    assert len(set(decoded)) == len(decoded) == len(found.train) + len(found.queries) < 30
    ever = data.load_splits({name: value for name, value in given.items() if name != "intensity"})
    assert same(found.train, ever.train) and same(found.queries, ever.queries)
    assert found.knn_split == ever.knn_split and found.train.classes == ever.train.classes
    decoded.clear()
    assert same(data.load_train(given), found.train) and len(decoded) == len(found.train)


def test_the_checksum_of_a_part_names_all_training_images_whatever_is_drawn(pictures):
    found = {splits(pictures, train_size=size, seed=seed, val_fraction=share).train.checksum
             for size, seed, share in ((6, 0, 0.0), (6, 1, 0.0), (9, 0, 0.25))}
    assert len(found) == 1
    assert splits(pictures, train_size=6, image_size=9).train.checksum not in found
    given = values(pictures, train_size=6).resolved()
    layout = folder.read_layout(pictures)
    known = {pixel.tobytes() for pixel in data.load_train(given).pixels.numpy()}
    undecoded = next(pictures / name for name in layout.splits["train"]
                     if folder.read_image(pictures / name, 8).tobytes() not in known)
    Image.new("RGB", (8, 8), (99, 99, 99)).save(undecoded)
    assert same(data.load_train(given), data.load_train(given)) and data.load_train(given).checksum not in found


def test_where_nothing_is_left_out_runs_keep_their_names(pictures):
    """The checksum of the pixels, and an identity without the parameter that came later."""
    whole, every = data.load(f"folder:{pictures}", image_size=8), splits(pictures, train_size=40)
    assert splits(pictures).train.checksum == every.train.checksum == whole.checksum and len(whole) == 40
    part = splits(pictures, train_size=30, val_fraction=0.25)
    assert len(part.train) == 30 and part.train.checksum == whole.checksum
    given = values(pictures).resolved()
    assert "intensity" not in identity(given, splits(pictures))
    fixed = {name: part for name, part in given.items() if name not in ("dataset", "intensity")}
    who = identity(fixed | {"dataset": "folder:x"}, SimpleNamespace(train=whole, queries=whole))
    assert identity_hash(who) == identity_hash(identity(given, SimpleNamespace(train=whole, queries=whole)))


@pytest.mark.parametrize("size", [41])
def test_an_impossible_train_size_is_refused_before_decoding(pictures, decoded, size):
    with pytest.raises(ParamError, match="train_size: "):
        splits(pictures, train_size=size)
    assert not decoded


@pytest.fixture
def damaged(pictures):
    """A text and a file cut behind its head, both for training; their names."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8))
    for name in ("cut", "cut2", "cut3"):  # so many that some are for training
        noise.save(pictures / "bee" / f"{name}.png")
        content = (pictures / "bee" / f"{name}.png").read_bytes()
        (pictures / "bee" / f"{name}.png").write_bytes(content[:len(content) // 2])
    for name in ("notes", "notes2"):
        (pictures / "ant" / f"{name}.txt").write_text("no image")
    return ["ant/notes.txt", "ant/notes2.txt", "bee/cut.png", "bee/cut2.png", "bee/cut3.png"]


def test_with_skip_broken_the_good_are_chosen_as_ever(pictures, damaged):
    given = values(pictures, train_size=14, skip_broken=True).resolved()
    found = data.load_splits(given)
    ever = data.load_splits({name: value for name, value in given.items() if name != "intensity"})
    assert same(found.train, ever.train) and same(found.queries, ever.queries)
    assert found.train.skipped == ever.train.skipped and sorted(found.train.skipped + found.queries.skipped) == damaged


def test_of_what_is_left_out_a_bad_head_is_refused(pictures, damaged):
    layout = folder.read_layout(pictures)
    with pytest.raises(DataError, match="files that are images") as caught:
        splits(pictures, train_size=3)
    told = {line.removeprefix("- ").split(":")[0] for line in str(caught.value).split("\n")[1:]}
    bad_heads = {name for name in layout.splits["train"] if name.endswith(".txt")}
    assert bad_heads <= told and set(layout.splits["test"]) & set(damaged) <= told <= set(damaged)


def test_a_run_on_a_part_is_evaluated_on_that_part(pictures, tmp_path):
    given = values(pictures, train_size=14, label_fraction=0.5, method="supcon", runs_dir=str(tmp_path / "runs"))
    run = train(given, log=[].append)
    whole = {name: value for name, value in given.resolved().items() if name != "intensity"} | {"label_fraction": 1.0}
    expected = data.load_splits(whole)
    for found in (own_images(run), load_images(run, Protocol())):
        assert same(found["train"], expected.train) and same(found["test"], expected.queries)
    assert len(load_images(run, Protocol(train_size=9))["train"]) == 9
    Image.new("RGB", (8, 8), (99, 99, 99)).save(pictures / "ant" / "0.png")
    with pytest.raises(DataError, match="_checksum: .*that of the"):
        load_images(run, Protocol())


# Memory

def test_what_does_not_fit_is_refused_before_decoding_with_what_would(pictures, decoded, monkeypatch):
    """40 and 8 images of 1024 x 1024 are 144 MiB; in 90 MiB, 90 % of 100, are 30."""
    monkeypatch.setattr(memory, "available", lambda: 100 * 2**20)
    words = (r"images that fit into 90 % of the available memory \(100\.0 MiB\); got 48 images of 1024 x 1024, which "
             r"need 144\.0 MiB\. Set train_size to at most 22, lower image_size, or free memory\.")
    with pytest.raises(DataError, match=words):
        splits(pictures, image_size=1024)
    with pytest.raises(DataError, match="got 40 images of 1024 x 1024, which need 120.0 MiB"):
        data.load(f"folder:{pictures}", image_size=1024)
    assert not decoded
    lines = []
    data.describe(values(pictures, image_size=1024).resolved(), lines.append)
    assert lines[-1] == ("To decode: 48 images of 1024 x 1024, which need 144.0 MiB of memory; 100.0 MiB are "
                         "available.")
    assert len(splits(pictures, image_size=1024, train_size=22).train) == 22
    with pytest.raises(DataError, match="which need 240.0 MiB"):  # a copy of what is left
        splits(pictures, image_size=1024, val_fraction=0.25)


def test_memory_that_nobody_tells_of_is_asked_for(pictures, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: None)
    lines = []
    data.describe(values(pictures).resolved(), lines.append)
    assert lines[-1].endswith("; how much is available is not known.") and len(splits(pictures).train) == 40

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(folder.np, "empty", full)
    with pytest.raises(DataError, match="images that fit into memory; got 40 images of 8 x 8, which need 7.5 KiB"):
        splits(pictures)


@pytest.mark.parametrize("version", [1, 2])
def test_the_limits_of_control_groups_count(tmp_path, monkeypatch, version):
    """The least that any group above the process leaves; files that can be dropped count as free."""
    top = tmp_path / "groups" / "memory" if version == 1 else tmp_path / "groups"
    limit, usage, dropped = (("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if version == 1 else
                             ("max", "current", "inactive_file"))
    for place, most, used, files in (("", None, None, 0), ("a", 5000, 2000, 500), ("a/b", "max", 10, 0)):
        (top / place).mkdir(parents=True, exist_ok=True)
        if used is not None:
            (top / place / f"memory.{limit}").write_text(f"{most}\n")
            (top / place / f"memory.{usage}").write_text(f"{used}\n")
            (top / place / "memory.stat").write_text(f"anon 7\n{dropped} {files}\n")
    (tmp_path / "process").mkdir()
    (tmp_path / "process" / "cgroup").write_text("3:cpu:/z\n4:memory:/a/b\n" if version == 1 else "0::/a/b\n")
    monkeypatch.setattr(memory, "CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "process")
    assert memory.available() == 3500
    (top / "a" / f"memory.{usage}").write_text("6000\n")
    assert memory.available() == 0


def test_the_machine_s_memory_is_known_without_psutil(monkeypatch):
    import psutil
    expected = psutil.virtual_memory().available
    monkeypatch.setitem(__import__("sys").modules, "psutil", None)
    assert memory._machine() == pytest.approx(expected, rel=0.2)


def test_long_decoding_says_how_far_it_is(pictures, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    lines = []
    data.load_splits(values(pictures, train_size=5).resolved(), lines.append)
    assert re.fullmatch(r"Looking into images: 1 of 40, about \d+ s more\.", lines[0]) and len(lines) == 40 + 5 + 8
    assert [line.split(",")[0] for line in lines[40:45]] == [f"Decoding images: {i} of 5" for i in range(1, 6)]
    monkeypatch.setattr(progress, "EVERY", 1e9)
    data.load_splits(values(pictures).resolved(), lines.append)
    assert len(lines) == 53 and not capsys.readouterr().out


def test_results_keep_their_order_over_many_portions(monkeypatch):
    monkeypatch.setattr(progress, "AT_ONCE", 7)
    numbers = random.Random(0).sample(range(1000), 100)
    assert progress.each(lambda a, b: a - b, numbers, numbers[::-1]) == [a - b for a, b in
                                                                          zip(numbers, numbers[::-1], strict=True)]
