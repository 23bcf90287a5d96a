"""Nothing that is loaded, named or typed can run code, and nothing asks the network behind a person's back.

Elsewhere: malicious checkpoints and weights (``test_storage.py``, row 10), downloads that are checked before use
(``tests/test_data_cifar.py``), names that would be markup (``test_names.py``).
"""

import ast
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from attention_runs import finished_run, folder_of_pictures
from hostile import READS_HTML

from mixlab import data, files, plots, runs, snapshots
from mixlab.attention.classifier import FILE as PROBE
from mixlab.attention.classifier import classifier_of
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.params import Ablation, LinearEval, Pretrain

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mixlab"


class Bomb:
    """Touches ``marker`` when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path):
    """A file that only executed code makes."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "code was run"


def quiet(line):
    """Takes a line of log and drops it."""


# What the source may not do

BANNED = {"eval", "exec", "pickle.load", "pickle.loads", "os.system", "os.popen", "yaml.unsafe_load", "yaml.full_load",
          "torch.hub.load", "joblib.load", "tar.extractall", "utils.extract_archive", "shutil.unpack_archive"}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def called(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            given = {word.arg: word.value for word in node.keywords}
            yield dotted(node.func), node, {n: v.value for n, v in given.items() if isinstance(v, ast.Constant)}


def test_no_call_in_mixlab_can_run_what_it_reads():
    """Loaders are asked for plain data, no shell is started, nothing is evaluated."""
    found = []
    for file in PACKAGE.rglob("*.py"):
        for name, node, given in called(file):
            wrong = (name in BANNED or given.get("shell") is True
                     or (name == "torch.load" and given.get("weights_only") is not True)
                     or (name == "np.load" and given.get("allow_pickle") is not False)
                     or (name == "yaml.load" and dotted(node.args[1]) != "_StrictLoader")
                     or (name == "Image.open" and not [w for w in node.keywords if w.arg == "formats"]))
            found += [f"{file.name}:{node.lineno} {name}"] * wrong
    assert not found
    texts = [file.read_text() for file in (PACKAGE / "assets").glob("*.js")]
    texts += [file.read_text() for file in (PACKAGE / "explorers").glob("*.py")]
    assert not [word for text in texts for word in READS_HTML.findall(text)]


# Files

def objects(file, bomb, **plain):
    """An archive of arrays, one of which is a pickled object."""
    np.savez(file, **plain, labels=np.array([bomb], dtype=object))


def test_arrays_with_pickled_objects_are_refused(tmp_path, marker):
    """Embeddings, snapshots and the probe that attention maps keep."""
    from fake_results import fake_run

    (tmp_path / "runs").mkdir()
    path = fake_run(tmp_path / "runs", "supcon", name="r")
    objects(path / "embeddings.npz", Bomb(marker), encoder=np.zeros((1, 2), np.float16))
    (one,) = plots.evaluated(tmp_path / "runs")
    with pytest.raises(CheckpointError, match=r"embeddings\.npz: damaged .*allow_pickle=False"):
        one.arrays()
    (path / "snapshots").mkdir()
    objects(path / "snapshots" / "epoch-00001.npz", Bomb(marker), features=np.zeros((1, 2)), index=np.zeros(1))
    with pytest.raises(CheckpointError, match="not a readable snapshot"):
        snapshots.read(runs.Run(path))


def test_a_kept_probe_that_is_a_pickle_is_fitted_again(tmp_path, marker):
    run = finished_run(tmp_path / "runs", folder_of_pictures(tmp_path / "pictures"))
    np.savez(run.path / PROBE, about=np.array([Bomb(marker)], dtype=object), weight=np.zeros(1), bias=np.zeros(1))
    said = []
    classifier_of(run, runs.load_encoder(run), log=said.append)
    assert said and "fits a probe" in said[0]


def test_labels_that_are_a_pickle_are_refused(tmp_path, marker):
    from mixlab.data import cifar

    np.save(tmp_path / "labels.npy", np.array([Bomb(marker)], dtype=object))
    with pytest.raises(DataError, match="corrupted"):
        cifar._read_labels(tmp_path / "labels.npy")


@pytest.fixture
def official(monkeypatch):
    """torchvision's description of CIFAR-10, whose archive may be declared to be any file."""
    from torchvision import datasets

    def declare(archive):
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())

    return SimpleNamespace(source=datasets.CIFAR10, declare=declare)


def test_a_batch_that_is_a_malicious_pickle_is_not_opened(tmp_path, marker, official):
    folder = tmp_path / official.source.base_folder
    folder.mkdir()
    for file, _ in [*official.source.train_list, *official.source.test_list, ("batches.meta", "")]:
        (folder / file).write_bytes(pickle.dumps(Bomb(marker)))
    with pytest.raises(DataError, match="corrupted, md5"):
        data.load("cifar10", tmp_path)


def member(name, content=b"x", **changes):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, io.BytesIO(content)


def test_an_archive_writes_no_file_but_those_known_by_name(tmp_path, official):
    """Were its MD5 right, paths that lead out, links, devices and files of other names would still be left alone."""
    home, base = tmp_path / "data", official.source.base_folder
    home.mkdir()
    outside, archive = tmp_path / "outside", home / official.source.filename
    bad = [member("../escaped"), member(f"{base}/../../escaped"), member(str(tmp_path / "escaped")),
           member(f"{base}/data_batch_1", b"", type=tarfile.SYMTYPE, linkname=str(outside)),
           member(f"{base}/data_batch_1", b"through the link"),
           member(f"{base}/data_batch_2", b"", type=tarfile.LNKTYPE, linkname="../../outside"),
           member(f"{base}/data_batch_3", b"", type=tarfile.FIFOTYPE), member(f"{base}/sitecustomize.py")]
    with tarfile.open(archive, "w:gz") as tar:
        for info, content in bad:
            tar.addfile(info, content)
    official.declare(archive)
    with pytest.raises(DataError):
        data.load("cifar10", home)
    assert {file.name for file in tmp_path.iterdir()} == {"data"} and not outside.exists()
    assert {file.relative_to(home).as_posix() for file in home.rglob("*") if not file.is_dir()} == {
        archive.name, f"{base}/data_batch_1"}
    assert (home / base / "data_batch_1").read_bytes() == b"through the link"
    assert not (home / base / "data_batch_1").is_symlink()


ODD = {"no metadata": None, "other metadata": {"x": "y"}, "no JSON": {"about": "{"}, "a list": {"about": "[]"},
       "text": {"about": '"os.system"'}, "deep": {"about": "[" * 100_000},
       "another encoder": {"about": '{"encoder": "__import__", "stem": "os"}'},
       "a layout of odd kinds": {"about": '{"layout": [["__import__", "os", 1]], "encoder": [], "stem": {}}'}}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", ["encoder", "head"])
def test_odd_metadata_of_weights_is_refused(tmp_path, odd, name):
    """Vouched for by the result, as a forger would: metadata picks among known parts, and nothing else."""
    import safetensors.torch
    import torch

    run = runs.Run(tmp_path)
    content = safetensors.torch.save({"w": torch.zeros(1)}, ODD[odd])
    (tmp_path / f"{name}.safetensors").write_bytes(content)
    files.write_json(tmp_path / "result.json", {"status": "ok", f"{name}_sha256": files.sha256(content)})
    with pytest.raises(CheckpointError, match="is not of this mixlab"):
        getattr(runs, f"load_{name}")(run)


TAGS = ("!!python/object/apply:os.system ['touch {}']", "!!python/object/new:subprocess.Popen [['touch', '{}']]",
        "!!python/name:os.system", "!!python/module:os", "!!python/tuple [1]", "!custom 1")


@pytest.mark.parametrize("tag", TAGS)
def test_yaml_tags_are_refused(tmp_path, marker, tag):
    (tmp_path / "p.yaml").write_text(f"seed: {tag.format(marker)}\n")
    for model in (Pretrain, LinearEval, Ablation):
        with pytest.raises(ParamError, match="cannot be read as parameters"):
            model.from_yaml(tmp_path / "p.yaml")


# Text that a notebook is given

TEXTS = ('"; import os; os.system("touch marker"); "', "'\nimport os\nos.system('touch marker')\n'",
         '"""\nopen("marker", "w")\n"""', "\\", "\\\"; open('marker', 'w') #", "{open('marker', 'w')}", "\u2028x",
         "# Parameters\nrun = 1", "$(touch marker) `touch marker`", "é\r\n\t\0"[:-1])


def injected(*arguments, folder):
    """What papermill puts into the pretrain notebook for these arguments, nothing run."""
    import nbformat
    from click.testing import CliRunner
    from papermill.cli import papermill

    out = folder / "out.ipynb"
    done = CliRunner().invoke(papermill, [str(ROOT / "notebooks" / "pretrain.ipynb"), str(out), "--prepare-only",
                                          "--no-progress-bar", *map(str, arguments)])
    if done.exit_code:
        return None
    cells = nbformat.read(out, as_version=4).cells
    return next(cell.source for cell in cells if "injected-parameters" in cell.metadata.get("tags", ()))


@pytest.mark.parametrize("text", TEXTS)
def test_text_given_to_a_notebook_stays_text(tmp_path, monkeypatch, text):
    """By -p, -r and -f: the injected cell assigns exactly this text, and runs nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "p.yaml").write_text(json.dumps({"init_from": text, "dataset": f"folder:{text}"}))
    for arguments in (["-p", "init_from", text, "-p", "dataset", f"folder:{text}"],
                      ["-r", "init_from", text, "-r", "dataset", f"folder:{text}"], ["-f", "p.yaml"]):
        source, namespace = injected(*arguments, folder=tmp_path), {}
        assert all(isinstance(line, ast.Assign) and isinstance(line.value, ast.Constant)
                   for line in ast.parse(source).body), source
        exec(source, namespace)
        assert namespace["init_from"] == text and namespace["dataset"] == f"folder:{text}"
    assert not (tmp_path / "marker").exists()


def test_a_file_with_tags_is_no_parameter_file_to_papermill_either(tmp_path, marker):
    (tmp_path / "p.yaml").write_text(f"seed: {TAGS[0].format(marker)}\n")
    assert injected("-f", tmp_path / "p.yaml", folder=tmp_path) is None


def test_a_parameter_name_that_is_code_never_reaches_papermill_from_mixlab(tmp_path):
    """To papermill the name in ``-p NAME VALUE`` is Python: a grid lets known names through only."""
    name = "import os; os.system('touch marker'); x"
    assert f"{name} = 1" in injected("-p", name, 1, folder=tmp_path), "or papermill has mended it"
    for values in ({"base": {name: 1}}, {"axes": {name: [1]}}, {"also": [{name: 1}]}):
        with pytest.raises(ParamError, match="parameters of pretrain.ipynb"):
            Ablation.check(**values)
    with pytest.raises(ParamError):
        Pretrain.check(**{name: 1})


# The network

PATH = """
    import sys
    from pathlib import Path
    from mixlab import attention, data, explorers, plots, projection
    from mixlab.errors import DataError
    from mixlab.evaluate import Protocol, evaluate
    from mixlab.params import Pretrain
    from mixlab.train import train
    from mixlab.verify import retrain, verify
    folder = Path(sys.argv[1])
    quiet = lambda line: None
    run = train(Pretrain.check(dataset=sys.argv[2], image_size=16, batch_size=4, epochs=1, warmup_epochs=0,
                               snapshot_every=1, device="cpu", runs_dir=str(folder)), log=quiet)
    evaluate(run, Protocol(probes=("lbfgs",), few_label_fractions=()), quiet)
    cloud = projection.cloud(run, kind="pca", log=quiet)
    explorers.write_embedding_page(folder / "embedding.html", [cloud], "map")
    explorers.write_attention_page(folder / "attention.html", [run], images=2, log=quiet)
    plots.png(plots.curves([run]))
    assert all(check.sound for check in verify(run)) and retrain(run).sound
    print("done", "plotly" in sys.modules, Path("asked.txt").exists())
    try:
        data.load("cifar10", "empty")
    except DataError as error:
        print("told", "download" in str(error))
"""


def child(program, folder, *arguments):
    """Runs a program in a process whose every try to reach another machine is refused and written down."""
    log = folder / "asked.txt"
    path = os.pathsep.join([str(ROOT / "tests" / "no_network"), str(ROOT)])
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)], capture_output=True,
                          text=True, timeout=300, cwd=folder,
                          env=os.environ | {"PYTHONPATH": path, "MIXLAB_NETWORK_LOG": str(log)})
    return done, log.read_text() if log.exists() else ""


def test_from_training_to_the_pages_nothing_is_asked_of_the_network_but_a_missing_data_set(tmp_path):
    """The download that a person asked for is tried at its official address only, and its failure is told."""
    dataset = folder_of_pictures(tmp_path / "pictures")
    done, tried = child(PATH, tmp_path, tmp_path / "runs", dataset)
    assert done.returncode == 0 and done.stdout.endswith("done True False\ntold True\n"), done.stdout + done.stderr
    assert {line.split()[1] for line in tried.splitlines()} == {"www.cs.toronto.edu"}


def test_a_try_to_reach_the_network_is_noticed(tmp_path):
    done, tried = child("""
        import socket
        for ask in (lambda: socket.create_connection(("192.0.2.1", 80), 1),
                    lambda: socket.getaddrinfo("example.org", 80),
                    lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"", ("192.0.2.1", 53))):
            try:
                ask()
            except OSError as error:
                print(error)
        server = socket.create_server(("127.0.0.1", 0))
        socket.create_connection(server.getsockname())
    """, tmp_path)
    assert done.returncode == 0 and done.stdout.count("this test has no network") == 3, done.stdout + done.stderr
    assert len(tried.splitlines()) == 3 and "192.0.2.1" in tried and "example.org" in tried
