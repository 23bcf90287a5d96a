"""A folder of one's own images: what is read, how it is split, converted, and refused."""

import os
from functools import partial

import numpy as np
import pytest
import torch
import wide_images
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mixlab import data
from mixlab.data.folder import read_image
from mixlab.errors import DataError, ParamError
from mixlab.explorers.pictures import own_picture
from mixlab.params import Pretrain, identity


def paint(path, colour=(10, 20, 30), size=(12, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path)
    return path


def make(root, classes):
    """A PNG per name; its red value is the order of making."""
    for k, (name, files) in enumerate(classes.items()):
        for i, file in enumerate(files):
            paint(root / name / file, (i, k, 0))
    return root


def load(root, split="train", **options):
    return data.load(f"folder:{root}", split=split, **options)


@pytest.fixture
def pets(tmp_path):
    return make(tmp_path / "pets", {"dog": [f"{i}.png" for i in range(20)], "cat": [f"{i}.png" for i in range(10)]})


# What is read, and in which order

def test_subfolders_are_classes(pets):
    train, test = load(pets), load(pets, "test")
    assert train.classes == test.classes == ("cat", "dog") and train.pixels.shape[1:] == (32, 32, 3)
    for images in (train, test):  # the green value says which folder a picture came from: dog 0, cat 1
        assert (images.pixels[:, 0, 0, 1] == 1 - images.labels).all()
    assert data.overlap(train, test) == 0
    assert torch.bincount(train.labels).tolist() == [8, 17] and torch.bincount(test.labels).tolist() == [2, 3]


def test_split_depends_on_the_names_alone(pets, tmp_path):
    before = load(pets, "test")
    moved = make(tmp_path / "elsewhere", {"cat": [f"{i}.png" for i in reversed(range(10))], "dog": []})
    for i in range(20):
        paint(moved / "dog" / f"{i}.png", (i, 0, 0), size=(50, 3))
    after = load(moved, "test")
    assert len(before) == len(after) and torch.equal(before.labels, after.labels)
    assert torch.equal(before.pixels[2:, 0, 0, 0], after.pixels[2:, 0, 0, 0])  # the dogs, recognised by their red


def test_flat_folder_has_no_labels(tmp_path):
    make(tmp_path / "flat", {"": [f"{i}.png" for i in range(20)]})
    train, test = load(tmp_path / "flat"), load(tmp_path / "flat", "test")
    assert train.labels is None and train.classes == () and len(train) == 17 and len(test) == 3
    assert sorted(torch.cat([train.pixels, test.pixels])[:, 0, 0, 0].tolist()) == list(range(20))


@pytest.mark.parametrize("name", ["test", "val"])
def test_given_splits(tmp_path, name):
    make(tmp_path, {"train/b": ["1.png", "2.png"], "train/a": ["1.png"], f"{name}/b": ["9.png"]})
    (tmp_path / "README.txt").write_text("beside the splits")
    train, test = load(tmp_path), load(tmp_path, "test")
    assert train.classes == test.classes == ("a", "b")
    assert train.labels.tolist() == [0, 1, 1] and test.labels.tolist() == [1]


def test_test_is_preferred_to_val(tmp_path):
    make(tmp_path, {"train/a": ["1.png"], "test/a": ["1.png", "2.png"], "val/a": ["1.png"]})
    assert len(load(tmp_path, "test")) == 2


def test_test_class_unknown_to_train(tmp_path):
    make(tmp_path, {"train/a": ["1.png"], "test/a": ["1.png"], "test/new": ["1.png"]})
    with pytest.raises(DataError, match=r"classes of train in test.*\['new'\]"):
        load(tmp_path)


def test_lonely_train_folder(tmp_path):
    make(tmp_path, {"train/a": ["1.png"]})
    with pytest.raises(DataError, match=rf"\['train'\].*{tmp_path}/train itself"):
        load(tmp_path)


def test_class_folders_may_have_folders(tmp_path):
    make(tmp_path, {"a/x/y": ["1.png"], "a": ["2.png"], "b/z": ["1.png"], "b": ["2.png", "3.png"]})
    assert load(tmp_path).classes == ("a", "b") and len(load(tmp_path)) + len(load(tmp_path, "test")) == 5


def test_a_slash_is_a_byte_of_the_order(tmp_path):
    make(tmp_path / "train", {"a/b": ["1.png"], "a/b-c": ["1.png"]})
    paint(tmp_path / "train" / "a" / "b.png", (9, 9, 9))
    make(tmp_path / "test", {"a": ["1.png"]})
    assert load(tmp_path).pixels[:, 0, 0, 1].tolist() == [1, 9, 0]  # a/b-c/1.png, a/b.png, a/b/1.png


def test_names_that_are_not_utf8(tmp_path):
    paint(tmp_path / "cat" / "1.png")
    try:
        os.mkdir(os.path.join(os.fsencode(tmp_path), b"do\xffg"))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with open(os.path.join(os.fsencode(tmp_path), b"do\xffg", b"broken\xfe"), "wb") as file:
        file.write(b"no image")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert r"do\xffg/broken\xfe" in str(caught.value) and str(caught.value).encode()


def test_hidden_names_are_ignored(pets):
    before = load(pets).checksum
    (pets / ".DS_Store").write_bytes(b"x")
    (pets / ".ipynb_checkpoints").mkdir()
    (pets / "cat" / "._0.png").write_bytes(b"x")
    (pets / "cat" / ".cache").mkdir()
    (pets / "cat" / ".cache" / "x").write_bytes(b"x")
    assert load(pets).checksum == before


def test_links_are_followed_but_not_in_a_circle(pets):
    before = load(pets)
    (pets / "cat").rename(pets.parent / "far")
    (pets / "cat").symlink_to(pets.parent / "far")
    assert load(pets).checksum == before.checksum
    (pets.parent / "far" / "loop").symlink_to(pets)
    with pytest.raises(DataError, match="a folder that does not contain itself.*Remove the link"):
        load(pets)


def test_changed_folder_changes_the_checksum(pets):
    before = load(pets).checksum
    for file in (pets / "dog").iterdir():
        paint(file, (1, 2, 3))
    assert load(pets).checksum != before


def test_relative_paths_start_at_the_project(pets, monkeypatch):
    (pets.parent / "notebooks").mkdir()
    (pets.parent / "pyproject.toml").touch()
    monkeypatch.chdir(pets.parent / "notebooks")
    assert load("pets").checksum == load(pets).checksum


# What is refused

def test_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="a folder of images; got 'nothing there'"):
        load(tmp_path / "none")
    with pytest.raises(DataError, match="a folder of images; got 'a file'"):
        load(tmp_path / "file")


def test_no_images(tmp_path):
    with pytest.raises(DataError, match="at least one readable image in the train split"):
        load(tmp_path)
    make(tmp_path, {"a": ["1.png"], "b": ["1.png"]})
    with pytest.raises(DataError, match="in the test split.*a folder test"):
        load(tmp_path, "test")


def test_class_emptied_by_skipping(pets):
    (pets / "bird").mkdir()
    (pets / "bird" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="got none in bird"):
        load(pets, skip_broken=True)


@pytest.fixture
def damaged(pets):
    """Broken files of every kind, some in the training and some in the test split; their relative names."""
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(noise).save(pets / "dog" / "cut.png")
    whole = (pets / "dog" / "cut.png").read_bytes()
    (pets / "dog" / "cut.png").write_bytes(whole[:len(whole) // 2])
    (pets / "dog" / "empty.png").write_bytes(b"")
    (pets / "dog" / "dangling.png").symlink_to(pets / "gone.png")
    os.mkfifo(pets / "dog" / "pipe.png")
    paint(pets / "stray.png")
    Image.new("F", (4, 4), 0.5).save(pets / "cat" / "float.tiff")
    for i in range(12):
        (pets / "dog" / f"notes {i}.txt").write_text("no image")
    return {"stray.png", "cat/float.tiff", *(f"dog/notes {i}.txt" for i in range(12)),
            *(f"dog/{name}.png" for name in ("cut", "empty", "dangling", "pipe"))}


@pytest.mark.parametrize("split", ["train", "test"])
def test_broken_files_are_listed_all_at_once(pets, damaged, split):
    with pytest.raises(DataError, match="got 18 that are not") as caught:
        load(pets, split)
    head, *lines = str(caught.value).splitlines()
    reasons = dict(line.removeprefix("- ").split(": ", 1) for line in lines)
    assert set(reasons) == damaged and "skip_broken" in head
    assert "0 bytes" in reasons["dog/empty.png"] and "regular" in reasons["dog/pipe.png"]
    assert "beside" in reasons["stray.png"] and "not an image" in reasons["dog/notes 3.txt"]


def test_skip_broken_leaves_out_and_records(pets, damaged):
    train, test = (load(pets, split, skip_broken=True) for split in ("train", "test"))
    assert train.skipped and test.skipped and sorted(train.skipped + test.skipped) == sorted(damaged)
    assert len(train) + len(test) == 30
    for images in (train, test):
        assert (images.pixels[:, 0, 0, 1] == 1 - images.labels).all()
    assert train.subset([0]).skipped == train.skipped


def test_decompression_bomb_is_broken(pets, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    paint(pets / "dog" / "bomb.png", size=(60, 60))
    with pytest.raises(DataError, match=r"got 1 that are not.*\n- dog/bomb\.png: .*3600 pixels"):
        load(pets)


def test_formats_that_start_programs_are_broken(pets):
    Image.new("RGB", (4, 4)).save(pets / "dog" / "page.png", format="EPS")
    with pytest.raises(DataError, match=r"- dog/page\.png: is not an image"):
        load(pets)


@pytest.mark.parametrize("size", [7, 1025, 32.0, True, "32", 0])
def test_image_size_outside_its_range(pets, size):
    with pytest.raises(ParamError, match="image_size"):
        load(pets, image_size=size)


# How it is converted

@pytest.mark.parametrize("mode, colour, extension, expected", [
    ("RGB", (200, 100, 50), "png", (200, 100, 50)), ("L", 77, "png", (77, 77, 77)), ("1", 1, "png", (255, 255, 255)),
    ("LA", (0, 0), "png", (255, 255, 255)), ("RGBA", (200, 100, 50, 0), "png", (255, 255, 255)),
    ("RGBA", (200, 100, 50, 255), "png", (200, 100, 50)), ("RGBA", (0, 0, 0, 51), "webp", (204, 204, 204)),
    ("I;16", 0x4DFF, "png", (0x4D,) * 3), ("I;16", 0xFFFF, "tiff", (255,) * 3), ("I", 0x4DFF, "tiff", (0x4D,) * 3),
    ("CMYK", (0, 255, 255, 0), "tiff", (255, 0, 0)), ("RGB", (200, 100, 50), "bmp", (200, 100, 50)),
    ("L", 77, "gif", (77, 77, 77)), ("RGB", (200, 100, 50), "ppm", (200, 100, 50)), ("L", 77, "jpg", (77, 77, 77))])
def test_modes(tmp_path, mode, colour, extension, expected):
    path = paint(tmp_path / f"x.{extension}", colour, mode=mode)
    pixels = read_image(path, 8)
    assert pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - expected).max() <= 1


def test_palette_with_a_transparent_colour(tmp_path):
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.paste(0, (0, 0, 8, 4))
    image.save(tmp_path / "x.png", transparency=0)
    pixels = read_image(tmp_path / "x.png", 8)
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[7, 7].tolist() == [10, 20, 30]


@pytest.mark.parametrize("values", [[-1, 5], [0, 65536]])
def test_integers_beyond_16_bits_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.int32)).save(tmp_path / "x.tiff")
    with pytest.raises(ValueError, match="outside 16 bits"):
        read_image(tmp_path / "x.tiff", 8)


@pytest.mark.parametrize("orientation, turned", [
    (1, lambda x: x), (2, lambda x: x[:, ::-1]), (3, lambda x: x[::-1, ::-1]), (4, lambda x: x[::-1]),
    (5, lambda x: x.swapaxes(0, 1)), (6, lambda x: np.rot90(x, -1)), (7, lambda x: x[::-1, ::-1].swapaxes(0, 1)),
    (8, lambda x: np.rot90(x, 1)), (9, lambda x: x)])
@pytest.mark.parametrize("extension", ["png", "jpg", "tiff", "webp"])
def test_exif_orientation_is_applied(tmp_path, orientation, turned, extension):
    stored = np.random.default_rng(0).integers(0, 256, (3, 4, 3), np.uint8).repeat(64, 0).repeat(64, 1)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"x.{extension}", exif=exif, quality=95)
    difference = read_image(tmp_path / f"x.{extension}", 192).astype(int) - turned(stored[:, 32:-32])
    assert np.abs(difference).mean() < (8 if extension in ("jpg", "webp") else 0.01)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "x.gif", 8)[0, 0].tolist() == [255, 0, 0]


def test_image_of_the_right_size_is_untouched(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png", 32), pixels)
    wide = np.concatenate([pixels[:, :5] * 0, pixels, pixels[:, :6] * 0], 1)
    Image.fromarray(wide).save(tmp_path / "x.png")
    assert np.array_equal(read_image(tmp_path / "x.png", 32), pixels)


def smooth(width, height):
    noise = np.random.default_rng(1).integers(0, 256, (10, 15, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def test_square_equals_resizing_the_shorter_side_and_cropping(tmp_path):
    smooth(240, 400).save(tmp_path / "x.png")
    resized = np.asarray(smooth(240, 400).resize((24, 40), Image.Resampling.BICUBIC)).astype(int)[8:32]
    assert np.abs(read_image(tmp_path / "x.png", 24) - resized)[2:-2].max() <= 1


@pytest.mark.parametrize("size", [(900, 600), (901, 607), (607, 901), (130, 129)])
def test_large_jpeg_is_about_the_same_as_decoded_whole(tmp_path, size):
    smooth(*size).save(tmp_path / "x.jpg", quality=98, subsampling=0)
    smooth(*size).save(tmp_path / "x.png")
    jpeg, png = (read_image(tmp_path / f"x.{e}", 32).astype(int) for e in ("jpg", "png"))
    assert np.abs(jpeg - png).mean() < 0.7


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
       st.sampled_from([8, 32, 33]))
def test_every_shape_and_mode_gives_a_square(tmp_path_factory, width, height, mode, size):
    path = tmp_path_factory.getbasetemp() / "shape.png"
    Image.new(mode, (width, height)).save(path)
    assert read_image(path, size).shape == (size, size, 3)


def test_image_size(pets):
    assert load(pets, image_size=48).pixels.shape == (25, 48, 48, 3)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_head_never_escapes_the_list(tmp_path):
    """Flipped bytes make decoders raise all sorts of errors; each file is either read or listed."""
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8))
    for i in range(60):
        file = tmp_path / f"{i}.{['png', 'jpg', 'gif', 'tiff', 'webp', 'bmp'][i % 6]}"
        noise.save(file)
        content = bytearray(file.read_bytes())
        for place in rng.integers(0, min(len(content), 200), 3):
            content[place] = rng.integers(0, 256)
        file.write_bytes(content)
    images = [load(tmp_path, split, skip_broken=True) for split in ("train", "test")]
    assert sum(len(i) + len(i.skipped) for i in images) == 60 and sum(len(i.skipped) for i in images) > 5


# Values of more than 8 bits

def noise(seed, high, shape=(8, 8, 1), low=0):
    """uint16, with its ends in it."""
    values = np.random.default_rng(seed).integers(low, high + 1, shape).astype(np.uint16)
    values.flat[:2] = low, high
    return values


def grey(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values[..., 0]).save(path)


@pytest.fixture
def x_rays(tmp_path):
    """Values of 12 bits in files of 16; the largest is in the test image."""
    for i in range(4):
        grey(tmp_path / "train" / f"{i}.png", noise(i, 1500, low=100))
    grey(tmp_path / "test" / "0.tiff", noise(9, 4003, low=90))
    return tmp_path


@pytest.mark.parametrize(("intensity", "rule"), [
    ("auto", lambda v: v >> 4), ("depth", lambda v: v >> 4), ("type", lambda v: v >> 8),
    ("range", lambda v: np.rint((v.astype(float) - 90) / (4003 - 90) * 255))])
def test_twelve_bits_are_scaled_by_the_whole_set(x_rays, intensity, rule):
    for split, seed, high, low in (("train", 2, 1500, 100), ("test", 9, 4003, 90)):
        images = load(x_rays, split, image_size=8, intensity=intensity)
        expected = rule(noise(seed, high, low=low)).repeat(3, 2)
        assert np.array_equal(images.pixels[2 if split == "train" else 0].numpy(), expected)
        found = {"range": "90 to 4,003 in the whole set, stretched: 90 is black, 4,003 white",
                 "type": ""}.get(intensity, "90 to 4,003 in the whole set, read as 12 bits: 0 is black, 4,095 white")
        assert found in " ".join(images.notes) and len(images.notes) == bool(found)


@pytest.mark.parametrize(("high", "bits"), [(200, 8), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14),
                                            (16383, 14), (16384, 16), (65535, 16)])
def test_the_depth_is_the_least_usual_one_that_holds_all_values(tmp_path, high, bits):
    grey(tmp_path / "train" / "x.png", noise(0, high))
    grey(tmp_path / "test" / "x.png", noise(1, 9))
    expected = (noise(0, high) >> (bits - 8)).repeat(3, 2)
    assert np.array_equal(load(tmp_path, image_size=8).pixels[0].numpy(), expected)


def test_full_values_and_eight_bits_are_read_as_ever(tmp_path, pets):
    for split in ("train", "test"):
        grey(tmp_path / "grey" / split / "x.png", noise(0, 65535))
        (tmp_path / "rgb" / split).mkdir(parents=True)
        wide_images.png(tmp_path / "rgb" / split / "x.png", noise(0, 65535, (8, 8, 3)))
    for place, options in ((tmp_path / "grey", ("depth", "type")), (tmp_path / "rgb", ("depth", "type")),
                           (pets, ("depth", "type", "range"))):
        assert len({load(place, intensity=intensity).checksum for intensity in options}) == 1
        assert len({load(place, "test", intensity=intensity).checksum for intensity in options}) == 1
    assert load(pets).notes == ()


WRITERS = {"png": wide_images.png, "tiff": wide_images.tiff, "deflated": partial(wide_images.tiff, deflated=True)}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_colours_of_16_bits_are_scaled_too(tmp_path, writer):
    values = noise(0, 4000, (8, 8, 3))
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        writer(tmp_path / split / "x.img", values)
    assert np.array_equal(load(tmp_path, image_size=8).pixels[0].numpy(), values >> 4)
    assert np.array_equal(load(tmp_path, image_size=8, intensity="type").pixels[0].numpy(), values >> 8)
    stretched = load(tmp_path, image_size=8, intensity="range").pixels[0].numpy()
    assert np.array_equal(stretched, np.rint(values / 4000 * 255))


@pytest.mark.parametrize("bands", [2, 4])
def test_transparency_of_16_bits_is_put_on_white_and_is_no_value(tmp_path, bands):
    values = noise(0, 4000, (8, 8, bands))
    values[:4, :, -1], values[4:, :, -1] = 0, 65535
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        wide_images.png(tmp_path / split / "x.png", values)
    pixels = load(tmp_path, image_size=8).pixels[0].numpy()
    assert (pixels[:4] == 255).all()
    colours = values[4:, :, :-1] if bands == 4 else values[4:, :, :1].repeat(3, 2)
    assert np.array_equal(pixels[4:], colours >> 4)


def test_range_takes_what_has_no_stated_black_and_white(tmp_path):
    floats = np.linspace(-0.5, 2, 64, dtype=np.float32).reshape(8, 8)
    for split, values in (("train", floats), ("test", (floats[:1] * 0 + 0.75).repeat(8, 0))):
        (tmp_path / split).mkdir()
        Image.fromarray(values).save(tmp_path / split / "x.tiff")
    pixels = load(tmp_path, image_size=8, intensity="range").pixels[0, ..., 0].numpy()
    assert np.array_equal(pixels, np.rint((floats + 0.5) / 2.5 * 255))
    assert (load(tmp_path, "test", image_size=8, intensity="range").pixels == 128).all()
    for intensity in ("depth", "type"):
        with pytest.raises(DataError, match="mode F outside 16 bits, whose black and white are not stated; intensity"):
            load(tmp_path, intensity=intensity)
    floats[0, 0] = np.nan
    Image.fromarray(floats).save(tmp_path / "train" / "y.tiff")
    with pytest.raises(DataError, match="got 1 that are not.*\n- train/y.tiff: has pixels that are no numbers"):
        load(tmp_path, intensity="range")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(("extra", "is_transparency"), [(None, False), (0, False), (999, False), (1, True), (2, True)])
def test_a_fourth_band_is_transparency_only_where_the_file_says_so(tmp_path, dtype, extra, is_transparency):
    """Near infrared beside the colours, for one."""
    if extra == 999 and dtype == np.uint16:
        return  # Pillow knows that old habit in 8 bits only, and the file is refused
    values = np.full((8, 8, 4), np.iinfo(dtype).max // 2, dtype)
    values[..., 3] = 0
    if extra == 1:
        values[..., :3] = 0  # multiplied by it
    wide_images.tiff(tmp_path / "x.tiff", values, extra)
    assert (read_image(tmp_path / "x.tiff", 8) == (255 if is_transparency else 127)).all()


@pytest.mark.parametrize("value", ["rnage", "Depth", 8, None])
def test_an_unknown_intensity_is_refused(pets, value):
    with pytest.raises(ParamError, match="intensity: one of auto, depth, type, range; got"):
        load(pets, intensity=value)


def test_the_identity_of_a_run_has_the_intensity_in_its_checksums_only(pets):
    found = [Pretrain.check(dataset=f"folder:{pets}", batch_size=8, intensity=intensity).resolved()
             for intensity in ("auto", "depth", "range")]
    names = [identity(values, data.load_splits(values)) for values in found]
    assert names[0] == names[1] == names[2] and "intensity" not in names[0]
    with pytest.raises(ParamError, match="intensity: auto, because cifar10-mini has 8 bits; got 'range'"):
        Pretrain.check(intensity="range")


def test_a_picture_of_ones_own_is_scaled_by_its_own_depth(tmp_path):
    grey(tmp_path / "x.png", noise(0, 4003))
    pixels = own_picture("x.png", (tmp_path / "x.png").read_bytes(), 8)
    assert np.array_equal(pixels[..., 0].numpy(), noise(0, 4003)[..., 0] >> 4)
