"""Folders as people have them: names of splits, classes, what lies about, and what is said of all that."""

import unicodedata

import pytest
from PIL import Image

from mixlab import data
from mixlab.data.split_names import split_of
from mixlab.errors import DataError
from mixlab.evaluate.subjects import own_images
from mixlab.params import Pretrain
from mixlab.train import train


def make(root, counts):
    """So many small PNGs in each folder, no two alike."""
    for k, (folder, count) in enumerate(counts.items()):
        (root / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            Image.new("RGB", (8, 8), (i, k, 99)).save(root / folder / f"{i}.png")
    return root


def crossed(*splits, classes=("cat", "dog", "eel"), count=4):
    return {f"{split}/{name}": count for split in splits for name in classes}


def values(root, **changes):
    small = {"batch_size": 4, "epochs": 0, "knn_every": 0, "warmup_epochs": 0, "device": "cpu", "precision": "fp32"}
    return Pretrain.check(**small | {"dataset": f"folder:{root}", "image_size": 16} | changes)


def said(root, **changes):
    lines = []
    data.describe(values(root, **changes).resolved(), lines.append)
    return lines


def load(root, split="train"):
    return data.load(f"folder:{root}", split=split, image_size=16)


# Splits

@pytest.mark.parametrize(("one", "other"), [
    ("train", "validation"), ("train", "valid"), ("train", "val"), ("train", "dev"), ("Train", "Test"),
    ("TRAINING", "Validation"), ("training_set", "test_set"), ("train-images", "test images"), ("train", "eval"),
    ("entraînement", "validation"), ("entrenamiento", "prueba"), ("treino", "teste"), ("训练集", "测试集"),
    ("学習データ", "テスト"), ("обучение", "тест"), ("eğitim", "doğrulama"),
    (unicodedata.normalize("NFD", "entraînement"), "essai")])
@pytest.mark.parametrize("wrapper", ["", "archive/"])
def test_usual_names_of_splits_are_no_classes(tmp_path, one, other, wrapper):
    make(tmp_path, crossed(wrapper + one, classes=("cat", "dog"), count=3) | crossed(wrapper + other, count=1,
                                                                                     classes=("dog",)))
    found, asked = load(tmp_path), load(tmp_path, "test")
    assert found.classes == asked.classes == ("cat", "dog")
    assert found.labels.tolist() == [0] * 3 + [1] * 3 and asked.labels.tolist() == [1]
    assert f"{one}/ is trained on, {other}/ is the test set" in said(tmp_path)[1]


@pytest.mark.parametrize("name", ["trainer", "cat", "tests2", "", "detest", "valley", "developer", "set"])
def test_other_words_mean_no_split(name):
    assert split_of(name) is None


def test_a_class_may_be_called_train(tmp_path):
    assert load(make(tmp_path, {"bus": 3, "car": 3, "train": 3})).classes == ("bus", "car", "train")


def test_of_three_splits_val_is_asked_and_test_stays_for_the_end(tmp_path):
    make(tmp_path / "all", crossed("train", "dev", "test", "old"))
    params = values(tmp_path / "all", runs_dir=str(tmp_path / "runs"))
    splits = data.load_splits(params.resolved())
    assert splits.knn_split == "val" and splits.queries.checksum == load(tmp_path / "all", "val").checksum
    assert splits.queries.pixels[0, 0, 0, 1] == 3 and load(tmp_path / "all", "test").pixels[0, 0, 0, 1] == 6
    rule = "kNN asks dev/, test/ is the test set, for the end. Not read, as beside these: old."
    assert rule in said(tmp_path / "all")[1]
    parts = own_images(train(params, log=[].append))
    assert parts["val"].checksum == splits.queries.checksum and parts["test"].pixels[0, 0, 0, 1] == 6
    held = data.load_splits(values(tmp_path / "all", val_fraction=0.25).resolved())
    assert held.knn_split == "val" and len(held.queries) == 3 and held.queries.pixels[0, 0, 0, 1] == 0


def test_a_run_from_before_is_read_by_its_own_rule(tmp_path):
    """Its kNN asked test, and so its checksum of the queries is found again."""
    make(tmp_path, crossed("train", "val", "test"))
    earlier = values(tmp_path).resolved()
    del earlier["intensity"]
    splits = data.load_splits(earlier)
    assert splits.knn_split == "test" and splits.queries.checksum == load(tmp_path, "test").checksum


def test_a_split_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(DataError, match="split: one of train, test for folder.*got 'val'"):
        load(make(tmp_path, {"a": 3}), "val")


@pytest.mark.parametrize("tops", [("seen", "unseen"), ("train", "holdout"), ("fold1", "fold2", "fold3")])
def test_top_folders_that_share_their_subfolders_are_refused(tmp_path, tops):
    with pytest.raises(DataError, match=f"got {sorted(tops)[0]} and {sorted(tops)[1]}, which share the subfolders cat, "
                       "dog, eel. If these are splits, rename them to train, val or test"):
        load(make(tmp_path, crossed(*tops)))


@pytest.mark.parametrize("counts", [
    crossed("ant", "bee", classes=("images",)), crossed("ant", "bee", classes=("left", "right")) | {"ant": 1, "bee": 1},
    {"ant/a": 1, "ant/b": 1, "ant/x": 1, "bee/c": 1, "bee/d": 1, "bee/x": 1}])
def test_classes_with_folders_of_their_own_are_classes(tmp_path, counts):
    assert load(make(tmp_path, counts)).classes == ("ant", "bee")


@pytest.mark.parametrize(("counts", "place"), [(crossed("cat", "dog", classes=("train", "test")), "cat"),
                                               (crossed("a/b/train", "a/b/val"), "a/b")])
def test_splits_inside_a_class_are_refused(tmp_path, counts, place):
    with pytest.raises(DataError, match=f"splits as the top folders, classes inside them; got '{place} with "):
        load(make(tmp_path, counts))


def test_two_folders_for_one_split_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"one folder for val; got \['val', 'valid'\]"):
        load(make(tmp_path, crossed("train", "val", "valid")))
    assert len(load(make(tmp_path, crossed("test")), "test")) == 12, "of two that are not read either may be"


def test_a_single_folder_is_looked_through(tmp_path):
    make(tmp_path / "a" / "archive", {"cat": 3, "dog": 3})
    (tmp_path / "a" / "LICENSE").write_text("MIT")
    assert load(tmp_path / "a").checksum == load(tmp_path / "a" / "archive").checksum
    assert "(archive/, the only folder in a/, is read.)" in said(tmp_path / "a")[1]
    assert load(make(tmp_path / "b", {"only": 3})).classes == ("only",)
    assert load(make(tmp_path / "c", {"only": 1, "only/x": 2, "only/y": 2})).classes == ("only",)


# Names and what is left about

def test_one_name_in_two_unicode_forms_is_one_class(tmp_path):
    one, other = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    make(tmp_path, {f"train/{other}": 2, "train/bar": 2, f"test/{one}": 1})
    assert load(tmp_path).classes == load(tmp_path, "test").classes == ("bar", one)
    make(tmp_path, {f"train/{one}": 3})
    if len(list((tmp_path / "train").iterdir())) == 3:  # a file system that keeps both
        assert load(tmp_path).classes == ("bar", one) and load(tmp_path).labels.tolist() == [0] * 2 + [1] * 5


def test_what_systems_and_authors_leave_is_ignored_and_named_once(tmp_path):
    before = load(make(tmp_path, {"cat": 8, "dog": 8}))
    for folder in (tmp_path, tmp_path / "cat", tmp_path / "dog"):
        for name in ("Thumbs.db", "desktop.ini", "README.md", "LICENSE", "Readme_first.txt", "Icon\r"):
            (folder / name).write_bytes(b"x")
    (tmp_path / "__MACOSX" / "cat").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "cat" / "0.png").write_bytes(b"x")
    assert load(tmp_path).checksum == before.checksum
    [line] = [line for line in said(tmp_path) if line.startswith("Ignored")]
    assert line == ("Ignored, as no images: Icon\\r (3), LICENSE (3), README.md (3), Readme_first.txt (3), "
                    "Thumbs.db (3), __MACOSX/, desktop.ini (3).")
    Image.new("RGB", (8, 8)).save(tmp_path / "cat" / "readme.png")
    assert len(load(tmp_path)) + len(load(tmp_path, "test")) == 17
    (tmp_path / "cat" / "notes.txt").write_text("neither")
    with pytest.raises(DataError, match=r"got 1 that are not.*\n- cat/notes\.txt"):
        load(tmp_path)


# What is said

def test_every_run_begins_with_its_classes_counts_and_split(tmp_path):
    make(tmp_path / "pets", {"train/cat": 5, "train/dog": 4, "validation/cat": 2})
    lines, params = [], values(tmp_path / "pets", method="supcon", runs_dir=str(tmp_path / "runs"))
    train(params, log=lines.append)
    assert lines[0] == (f"Data: folder:{tmp_path / 'pets'}, 9 training and 2 test images, 2 classes (training + test): "
                        "cat 5 + 2, dog 4 + 0.")
    assert lines[1] == ("Split: train/ is trained on, validation/ is the test set, since there is no other. "
                        "Here kNN asks the test images.")
    assert lines[2].startswith("To decode: 11 images of 16 x 16, which need 8.2 KiB of memory; ")
    again = []
    train(params, log=again.append)
    assert again[:2] == lines[:2] and "is finished" in again[-1]


def test_many_classes_and_hostile_names_are_said_shortly(tmp_path):
    make(tmp_path, {f"class {i:03d}": 2 + i % 2 for i in range(99)} | {"a\nb\u202e": 2})
    line = said(tmp_path)[0]
    assert len(line) < 600 and line.isprintable() and "100 classes (training + test): a\\nb\\u202e 1 + 1, " in line
    assert line.endswith("; and 88 more, of 1 to 2 training images.")


def test_cifar_and_what_the_parameters_leave_are_said():
    lines = []
    data.describe(Pretrain.check(val_fraction=0.1, train_size=500, label_fraction=0.5, method="supcon").resolved(),
                  lines.append)
    assert "2,000 training and 1,000 test images, 10 classes (training + test): airplane 200 + 100, " in lines[0]
    assert lines[1] == ("Split: as published. Here val_fraction 0.1 of each class's training images are held out for "
                        "kNN, train_size 500 of the training images are trained on, label_fraction 0.5 of each class "
                        "of these.")


def test_a_training_says_that_it_asks_about_images_it_knows(tmp_path):
    make(tmp_path / "leaky", {"train/cat": 5, "train/dog": 4})
    for name in ("cat", "dog"):
        (tmp_path / "leaky" / "test" / name).mkdir(parents=True)
        for i in range(2):
            content = (tmp_path / "leaky" / "train" / name / f"{i}.png").read_bytes()
            (tmp_path / "leaky" / "test" / name / f"other {i}.png").write_bytes(content)
    Image.new("RGB", (8, 8)).save(tmp_path / "leaky" / "test" / "dog" / "new.png")
    for place, found in ((tmp_path / "leaky", 4), (make(tmp_path / "clean", {"cat": 9, "dog": 9}), 0)):
        lines = []
        run = train(values(place, method="supcon", runs_dir=str(tmp_path / "runs")), log=lines.append)
        assert run.result()["knn_duplicates"] == found
        notes = [line for line in lines if "training images too" in line]
        assert notes == ["Note: 4 of the 5 test images that kNN asks are training images too, so its accuracy is too "
                         "kind."] * bool(found)
