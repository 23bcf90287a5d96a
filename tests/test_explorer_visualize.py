"""The cells of the visualize notebook: which runs become which maps, what is said, and which page lies where."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from mixlab import projection
from mixlab.errors import ParamError
from mixlab.explorers import visualize
from mixlab.files import write_json
from mixlab.params import Visualize
from mixlab.runs import Run


def run(folder, name, method="simclr", dataset="cifar10-mini", size=32):
    path = folder / name
    path.mkdir()
    write_json(path / "params.json", {"method": method, "dataset": dataset, "image_size": size})
    return Run(path)


def cloud(run, kind="pca", count=60):
    features = np.random.Generator(np.random.Philox(3)).normal(size=(1, count, 8)).astype("float32")
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    found = projection.quality(features[0], features[0, :, :2])
    return projection.Cloud(run, "cifar10-mini", "encoder", kind, np.arange(count), np.zeros((count, 8, 8, 3), "uint8"),
                            None, None, ("<b>", "b"), np.zeros((count, 3), "int64"), None, (1,), features[..., :2],
                            found, made_by="<i>nobody</i>", features=features)


def test_runs_of_the_same_images_are_looked_at_together(tmp_path):
    runs = [run(tmp_path, name) for name in ("a", "b")]
    others = [run(tmp_path, "c", dataset="cifar10"), run(tmp_path, "d", size=64)]
    said = []
    assert visualize.alike([runs[0], *others, runs[1]], said.append) == runs and "a, b" in said[0]
    assert visualize.alike(runs, said.append) == runs and len(said) == 1, "nothing to say if all are looked at"
    assert len(visualize.alike(runs * 4, said.append)) == visualize.MOST


def test_a_run_without_projector_stands_beside_another_map_of_itself(tmp_path):
    control, first = run(tmp_path, "a", "cross_entropy"), None
    first = cloud(control)
    pair = visualize._pair(Visualize(), [control], [first], print)
    assert pair[0] is first and pair[1].kind == "tsne" and len(pair[1]) == len(first)
    assert visualize._pair(Visualize(), [control], [first, pair[1], first], print) == [first, pair[1]]


def test_of_two_images_there_is_one_map_and_that_is_pca(tmp_path, monkeypatch):
    control = run(tmp_path, "a", "cross_entropy")
    monkeypatch.setattr(visualize.projection, "cloud", lambda run, **_: cloud(run, count=2))
    (found,) = visualize.clouds(Visualize(), [control])
    assert found.kind == "pca" and visualize._pair(Visualize(), [control], [found], print) == [found]
    assert [visualize._kind_for(n) for n in (4, 5, 3000, 3001)] == ["pca", "tsne", "tsne", "umap"]


def test_runs_that_held_out_images_stand_side_by_side_on_test_images(tmp_path, monkeypatch):
    """Snapshots of such a run show its own validation images; beside another run both show test images."""
    whole, held = cloud(run(tmp_path, "whole")), replace(cloud(run(tmp_path, "held")), split="val", epochs=(0, 1))
    asked, said = [], []

    def again(run, *, layer, kind, epochs, points, **_):
        asked.append((run.name, layer, kind, epochs, points))
        return cloud(run)
    monkeypatch.setattr(visualize.projection, "cloud", again)
    params = Visualize(points=5000)
    assert visualize._pair(params, [whole.run] * 2, [whole, whole], said.append) == [whole, whole] and not asked
    pair = visualize._pair(params, [whole.run, held.run], [whole, held], said.append)
    assert asked == [("held", "encoder", "pca", "last", 60)] and pair[0] is whole and pair[1].split == "test"
    assert "test images" in said[0] and "held" in said[0] and "whole" not in said[0]
    other = replace(held, run=run(tmp_path, "other"), pixels=held.pixels + 1)
    assert {c.split for c in visualize._pair(params, [held.run, other.run], [held, other], said.append)} == {"test"}
    alone = visualize._pair(params, [held.run], [held], said.append)
    assert [c.split for c in alone] == ["test", "test"], "its projection layer has no snapshots"


def test_numbers_of_a_map_are_told_and_escaped(tmp_path):
    table = visualize.quality_table([cloud(run(tmp_path, "<s>a"))])
    assert "&lt;s&gt;a" in table and "<i>" not in table and " % of 10" in table and "60" in table


def test_localisation_says_why_there_is_none(tmp_path):
    said = []
    visualize.localisation(Visualize(), [run(tmp_path, "a")], said.append)
    visualize.localisation(Visualize(mosaics=0), [run(tmp_path, "b")], said.append)
    assert said == ["Not scored: without labels there is no class to ask for.", "Not scored: mosaics is 0."]


@pytest.mark.parametrize("boxes, drawn", [([], ["mosaics"]), ([{"layer": 4}], ["mosaics", "boxes"])])
def test_scores_on_boxes_are_shown_where_there_are_any(tmp_path, monkeypatch, boxes, drawn):
    one, found = run(tmp_path, "a"), []
    write_json(one.path / "result.json", {"status": "ok", "knn_top1": 0.5})
    monkeypatch.setattr(visualize.attention, "localisation", lambda run, **_: {"mosaics": [{}], "boxes": boxes})
    monkeypatch.setattr(visualize, "localisation_figure",
                        lambda runs, records, *, layer, rows="mosaics": found.append(rows))
    visualize.localisation(Visualize(device="cpu"), [one])
    assert found == drawn


@pytest.mark.parametrize("reports", [False, True])
@pytest.mark.parametrize("writable", [False, True])
def test_pages_lie_in_the_run_and_named_after_it_in_reports_dir(tmp_path, monkeypatch, modes_count, reports, writable):
    """A run that can't be written is left as it is; without a reports_dir that is said in the place of the pages."""
    one, names = run(tmp_path, "my run"), ("embedding", "attention")
    for name in names:
        monkeypatch.setattr(visualize, f"write_{name}_page", lambda path, *_, **__: path.write_text("page"))
    asked = Visualize(reports_dir=str(tmp_path / "reports") if reports else "none")
    one.path.chmod(0o755 if writable else 0o555)
    shown = visualize.pages(asked, [one], [cloud(one)]).data
    one.path.chmod(0o755)
    expected = [one.path / f"{name}.html" for name in names] * writable
    expected += [tmp_path / "reports" / f"{name}-my_run.html" for name in names] * reports
    assert sorted(tmp_path.rglob("*.html")) == sorted(expected)
    assert all(f"<code>{page}</code>" in shown and page.read_text() == "page" for page in expected)
    assert ("can't be written. Set reports_dir" in shown) == (not expected)


def test_a_reports_folder_that_cannot_be_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ParamError, match="reports_dir: a folder"):
        visualize.clouds(Visualize(reports_dir=str(tmp_path / "file")), [SimpleNamespace()])
