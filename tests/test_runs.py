"""Run directories: identity, lock, history, reading."""

import errno
import fcntl
import json
import multiprocessing
import time
from pathlib import Path

import pytest

from mixlab import locks, runs
from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError, ParamError, RunBusyError
from mixlab.evaluate import Protocol, evaluate
from mixlab.evaluate.subjects import followed, own_images
from mixlab.files import write_json
from mixlab.params import Pretrain
from mixlab.verify import verify

ROOT = Path(__file__).parents[1]
WHO = {"dataset": "folder", "method": "simclr", "mixer": "none", "encoder": "resnet10", "seed": 3, "lr": 0.1}


@pytest.fixture
def run(tmp_path):
    return runs.create(tmp_path, WHO, {"lr": 0.1})


def test_the_name_says_who_it_is(run):
    assert run.name.startswith("folder-simclr-none-resnet10-s3-") and len(run.name.split("-")[-1]) == 8
    assert runs.run_name(WHO | {"lr": 0.2}) != run.name and runs.run_name(dict(reversed(WHO.items()))) == run.name
    assert "/" not in runs.run_name(WHO | {"dataset": "../../etc"})


def test_fresh_makes_another_beside_it_and_continues_one_left_unfinished(run, tmp_path):
    assert runs.create(tmp_path, WHO, {}).path == run.path
    second = runs.create(tmp_path, WHO, {}, fresh=True)
    assert second.name == f"{run.name}-2" and runs.create(tmp_path, WHO, {}, fresh=True) == second
    with runs.locked(second):
        assert runs.create(tmp_path, WHO, {}, fresh=True).name[-2:] == "-3"
    write_json(second.path / "result.json", {"status": "ok"})
    assert runs.create(tmp_path, WHO, {}, fresh=True).name[-2:] == "-3"


def test_rows_are_kept_in_order_and_replaced_by_epoch(run):
    for row in ({"epoch": 2, "loss": 2.0}, {"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.5}):
        runs.record_row(run, row)
    assert run.history() == [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 2.5}]
    (run.path / "history.jsonl").write_text('{"epoch": 1, "loss": 1.0}\n{"epoch": 1, "loss": 0.5}\n')
    assert run.history() == [{"epoch": 1, "loss": 0.5}]


def test_states(run):
    assert run.state() == "unfinished" and not run.finished()
    with runs.locked(run):
        assert run.state() == "running"
    write_json(run.path / "result.json", {"status": "interrupted"})
    assert run.state() == "interrupted" and not run.finished()
    write_json(run.path / "result.json", {"status": "ok"})
    assert run.state() == "finished" and run.finished()


def test_a_file_system_without_locks_is_named(run, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    (run.path / ".lock").touch()
    monkeypatch.setattr(fcntl, "flock", unsupported)
    for take in (run.held, runs.locked(run).__enter__, lambda: runs.create(run.path.parent, WHO | {"seed": 9}, {})):
        with pytest.raises(OSError, match=r"No locks available: .*\.lock cannot be locked.*Set runs_dir to"):
            take()


def _hold(path, started, seconds):
    with runs.locked(runs.Run(path)):
        started.set()
        time.sleep(seconds)


def test_a_busy_run_names_its_owner_and_is_waited_for(run):
    """Fault 15, one race; the lock dies with its owner."""
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    owner = context.Process(target=_hold, args=(run.path, started, 60))
    owner.start()
    assert started.wait(60)
    with pytest.raises(RunBusyError, match=f'"pid": {owner.pid}'), runs.locked(run, wait_seconds=0.2):
        pass
    owner.kill()
    with runs.locked(run, wait_seconds=10):
        owner.join()


def test_who_only_looks_is_no_owner(run, monkeypatch):
    """Two looks at one instant see each other's lock; each looks again before it speaks of a process."""
    (run.path / ".lock").touch()
    with open(run.path / ".lock", "r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        monkeypatch.setattr(time, "sleep", lambda _: fcntl.flock(other, fcntl.LOCK_UN))
        assert not run.held()
        with runs.locked(run):
            assert run.held()


def test_the_first_byte_of_a_lock_is_nobodys(run):
    """Windows keeps the byte that is locked from all readers, so what they may read begins behind it."""
    with runs.locked(run):
        content = (run.path / ".lock").read_bytes()
        assert content[:1] == b" " and json.loads(locks.owner(run.path / ".lock")) == json.loads(content)


def finished_run(run):
    encoder = Encoder("resnet10")
    digest = runs.save_weights(run, "encoder", encoder, {"encoder": "resnet10", "stem": "cifar"})
    write_json(run.path / "result.json", {"status": "ok", "encoder_sha256": digest, "finished_at": 5.0})
    return encoder


def test_an_encoder_comes_back_frozen_and_checked(run):
    saved = finished_run(run)
    loaded = runs.load_encoder(run)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert all((v == loaded.state_dict()[k]).all() for k, v in saved.state_dict().items())
    file = run.path / "encoder.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not match the sha256"):
        runs.load_encoder(run)


def test_an_unfinished_encoder_is_refused(run):
    with pytest.raises(CheckpointError, match="unfinished, not finished. Start it again"):
        runs.load_encoder(run)


def test_runs_are_found_by_name_by_path_and_as_latest(run, tmp_path):
    with pytest.raises(ParamError, match="make one with: make pretrain"):
        runs.find("latest", tmp_path)
    finished_run(run)
    newer = runs.create(tmp_path, WHO | {"seed": 4}, {})
    assert runs.find("latest", tmp_path) == run
    write_json(newer.path / "result.json", {"status": "ok", "finished_at": 6.0})
    assert runs.find("latest", tmp_path) == newer and runs.list_runs(tmp_path) == [newer, run]
    assert runs.find(run.name, tmp_path) == run and runs.find(str(run.path), "elsewhere") == run
    with pytest.raises(ParamError, match="Did you mean"):
        runs.find(run.name[:-1] + "x", tmp_path)
    with pytest.raises(ParamError, match=f"one of the 2 names .*Name one of them, such as {newer.name}, {run.name}."):
        runs.find("zzz", tmp_path)
    with pytest.raises(ParamError, match="the 0 names .*There is none yet; make one with: make pretrain"):
        runs.find("zzz", tmp_path / "empty")


def test_a_damaged_run_is_in_the_way_of_the_latest_only(run, tmp_path):
    broken = runs.create(tmp_path, WHO | {"seed": 4}, {})
    (broken.path / "result.json").write_text("{")
    finished_run(run)
    assert runs.list_runs(tmp_path) == [broken, run] and runs.find(run.name, tmp_path) == run
    with pytest.raises(CheckpointError, match=broken.name):
        runs.find("latest", tmp_path)


def test_the_code_version_follows_the_source():
    assert runs.code_version().startswith("0.1.0+") and json.dumps(runs.versions())


# The run in the box


def test_the_demo_is_copied_once_among_the_runs_and_is_sound(tmp_path):
    """Trained by this project: who it is, what it kept and its weights fit together; 2 MiB of weights at most."""
    found = runs.find("demo", tmp_path / "runs")
    assert found.path.parent == tmp_path / "runs" and found.name == runs.demo().name and found.finished()
    written = (found.path / "params.json").stat().st_mtime_ns
    assert runs.find("demo", tmp_path / "runs").path == found.path
    assert (found.path / "params.json").stat().st_mtime_ns == written
    assert runs.list_runs(tmp_path / "runs") == [found]
    assert sum((found.path / f"{part}.safetensors").stat().st_size for part in ("encoder", "head")) <= 2 * 2**20
    result, values = found.result(), found.params()
    assert result["train_images"] == 50_000 and result["knn_split"] == "test" and result["knn_top1"] >= 0.8
    assert values["epochs"] == found.history()[-1]["epoch"] and values["dataset"] == "cifar10"
    assert not [value for value in values.values() if str(value).startswith("/")], "a path of the machine that made it"
    states = {check.name: check.state for check in verify(found)}
    assert {name for name, state in states.items() if state != "ok"} <= {
        "checkpoint.pt", "linear_eval.json", "attention.json", "attention_probe.npz", "data"}
    assert not {"missing", "DAMAGED"} & set(states.values())


def test_the_demo_is_read_in_its_place_where_nothing_can_be_written(tmp_path):
    (tmp_path / "runs").write_text("a file")
    assert runs.find("demo", tmp_path / "runs").path == runs.demo().path


def test_the_recipe_of_the_demo_is_in_params(tmp_path):
    recipe, values = Pretrain.from_yaml(ROOT / "params" / "pretrain" / "demo.yaml"), runs.demo().params()
    asked = recipe.model_copy(update={"device": "cpu", "precision": "bf16"}).resolved()
    assert {name: values[name] for name in values} == {name: asked[name] for name in values}


def test_without_its_data_the_demo_is_looked_at_on_the_embedded_images(tmp_path, monkeypatch):
    """``visualize`` and ``linear_eval`` of it need nothing but the package; with CIFAR-10 at hand, that is its own."""
    monkeypatch.delenv("MIXLAB_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    found = runs.find("demo", tmp_path / "runs")
    assert followed(found.params()) == "cifar10-mini"
    images = own_images(found)
    assert len(images["train"]) == 2000 and len(images["test"]) == 1000
    record = evaluate(found, Protocol(layers=("encoder",), knn_k=(200,), probes=(), few_label_fractions=(),
                                      geometry=False), log=lambda line: None)
    assert record["dataset"] == "cifar10-mini" and record["transfer"] and record["encoder"] == "resnet10-w16"
    assert record["knn"][0]["top1"] > 0.8
    (tmp_path / "data" / "cifar-10-batches-py").mkdir(parents=True)
    assert followed(found.params()) == "cifar10"
