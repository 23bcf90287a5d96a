"""Whole evaluations of tiny runs: what is stored, what is refused, and that encoding happens once."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attention_runs import CLASSES, finished_run, folder_of_pictures
from PIL import Image

from mixlab import data, plots, runs
from mixlab.attention import Viewer
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.evaluate import (
    PROBES,
    Protocol,
    collect,
    evaluate,
    evaluate_all,
    evaluation,
    scores,
    select_runs,
    write_report,
)
from mixlab.evaluate.__main__ import main
from mixlab.evaluate.probes import Probe
from mixlab.evaluate.rules import CHOOSING, DECIDING, differing, in_words, rules
from mixlab.evaluate.subjects import own_images
from mixlab.files import write_json
from mixlab.params import LinearEval, Pretrain
from mixlab.train import train

ROOT = Path(__file__).parents[1]
TRAINING = {"train_size": 64, "batch_size": 16, "warmup_epochs": 0, "knn_every": 0}
EVERYTHING = Protocol(probes=PROBES, probe_epochs=3, augmented_passes=2, few_label_draws=2, robustness=True,
                      robustness_size=5, seed=1)
LITTLE = Protocol(probes=("lbfgs",), few_label_fractions=(), geometry=False, layers=("encoder",))


def quiet(line):
    """Takes a line of log and drops it."""


@pytest.fixture(scope="module", autouse=True)
def few_test_images():
    """Evaluation asks 40 test images instead of 1,000."""
    whole, patch = data.load, pytest.MonkeyPatch()

    def fewer(name, data_dir=None, *, split="train", **options):
        images = whole(name, data_dir, split=split, **options)
        return data.take(images, 40, 0, "test") if split == "test" and len(images) > 40 else images

    patch.setattr(data, "load", fewer)
    yield
    patch.undo()


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory):
    """SimCLR with a validation split, and the control, both tiny."""
    folder = tmp_path_factory.mktemp("runs")
    for values in ({"method": "simclr", "epochs": 1, "val_fraction": 0.02}, {"method": "cross_entropy", "epochs": 0}):
        train(Pretrain.check(**TRAINING, **values, runs_dir=str(folder)), log=quiet)
    return folder


@pytest.fixture
def simclr(runs_dir, tmp_path):
    """A copy of the SimCLR run that a test may damage."""
    run = select_runs("*-simclr-*", runs_dir)[0]
    shutil.copytree(run.path, tmp_path / "runs" / run.name, ignore=shutil.ignore_patterns("*eval*", "*.npz", "*.pt"))
    return runs.Run(tmp_path / "runs" / run.name)


@pytest.fixture(scope="module")
def records(runs_dir):
    """Both runs evaluated in every way, with the number of images that each encoder really saw."""
    seen, load = {}, runs.load_encoder

    def counting(run, device="cpu"):
        encoder, seen[run.name] = load(run, device), 0
        before = {k: v.clone() for k, v in encoder.state_dict().items()}

        def counted(images, forward=encoder.forward):
            seen[run.name] += len(images)
            assert not encoder.training and all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
            return forward(images)

        encoder.forward = counted
        return encoder

    patch = pytest.MonkeyPatch()
    patch.setattr(runs, "load_encoder", counting)
    found = {r["method"]: r for r in evaluate_all(select_runs("*", runs_dir), EVERYTHING, log=quiet)}
    patch.undo()
    return found, seen


def test_encoding_happens_once_however_many_probes_follow(records):
    found, seen = records
    once = {"simclr": 64 + 40 + 40, "cross_entropy": 64 + 40}
    for method, record in found.items():
        expected = once[method] + 2 * 64 + 2 * 40 + 5 * 5 * 5  # crop+flip passes, contrastive views, corruptions
        assert record["encodings"] == seen[record["run"]] == expected


def test_the_record_carries_its_protocol(records, runs_dir):
    record = records[0]["simclr"]
    run = runs.find(record["run"], runs_dir)
    assert runs.read_sealed(run.path / "linear_eval.json") == record and record["status"] == "ok"
    assert record["data_checksum"]["train"] == run.result()["data_checksum"]
    assert record["encoder_sha256"] == run.result()["encoder_sha256"] and record["marks"] == []
    assert (record["train_images"], record["val_images"], record["test_images"]) == (64, 40, 40)
    assert record["protocol"] == json.loads(json.dumps(EVERYTHING.record())) and not record["transfer"]
    assert record["trained_by"] == record["versions"]["mixlab"] == runs.code_version()


def test_every_measure_is_there_for_both_layers(records):
    for record in records[0].values():
        layers = ["encoder", "projection"] if record["method"] == "simclr" else ["encoder"]
        assert [(r["layer"], r["k"]) for r in record["knn"]] == [(layer, k) for layer in layers for k in (64, 5)]
        assert [(r["probe"], r["layer"]) for r in record["probes"]] == [
            (probe, layer) for probe in ("sgd", "sgd_augmented", "lbfgs") for layer in layers]
        assert all(0 <= r["top1"] <= r["top5"] <= 1 and np.sum(r["confusion"]) == 40 for r in record["probes"])
        assert all((r["val_top1"] is None) == (record["method"] != "simclr") for r in record["probes"] + record["knn"])
        assert [r["passes"] for r in record["probes"]][::len(layers)] == [None, 2, None]
        assert len(record["robustness"]) == 26 and {r["images"] for r in record["robustness"]} == {5}
        assert list(record["geometry"]) == layers
        assert len(record["geometry"]["encoder"]["spectrum"]) == 512
        [few] = record["few_labels"]  # 1 % of six images a class is none
        assert (few["fraction"], few["images"], len(few["values"])) == (0.1, 10, 2)
        assert few["mean"] == pytest.approx(np.mean(few["values"])) and few["std"] >= 0
        assert "few_label_fractions 0.01: at least one image" in record["left_out"][0]


def test_a_split_of_an_older_mixlab_that_its_start_had_seen_is_marked(simclr):
    """Such a run was let to hold out images by its own seed; today's training refuses it or takes the start's split."""
    protocol = replace(LITTLE, probes=(), knn_k=(5,), fresh=True)
    assert evaluate(simclr, protocol, log=quiet)["marks"] == []
    child = runs.Run(simclr.path.with_name("child"))
    shutil.copytree(simclr.path, child.path)
    older = {k: v for k, v in simclr.params().items() if k != "val_seed"} | {"init_from": simclr.path.name}
    for changes, marked in (({"seed": 1}, 1), ({"seed": 1, "val_seed": 0}, 0), ({"val_fraction": 0.1}, 1)):
        write_json(child.path / "params.json", older | changes)
        marks = evaluate(child, protocol, log=quiet)["marks"]
        assert ["held out may be among" in mark for mark in marks] == [True] * marked, changes


def test_the_control_is_scored_by_its_own_head_too(records, runs_dir):
    assert records[0]["simclr"]["own_head"] is None
    record = records[0]["cross_entropy"]
    run = runs.find(record["run"], runs_dir)
    arrays = np.load(run.path / "embeddings.npz")
    logits = runs.load_head(run)(torch.from_numpy(arrays["encoder"]).float())
    assert record["own_head"]["top1"] == pytest.approx(scores(logits, torch.from_numpy(arrays["labels"]))["top1"])


def test_the_embeddings_belong_to_the_record(records, runs_dir):
    for record in records[0].values():
        with np.load(runs_dir / record["run"] / "embeddings.npz", allow_pickle=False) as arrays:
            names, hits = set(arrays.files), (arrays["predictions"] == arrays["labels"]).mean()
            knn_hits = (arrays["knn_predictions"] == arrays["labels"]).mean()
            assert arrays["encoder"].dtype == np.float16 and arrays["encoder"].shape == (40, 512)
            assert arrays["classes"].tolist() == record["classes"]
        assert names - {"projection"} == {"encoder", "labels", "predictions", "knn_predictions", "classes"}
        assert ("projection" in names) == (record["method"] == "simclr")
        [row] = [r for r in record["probes"] if (r["probe"], r["layer"]) == ("lbfgs", "encoder")]
        assert hits == pytest.approx(row["top1"]) and knn_hits == pytest.approx(record["knn"][0]["top1"])


def numbers(record):
    """The record without the clocks."""
    if isinstance(record, dict):
        return {k: numbers(v) for k, v in record.items() if not k.endswith("seconds")}
    return [numbers(v) for v in record] if isinstance(record, list) else record


def test_the_same_evaluation_is_read_back_and_made_again_when_asked(simclr):
    first = evaluate(simclr, LITTLE, log=quiet)
    content, lines = (simclr.path / "linear_eval.json").read_bytes(), []
    assert evaluate(simclr, LITTLE, log=lines.append) == first and "is evaluated already" in lines[0]
    assert (simclr.path / "linear_eval.json").read_bytes() == content
    again = evaluate(simclr, replace(LITTLE, fresh=True), log=quiet)
    assert again["seconds"] != first["seconds"] and numbers(again) == numbers(first)
    (simclr.path / "embeddings.npz").write_bytes(b"torn")
    assert evaluate(simclr, LITTLE, log=quiet)["seconds"] not in (first["seconds"], again["seconds"])
    assert evaluate(simclr, replace(LITTLE, knn_k=(3,)), log=quiet)["knn"][0]["k"] == 3


def test_an_evaluation_by_another_protocol_is_kept(simclr):
    first = evaluate(simclr, replace(LITTLE, train_size=40), log=quiet)
    second = evaluate(simclr, replace(LITTLE, knn_temperature=0.2), log=quiet)
    assert runs.read_sealed(simclr.path / "linear_eval.json") == second
    (kept,) = simclr.path.glob("linear_eval-*.json")
    assert runs.read_sealed(kept) == first and len(list(simclr.path.glob("*.npz"))) == 1
    rows = [row for row in collect(simclr.path.parent) if row["evaluation"] == "knn 5"]
    assert [(row["train_images"], row["top1"]) for row in rows] == [(64, second["knn"][1]["top1"]),
                                                                    (40, first["knn"][1]["top1"])]
    assert len({row["protocol_hash"] for row in rows}) == 2 and len({row["setting"] for row in rows}) == 1


def test_the_same_protocol_replaces_its_own_file(simclr):
    """Also where it is not the newest any more, and where the run's own data set is named."""
    other = replace(LITTLE, knn_temperature=0.2)
    for protocol in (LITTLE, other, LITTLE, replace(other, dataset="cifar10-mini"), replace(LITTLE, fresh=True)):
        newest = evaluate(simclr, protocol, log=quiet)
    (kept,) = simclr.path.glob("linear_eval-*.json")
    assert runs.read_sealed(simclr.path / "linear_eval.json") == newest and newest["knn"][0]["temperature"] == 0.1
    assert runs.read_sealed(kept)["knn"][0]["temperature"] == 0.2
    assert len(collect(simclr.path.parent)) == 5, "2 of kNN each, and the probe once: its rules are the same"


def test_a_kill_while_storing_loses_no_evaluation(simclr, monkeypatch):
    first = evaluate(simclr, LITTLE, log=quiet)

    def killed(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(simclr, replace(LITTLE, knn_temperature=0.2), log=quiet)
    assert runs.read_sealed(simclr.path / "linear_eval.json") == first
    assert len(collect(simclr.path.parent)) == 3, "the copy that was made first is not counted twice"


def test_every_field_of_the_protocol_is_known_to_the_rules():
    """A new one must be put where it belongs, or numbers would be averaged across it."""
    deciding = {name for names in DECIDING.values() for name in names}
    asked = {*CHOOSING, "precision"}
    assert set(Protocol().record()) == (deciding | asked) and not deciding & asked


def test_rules_tell_in_words_what_differs(records):
    record = records[0]["simclr"]
    other = record | {"train_images": 9, "protocol": record["protocol"] | {"probe_lr": 1, "seed": 5, "probes": []}}
    both = [rules(one) for one in (record, other)]
    assert in_words(both[1], differing(both)) == "probe_lr 1, evaluation seed 5, 9 train images"
    assert differing([rules(one, "knn") for one in (record, other)]) == ["train_images"]


def test_an_unfinished_run_is_refused(simclr, tmp_path):
    write_json(simclr.path / "result.json", {"status": "interrupted"})
    with pytest.raises(CheckpointError, match=f"{simclr.name}: is interrupted, not finished. Start it again"):
        evaluate_all([simclr], LITTLE, log=quiet)
    lines = []
    with pytest.raises(ParamError, match="It matches 1 runs, none of them finished"):
        select_runs("*simclr*", tmp_path / "runs", log=lines.append)
    assert lines == [f"Left out: {simclr.name} is interrupted."]


def made_by(run, version):
    result = run.result()
    write_json(run.path / "result.json", result | {"versions": result["versions"] | {"mixlab": version}})


def test_a_run_of_another_release_is_refused_or_marked(simclr):
    made_by(simclr, "0.0.9+12345678")
    with pytest.raises(CheckpointError, match="was made by mixlab 0.0.9.12345678.* allow_other_version: true"):
        evaluate(simclr, LITTLE, log=quiet)
    record = evaluate(simclr, replace(LITTLE, allow_other_version=True), log=quiet)
    assert record["marks"] == [f"trained by mixlab 0.0.9+12345678, evaluated by {runs.code_version()}"]


def test_a_run_of_other_source_is_marked(simclr):
    made_by(simclr, "0.1.0+12345678")
    lines = []
    assert evaluate(simclr, LITTLE, log=lines.append)["marks"][0] in lines[0]


def test_other_images_than_the_runs_are_refused(simclr):
    write_json(simclr.path / "result.json", simclr.result() | {"data_checksum": "0" * 64})
    with pytest.raises(DataError, match=f"data_checksum: 000000000000..., that of the images {simclr.name}"):
        evaluate(simclr, LITTLE, log=quiet)


@pytest.mark.parametrize(("split", "checksum", "refused"), [
    ("test", "0" * 64, True), ("val", "0" * 64, False), ("test", None, False)])
def test_another_test_set_than_the_runs_is_refused(simclr, split, checksum, refused):
    """It is known where the run's own kNN asked it."""
    result = {name: value for name, value in simclr.result().items() if name != "queries_checksum"}
    known = {} if checksum is None else {"queries_checksum": checksum}
    write_json(simclr.path / "result.json", result | {"knn_split": split} | known)
    if refused:
        found = data.load("cifar10-mini", split="test").checksum
        message = f"queries_checksum: 000000000000..., that of the test images of {simclr.name}; got '{found}'"
        with pytest.raises(DataError, match=message):
            evaluate(simclr, LITTLE, log=quiet)
    else:
        assert evaluate(simclr, LITTLE, log=quiet)["status"] == "ok"


@pytest.mark.parametrize("reports", [False, True])
def test_a_run_that_cannot_be_written_is_evaluated_all_the_same(simclr, tmp_path, modes_count, reports):
    """It lies on a disk mounted read-only, say; what is measured is shown, and kept where reports_dir says."""
    own = evaluate(simclr, LITTLE, log=quiet)
    for file in (*simclr.path.glob("*eval*"), simclr.path / ".lock"):
        file.unlink()
    simclr.path.chmod(0o555)
    said, before = [], sorted(os.listdir(simclr.path))
    protocol = replace(LITTLE, reports_dir=str(tmp_path / "reports")) if reports else LITTLE
    record = evaluate(simclr, protocol, log=said.append)
    assert numbers(record) == numbers(own) | {"kept_in": record["kept_in"]}
    assert not simclr.held() and sorted(os.listdir(simclr.path)) == before
    notes = [line for line in said if "can't be written" in line]
    assert len(notes) == 1 and record["kept_in"] in notes[0] and ("Set reports_dir" in notes[0]) != reports
    (shown,) = plots.chosen([simclr], [record])
    assert shown.run == simclr and len(shown.arrays()["labels"]) == 40 and shown.values
    if reports:
        assert Path(record["kept_in"]) == tmp_path / "reports" / simclr.name
        assert evaluate(simclr, protocol, log=said.append) == record and "evaluated already" in said[-1]
    simclr.path.chmod(0o755)


def test_a_run_whose_images_moved_is_told_where_they_are(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    run = finished_run(tmp_path / "runs", folder_of_pictures(old))
    protocol = replace(LITTLE, knn_k=(3,))
    before = evaluate(run, protocol, log=quiet)
    (missed,) = plots.chosen([run], [before])
    old.rename(new)
    advice = r"folder:.*old: the images .* was trained on; got .*Set data_dir to the folder where they lie now\."
    for look in (lambda: evaluate(run, protocol, log=quiet), lambda: own_images(run), lambda: Viewer([run])):
        with pytest.raises(DataError, match=advice):
            look()
    assert re.search(advice, plots.images_of(missed)[1])
    for place in (str(new), f"folder:{new}"):
        after = evaluate(run, replace(protocol, data_dir=place, fresh=True), log=quiet)
        assert numbers(after) == numbers(before) and not after["transfer"] and after["dataset"] == f"folder:{old}"
        assert len(own_images(run, place)["test"]) == len(Viewer([run], data_dir=place).images) == 12
        assert len(plots.images_of(missed, place)[0]) == 12
    shutil.move(new / "train" / CLASSES[2] / "0.png", new / "train" / CLASSES[2] / "9.png")
    (new / "test" / CLASSES[2] / "0.png").unlink()
    with pytest.raises(DataError, match=r"Put those images back, or set data_dir to where they are\."):
        evaluate(run, replace(protocol, data_dir=str(new)), log=quiet)
    assert "Set data_dir to where that one lies" in plots.images_of(missed, str(new))[1]


def test_a_damaged_encoder_is_refused(simclr):
    (simclr.path / "encoder.safetensors").write_bytes(b"damage")
    with pytest.raises(CheckpointError, match="does not match the sha256"):
        evaluate(simclr, LITTLE, log=quiet)


def test_an_encoder_gone_wrong_is_refused(simclr, monkeypatch):
    load = runs.load_encoder

    def broken(run, device="cpu"):
        encoder = load(run, device)
        encoder.stem[0].weight[0, 0, 0, 0] = torch.nan
        return encoder

    monkeypatch.setattr(runs, "load_encoder", broken)
    with pytest.raises(CheckpointError, match="encoder: finite features; got NaN or infinity for 64 train images"):
        evaluate(simclr, LITTLE, log=quiet)


@pytest.mark.parametrize(("changes", "error", "message"), [
    ({"knn_k": (65,)}, ParamError, "knn_k: each a whole number from 1 to the bank's 64 images; got 65"),
    ({"few_label_fractions": (0.01,)}, DataError, r"few_label_fractions 0.01: .* airplane \(\d\)"),
    ({"train_size": 10**6}, ParamError, "train_size: an integer in 1..1960"),
    ({"dataset": "cifar11"}, ParamError, 'Did you mean "cifar10"')])
def test_refusals_come_before_any_work(simclr, changes, error, message, monkeypatch):
    monkeypatch.setattr(runs, "load_encoder", None)
    with pytest.raises(error, match=message):
        evaluate(simclr, replace(LITTLE, **changes), log=quiet)
    assert not (simclr.path / "linear_eval.json").exists()


def test_a_layer_that_the_run_has_not_is_refused(runs_dir):
    with pytest.raises(ParamError, match="layers: with encoder, because .*cross_entropy.* has no projector"):
        evaluate(select_runs("*cross*", runs_dir)[0], replace(LITTLE, layers=("projection",)), log=quiet)


@pytest.mark.parametrize("name", ["probes", "layers"])
def test_an_unknown_probe_or_layer_is_refused(name):
    with pytest.raises(ParamError, match=f"{name}: of .*; got 'lbgfs'"):
        Protocol(**{name: ("lbgfs",)})


def image_folder(folder, classes=("day", "night")):
    pixels = np.random.Generator(np.random.Philox(0)).integers(0, 120, (6, 20, 20, 3), dtype=np.uint8)
    for split in ("train", "test"):
        for number, name in enumerate(classes):
            place = folder / split / name
            place.mkdir(parents=True, exist_ok=True)
            for i, image in enumerate(pixels):
                Image.fromarray(image + np.uint8(100 * number)).save(place / f"{i}.png")
    return f"folder:{folder}"


def test_transfer_is_stored_beside_the_runs_own_evaluation(simclr, tmp_path):
    evaluate(simclr, LITTLE, log=quiet)
    record = evaluate(simclr, replace(LITTLE, dataset=image_folder(tmp_path / "photos")), log=quiet)
    assert record["transfer"] and record["trained_on"] == "cifar10-mini" and record["classes"] == ["day", "night"]
    assert record["train_images"] == 12 and record["probes"][0]["top1"] == 1 and record["probes"][0]["top5"] is None
    assert len(list(simclr.path.glob("linear_eval*.json"))) == len(list(simclr.path.glob("embeddings*.npz"))) == 2
    assert {row["dataset"] for row in collect(simclr.path.parent)} == {"cifar10-mini", f"folder:{tmp_path / 'photos'}"}


@pytest.mark.parametrize(("classes", "message"), [
    ((".",), "dataset: labelled images, because an evaluation compares classes"),
    (("one",), "dataset: at least two classes")])
def test_images_without_classes_are_refused(simclr, tmp_path, classes, message):
    name = image_folder(tmp_path / "photos", classes)
    with pytest.raises(DataError, match=message):
        evaluate(simclr, replace(LITTLE, dataset=name), log=quiet)


def test_the_report_is_rebuilt_from_the_run_directories(records, runs_dir, tmp_path):
    found, _ = records
    count = write_report(runs_dir, tmp_path / "reports" / "results.csv")
    first = (tmp_path / "reports" / "results.csv").read_bytes()
    rows = list(csv.DictReader(first.decode().splitlines()))
    assert count == len(rows) == len({(r["run"], r["dataset"], r["evaluation"], r["layer"]) for r in rows})
    assert {r["evaluation"] for r in rows} >= {"knn 64", "knn 5", "probe sgd", "probe sgd_augmented", "probe lbfgs",
                                               "own head", "few labels 0.1", "noise 5", "none 0", "geometry"}
    row = next(r for r in rows if (r["method"], r["evaluation"], r["layer"]) == ("simclr", "probe sgd", "projection"))
    [stored] = [r for r in found["simclr"]["probes"] if (r["probe"], r["layer"]) == ("sgd", "projection")]
    assert float(row["top1"]) == stored["top1"] and row["evaluated_by"] == runs.code_version()
    assert row["train_checksum"] == found["simclr"]["data_checksum"]["train"] and float(row["seconds"]) > 0
    assert "3 epochs, batch 256, lr 0.1 x 0.2 after 60, 75, 90" in row["protocol"] and "last epoch" in row["protocol"]
    write_report(runs_dir, tmp_path / "reports" / "results.csv")
    assert (tmp_path / "reports" / "results.csv").read_bytes() == first


def test_a_report_that_an_obstacle_prevents_is_named_and_written_once_it_is_gone(records, runs_dir, tmp_path, capsys):
    (tmp_path / "reports").touch()
    command = ["--report", str(runs_dir), str(tmp_path / "reports" / "results.csv")]
    assert main(command) == 2 and "report: a folder; got" in capsys.readouterr().err
    (tmp_path / "reports").unlink()
    assert main(command) == 0
    assert len((tmp_path / "reports" / "results.csv").read_text().splitlines()) == len(collect(runs_dir)) + 1


def test_a_damaged_record_is_named(simclr):
    for content in ("{", '{"status": "ok"}'):
        (simclr.path / "linear_eval.json").write_text(content)
        with pytest.raises(CheckpointError, match=r"linear_eval.json: .*Delete it"):
            collect(simclr.path.parent)


def test_the_command_evaluates_and_reports(simclr, tmp_path, capsys):
    folder, table = str(simclr.path.parent), str(tmp_path / "results.csv")
    little = ["--param", f"runs_dir={folder}", "--param", "probes=[lbfgs]", "--param", "geometry=false",
              "--param", "few_label_fractions=[]", "--param", "knn_k=[5]"]
    assert main(["*-simclr-*", *little, "--report", folder, table]) == 0
    out = capsys.readouterr().out
    assert f"Result: {simclr.path}, evaluated on cifar10-mini" in out and f"4 rows: {table}" in out


@pytest.mark.parametrize(("arguments", "message"), [
    (["latest", "--param", "knn_k=[65]"], "knn_k: each a whole number from 1 to the bank's 64 images"),
    (["latest", "--param", "prob=1"], "prob: a known parameter; got 1 (int)"),
    (["latest", "--param", "seed"], "--param: NAME=VALUE; got 'seed' (str)"),
    (["latest", "--param", "seed=[1"], "--param: NAME=VALUE"),
    (["no-such-run"], "run: latest, demo, a run directory"), (["no-such-*"], "run: a pattern that a finished run"),
    (["missing.yaml"], "missing.yaml: cannot be read as parameters")])
def test_the_command_says_what_it_refuses(simclr, arguments, message, capsys):
    assert main(["--param", f"runs_dir={simclr.path.parent}", *arguments]) == 2
    assert message in capsys.readouterr().err and not (simclr.path / "linear_eval.json").exists()


def test_the_command_takes_the_folder_of_the_runs(tmp_path, capsys):
    assert main(["latest", "--runs-dir", str(tmp_path / "mine")]) == 2
    assert f"run: a finished run below {tmp_path / 'mine'}; got" in capsys.readouterr().err


def test_the_command_needs_something_to_do(capsys):
    with pytest.raises(SystemExit):
        main([])
    assert "name a run, a file of parameters, or --report" in capsys.readouterr().err


def test_parameters_come_from_a_file_and_what_is_given_overrides_it(simclr, tmp_path):
    (tmp_path / "p.yaml").write_text(f"runs_dir: {simclr.path.parent}\nprobes: []\ngeometry: false\nseed: 3\n"
                                     "few_label_fractions: []\n")
    assert main([str(tmp_path / "p.yaml"), "--param", "seed=4"]) == 0
    record = runs.read_sealed(simclr.path / "linear_eval.json")
    assert record["protocol"]["seed"] == 4 and record["probes"] == [] and record["predictions_of"] is None
    assert "predictions" not in np.load(simclr.path / "embeddings.npz").files


NO_NOTEBOOK_PACKAGES = """
    import sys
    from importlib.machinery import PathFinder
    refused = {"plotly", "sklearn", "scipy", "matplotlib", "ipywidgets", "umap", "tqdm", "pandas", "IPython", "pytest"}
    found = PathFinder.find_spec
    PathFinder.find_spec = lambda name, path=None, target=None: (
        None if name.split(".")[0] in refused else found(name, path, target))
    from mixlab.evaluate.__main__ import main
    sys.exit(main(["--report", sys.argv[1], sys.argv[2]]))
"""


def test_the_command_runs_without_the_notebook_packages(records, runs_dir, tmp_path):
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(NO_NOTEBOOK_PACKAGES), str(runs_dir),
                           str(tmp_path / "results.csv")], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "rows: " in done.stdout, done.stderr


def test_parameters_become_the_protocol():
    protocol = LinearEval.check(probes=["lbfgs"], knn_k=[3], device="cpu", precision="fp32").protocol()
    assert protocol == Protocol(probes=("lbfgs",), knn_k=(3,))
    assert LinearEval.check(device="cpu", precision="fp32").protocol() == Protocol()
    assert LinearEval.check(device="cpu").resolved()["precision"] in ("fp32", "bf16")


@pytest.mark.parametrize(("values", "message"), [
    ({"probes": ["lbgfs"]}, "probes: a list, each one of sgd, sgd_augmented, lbfgs; got 'lbgfs'"),
    ({"knn_k": [5, 5]}, "knn_k: each value once"),
    ({"probe_lr_decay_epochs": [75, 60]}, "probe_lr_decay_epochs: rising epochs"),
    ({"robustness": True, "probes": []}, "robustness: false, because probes is empty"),
    ({"few_label_fractions": [1.5]}, "few_label_fractions: .* > 0 and <= 1; got 1.5")])
def test_parameters_that_make_no_sense_are_refused(values, message):
    with pytest.raises(ParamError, match=message):
        LinearEval.check(**values)


@pytest.mark.parametrize("file", sorted((ROOT / "params" / "linear_eval").glob("*.yaml")), ids=lambda f: f.name)
def test_every_recipe_is_accepted_and_opens_with_its_commands(file):
    params, head = LinearEval.from_yaml(file), file.read_text().split("run:")[0]
    assert f"papermill notebooks/linear_eval.ipynb out.ipynb -f params/linear_eval/{file.name}" in head
    assert f"python -m mixlab.evaluate latest params/linear_eval/{file.name}" in head
    assert "Needs:" in head and "Takes:" in head and "TIME" not in head
    if file.name == "quick.yaml":
        assert params == LinearEval()
    if file.name == "table2.yaml":
        p = params.protocol()
        assert (p.probe_batch_size, p.probe_epochs, p.probe_lr, p.probe_weight_decay) == (256, 100, 0.1, 0)
        assert (p.probe_lr_decay_epochs, p.probe_lr_decay_rate, p.probe_momentum) == ((60, 75, 90), 0.2, 0.9)
        assert "sgd" in p.probes


def test_the_predicting_probe_is_the_best_founded_one():
    probes = [Probe(name, layer, None, {}, 0.0)
              for name in ("sgd", "lbfgs") for layer in ("encoder", "projection")]
    assert evaluation._predicting(probes) is probes[2] and evaluation._predicting([]) is None
