"""The embedded set, the Images record and its parts."""

import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mixlab import data
from mixlab.data.cifar import ASSETS
from mixlab.errors import DataError, ParamError

MINI = ASSETS / "cifar10-mini"


@pytest.fixture(scope="module")
def mini():
    return data.load("cifar10-mini")


def some(counts, size=2):
    """Images of distinct pixels with ``counts[k]`` of class k, classes interleaved."""
    labels = np.concatenate([np.full(n, k) for k, n in enumerate(counts)]).astype(np.int64)
    labels = np.random.default_rng(0).permutation(labels)
    pixels = torch.arange(len(labels) * size * size * 3).reshape(-1, size, size, 3).to(torch.uint8)
    pixels[:, 0, 0, 0] = torch.arange(len(labels)) // 256
    pixels[:, 0, 0, 1] = torch.arange(len(labels)) % 256
    return data.Images(pixels, torch.from_numpy(labels), tuple(f"class {k}" for k in range(len(counts))))


def ids(images):
    """The places that ``some`` gave to these images."""
    return (images.pixels[:, 0, 0, 0].long() * 256 + images.pixels[:, 0, 0, 1]).tolist()


# The embedded set

@pytest.mark.parametrize("split, count", [("train", 2000), ("test", 1000)])
def test_mini_is_whole(split, count):
    images = data.load("cifar10-mini", split=split)
    assert images.pixels.shape == (count, 32, 32, 3) and images.pixels.dtype == torch.uint8
    assert images.labels.dtype == torch.int64
    assert torch.bincount(images.labels).tolist() == [count // 10] * 10
    assert images.classes[0] == "airplane" and images.classes[9] == "truck" and len(images.classes) == 10


def test_mini_tiles_lie_row_by_row(mini):
    sheet = np.asarray(Image.open(MINI / "train.webp").convert("RGB"))
    for k in (0, 1, 49, 50, 1999):
        row, column = divmod(k, 50)
        tile = sheet[row * 32:row * 32 + 32, column * 32:column * 32 + 32]
        assert np.array_equal(mini.pixels[k].numpy(), tile)
    assert np.array_equal(mini.labels.numpy(), np.load(MINI / "train_labels.npy"))


def test_mini_has_the_published_checksum(mini):
    digest = hashlib.sha256(mini.pixels.numpy().tobytes()).hexdigest()
    assert digest == "4e5ac895e46a9b569a45d0220f845bd1c317a6bbb96ae905af26bf5b6ca10a16"


def test_mini_ignores_data_dir_and_has_one_checksum(mini, tmp_path):
    assert data.load("cifar10-mini", tmp_path).checksum == mini.checksum
    assert data.load("cifar10-mini", split="test").checksum != mini.checksum


def test_mini_train_and_test_do_not_overlap(mini):
    assert data.overlap(mini, data.load("cifar10-mini", split="test")) == 0


# Names and parameters

@pytest.mark.parametrize("name, suggestion", [
    ("cifar-10", "cifar10"), ("CIFAR100", "cifar100"), ("cifar10_mini", "cifar10-mini"), ("folder", "folder:PATH"),
    ("folder:", "folder:PATH"), ("cifar100_coarse", "cifar100-coarse")])
def test_unknown_name_gets_the_nearest(name, suggestion):
    with pytest.raises(ParamError, match="dataset: one of cifar10-mini, cifar10, ") as caught:
        data.load(name)
    assert f'Did you mean "{suggestion}"' in str(caught.value)


def test_a_path_for_a_name_is_answered_with_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photos", "cifar10-mine"):
        (tmp_path / name).mkdir()
    for name, todo in ((str(tmp_path), f'write "folder:{tmp_path}".'), ("./none", 'write "folder:./none".'),
                       ("C:\\x", 'write "folder:C:\\x".'), ("~/x", 'write "folder:~/x".'),
                       ("photos", 'Did you mean "folder:photos".'), ("cifar10-mine", 'Did you mean "cifar10-mini".')):
        with pytest.raises(ParamError) as caught:
            data.load(name)
        assert str(caught.value).endswith(todo), caught.value


@pytest.mark.parametrize("wrong, name", [
    ({"split": "val"}, "split"), ({"split": None}, "split"), ({"image_size": 64}, "image_size"),
    ({"image_size": True}, "image_size"), ({"image_size": 32.0}, "image_size"), ({"skip_broken": 1}, "skip_broken"),
    ({"skip_broken": True}, "skip_broken"), ({"data_dir": 3}, "data_dir")])
def test_wrong_parameter_is_named_with_what_to_do(wrong, name):
    with pytest.raises(ParamError, match=f"^{name}: .*") as caught:
        data.load("cifar10-mini", **wrong)
    todo = {"split": "", "data_dir": "Name the folder"}
    assert todo.get(name, "Leave it out, or use dataset folder:PATH.") in str(caught.value).split(").", 1)[1]


def test_wrong_parameters_of_a_folder_say_what_to_write(tmp_path):
    for wrong, todo in (({"skip_broken": 1}, "Write true or false."), ({"image_size": 4}, "Write 32, for example.")):
        with pytest.raises(ParamError, match=todo):
            data.load(f"folder:{tmp_path}", **wrong)


@pytest.mark.parametrize("name", [None, 10, ["cifar10"]])
def test_name_that_is_no_text(name):
    with pytest.raises(ParamError, match="dataset"):
        data.load(name)


def test_project_folder(tmp_path, monkeypatch):
    (tmp_path / "project" / "notebooks" / "deep").mkdir(parents=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    (tmp_path / "project" / "notebooks" / "deep" / "pyproject.toml").touch()  # without notebooks: not the project
    for inside in ("project", "project/notebooks", "project/notebooks/deep"):
        monkeypatch.chdir(tmp_path / inside)
        assert data.project_folder() == tmp_path / "project"
        assert data.resolve("data") == tmp_path / "project" / "data"
    monkeypatch.chdir(tmp_path)
    assert data.resolve("data") == tmp_path / "data"
    assert data.resolve("/elsewhere") == data.resolve("/") / "elsewhere"


# The record

def test_checksum_names_pixels_labels_and_shape():
    images = some([4, 4])
    other = images.pixels.clone()
    other[7, 1, 1, 2] ^= 1
    labels = images.labels.clone()
    labels[3] = 1 - labels[3]
    variants = [images, data.Images(other, images.labels, images.classes),
                data.Images(images.pixels, labels, images.classes), data.Images(images.pixels),
                data.Images(images.pixels.reshape(8, 1, 4, 3), images.labels, images.classes)]
    assert len({v.checksum for v in variants}) == len(variants)
    assert data.Images(images.pixels, images.labels, images.classes).checksum == images.checksum


def test_subset_keeps_the_checksum_of_the_whole():
    images = some([3, 3])
    part = images.subset(np.array([4, 0]))
    assert ids(part) == [4, 0] and part.checksum == images.checksum
    assert part.labels.tolist() == [images.labels[4], images.labels[0]]
    assert data.Images(images.pixels).subset([1]).labels is None


def test_repr_is_short():
    assert repr(some([2, 3])).startswith("Images(5 of 2 x 2, 2 classes, ")


@pytest.mark.parametrize("pixels, wrong", [
    (torch.zeros(2, 4, 4, 3), r"torch\.float32 \(2, 4, 4, 3\)"),
    (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), r"\(2, 3, 4, 4\)"),
    (torch.zeros(0, 4, 4, 3, dtype=torch.uint8), "not empty"),
    (torch.zeros(4, 4, 3, dtype=torch.uint8), r"\(4, 4, 3\)"),
    (np.zeros((2, 4, 4, 3), np.uint8), "torch.from_numpy")])
def test_pixels_of_another_kind(pixels, wrong):
    with pytest.raises(DataError, match=wrong):
        data.Images(pixels)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_good_labels_pass(dtype):
    data.check_labels(torch.tensor([0, 2, 1], dtype=dtype), 3)


@pytest.mark.parametrize("labels, classes, wrong", [
    (torch.tensor([0, 1]), ("a", "b"), r"shape \(3,\)"), (torch.tensor([0, 1, 2]), ("a", "b"), r"labels\[2\]"),
    (torch.tensor([0, 1, 1]), (), "classes"), ([0, 1, 1], ("a", "b"), "int64 tensor"),
    (torch.tensor([0, 1, 1], dtype=torch.int32), ("a", "b"), "long"), (torch.zeros(3), ("a", "b"), r"labels\[0\]")])
def test_labels_that_do_not_fit_the_record(labels, classes, wrong):
    with pytest.raises(DataError, match=wrong):
        data.Images(torch.zeros(3, 2, 2, 3, dtype=torch.uint8), labels, classes)


# Statistics and leaks

def test_channel_stats_against_numpy(mini):
    mean, std = data.channel_stats(mini)
    reference = mini.pixels.numpy() / 255.0
    np.testing.assert_allclose(mean, reference.mean((0, 1, 2)), atol=1e-12)
    np.testing.assert_allclose(std, reference.std((0, 1, 2)), atol=1e-9)


def test_channel_stats_of_a_constant_are_finite():
    images = data.Images(torch.full((3, 4, 4, 3), 255, dtype=torch.uint8))
    assert data.channel_stats(images) == ((1.0,) * 3, (1e-3,) * 3)


def test_overlap_counts_equal_images():
    images = some([6])
    changed = images.pixels[[0, 1, 1, 5]].clone()
    changed[0, 1, 1, 1] ^= 1
    assert data.overlap(images, data.Images(changed)) == 3
    assert data.overlap(images, some([6], size=4)) == 0
    assert data.overlap(images, images.subset([2, 4])) == 2


# Parts

COUNTS = st.lists(st.integers(2, 30), min_size=1, max_size=5)
SEEDS = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.floats(0.01, 0.99), SEEDS)
def test_validation_split_is_a_stratified_partition(counts, fraction, seed):
    images = some(counts)
    expected = [int(n * fraction + 0.5) for n in counts]
    if any(not 0 < e < n for e, n in zip(expected, counts, strict=True)):
        with pytest.raises(DataError, match="val_fraction"):
            data.split_validation(images, fraction, seed)
        return
    train, val = data.split_validation(images, fraction, seed)
    assert torch.bincount(val.labels, minlength=len(counts)).tolist() == expected
    assert sorted(ids(train) + ids(val)) == list(range(len(images)))
    assert ids(val) == sorted(ids(val)) and ids(train) == sorted(ids(train))
    assert ids(data.split_validation(images, fraction, seed)[1]) == ids(val)


def test_validation_split_depends_on_the_seed(mini):
    first, second = (data.split_validation(mini, 0.1, seed)[1].pixels for seed in (0, 1))
    assert len(first) == 200 and not torch.equal(first, second)


def test_validation_split_without_labels_or_without_validation():
    images = data.Images(some([40]).pixels)
    train, val = data.split_validation(images, 0.25, 0)
    assert len(train) == 30 and len(val) == 10 and val.labels is None
    assert data.split_validation(images, 0, 0) == (images, None)


def test_validation_split_names_the_classes_too_small():
    with pytest.raises(DataError, match=r"class 0 \(1\), class 2 \(2\)\.") as caught:
        data.split_validation(some([1, 50, 2]), 0.1, 0)
    assert "class 1" not in str(caught.value)
    one = data.Images(torch.zeros(1, 2, 2, 3, dtype=torch.uint8))
    with pytest.raises(DataError, match=r"all \(1\)"):
        data.split_validation(one, 0.5, 0)


@pytest.mark.parametrize("fraction", [1, 1.0, -0.1, float("nan"), True, "0.1", None])
def test_fractions_outside_their_range(fraction):
    with pytest.raises(ParamError, match="val_fraction: a number in"):
        data.split_validation(some([4]), fraction, 0)
    if fraction not in (1, 1.0) or fraction is True:
        with pytest.raises(ParamError, match="label_fraction: a number in"):
            data.label_subset(some([4]), fraction, 0)


@settings(max_examples=60, deadline=None)
@given(COUNTS, st.data(), SEEDS)
def test_take_is_stratified_and_nested(counts, draw, seed):
    images = some(counts)
    small, large = sorted(draw.draw(st.tuples(*[st.integers(1, len(images))] * 2)))
    few, many = (data.take(images, size, seed, "train_size") for size in (small, large))
    assert len(few) == small and len(many) == large
    assert set(ids(few)) <= set(ids(many)) and ids(few) == sorted(ids(few))
    share = torch.bincount(many.labels, minlength=len(counts)).double() - large * torch.tensor(counts) / len(images)
    assert share.abs().max() <= len(counts) / 2  # Webster's method may leave the quota, but not by more


@pytest.mark.parametrize("size", [5, 20, 37, 399])
def test_take_of_equal_classes_differs_by_one_at_most(mini, size):
    counts = torch.bincount(data.take(mini, size, 0, "train_size").labels, minlength=10)
    assert counts.max() - counts.min() <= 1 and counts.sum() == size


@pytest.mark.parametrize("size, counts", [(4, [4, 0]), (7, [7, 0]), (9, [8, 1]), (32, [30, 2])])
def test_take_rounds_shares_to_the_nearest(size, counts):
    labels = data.take(some([60, 4]), size, 0, "train_size").labels
    assert torch.bincount(labels, minlength=2).tolist() == counts


def test_take_prefers_no_class():
    """A single image may be of any class, also where the images are sorted by class as those of a folder are."""
    pixels, labels = torch.zeros(50, 2, 2, 3, dtype=torch.uint8), torch.arange(10).repeat_interleave(5)
    images = data.Images(pixels, labels, tuple("abcdefghij"))
    drawn = [int(data.take(images, 1, seed, "train_size").labels) for seed in range(60)]
    assert len(set(drawn)) >= 8


def test_take_draws_by_seed_and_role(mini):
    first, seed, role = (data.take(mini, 50, s, r).pixels for s, r in [(0, "a"), (1, "a"), (0, "b")])
    assert not torch.equal(first, seed) and not torch.equal(first, role)
    assert torch.equal(first, data.take(mini, 50, 0, "a").pixels)


@pytest.mark.parametrize("size", [0, 9, -1, 2.0, True, "3", None])
def test_take_of_an_impossible_size(size):
    with pytest.raises(ParamError, match=r"train_size: an integer in 1\.\.8"):
        data.take(some([4, 4]), size, 0, "train_size")


def test_label_subset_is_stratified_and_nested(mini):
    few, many = (data.label_subset(mini, f, 3) for f in (0.01, 0.1))
    assert torch.bincount(few.labels).tolist() == [2] * 10 and torch.bincount(many.labels).tolist() == [20] * 10
    assert data.overlap(many, few) == 20
    assert data.label_subset(mini, 1.0, 3) is mini


def test_label_subset_names_the_classes_left_without():
    with pytest.raises(DataError, match=r"class 1 \(3\)\.") as caught:
        data.label_subset(some([40, 3, 10]), 0.1, 0)
    assert "class 0" not in str(caught.value)
    with pytest.raises(DataError, match="without"):
        data.label_subset(data.Images(some([4]).pixels), 0.5, 0)
