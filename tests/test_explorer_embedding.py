"""The embedding explorer: its widgets driven as a browser would, and the page that is its twin."""

import base64
import dataclasses
import html
import io
import itertools
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_clouds import fake_cloud
from PIL import Image

from mixlab import data, explorers
from mixlab.errors import ParamError
from mixlab.explorers import cards, colouring, twin
from mixlab.explorers.linked import Linked, in_html, in_plot
from mixlab.explorers.panes import NARROW

LIVE, HEADLESS = SimpleNamespace(interactive=True), SimpleNamespace(interactive=False)
HOSTILE = ("<script>alert(1)</script>", "$x^2$", "two\nlines", "\u202egnitirw", "&amp; ü")


@pytest.fixture(scope="module")
def images():
    return data.load("cifar10-mini", split="test")


@pytest.fixture(scope="module")
def hostile_images(images):
    labels = images.labels % len(HOSTILE)
    return dataclasses.replace(images, labels=labels, classes=HOSTILE)


@pytest.fixture
def pair(tmp_path, images):
    """Two runs that share some images: half of what either shows."""
    return [fake_cloud(tmp_path, images, 500, seed=s, level=v, name=n) for s, v, n in ((1, 0.9, "a"), (2, 0.5, "b"))]


def pointer(explorer, kind, points, loop=True):
    """What plotly's view sends: ``points`` are (trace, position in it)."""
    traces, inside = zip(*points, strict=True) if points else ((), ())
    selector = {"type": "lasso", "selector_state": {"xs": [0], "ys": [0]}} if kind == "selected" and loop else None
    explorer.panes.figure._js2py_pointsCallback = {
        "event_type": f"plotly_{kind}", "device_state": None, "selector": selector,
        "points": {"trace_indexes": list(traces), "point_indexes": list(inside), "xs": [0] * len(traces),
                   "ys": [0] * len(traces)}}


def trace_of(explorer, pane, place):
    """(trace, position in it) of a dot."""
    for slot, members in enumerate(explorer.panes.members[pane]):
        if place in members:
            return pane * explorer.panes.slots + slot, int(np.flatnonzero(members == place)[0])
    raise AssertionError(f"no dot for {place}")


def decoded(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def sources(text):
    return re.findall(r'src="(data:[^"]+)"', text)


def selected_images(explorer, pane):
    """Images that the figure shows as selected in one pane."""
    cloud, found = explorer.linked.clouds[pane], []
    for slot, members in enumerate(explorer.panes.members[pane]):
        found += cloud.index[members[list(explorer.panes.trace(pane, slot).selectedpoints or ())]].tolist()
    return sorted(found)


# --- hover


def test_hover_brings_the_image_under_the_pointer(tmp_path, images):
    cloud = fake_cloud(tmp_path, images, level=0.4)
    explorer = explorers.embedding(LIVE, [cloud])
    for place in (3, 150):
        pointer(explorer, "hover", [trace_of(explorer, 0, place)])
        card = explorer.card.value
        shown = [decoded(source) for source in sources(card)]
        assert f'data-image="{cloud.index[place]}"' in card and "width:128px" in card
        assert (shown[0] == images.pixels.numpy()[cloud.index[place]]).all()
        near = cloud.neighbours[place][:cards.NEIGHBOURS]
        assert len(shown) == 1 + len(near)
        assert all((a == cloud.pixels[n]).all() for a, n in zip(shown[1:], near, strict=True))
        strangers = int((cloud.labels[near] != cloud.labels[place]).sum())
        assert card.count('<figure><img class="mixlab-wrong"') == strangers
        assert f"<h4><bdi>{images.classes[cloud.labels[place]]}" in card
        assert f"{100 * cloud.purity[place]:.0f} % of its 10 nearest" in card
        assert images.classes[cloud.predictions[place]] in card.partition("kNN says")[2].partition("</div>")[0]


def test_a_mistake_is_marked(tmp_path, images):
    cloud = fake_cloud(tmp_path, images, level=0.3)
    wrong = colouring.mistakes(cloud)
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.hover(0, int(np.flatnonzero(wrong)[0]))
    assert 'kNN says <b class="mixlab-wrong">' in explorer.card.value and "✗" in explorer.card.value
    explorer.hover(0, int(np.flatnonzero(~wrong)[0]))
    assert 'kNN says <b><bdi>' in explorer.card.value and "✓" in explorer.card.value


def test_lines_lead_to_the_true_neighbours(tmp_path, images):
    cloud = fake_cloud(tmp_path, images)
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.hover(0, 7)
    lines, ring = explorer.panes.figure.layout.shapes
    ends = [tuple(map(float, end.split(","))) for end in re.findall(r"L ([^ ]+)", lines.path)]
    assert np.allclose(ends, cloud.maps[-1][cloud.neighbours[7]], rtol=1e-4)
    assert np.allclose([(ring.x0 + ring.x1) / 2, (ring.y0 + ring.y1) / 2], cloud.maps[-1][7], rtol=1e-4)
    assert ring.xsizemode is None  # a ring sized in pixels moves the loops that plotly reports


def test_runs_are_linked_by_image_not_by_position(pair):
    explorer = explorers.embedding(LIVE, pair)
    shared = np.intersect1d(pair[0].index, pair[1].index)
    image = int(next(i for i in shared if np.searchsorted(pair[0].index, i) != np.searchsorted(pair[1].index, i)))
    at = [int(np.flatnonzero(cloud.index == image)[0]) for cloud in pair]
    pointer(explorer, "hover", [trace_of(explorer, 1, at[1])])
    assert f'data-image="{image}"' in explorer.card.value and explorer.card.value.count("<section>") == 2
    assert (decoded(sources(explorer.card.value)[0]) == pair[0].pixels[at[0]]).all()
    rings = [s for s in explorer.panes.figure.layout.shapes if s.type == "circle"]
    assert [r.xref for r in rings] == ["x", "x2"]
    for ring, cloud, place in zip(rings, pair, at, strict=True):
        assert np.isclose((ring.x0 + ring.x1) / 2, cloud.maps[-1][place, 0], rtol=1e-4)
    lines = [s.path for s in explorer.panes.figure.layout.shapes if s.type == "path"]
    for path, cloud, place in zip(lines, pair, at, strict=True):
        ends = [tuple(map(float, end.split(","))) for end in re.findall(r"L ([^ ]+)", path)]
        assert np.allclose(ends, cloud.maps[-1][cloud.neighbours[place]], rtol=1e-4, atol=1e-4)


def test_an_image_that_only_one_run_shows(pair):
    explorer = explorers.embedding(LIVE, pair)
    own = int(np.setdiff1d(pair[1].index, pair[0].index)[0])
    explorer.hover(1, int(np.flatnonzero(pair[1].index == own)[0]))
    assert explorer.card.value.count("<section>") == 1 and f'data-image="{own}"' in explorer.card.value
    assert {s.xref for s in explorer.panes.figure.layout.shapes} == {"x2"}


# --- selection


def test_a_loop_shows_and_saves_the_images(tmp_path, images):
    cloud = fake_cloud(tmp_path, images)
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.name.value = "../my pick"
    places = list(range(10, 140))
    pointer(explorer, "selected", [trace_of(explorer, 0, p) for p in places])
    assert explorer.selected == tuple(cloud.index[places].tolist())
    record = json.loads((cloud.run.path / "selections" / "my_pick.json").read_text())
    assert record["index"] == cloud.index[places].tolist() and record["dataset"] == "cifar10-mini"
    assert "my_pick.json" in explorer.note.value
    assert 'data-count="130"' in explorer.sheet.value and len(sources(explorer.sheet.value)) == cards.SHOWN
    counts = [int(n.replace(",", "")) for n in re.findall(r"<span>([\d,]+)</span></div>", explorer.sheet.value)]
    assert counts == sorted(np.bincount(cloud.labels[places])[np.unique(cloud.labels[places])].tolist(), reverse=True)
    wrong = colouring.mistakes(cloud)[places].mean()
    assert f"{100 * wrong:.0f} % mistaken" in explorer.sheet.value
    pointer(explorer, "deselect", [])
    assert explorer.selected == () and explorer.sheet.value == "" and explorer.note.value.count("images") == 0


def test_a_loop_selects_the_same_images_in_both_runs(pair):
    explorer = explorers.embedding(LIVE, pair)
    places = list(range(5, 105))
    pointer(explorer, "selected", [trace_of(explorer, 1, p) for p in places])
    chosen = pair[1].index[places].tolist()
    assert selected_images(explorer, 1) == chosen
    assert selected_images(explorer, 0) == np.intersect1d(chosen, pair[0].index).tolist() != []
    assert (pair[1].run.path / "selections" / "selection.json").is_file()


def test_the_drawn_loop_goes_and_what_it_chose_stays(tmp_path, images):
    """plotly chooses anew by a loop that stays, and forgets the choice when it goes; neither may reach the user."""
    cloud = fake_cloud(tmp_path, images)
    explorer = explorers.embedding(LIVE, [cloud])
    figure, said = explorer.panes.figure, []
    figure.observe(lambda change: change.new and said.append(("layout", change.new)), "_py2js_relayout")
    figure.observe(lambda change: change.new and said.append(("traces", change.new)), "_py2js_restyle")
    pointer(explorer, "selected", [trace_of(explorer, 0, p) for p in (4, 5)])
    assert said == []  # one drawing for all traces, by an update
    figure._js2py_relayout = {"relayout_data": {"selections": [{"type": "path", "path": "M0,0L1,1L0,1Z"}]},
                              "source_view_id": "1"}
    assert [kind for kind, _ in said] == ["layout", "traces"]
    assert said[0][1]["relayout_data"] == {"selections": []}
    assert sum(len(s or ()) for s in said[1][1]["restyle_data"]["selectedpoints"]) == 2
    pointer(explorer, "selected", [], loop=False)
    assert len(explorer.selected) == 2 and selected_images(explorer, 0) == list(explorer.selected)


def test_a_folder_that_cannot_be_written_is_said(tmp_path, images):
    cloud = fake_cloud(tmp_path, images)
    (cloud.run.path / "selections").write_text("a file")
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.select(0, np.array([1, 2]))
    assert "not saved" in explorer.note.value and explorer.selected == tuple(cloud.index[[1, 2]].tolist())


# --- colours, mistakes, epochs, maps


@pytest.mark.parametrize("title", ["label", "prediction", "right or wrong", "neighbour purity"])
def test_colours_part_the_points(tmp_path, images, title):
    cloud = fake_cloud(tmp_path, images, level=0.4)
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.colour.value = title
    values = colouring.colourings(cloud)[title].values
    drawn = [t for t in explorer.panes.figure.data if t.visible]
    assert len(drawn) == len(colouring.colourings(cloud)[title].names)
    for value, trace in enumerate(drawn):
        assert np.array_equal(trace.x, cloud.maps[-1][values == value, 0])
    assert sum(len(t.x) for t in explorer.panes.figure.data) == len(cloud)


def test_what_the_legend_hides_stays_hidden_while_it_goes_by_its_name(pair):
    explorer = explorers.embedding(LIVE, pair)
    for pane in (0, 1):
        explorer.panes.trace(pane, 3).visible = "legendonly"  # as the legend of the page does, by group
    explorer.only.value = True
    assert [explorer.panes.trace(pane, 3).visible for pane in (0, 1)] == ["legendonly"] * 2
    assert explorer.panes.trace(0, 2).visible is True
    explorer.colour.value = "right or wrong"
    explorer.colour.value = "label"
    assert explorer.panes.trace(0, 3).visible is True, "another colouring starts afresh"


def test_purity_bands():
    assert colouring._band([0, 0.19, 0.2, 0.6, 3 / 5, 0.99, 1]).tolist() == [0, 0, 1, 3, 3, 4, 4]


def test_only_mistakes(tmp_path, images):
    cloud = fake_cloud(tmp_path, images, level=0.4)
    explorer = explorers.embedding(LIVE, [cloud])
    explorer.only.value = True
    wrong = np.flatnonzero(cloud.predictions != cloud.labels)
    assert sorted(np.concatenate(explorer.panes.members[0]).tolist()) == wrong.tolist() != []
    pointer(explorer, "hover", [trace_of(explorer, 0, wrong[-1])])
    assert f'data-image="{cloud.index[wrong[-1]]}"' in explorer.card.value


def test_the_slider_moves_the_dots_and_nothing_else(pair):
    explorer = explorers.embedding(LIVE, pair)
    explorer.select(0, np.arange(20))
    before, sent = explorer.panes.figure.to_dict(), []
    for way in ("_py2js_relayout", "_py2js_restyle", "_py2js_update"):
        explorer.panes.figure.observe(lambda change: change.new and sent.append(change.new), way)
    explorer.slider.value = 0
    assert len(sent) == 1 and set(sent[0]["style_data"]) == {"x", "y"} and set(sent[0]["layout_data"]) <= {"shapes"}
    after = explorer.panes.figure.to_dict()
    for a, b in zip(before["data"], after["data"], strict=True):
        assert {k: v for k, v in a.items() if k not in "xy"} == {k: v for k, v in b.items() if k not in "xy"}
    x = np.concatenate([explorer.panes.trace(1, s).x for s in range(explorer.panes.slots)])
    assert np.array_equal(np.sort(x), np.sort(pair[1].maps[0][:, 0]))
    assert "epoch 0" in explorer.epoch.value and "quality of epoch 20" in explorer.epoch.value
    assert explorer.play.value == 2  # where Play stands when it is linked; the browser moves both


def test_axes_hold_every_epoch(tmp_path, images):
    cloud = fake_cloud(tmp_path, images)
    figure = explorers.embedding(LIVE, [cloud]).panes.figure
    for axis, i in ((figure.layout.xaxis, 0), (figure.layout.yaxis, 1)):
        assert axis.range[0] < cloud.maps[..., i].min() and axis.range[1] > cloud.maps[..., i].max()


def test_another_map_is_computed_once(pair):
    calls = []

    def project(cloud, kind):
        calls.append((cloud.run.name, kind))
        assert "computing" in explorer.note.value
        return dataclasses.replace(cloud, kind=kind, maps=cloud.maps * 100)

    explorer = explorers.embedding(LIVE, pair, project)
    explorer.kind.value = "tsne"
    assert calls == [("a", "tsne"), ("b", "tsne")] and "computing" not in explorer.note.value
    layout = explorer.panes.figure.layout
    assert layout.xaxis.range[1] > 100 and "t-SNE" in layout.annotations[0].text
    for kind in ("pca", "tsne"):
        explorer.kind.value = kind
    assert len(calls) == 2
    assert np.abs(explorer.panes.trace(0, 0).x).max() > 50


def test_a_map_that_fails_is_said_and_the_old_one_stays(tmp_path, images):
    def project(cloud, kind):
        raise ImportError("no <umap> here")

    explorer = explorers.embedding(LIVE, [fake_cloud(tmp_path, images)], project)
    explorer.kind.value = "umap"
    assert explorer.kind.value == "pca" and "No UMAP map: no &lt;umap&gt; here" in explorer.note.value


def test_two_maps_stand_above_each_other_where_it_is_narrow(pair):
    panes = explorers.embedding(LIVE, pair).panes
    heights = []
    for width in (1000, NARROW - 1, 0):
        panes.width.width = width
        heights.append((panes.figure.layout.width, panes.figure.layout.height))
    assert heights == [(1000, 440), (NARROW - 1, 880), (NARROW - 1, 880)]
    assert panes.figure.layout.yaxis.domain[0] > panes.figure.layout.yaxis2.domain[1]


# --- many classes, no labels, hostile names


def many(images, count=100):
    labels = torch.arange(len(images)) % count
    return dataclasses.replace(images, labels=labels, classes=tuple(f"class {i}" for i in range(count)))


def test_of_many_classes_some_are_picked_out(tmp_path, images):
    cloud = fake_cloud(tmp_path, many(images), 400)
    explorer = explorers.embedding(LIVE, [cloud])
    names = [t.name for t in explorer.panes.figure.data if t.visible]
    assert names[0] == "other classes" and len(names) == 1 + colouring.PICKED
    explorer.picked.value = (3, 97)
    drawn = [t for t in explorer.panes.figure.data if t.visible]
    assert [t.name for t in drawn] == ["other classes", "class 3", "class 97"]
    assert np.array_equal(drawn[2].x, cloud.maps[-1][cloud.labels == 97, 0])
    assert sum(len(t.x) for t in drawn) == len(cloud)


def test_marks_differ():
    marks = [colouring.mark(i) for i in range(colouring.MOST)]
    assert len(set(marks)) == colouring.MOST == 20 and len(set(colouring.PALETTE)) == 10


def test_colours_are_told_apart_by_colour_blind_readers():
    """Lightness or hue differ for normal, red-blind and green-blind sight (Machado et al. 2009, severity 1)."""
    sights = ([[1, 0, 0], [0, 1, 0], [0, 0, 1]],
              [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
              [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]])
    rgb = np.array([[int(c[i:i + 2], 16) / 255 for i in (1, 3, 5)] for c in colouring.PALETTE])
    for sight in sights:
        seen = [lab(np.clip(np.array(sight) @ linear(c), 0, 1)) for c in rgb]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 17


def linear(c):
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(c):
    x = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ c
    f = np.cbrt(x / [0.9505, 1, 1.089])
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_images_without_labels(tmp_path, images):
    cloud = fake_cloud(tmp_path, dataclasses.replace(images, labels=None, classes=()))
    explorer = explorers.embedding(LIVE, [cloud])
    assert explorer.colour.options == ("one colour",) and explorer.only.disabled
    explorer.hover(0, 5)
    explorer.select(0, np.arange(9))
    assert "no label" in explorer.card.value and 'data-count="9"' in explorer.sheet.value
    assert "mistaken" not in explorer.sheet.value
    assert "<!doctype html>" in explorers.embedding_page([cloud], "none")


def test_hostile_names_stay_text(tmp_path, hostile_images):
    name = "run $a$ <img src=x onerror=alert(1)>"
    cloud = fake_cloud(tmp_path, hostile_images, name=name)
    explorer = explorers.embedding(LIVE, [cloud, dataclasses.replace(cloud, layer="projection")])
    explorer.hover(0, 3)
    explorer.select(0, np.arange(150))
    shown = explorer.card.value + explorer.sheet.value + explorer.note.value
    assert "<script" not in shown and "<img src=x" not in shown and "\u202e" not in shown
    assert html.escape(HOSTILE[0]) in shown and "two lines" in shown and "&amp;amp; ü" in shown
    layout = explorer.panes.figure.layout
    texts = [t.name for t in explorer.panes.figure.data if t.name] + [a.text for a in layout.annotations]
    assert not [t for t in texts if "$" in t or "\n" in t or "<script" in t or "<img" in t]
    assert "&#36;x^2&#36;" in texts


def test_texts():
    assert in_plot("a<b>$x$&") == "a&#60;b&#62;&#36;x&#36;&#38;"
    assert in_html("a\n<b>\u2066") == "<bdi>a &lt;b&gt;</bdi>"
    assert in_html("x" * 100, 21) == f"<bdi>{'x' * 10}…{'x' * 10}</bdi>"


# --- what is refused, and headless


def test_what_is_refused(tmp_path, pair):
    with pytest.raises(ParamError, match="clouds: one or two; got 3"):
        Linked([*pair, pair[0]])
    with pytest.raises(ParamError, match="clouds: one or two; got 0"):
        explorers.embedding(HEADLESS, [])
    with pytest.raises(ParamError, match="on the same images"):
        Linked([pair[0], dataclasses.replace(pair[1], checksum="other")])


def test_validation_images_of_two_seeds_are_never_linked(pair):
    """Both have the checksum of the training set they were taken from, and number their own images from 0."""
    one, other = (dataclasses.replace(cloud, split="val") for cloud in pair)
    assert len(Linked([one, other]).clouds) == 2, "the same images"
    shared, _, there = np.intersect1d(one.index, other.index, return_indices=True)
    assert len(shared) > 100
    pixels, labels = other.pixels.copy(), other.labels.copy()
    pixels[there[0]] = 255 - pixels[there[0]]
    labels[there[-1]] = (labels[there[-1]] + 1) % 10
    for changed in ({"pixels": pixels}, {"labels": labels}, {"labels": None}, {"split": "test"}):
        strange = dataclasses.replace(other, **changed)
        with pytest.raises(ParamError, match="clouds: runs looked at on the same images; .*epochs last"):
            explorers.embedding(LIVE, [one, strange])
        with pytest.raises(ParamError, match="clouds: runs looked at on the same images"):
            explorers.embedding_page([one, strange], "t")


def test_how_far_to_believe_a_map_says_how_much_of_it_was_measured(pair):
    part = dataclasses.replace(pair[0], quality=pair[0].quality | {"points": 100})
    shown = explorers.embedding(LIVE, [pair[0], part]).panes.figure.layout
    assert "kept 41 %" in shown.xaxis.title.text and "measured" not in shown.xaxis.title.text
    assert "(measured on 100 points)" in shown.xaxis2.title.text
    assert "(measured on 100 points)" in page_data(explorers.embedding_page([part], "t"))["clouds"][0]["verdict"]


def test_headless_there_are_no_widgets(pair):
    assert explorers.embedding(HEADLESS, pair) is None


def test_nothing_offers_to_upload(pair):
    config = explorers.embedding(LIVE, pair).panes.figure._config
    assert config["showSendToCloud"] is False and config["plotlyServerURL"] == "" and config["displaylogo"] is False


# --- the page


def page_data(page):
    return json.loads(re.search(r"const DATA = (\{.*\});\n", page).group(1))


def test_the_page_knows_what_the_clouds_know(pair):
    page = explorers.embedding_page(pair, "<b> & title")
    known = page_data(page)
    assert "<title>&lt;b&gt; &amp; title</title>" in page
    numbers = np.array(known["sheet"]["numbers"])
    for cloud, one in zip(pair, known["clouds"], strict=True):
        assert numbers[one["images"]].tolist() == cloud.index.tolist()
        assert one["labels"] == cloud.labels.tolist() and one["predictions"] == cloud.predictions.tolist()
        assert one["neighbours"] == cloud.neighbours[:, :cards.NEIGHBOURS].tolist()
        x = np.array(one["maps"][0]["x"])
        low, high = cloud.maps[..., 0].min(), cloud.maps[..., 0].max()
        assert np.abs(low + x / 10_000 * (high - low) - cloud.maps[0, :, 0]).max() <= (high - low) / 10_000
    assert known["epochs"] == [0, 10, 20] and [c["name"] for c in known["clouds"]] == ["a", "b"]


def test_the_sheet_of_the_page_holds_each_image_at_its_place(pair):
    sheet = page_data(explorers.embedding_page(pair, "t"))["sheet"]
    picture = decoded(sheet["source"]).astype(int)
    width, height = sheet["size"]
    for cloud, place in ((pair[0], 0), (pair[1], 77), (pair[1], 499)):
        row, column = divmod(sheet["numbers"].index(cloud.index[place]), sheet["columns"])
        tile = picture[row * height:(row + 1) * height, column * width:(column + 1) * width]
        assert np.abs(tile - cloud.pixels[place]).mean() < 12


def test_large_images_are_made_smaller_for_the_page(tmp_path, images, monkeypatch):
    from mixlab.explorers import embedding_twin
    monkeypatch.setattr(embedding_twin, "SHEET_PIXELS", 200 * 16 * 16)
    sheet = page_data(explorers.embedding_page([fake_cloud(tmp_path, images)], "t"))["sheet"]
    assert sheet["size"] == [16, 16] and decoded(sheet["source"]).shape == (14 * 16, 15 * 16, 3)


def test_the_page_asks_for_nothing(tmp_path, hostile_images):
    cloud = fake_cloud(tmp_path, hostile_images)
    path = explorers.write_embedding_page(tmp_path / "page.html", [cloud], "t")
    page = path.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page).group(1)
    assert policy.startswith("default-src 'none'") and "http" not in policy
    own = page[:page.index("<script>")] + page[page.index("const DATA"):]  # plotly.js itself names addresses
    assert "<script>alert" not in own and "src=" not in own.partition("const DATA")[0]
    assert len(re.findall("</script>", own)) == 1
    assert "unsafe-eval" not in twin.page("t", "", {}, "")
