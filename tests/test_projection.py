"""Maps, their quality, and clouds of real tiny runs."""

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
import warnings
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mixlab import data, plots, runs, snapshots
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.evaluate import Protocol, evaluate, knn_predict
from mixlab.files import write_json
from mixlab.params import Pretrain, load_splits
from mixlab.projection import cloud, fit, maps, nearest_neighbours, quality, remap, sources
from mixlab.train import train

KINDS = ["pca", "tsne", pytest.param("umap", marks=pytest.mark.slow)]
OPEN_TSNE = importlib.util.find_spec("openTSNE") is not None


def quiet(line):
    """Takes a line of log and drops it."""


def points(count=60, width=8, seed=0):
    """Three well separated groups."""
    draw = np.random.Generator(np.random.Philox(seed))
    centres = 6 * draw.normal(size=(3, width))
    return (centres[np.arange(count) % 3] + draw.normal(size=(count, width))).astype(np.float32)


@pytest.fixture(params=["scikit-learn", pytest.param("openTSNE", marks=pytest.mark.skipif(
    not OPEN_TSNE, reason="openTSNE is not installed"))])
def which_tsne(request, monkeypatch):
    if request.param == "scikit-learn":
        monkeypatch.setattr(maps, "find_spec", lambda name: None)
    return request.param


NOWHERE = """
    import numpy as np
    from mixlab.projection import fit
    print(fit(np.random.Generator(np.random.Philox(0)).normal(size=(40, 8)), "umap").coordinates.shape)
"""


@pytest.mark.slow
def test_umap_runs_where_numba_finds_no_folder_for_its_cache():
    """Neither beside its source nor at home, as in a container whose user owns nothing."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    environment |= {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator,UserWideCacheLocator",
                    "XDG_CACHE_HOME": os.devnull}
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(NOWHERE)], env=environment, capture_output=True,
                          text=True)
    assert done.stdout == "(40, 2)\n", done.stderr


def test_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    features = points(80, 20)
    expected = PCA(2, svd_solver="full").fit(features.astype(np.float64))
    found = fit(features, "pca")
    assert np.abs(np.abs(found.coordinates) - np.abs(expected.transform(features))).max() < 1e-4
    other = points(9, 20, seed=1)
    signs = np.sign((found.coordinates * expected.transform(features)).sum(0))
    assert np.abs(found.transform(other) - signs * expected.transform(other)).max() < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_equal_features_give_equal_maps_and_stay_in_place(kind):
    features = points()
    one, two = fit(features, kind, seed=3), fit(features, kind, seed=3)
    assert np.array_equal(one.coordinates, two.coordinates) and one.coordinates.shape == (60, 2)
    assert one.coordinates.dtype == np.float32 and np.array_equal(one.transform(features[::-1]), one.coordinates[::-1])
    near = one.transform(features + 1e-4)
    assert np.linalg.norm(near - one.coordinates, axis=1).mean() < 0.25 * one.coordinates.std()
    assert np.array_equal(near, two.transform(features + 1e-4))
    again = one.transform(features + 2e-4)
    assert np.linalg.norm(again - near, axis=1).mean() < 0.25 * one.coordinates.std(), "placing points moved the map"


def test_each_tsne_says_who_made_it_and_places_new_points_near(which_tsne):
    features = points()
    found = fit(features, "tsne")
    assert which_tsne.lower() in found.made_by.lower()
    new = found.transform(points(seed=0) + np.float32(0.05))
    nearest_group = [np.linalg.norm(found.coordinates - p, axis=1).argmin() % 3 for p in new]
    assert np.mean(np.array(nearest_group) == np.arange(60) % 3) > 0.9
    assert np.abs(new).max() <= 1.5 * np.abs(found.coordinates).max()
    moved = np.linalg.norm(found.transform(features + np.float32(1e-4)) - found.coordinates, axis=1)
    assert moved.mean() < {"scikit-learn": 1e-3, "openTSNE": 0.1}[which_tsne] * found.coordinates.std()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("features", [np.ones((9, 4)), np.zeros((9, 4)), np.repeat(np.eye(2), 5, 0),
                                      np.arange(9.0)[:, None]], ids=["constant", "zero", "two values", "one number"])
def test_poor_features_give_finite_coordinates_without_a_warning(kind, features):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", RuntimeWarning)
        found = fit(features, kind)
        assert np.isfinite(found.coordinates).all() and np.isfinite(found.transform(features + 1)).all()
        measured = quality(features, found.coordinates)
    if np.ptp(features) == 0:
        assert np.ptp(found.coordinates) == 0 and measured["trustworthiness"] is None


@pytest.mark.parametrize("count", [5, 7])
def test_few_points_are_enough(which_tsne, count):
    assert np.isfinite(fit(points(count), "tsne").coordinates).all()


@pytest.mark.parametrize(("features", "kind", "error", "message"), [
    (points(4), "tsne", DataError, "features: at least 5 rows for tsne; got 4 .*or kind pca"),
    (points(4), "umap", DataError, "features: at least 5 rows for umap"),
    (points(1), "pca", DataError, "features: at least 2 rows"),
    (points(9), "u-map", ParamError, 'kind: one of pca, tsne, umap; got .u-map. .*Did you mean "umap"'),
    (np.ones(5), "pca", DataError, "features: rows of numbers"),
    (np.where(np.arange(9)[:, None] == 4, np.nan, points(9)), "pca", DataError, r"features\[4\]: finite numbers")])
def test_what_cannot_be_mapped_is_named(features, kind, error, message):
    with pytest.raises(error, match=message):
        fit(features, kind)


def test_features_of_another_width_are_refused():
    with pytest.raises(ParamError, match=r"features: \(M, 8\)"):
        fit(points(), "pca").transform(points(width=7))


def test_quality_is_1_for_an_isometric_copy_and_chance_for_a_shuffled_one():
    draw = np.random.Generator(np.random.Philox(0))
    flat = draw.normal(size=(300, 2))
    turned = flat @ np.linalg.qr(draw.normal(size=(5, 5)))[0][:2]
    kept = quality(turned, flat)
    assert kept["trustworthiness"] == pytest.approx(1) and kept["neighbours_kept"] == 1
    lost = quality(turned, draw.permutation(flat))
    assert abs(lost["trustworthiness"] - 0.5) < 0.05 and abs(lost["neighbours_kept"] - 10 / 299) < 0.02
    assert (lost["k"], lost["points"]) == (10, 300)


def test_quality_looks_at_the_near_not_at_the_far():
    """A line bent to an open circle: who is near stays near, who is far does not stay far."""
    place = np.arange(100.0)
    circle = np.stack([np.cos(place / 17), np.sin(place / 17)], 1)
    measured = quality(place[:, None], circle, k=4)
    assert measured["neighbours_kept"] > 0.95 and measured["trustworthiness"] > 0.95


def test_quality_says_how_many_points_it_used():
    features = points(90)
    assert quality(features, features[:, :2], most=40)["points"] == 40
    assert quality(features[:9], features[:9, :2])["k"] == 4
    assert quality(features[:2], features[:2, :2])["neighbours_kept"] is None
    assert quality(features, features[:, :2], most=40) == quality(features, features[:, :2], most=40)
    for wrong in ({"k": 0}, {"most": 2}, {"k": True}):
        with pytest.raises(ParamError, match="a whole number >= "):
            quality(features, features[:, :2], **wrong)


def test_neighbours_are_those_of_brute_force():
    features = points(40)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = unit @ unit.T - 9 * np.eye(40)
    assert np.array_equal(nearest_neighbours(features, 5), np.argsort(-similarity, axis=1, kind="stable")[:, :5])
    assert nearest_neighbours(features, 99).shape == (40, 39)


def test_a_point_is_never_its_own_neighbour_across_chunks():
    found = nearest_neighbours(points(1030), 3)
    assert not (found == np.arange(1030)[:, None]).any()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A tiny run with an evaluation, and snapshots of two epochs, 30 test images altogether."""
    folder, patch, whole = tmp_path_factory.mktemp("runs"), pytest.MonkeyPatch(), data.load

    def fewer(name, data_dir=None, *, split="train", image_size=None, skip_broken=False):
        images = whole(name, data_dir, split=split, image_size=image_size, skip_broken=skip_broken)
        return data.take(images, 30, 0, "test") if split == "test" else images

    patch.setattr(data, "load", fewer)
    params = Pretrain.check(method="supcon", train_size=24, batch_size=8, epochs=1, knn_every=0, warmup_epochs=0,
                            snapshot_every=0, precision="fp32", runs_dir=str(folder))
    run = train(params, log=quiet)
    evaluate(run, Protocol(probes=(), few_label_fractions=(), geometry=False), log=quiet)
    yield run
    patch.undo()


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run that a test may damage."""
    shutil.copytree(trained.path, tmp_path / trained.name, ignore=shutil.ignore_patterns("*.pt"))
    return runs.Run(tmp_path / trained.name)


def follow(run, epochs=(0, 1)):
    """Snapshots of the finished encoder, called those of ``epochs``: nothing changes between them."""
    encoder, splits = runs.load_encoder(run), load_splits(run.params())
    for epoch in epochs:
        snapshots.record(run, encoder, splits, epoch)


def test_a_cloud_of_an_evaluated_run(run, monkeypatch):
    monkeypatch.setattr(runs, "load_encoder", None)
    found, stored = cloud(run, kind="pca", points=1000), np.load(run.path / "embeddings.npz")
    images = data.load("cifar10-mini", split="test")
    assert len(found) == 30 and found.epochs == (1,) and found.maps.shape == (1, 30, 2) and found.run == run
    assert np.array_equal(found.pixels, images.pixels.numpy()) and np.array_equal(found.labels, images.labels)
    assert np.array_equal(found.predictions, stored["knn_predictions"]) and found.checksum == images.checksum
    assert np.array_equal(found.neighbours, nearest_neighbours(stored["encoder"], 10))
    shares = [np.mean([found.labels[j] == found.labels[i] for j in row]) for i, row in enumerate(found.neighbours)]
    assert found.purity == pytest.approx(shares) and found.classes == images.classes
    assert found.quality["points"] == 30 and found.dataset == "cifar10-mini"
    fewer = cloud(run, points=12)
    assert len(fewer) == 12 and np.array_equal(fewer.predictions, stored["knn_predictions"][fewer.index])
    assert cloud(run, layer="projection").features.shape[2] == stored["projection"].shape[1]


def test_a_cloud_without_an_evaluation_encodes_and_asks_knn(run):
    expected = cloud(run)
    (run.path / "embeddings.npz").write_bytes(b"torn")
    lines = []
    found = cloud(run, points=12, neighbours=3, log=lines.append)
    assert "encoding 24 training images" in lines[0] and found.neighbours.shape == (12, 3)
    assert np.abs(found.features[0] - expected.features[0][found.index]).max() < 1e-3
    assert (found.predictions == expected.predictions[found.index]).mean() > 0.9
    assert np.array_equal(found.pixels, expected.pixels[found.index])
    parts = sources.own_images(run)
    features = sources.Features(runs.load_encoder(run), parts)
    asked = knn_predict(features.of("train"), parts["train"].labels, features.of("test"), 10, 24)
    assert np.array_equal(found.predictions, asked[found.index])


def test_one_map_for_all_epochs(run):
    follow(run)
    found = cloud(run, kind="tsne")
    assert found.epochs == (0, 1) and np.array_equal(*found.maps) and np.ptp(found.maps[0]) > 0
    encoder, splits = runs.load_encoder(run), load_splits(run.params())
    torch.nn.init.constant_(encoder.layers[3][0].bn2.weight, 0.3)
    snapshots.record(run, encoder, splits, 0)
    moved = cloud(run, kind="tsne")
    assert np.array_equal(moved.maps[1], found.maps[1]) and not np.array_equal(moved.maps[0], found.maps[0])
    assert cloud(run, epochs="last").epochs == (1,) and cloud(run, layer="projection").epochs == (1,)
    assert np.array_equal(remap(moved, "pca").maps, cloud(run, kind="pca").maps)


def test_snapshots_that_stop_early_are_refused(run):
    follow(run, (0,))
    with pytest.raises(CheckpointError, match="a snapshot of the last epoch, 1; got up to epoch 0"):
        cloud(run)


def changed(run, **values):
    write_json(run.path / "result.json", run.result() | values)


@pytest.mark.parametrize(("values", "error", "message"), [
    ({"data_checksum": "0" * 64}, DataError, "data_checksum: 000000000000..., that of the images"),
    ({"queries_checksum": "0" * 64}, DataError, "queries_checksum: 000000000000..., that of the test images"),
    ({"status": "interrupted"}, CheckpointError, "is interrupted, not finished")])
def test_other_images_and_unfinished_runs_are_refused(run, values, error, message):
    changed(run, **values)
    with pytest.raises(error, match=message):
        cloud(run)


@pytest.mark.parametrize(("values", "message"), [
    ({"layer": "encodr"}, 'layer: one of encoder, projection; .*Did you mean "encoder"'),
    ({"kind": "tSNE2"}, 'kind: one of .*Did you mean "tsne"'), ({"points": 1}, "points: a whole number >= 2"),
    ({"neighbours": 0}, "neighbours: a whole number >= 1"), ({"epochs": "lats"}, 'Did you mean "last"')])
def test_values_outside_their_range_are_refused_before_any_work(run, values, message, monkeypatch):
    monkeypatch.setattr(data, "load_splits", None)
    with pytest.raises(ParamError, match=message):
        cloud(run, **values)


def test_the_control_has_no_projection(run):
    write_json(run.path / "params.json", run.params() | {"method": "cross_entropy"})
    with pytest.raises(ParamError, match="layer: encoder, because .* has no projector"):
        cloud(run, layer="projection")


def test_features_that_are_not_finite_are_refused(run, monkeypatch):
    monkeypatch.setattr(snapshots, "features", lambda encoder, pixels, precision: torch.full((30, 4), torch.nan))
    follow(run)
    with pytest.raises(CheckpointError, match="encoder: finite features; got NaN or infinity for 30 images"):
        cloud(run)


def test_collapsed_features_make_a_finite_cloud(run, monkeypatch):
    monkeypatch.setattr(snapshots, "features", lambda encoder, pixels, precision: torch.ones(30, 4))
    follow(run)
    for kind in ("pca", "tsne"):
        found = cloud(run, kind=kind)
        assert np.isfinite(found.maps).all() and found.quality["neighbours_kept"] is None


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


def test_pictures_say_what_can_be_believed(run):
    one = cloud(run)
    figure = plots.embedding([one, replace(one, labels=None, predictions=None, purity=None)])
    assert f"trustworthiness {one.quality['trustworthiness']:.2f}, 10 nearest kept" in texts(figure)
    assert "airplane" in texts(figure) and len(figure.axes) == 2
    assert "wrong" in texts(plots.embedding(one, "right/wrong"))
    many = replace(one, classes=tuple(f"class {i}" for i in range(100)))
    assert "100 classes: colours repeat" in texts(plots.embedding(many)) and "class 7" not in texts(figure)
    for colour in ("prediction", "purity"):
        assert plots.embedding(one, colour).axes
    with pytest.raises(ParamError, match='Did you mean "label"'):
        plots.embedding(one, "labels")
    plt.close("all")


def test_epochs_share_their_axes_and_no_more_than_twelve_are_shown(run):
    one = cloud(run)
    many = replace(one, epochs=tuple(range(0, 60, 3)), maps=np.repeat(one.maps, 20, 0) * np.arange(20)[:, None, None])
    figure = plots.embedding_epochs(many)
    shown = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert len(shown) == 12 and (shown[0], shown[-1]) == ("epoch 0", "epoch 57")
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}) == 1
    plt.close("all")
