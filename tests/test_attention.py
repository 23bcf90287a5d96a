"""Attention maps against their formulas, localisation scores against constructed cases, boxes, and what is stored."""

import copy
import json

import numpy as np
import pytest
import torch
from attention_runs import CLASSES, SIZE, finished_run, folder_of_pictures, picture
from PIL import Image
from torch import nn

from mixlab import data, plots, runs
from mixlab.attention import (
    CELLS,
    POWERS,
    Mosaics,
    Viewer,
    activation_maps,
    class_maps,
    classifier_of,
    draw_mosaics,
    energies,
    energy,
    enlarge,
    grad_cam,
    inside,
    localisation,
    normalise,
    pointing_and_energy,
    read_boxes,
    score_boxes,
    score_mosaics,
    scrambled,
    similarity_maps,
    titles,
)
from mixlab.data import Images
from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.evaluate import Linear, features
from mixlab.params import Pretrain
from mixlab.rng import Key

LAYERS = (1, 2, 3, 4)


class Net(nn.Module):
    """The parts of an encoder that attention needs, around four given layers."""

    def __init__(self, *layers):
        super().__init__()
        self.stem, self.layers = nn.Identity(), nn.ModuleList(layers)
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("std", torch.ones(3))

    def feature_maps(self, images, layers):
        maps, h = {}, self.stem(images)
        for number, layer in enumerate(self.layers, start=1):
            maps[number] = h = layer(h)
        return {layer: maps[layer] for layer in layers}

    def forward(self, images):
        return self.feature_maps(images, (4,))[4].mean((2, 3))


def identity():
    """A net whose feature maps are the pixels, 0 to 1."""
    return Net(*[nn.Identity() for _ in LAYERS])


def convolutions(strides=(1, 2, 1, 2), width=5):
    """A small net with BatchNorm whose every layer mixes channels and places."""
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        layers, last = [], 3
        for stride in strides:
            layers.append(nn.Sequential(nn.Conv2d(last, width, 3, stride, 1), nn.BatchNorm2d(width), nn.Tanh()))
            last = width
    return Net(*layers)


def pixels(count=5, side=12, key=0):
    values = Key(key, "test").generator().integers(0, 256, (count, side, side, 3)).astype(np.uint8)
    return torch.from_numpy(values)


def drawn(*shape, key=0):
    return torch.from_numpy(Key(key, "values").generator().standard_normal(shape).astype(np.float32))


# Maps

@pytest.mark.parametrize("power", POWERS)
def test_energy_is_the_sum_of_powers(power):
    features = drawn(2, 3, 4, 5)
    slow = torch.zeros(2, 4, 5)
    for b, c, y, x in np.ndindex(*features.shape):
        slow[b, y, x] += abs(features[b, c, y, x].item()) ** power
    torch.testing.assert_close(energy(features, power), slow)


def test_map_of_a_constructed_feature_map():
    images = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    images[0, 0, 1] = torch.tensor([255, 51, 0])
    found = activation_maps(identity(), images, (1, 4), power=4)
    expected = torch.tensor([[[0, 1 + 0.2**4], [0, 0]]])
    torch.testing.assert_close(found[1], expected)
    torch.testing.assert_close(found[4], expected)


def test_maps_are_those_of_the_encoder_in_eval_mode():
    encoder = Encoder("resnet10").train()
    images = pixels(3, 16)
    found = activation_maps(encoder, images, LAYERS, power=1)
    normalised = (images.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        maps = copy.deepcopy(encoder).eval().feature_maps(normalised)
    for layer in LAYERS:
        torch.testing.assert_close(found[layer], maps[layer].abs().sum(1))
        assert found[layer].shape == (3, 32 >> layer, 32 >> layer)


def test_several_powers_at_once():
    net, images = convolutions(), pixels(3)
    found = energies(net, images, (1, 3))
    for power in POWERS:
        alone = activation_maps(net, images, (1, 3), power)
        assert all(torch.equal(found[power][layer], alone[layer]) for layer in (1, 3))


def test_chunks_change_nothing(monkeypatch):
    net, images, classifier = convolutions(), pixels(), Linear(drawn(4, 5), drawn(4))
    asked = torch.tensor([0, 3, 1, 2, 2])
    whole = activation_maps(net, images, (3,))[3], class_maps(net, images, classifier, asked)[4]
    monkeypatch.setattr("mixlab.attention.maps.CHUNK_PIXELS", 2 * 12 * 12)
    parts = activation_maps(net, images, (3,))[3], class_maps(net, images, classifier, asked)[4]
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)


def test_normalised_maps_keep_zero_and_end_at_one():
    maps = torch.tensor([[[0.0, 2.0], [4.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    assert normalise(maps).tolist() == [[[0, 0.5], [1, 0.25]], [[0, 0], [0, 0]]]


def test_enlarged_maps_follow_the_centres_of_cells():
    found = enlarge(torch.tensor([[[0.0, 1.0]]]), 2, 4)
    torch.testing.assert_close(found, torch.tensor([[[0, 0.25, 0.75, 1]] * 2]))


@pytest.mark.parametrize("call, name", [
    (lambda net: activation_maps(net, pixels(), (5,)), "layer"),
    (lambda net: activation_maps(net, pixels(), ()), "layers"),
    (lambda net: activation_maps(net, pixels(), (4,), power=3), "power"),
    (lambda net: grad_cam(net, pixels(), lambda h, rows: h[:, 0], (0,)), "layer"),
    (lambda net: class_maps(net, pixels(), Linear(drawn(2, 5), drawn(2)), torch.zeros(4, dtype=torch.long)), "asked"),
    (lambda net: similarity_maps(net, pixels(5), pixels(2)), "others"),
])
def test_mistakes_are_named(call, name):
    with pytest.raises(ParamError, match=f"^{name}: "):
        call(convolutions())


def test_other_pixels_are_refused():
    with pytest.raises(DataError, match="^pixels"):
        activation_maps(convolutions(), pixels().float())


# Grad-CAM

def slow_grad_cam(net, image, score, layer):
    """The formula for one image, from a whole graph: every channel weighted by the mean of its gradient."""
    net = copy.deepcopy(net).eval()
    h = image.permute(2, 0, 1)[None] / 255
    maps = []
    for part in net.layers:
        h = part(h)
        h.retain_grad()
        maps.append(h)
    score(h.mean((2, 3))).sum().backward()
    features, gradient = maps[layer - 1][0], maps[layer - 1].grad[0]
    total = torch.zeros(features.shape[1:])
    for channel in range(len(features)):
        total += gradient[channel].sum() / gradient[channel].numel() * features[channel].detach()
    return total.clamp(min=0)


@pytest.mark.parametrize("layer", LAYERS)
def test_grad_cam_of_a_class_is_the_formula(layer):
    net, images, asked = convolutions(), pixels(), torch.tensor([0, 3, 1, 2, 2])
    weight, bias = drawn(4, 5), drawn(4)
    found = class_maps(net, images, Linear(weight, bias), asked, (layer,))[layer]
    assert found.amax() > 0
    for image, k, one in zip(images, asked, found, strict=True):
        expected = slow_grad_cam(net, image, lambda h, k=k: (h @ weight.T + bias)[:, k], layer)
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
def test_grad_cam_of_a_similarity_is_the_formula(layer):
    net, images, others = convolutions(), pixels(4), pixels(4, key=1)
    found = similarity_maps(net, images, others, LAYERS)[layer]
    with torch.no_grad():
        wanted = copy.deepcopy(net).eval()(others.permute(0, 3, 1, 2) / 255)
    assert found.amax() > 0
    for image, h_other, one in zip(images, wanted, found, strict=True):
        expected = slow_grad_cam(net, image, lambda h, o=h_other: (h[0] @ o) / h[0].norm() / o.norm(), layer)
        torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-7)


def test_one_other_image_serves_all():
    net, images, other = convolutions(), pixels(3), pixels(1, key=1)
    torch.testing.assert_close(similarity_maps(net, images, other)[4],
                               similarity_maps(net, images, other.expand(3, -1, -1, -1))[4])


def test_maps_turn_with_the_image():
    """A net that sees left and right alike has flipped maps for flipped images."""
    net = convolutions(strides=(1, 1, 1, 1))
    with torch.no_grad():
        for layer in net.layers:
            layer[0].weight.copy_((layer[0].weight + layer[0].weight.flip(3)) / 2)
    weight, images, asked = drawn(1, 5), pixels(3), torch.tensor([0, 1, 1])
    classifier = Linear(torch.cat([weight, -weight]), drawn(2))
    for call in (lambda x: class_maps(net, x, classifier, asked, (1,))[1],
                 lambda x: similarity_maps(net, x, images[:1] // 8, (1,))[1],
                 lambda x: activation_maps(net, x, (1,))[1]):
        found, turned_maps = normalise(call(images)), normalise(call(images.flip(2)))
        torch.testing.assert_close(turned_maps, found.flip(2), rtol=1e-3, atol=1e-4)
        assert not torch.allclose(turned_maps, found, atol=0.1)


def test_the_encoder_is_left_as_it_was():
    encoder = Encoder("resnet10").train()
    encoder.layers[1].eval()
    before = copy.deepcopy(encoder.state_dict())
    modes = [part.training for part in encoder.modules()]
    images = pixels(2, 8)
    activation_maps(encoder, images)
    class_maps(encoder, images, Linear(drawn(2, 512), drawn(2)), torch.tensor([0, 1]), LAYERS)
    similarity_maps(encoder, images, images[:1])
    with pytest.raises(ZeroDivisionError):
        grad_cam(encoder, images, lambda h, rows: 1 / 0)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert modes == [part.training for part in encoder.modules()]
    assert all(p.grad is None and p.requires_grad for p in encoder.parameters())


# Scores

def test_shares_of_cells_in_a_box():
    assert inside(torch.tensor([[0.0, 0.0, 0.5, 1.0]]), 2, 3).tolist() == [[[1, 0.5, 0]] * 2]
    found = inside(torch.tensor([[0.25, 0.5, 0.75, 1.0]]), 2, 2)
    torch.testing.assert_close(found, torch.tensor([[[0, 0], [0.5, 0.5]]]))


def test_the_cells_cover_a_mosaic_once():
    assert torch.equal(inside(torch.tensor(CELLS), 8, 8).sum(0), torch.ones(8, 8))


def test_scores_of_constructed_maps():
    target = inside(torch.tensor([CELLS[1]]), 4, 4)  # upper right
    for right, wrong, point, share in ((1.0, 0.0, 1, 1), (0.0, 1.0, 0, 0), (3.0, 1.0, 1, 0.5)):
        maps = target * right + (1 - target) * wrong
        pointing, found, empty = pointing_and_energy(maps, target)
        assert (pointing.item(), found.item(), empty.item()) == (point, share, False)


@pytest.mark.parametrize("value, is_empty", [(0.0, True), (7.0, False)])
def test_constant_maps_get_chance(value, is_empty):
    target = inside(torch.tensor([CELLS[2]]), 6, 6)
    pointing, share, empty = pointing_and_energy(torch.full((1, 6, 6), value), target)
    assert (pointing.item(), share.item(), empty.item()) == (0.25, 0.25, is_empty)


def test_large_powers_do_not_overflow():
    maps = torch.tensor([[[3e38, 3e38], [3e38, 3e38]]])
    assert pointing_and_energy(maps, inside(torch.tensor([CELLS[0]]), 2, 2))[1].item() == 0.25


# Mosaics

def images_of(count=20, side=8, classes=3):
    labels = torch.arange(count) % classes
    return Images(pixels(count, side), labels, tuple(f"class {k}" for k in range(classes)))


def test_mosaics_hold_what_they_say():
    images = images_of()
    found = draw_mosaics(images, 40, seed=2)
    assert found.pixels.shape == (40, 16, 16, 3)
    places = set()
    for n in range(40):
        for cell in range(4):
            y, x = 8 * (cell // 2), 8 * (cell % 2)
            held = found.pixels[n, y:y + 8, x:x + 8]
            is_object = cell in found.cells[n]
            assert torch.equal(held, images.pixels[found.sources[n, cell]]) == is_object
        for i in range(2):
            source = found.sources[n, found.cells[n, i]]
            assert images.labels[source] == found.labels[n, i] == images.labels[found.queries[n, i]]
            assert found.queries[n, i] != source
            places.add((i, int(found.cells[n, i])))
    assert (found.labels[:, 0] != found.labels[:, 1]).all() and (found.cells[:, 0] != found.cells[:, 1]).all()
    assert len(places) == 8  # both objects come everywhere


def test_mosaics_follow_the_seed():
    one, same, other = (draw_mosaics(images_of(), 3, seed).pixels for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_scrambled_images_keep_mean_and_spectrum():
    images = 118 + pixels(3, 16) // 12  # little contrast: nothing is clipped
    found = scrambled(images, Key(0, "test"))
    assert not torch.equal(found, images)
    before, after = (torch.fft.fft2(x.double(), dim=(1, 2)).abs() for x in (images, found))
    assert (before[:, 0, 0] - after[:, 0, 0]).abs().max() / 256 < 0.2  # the mean, but for rounding
    assert (before - after).abs().mean() < 0.15 * before[:, 1:, 1:].mean()


@pytest.mark.parametrize("images, count, error, name", [
    (images_of(), 0, ParamError, "mosaics"), (images_of(), 2.0, ParamError, "mosaics"),
    (Images(pixels(4, 8)), 3, DataError, "mosaics"), (images_of(classes=1), 3, DataError, "mosaics")])
def test_mosaics_refuse_what_cannot_be_asked(images, count, error, name):
    with pytest.raises(error, match=f"^{name}: "):
        draw_mosaics(images, count)


def colour_mosaics():
    """Red objects of class 0, blue ones of class 1, black fillers; and single red and blue images."""
    colours = torch.zeros(3, 8, 8, 3, dtype=torch.uint8)
    colours[0, ..., 0] = colours[1, ..., 2] = 255
    images = Images(colours[:2], torch.tensor([0, 1]), ("red", "blue"))
    cells = torch.tensor([[0, 3], [2, 1], [1, 0]])
    held = torch.zeros(3, 16, 16, 3, dtype=torch.uint8)
    for n, pair in enumerate(cells.tolist()):
        for label, cell in enumerate(pair):
            y, x = 8 * (cell // 2), 8 * (cell % 2)
            held[n, y:y + 8, x:x + 8] = colours[label]
    pairs = torch.tensor([[0, 1]] * 3)
    return images, Mosaics(held, cells, pairs, torch.zeros(3, 4, dtype=torch.long), pairs)


def test_an_encoder_that_fires_on_the_object_scores_one():
    images, mosaics = colour_mosaics()
    red_and_blue = Linear(torch.tensor([[1.0, 0, 0], [0, 0, 1.0]]), torch.zeros(2))
    for row in score_mosaics(identity(), red_and_blue, images, mosaics, (1, 4)):
        assert row["chance"] == (0.5 if row["method"] == "activation" else 0.25)
        assert (row["pointing"], row["energy"], row["empty"]) == (1, 1, 0)
        assert row["other_energy"] == (None if row["method"] == "activation" else 0)
        assert row["questions"] == (3 if row["method"] == "activation" else 6)


def test_a_classifier_that_takes_one_for_the_other_scores_zero():
    images, mosaics = colour_mosaics()
    swapped = Linear(torch.tensor([[0, 0, 1.0], [1.0, 0, 0]]), torch.zeros(2))
    row, = (r for r in score_mosaics(identity(), swapped, images, mosaics) if r["method"] == "class")
    assert (row["pointing"], row["energy"], row["other_energy"], row["pointing_se"]) == (0, 0, 1, 0)


def test_an_encoder_that_fires_everywhere_gets_chance():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.ones_like(x) + 0 * x

    images, mosaics = colour_mosaics()
    net = Net(Constant(), nn.Identity(), nn.Identity(), nn.Identity())
    for row in score_mosaics(net, Linear(torch.eye(2, 3), torch.zeros(2)), images, mosaics):
        assert row["pointing"] == row["energy"] == row["chance"]


def test_standard_errors_are_over_mosaics():
    images, mosaics = colour_mosaics()
    only_red = Linear(torch.tensor([[1.0, 0, 0], [1.0, 0, 0]]), torch.zeros(2))
    row, = (r for r in score_mosaics(identity(), only_red, images, mosaics) if r["method"] == "class")
    assert (row["pointing"], row["pointing_se"]) == (0.5, 0)  # each mosaic is half right: they do not differ


# Boxes

@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    name = folder_of_pictures(folder)
    (folder / "boxes.csv").write_text(f"file,x0,y0,x1,y1\ntest/{CLASSES[0]}/0.png,0,0,8,8\n"
                                      f"train/eel/0.png,0,0,1,1\ntest/eel/3.png,4,8,16,12.5\n")
    return name


def test_boxes_come_in_the_order_of_the_file(dataset):
    rows, boxes, cut_off = read_boxes(dataset.removeprefix("folder:"))
    assert (rows.tolist(), cut_off) == ([0, 11], 0)
    assert boxes.tolist() == [[0, 0, 0.5, 0.5], [0.25, 0.5, 1, 12.5 / 16]]
    assert read_boxes(dataset.removeprefix("folder:"), "train")[0].tolist() == [12]


def test_boxes_beside_class_folders_are_no_broken_image(tmp_path):
    (tmp_path / "a").mkdir()
    for i in range(3):
        Image.fromarray(picture(Key(i))).save(tmp_path / "a" / f"{i}.png")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\na/0.png,0,0,1,1\na/1.png,0,0,1,1\na/2.png,0,0,1,1\n")
    assert len(data.load(f"folder:{tmp_path}", image_size=SIZE)) == 3 - len(read_boxes(tmp_path)[0])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(31, 20), (20, 33), (24, 24)])
@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_boxes_lie_on_the_object_whatever_the_orientation(tmp_path, orientation, size, form):
    """A white patch is found by its box after load has cut, turned and resized the picture."""
    stored = Image.new("RGB", size)
    stored.paste("white", (8, 6, 16, 11))
    exif = Image.Exif()
    exif[0x0112] = orientation
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        stored.save(tmp_path / split / "a" / "0.img", form, exif=exif, **({"quality": 100} if form == "JPEG" else {}))
    seen = np.asarray(turned(stored, orientation))[..., 0] > 128
    (y0, x0), (y1, x1) = np.argwhere(seen).min(0), np.argwhere(seen).max(0) + 1
    (tmp_path / "boxes.csv").write_text(f"file,x0,y0,x1,y1\ntest/a/0.img,{x0},{y0},{x1},{y1}\n")
    _, boxes, _ = read_boxes(tmp_path)
    side = min(size)
    loaded = data.load(f"folder:{tmp_path}", split="test", image_size=side).pixels[0, ..., 0] > 128
    expected = inside(boxes, side, side)[0] > 0.5
    assert torch.equal(loaded, expected)


def turned(image, orientation):
    """An image as a viewer shows it."""
    way = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
           5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
           8: Image.Transpose.ROTATE_90}.get(orientation)
    return image if way is None else image.transpose(way)


def test_a_box_outside_the_centre_square_is_counted(tmp_path):
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        Image.new("RGB", (40, 10)).save(tmp_path / split / "a" / "0.png")
    (tmp_path / "boxes.csv").write_text("file,x0,y0,x1,y1\ntest/a/0.png,0,0,10,10\n")
    rows, boxes, cut_off = read_boxes(tmp_path)
    assert (len(rows), boxes.shape, cut_off) == (0, (0, 4), 1)


@pytest.mark.parametrize("text, words", [
    ("", "the head"), ("name,x0,y0,x1,y1\n", "the head"),
    ("file,x0,y0,x1,y1\ntest/eel/9.png,0,0,1,1\n", "line 2: an image below"),
    ("file,x0,y0,x1,y1\ntest/eel/0.png,0,0,1,1\ntest/eel/0.png,0,0,1,1\n", "line 3: one box"),
    ("file,x0,y0,x1,y1\ntest/eel/0.png,0,0,1\n", "line 2: a file and four numbers"),
    ("file,x0,y0,x1,y1\ntest/eel/0.png,0,0,nan,1\n", "line 2: a file and four numbers"),
    ("file,x0,y0,x1,y1\ntest/eel/0.png,3,0,3,1\n", "line 2: a box with"),
    ("file,x0,y0,x1,y1\ntest/eel/0.png,-1,0,3,1\n", "line 2: a box with"),
    ("file,x0,y0,x1,y1\n\ntest/eel/0.png,0,0,17,1\n", "line 3: a box within the image's 16 x 16"),
    ('file,x0,y0,x1,y1\n"test/eel/0.png,0,0,1,1\n', "cannot be read"),
])
def test_a_wrong_box_names_its_line(tmp_path, text, words):
    folder_of_pictures(tmp_path)
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(DataError, match=f"boxes.csv: .*{words}"):
        read_boxes(tmp_path)


def test_no_boxes_at_all(tmp_path):
    folder_of_pictures(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path)


def test_a_map_on_the_box_scores_one():
    images, _ = colour_mosaics()
    pair = images.pixels.clone()
    pair[:, 4:] = 0  # colour in the upper half only
    boxes = torch.tensor([[0, 0, 1, 0.5], [0, 0, 1, 0.5]])
    rows = score_boxes(identity(), Linear(torch.eye(2, 3), torch.zeros(2)), Images(pair, images.labels, images.classes),
                       torch.tensor([0, 1]), boxes)
    assert [row["method"] for row in rows] == ["activation"] * 3 + ["class"]
    assert rows[0]["pointing"] == rows[0]["energy"] == 1 and rows[0]["chance"] == 0.5
    assert rows[3]["empty"] == 1 and rows[3]["energy"] == 0.75  # blue has no weight: its empty map gets chance


# Runs

@pytest.fixture(scope="module")
def pair(dataset, tmp_path_factory):
    """A run with a projector and the control."""
    folder = tmp_path_factory.mktemp("runs")
    return [finished_run(folder, dataset), finished_run(folder, dataset, "cross_entropy", epochs=3)]


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def records(pair):
    return [localisation(run, mosaics=4, layers=(3, 4), seed=1, log=quiet) for run in pair]


def test_localisation_is_stored_with_its_protocol(pair, records):
    for run, record in zip(pair, records, strict=True):
        assert runs.read_sealed(run.path / "attention.json") == record
        assert record["encoder_sha256"] == run.result()["encoder_sha256"]
        assert record["protocol"]["mosaics"] == 4 and record["protocol"]["seed"] == 1
        assert len(record["mosaics"]) == 2 * (3 + 2) and len(record["boxes"]) == 2 * (3 + 1)
        assert all(0 <= row[name] <= 1 for row in record["mosaics"] for name in ("pointing", "energy"))
        assert {row["questions"] for row in record["boxes"]} == {2}
        box_share = (0.25 + 0.75 * 4.5 / 16) / 2
        assert record["boxes"][0]["chance"] == pytest.approx(box_share)
    assert [record["classifier"]["kind"] for record in records] == ["lbfgs", "own head"]


def test_the_same_again_is_read_back(pair, records):
    said = []
    assert localisation(pair[0], mosaics=4, layers=(3, 4), seed=1, log=said.append) == records[0]
    assert "already" in said[0] and len(said) == 1


def test_another_protocol_is_measured_again(pair, records, tmp_path):
    said = []
    found = localisation(pair[1], mosaics=2, layers=(4,), log=said.append)
    assert "already" not in said[0] and found["protocol"]["mosaics"] == 2
    localisation(pair[1], mosaics=4, layers=(3, 4), seed=1, log=quiet)


def test_the_probe_is_fitted_once_and_again_when_its_file_is_damaged(pair, records):
    encoder, said = runs.load_encoder(pair[0]), []
    first, about = classifier_of(pair[0], encoder, seed=1, log=said.append)
    assert not said and about["train_images"] == 18
    images = data.load(pair[0].params()["dataset"], image_size=SIZE)
    with torch.no_grad():
        assert first(encoder((images.pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)).argmax(1).eq(
            images.labels).float().mean() > 0.6
    (pair[0].path / "attention_probe.npz").write_bytes(b"PK")
    again, _ = classifier_of(pair[0], encoder, seed=1, log=said.append)
    assert len(said) == 1 and torch.equal(first.weight, again.weight)
    classifier_of(pair[0], encoder, seed=2, log=said.append)
    assert len(said) == 2


def test_localisation_needs_labels(tmp_path):
    run = finished_run(tmp_path / "runs", folder_of_pictures(tmp_path / "pictures", labelled=False))
    with pytest.raises(DataError, match="labelled images"):
        localisation(run, mosaics=2, log=quiet)


# Viewer and figures

def test_runs_and_images_side_by_side(pair):
    viewer = Viewer(pair, count=6, log=quiet)
    assert viewer.images.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert viewer.names[:2] == [f"{CLASSES[0]} 1", f"{CLASSES[0]} 2"]
    pixels = viewer.images.pixels
    shown = viewer.maps(pixels, "class", (2, 4), asked=torch.tensor([0, 1, 2, -1, -1, -1]))
    assert [one.values[2].shape for one in shown] == [(6, 8, 8)] * 2
    assert shown[0].words[2].startswith("eel ") and shown[0].words[2].endswith(" %")
    for k, name in enumerate(CLASSES):
        assert all(words.startswith(name) for one in viewer.maps(pixels, "class", asked=torch.full((6,), k))
                   for words in one.words)
    similar = viewer.maps(pixels, "similarity", other=pixels[3:4] // 9)
    h, other = (features(viewer.encoder(pair[1]), x) for x in (pixels, pixels[3:4] // 9))
    assert similar[1].words == [f"cosine {value:.2f}" for value in torch.cosine_similarity(h, other).tolist()]
    assert "cosine 1.00" not in similar[1].words
    with pytest.raises(ParamError, match="^method: .*similarity"):
        viewer.maps(pixels, "similarly")
    with pytest.raises(ParamError, match="^other: "):
        viewer.maps(pixels, "similarity")


def test_the_class_that_a_run_answers(pair):
    viewer = Viewer(pair[1:], count=3, log=quiet)
    shown, = viewer.maps(viewer.images.pixels, "class")
    h = viewer.encoder(pair[1])((viewer.images.pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.25)
    best = viewer.classifier(pair[1])(h).softmax(1).max(1)
    assert shown.words == [f"{CLASSES[k]} {100 * share:.0f} %" for share, k in zip(*best, strict=True)]


def test_runs_of_other_images_are_refused(pair, tmp_path):
    other = runs.create(tmp_path, {"dataset": "x", "method": "m", "mixer": "n", "encoder": "e", "seed": 0},
                        Pretrain.check(method="simclr").resolved())
    with pytest.raises(CheckpointError, match="not finished"):
        Viewer([pair[0], other])
    (other.path / "result.json").write_text('{"status": "ok"}')
    with pytest.raises(ParamError, match="^runs: .*classes and image size"):
        Viewer([pair[0], other])
    with pytest.raises(ParamError, match="^runs: at least one"):
        Viewer([])


def test_changed_images_are_refused(tmp_path):
    dataset = folder_of_pictures(tmp_path / "pictures")
    run = finished_run(tmp_path / "runs", dataset)
    test = data.load(dataset, split="test", image_size=SIZE)
    result = run.result() | {"knn_split": "test", "queries_checksum": test.checksum}
    (run.path / "result.json").write_text(json.dumps(result))
    assert len(Viewer([run], log=quiet).images) == len(test)
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "pictures" / "test" / "eel" / "0.png")
    with pytest.raises(DataError, match="^queries_checksum: .*test images"):
        Viewer([run], log=quiet)


def test_titles_tell_runs_apart(pair):
    assert titles(pair) == ["untrained\nresnet10", "cross_entropy\nresnet10, 3\N{NO-BREAK SPACE}epochs"]
    twice = titles([pair[0], pair[0]])
    assert twice[0].endswith(pair[0].name[-8:])


@pytest.mark.parametrize("method, layer", [("activation", 4), ("class", 3), ("similarity", 2)])
def test_the_figure_has_a_row_for_an_image_and_a_column_for_a_run(pair, method, layer):
    figure = plots.attention(pair, images=3, method=method, layer=layer, power=4)
    figure.draw_without_rendering()
    axes = [ax for ax in figure.axes if ax.images]
    assert len(axes) == 3 * 3
    assert axes[0].get_ylabel() == r"<b>cat \$5 1" and f"layer {layer}" in figure.axes[-1].get_ylabel()


@pytest.mark.parametrize("rows", ["mosaics", "boxes"])
def test_bars_hold_the_scores(pair, records, rows):
    figure = plots.localisation(pair, records, rows=rows)
    figure.draw_without_rendering()
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    scores = [row["energy"] for record in records for row in record[rows] if row["layer"] == 4]
    assert sorted(heights) == pytest.approx(sorted(100 * score for score in scores))
