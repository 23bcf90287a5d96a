"""The attention explorer without a browser: what its widgets do when told to, pictures of one's own, and its page."""

import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from attention_runs import CLASSES, SIZE, finished_run, folder_of_pictures
from PIL import Image

from mixlab.attention import Viewer, activation_maps, normalise
from mixlab.errors import DataError, ParamError
from mixlab.explorers import attention, attention_page, write_attention_page
from mixlab.explorers.attention import MAPS, spread
from mixlab.explorers.attention_lab import MOST, Desk
from mixlab.explorers.pictures import LARGEST_BYTES, own_picture, rule
from mixlab.params import Visualize


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("attention")
    dataset = folder_of_pictures(folder / "pictures")
    return [finished_run(folder / "runs", dataset, "cross_entropy", seed, epochs=seed) for seed in (0, 1)]


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unlabelled")
    return finished_run(folder / "runs", folder_of_pictures(folder / "pictures", labelled=False))


@pytest.fixture
def desk(pair):
    return Desk(Viewer(pair, log=quiet), Visualize(attention_images=3))


def file_of(image, form="PNG", **settings):
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    return buffer.getvalue()


def send(desk, name, content):
    """What the browser sends when a person chose a file."""
    desk.receive(desk.picker, {"name": name}, [memoryview(content)])


# A picture of one's own

@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "CMYK", "I;16"])
def test_any_mode_becomes_an_image(mode):
    image = Image.new("I;16", (40, 30), 2**15) if mode == "I;16" else Image.new("RGB", (40, 30), "grey").convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    found = own_picture("a", file_of(image, form), 8)
    assert found.shape == (8, 8, 3) and found.dtype == torch.uint8
    if mode != "1":
        assert (found.int() - 128).abs().max() < 8


def test_transparency_is_put_on_white():
    image = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert (own_picture("a", file_of(image), 8) == 255).all()


def test_a_photograph_is_turned_and_its_centre_taken():
    image = Image.new("RGB", (30, 10))
    image.paste("white", (10, 0, 20, 5))  # upper half of the centre as stored
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn to the right: upper becomes right
    found = own_picture("a", file_of(image, "JPEG", exif=exif, quality=95), 10)[..., 0]
    assert found[:, 6:].min() > 200 and found[:, :4].max() < 60


NOISE = Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3))


@pytest.mark.parametrize("content, words", [
    (b"", "none of these"), (b"not a picture", "none of these"), (b"<svg xmlns='http://x.org/svg'/>", "none of these"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "none of these"),
    (file_of(NOISE)[:150], "got"), (file_of(NOISE, "JPEG")[:300], "got"),
    (file_of(Image.new("1", (10_000, 5_001))), "10000 x 5001 pixels"),
    (bytes(LARGEST_BYTES + 1), "8 MiB"),
], ids=["empty", "text", "svg", "eps", "half a png", "half a jpeg", "huge", "long"])
def test_a_file_that_is_no_picture_is_named(content, words):
    with pytest.raises(DataError, match=rf"^my \$file\.png: .*{words}"):
        own_picture("my $file.png", content, 8)


def test_the_rule_is_stated():
    assert "24 x 24" in rule(24) and "JPEG" in rule(24) and "8 MiB" in rule(24)


# Widgets

def values_of(desk, row, column):
    tile = desk.grid.scene["tiles"][row][column]
    found = np.frombuffer(base64.b64decode(tile["values"]), np.uint8)
    return found.reshape(tile["height"], tile["width"])


def test_the_grid_starts_as_the_parameters_say(desk, pair):
    assert [row["name"] for row in desk.grid.scene["rows"]] == [f"{name} 1" for name in CLASSES]
    assert desk.grid.scene["columns"] == desk.viewer.titles
    rows = desk.picker.chosen
    maps = normalise(activation_maps(desk.viewer.encoder(pair[1]), desk.pixels[rows], (4,), 2)[4])
    assert np.array_equal(values_of(desk, 2, 1), (maps[2] * 255).round().byte().numpy())
    assert values_of(desk, 2, 1).max() == 255 and desk.asked.disabled


def test_controls_change_the_maps(desk):
    before = values_of(desk, 0, 0).astype(int)
    desk.map.value = "activation-4"
    assert not np.array_equal(values_of(desk, 0, 0), before)
    desk.layer.value = 2
    assert values_of(desk, 0, 0).shape == (8, 8)
    assert "power 4" in desk.grid.scene["note"] and desk.grid.scene["picked"] == -1


def test_a_class_is_asked_for(desk):
    desk.map.value = "class"
    assert not desk.asked.disabled
    assert [tile[0]["words"].rsplit(" ", 2)[0] for tile in desk.grid.scene["tiles"]] == list(CLASSES)
    desk.asked.value = 2
    assert all(tile["words"].startswith("eel ") for row in desk.grid.scene["tiles"] for tile in row)
    desk.asked.value = -1
    answers = [tile["words"] for row in desk.grid.scene["tiles"] for tile in row]
    assert all(float(words.split()[-2]) >= 33 for words in answers)


def test_images_are_compared_with_the_picked_one(desk):
    desk.map.value = "similarity"
    assert desk.grid.scene["picked"] == 0 and desk.grid.scene["tiles"][0][0]["words"] == "cosine 1.00"
    first, _, third = desk.picker.chosen
    desk.grid.picked = third
    assert desk.grid.scene["picked"] == 2 and desk.grid.scene["tiles"][2][1]["words"] == "cosine 1.00"
    assert desk.grid.scene["positions"] == desk.picker.chosen  # what the page sends back of a row
    desk.picker.chosen = [one for one in desk.picker.chosen if one != first]
    assert desk.grid.scene["picked"] == 1, "another image took the place of the picked one"
    assert [row[0]["words"] == "cosine 1.00" for row in desk.grid.scene["tiles"]] == [False, True]
    desk.picker.chosen = [first]
    assert desk.grid.scene["picked"] == 0  # the picked image is not shown


def test_images_are_chosen(desk):
    desk.picker.chosen = [5, 1]
    assert [row["name"] for row in desk.grid.scene["rows"]] == [desk.names[5], desk.names[1]]
    desk.picker.chosen = []
    assert desk.grid.scene["rows"] == [] and "Choose" in desk.grid.scene["note"]
    desk.picker.chosen = [*range(MOST - 1), 11, 3]
    assert len(desk.grid.scene["rows"]) == MOST


def test_a_picture_of_ones_own_becomes_a_row(desk):
    send(desk, "<i>me</i>.png", file_of(Image.new("RGBA", (50, 70), (0, 90, 0, 255))))
    assert desk.grid.scene["rows"][-1]["name"] == "<i>me</i>.png"
    assert desk.picker.pictures["names"][-1] == "<i>me</i>.png" and len(desk.grid.scene["tiles"]) == 4
    desk.map.value = "class"  # it has no class of its own: the run's answer is asked for
    assert desk.grid.scene["tiles"][-1][0]["words"].endswith(" %")


def test_a_broken_file_is_said_and_changes_nothing(desk):
    before = desk.grid.scene
    send(desk, "broken\n<b>.png", b"GIF89a")
    assert desk.picker.message.startswith("broken\n<b>.png: an image") and desk.grid.scene == before
    send(desk, "good.png", file_of(Image.new("L", (9, 9))))
    assert desk.picker.message == "" and len(desk.grid.scene["rows"]) == 4


def test_trouble_with_a_run_is_said(desk, monkeypatch):
    def damaged(run):
        raise DataError("data_checksum: other images")

    monkeypatch.setattr(desk.viewer, "classifier", damaged)
    desk.map.value = "class"
    assert desk.picker.message == "data_checksum: other images"


def test_without_labels_no_class_is_offered(unlabelled):
    desk = Desk(Viewer([unlabelled], log=quiet), Visualize())
    assert "class" not in [value for _, value in desk.map.options] and len(desk.map.options) == len(MAPS) - 1
    assert desk.grid.scene["rows"][0]["name"] == "image 1"
    with pytest.raises(ParamError, match="^attention_method: activation or similarity, .*no labels"):
        attention(Visualize(attention_method="class", interactive=True), [unlabelled])


def test_widgets_for_a_person_and_nothing_without(pair):
    assert attention(Visualize(interactive=False), pair) is None
    assert len(attention(Visualize(interactive=True), pair).children) == 3


def test_spread_rows_are_different():
    assert spread(12, 4) == [0, 3, 6, 9] and spread(2, 4) == [0, 1] and spread(5, 5) == [0, 1, 2, 3, 4]


# The page

@pytest.fixture(scope="module")
def page(pair):
    return attention_page(pair, images=3, opacity=0.25, log=quiet)


def content_of(page):
    return json.loads(re.search(r"const DATA = (.*);\n", page).group(1))


def test_the_page_asks_for_nothing_and_escapes_names(page):
    assert not re.search(r"""//\w+\.|@import|url\(|fetch\(|http(?!-equiv)""", page)
    assert "<b>cat" not in page and "<i>" not in page
    assert content_of(page)["rows"][0]["name"] == f"{CLASSES[0]} 1" and content_of(page)["opacity"] == 0.25


def test_the_page_holds_every_map(page, pair):
    content = content_of(page)
    viewer = Viewer(pair, count=3, log=quiet)
    assert set(content["maps"]) == set(MAPS) and len(content["maps"]["similarity"]) == 3
    for power in (1, 4):
        for layer in (1, 3):
            stored = content["maps"][f"activation-{power}"]["layers"][str(layer)]
            found = np.frombuffer(base64.b64decode(stored["values"]), np.uint8).reshape(
                3, 2, stored["height"], stored["width"])
            shown = viewer.maps(viewer.images.pixels, "activation", (layer,), power=power)
            for column, one in enumerate(shown):
                assert np.array_equal(found[:, column], (one.values[layer] * 255).round().byte().numpy())
    assert content["maps"]["similarity"][1]["words"][1] == ["cosine 1.00"] * 2
    assert content["maps"]["class"]["words"][2][0].startswith("eel ")


def test_the_page_without_labels_has_no_class(unlabelled, tmp_path):
    write_attention_page(tmp_path / "attention.html", [unlabelled], images=2, log=quiet)
    page = (tmp_path / "attention.html").read_text()
    assert "class" not in content_of(page)["maps"] and "value='class'" not in page
    assert len(page) < 200_000 and SIZE == 16
