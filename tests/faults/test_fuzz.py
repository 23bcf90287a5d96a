"""Loaders fed with damaged and made-up input for a fixed time: what comes out is a value or one of our own errors."""

import contextlib
import dataclasses
import io
import json
import random
import time
import warnings
from pathlib import Path

import pytest
import torch
from forks import values, write_yaml
from PIL import Image

from mixlab import checkpoint, data, params, runs
from mixlab.errors import CheckpointError, DataError, ParamError
from mixlab.evaluate import select_runs
from mixlab.files import sha256, writable_folder
from mixlab.params import Params, Pretrain

SHORT, LONG = 0.7, 30.0  # seconds for each loader, in every test run and in the whole programme
FUZZED = "Loader of {} given damaged or made-up input: a value or an error of ours, nothing else"
WHO = {"method": "simclr", "lr": 0.1}


@dataclasses.dataclass
class Loader:
    """``make(chance)`` gives an input, ``read(input)`` must return or raise one of ``errors``."""

    make: object
    read: object
    errors: tuple


def mutated(content, chance):
    """Bytes with a few flips, cuts, insertions, repetitions; now and then something else altogether."""
    content = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        place, length = chance.randrange(len(content) + 1), chance.choice((1, 1, 2, 4, 16, 200))
        kind = chance.randrange(6)
        if kind == 0 and place < len(content):
            content[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del content[place:place + length]
        elif kind == 2:
            content[place:place] = chance.randbytes(length)
        elif kind == 3:
            content[place:place] = content[place:place + length] * chance.choice((2, 50))
        elif kind == 4:
            content[place:place + length] = chance.choice(TOKENS)
        else:
            content = content[:place]
    return bytes(content) if chance.random() < 0.95 else chance.randbytes(chance.randrange(300))


TOKENS = [b"[" * 5000, b"{" * 2000, b"&a [*a]", b"!!python/object/apply:os.system [ls]", b"\x00", b"\xff\xfe", b"NaN",
          b"1e999", b"-" * 50, b"? ", b'"\\ud800"', b"<<: *x", b"9" * 5000, b"\n\n", b": ", b"0x" + b"f" * 300, b"..",
          b"%YAML 9"]


# What is fed

PATHS = ["a\0b", "x" * 256, "y/" * 2500, "..", "~nobody-of-that-name/x"]
PATHS += [f"folder:{path}" for path in ("", *PATHS)]
ODD = [*PATHS, None, True, 0, -1, 7, 1.5, 1e-320, 1e308, float("nan"), float("inf"), -0.0, 2**70, "", "auto", "none",
       "x" * 500, "7", "1e-3", "<script>", "\ud800", [], [1], ["mixup", "cutmix"], [[]], {}, {"a": 1}, (), b"x",
       object(), print, torch.zeros(2), torch.tensor(3), range(3), 1 + 2j]


MODELS = [model for model in vars(params).values() if isinstance(model, type) and issubclass(model, Params)]


def parameters_loader(folder, images):
    """Of any notebook; what is accepted is looked up, too: folders, data sets and runs, in a folder of the test's."""
    def make(chance):
        model = chance.choice(MODELS)
        names = [*model.model_fields, "temperatur", ""]
        looked_up = [name for name in names if name.endswith(("_dir", "_from", "run", "dataset"))]
        if looked_up and chance.random() < 0.5:
            return model, {chance.choice(looked_up): chance.choice(PATHS)}
        return model, {chance.choice(names): chance.choice(ODD) for _ in range(chance.randrange(1, 6))}

    def read(given):
        model, values = given
        found = model.check(**values)
        with contextlib.chdir(folder):
            look_up({name: getattr(found, name) for name in values})
        return found
    return Loader(make, read, (ParamError,))


def look_up(values):
    for name, value in values.items():
        if name.endswith("_dir"):
            writable_folder(data.resolve(value), name)
        elif name == "dataset":
            data.at_hand(value, values.get("data_dir"))
        elif name in ("run", "init_from", "guide_from"):
            select_runs(value, data.resolve("runs"), lambda line: None)


def saved_checkpoint(folder):
    checkpoint.save(folder / "checkpoint.pt", {"w": {"a": torch.arange(40.0)}, "progress": {"epoch": 2, "sums": {}}},
                    WHO)
    return (folder / "checkpoint.pt").read_bytes()


def resealed(content, chance):
    """Half of the time the payload is harmed and vouched for anew, so that torch's own reader gets to see it."""
    if chance.random() < 0.5:
        return mutated(content, chance)
    header, payload = content.split(b"\n", 1)
    payload = mutated(payload, chance)
    header = json.loads(header) | {"bytes": len(payload), "sha256": sha256(payload)}
    return json.dumps(header).encode() + b"\n" + payload


def by_file(file, read):
    def write_and_read(content):
        file.write_bytes(content)
        return read()
    return write_and_read


def yaml_loader(folder, images):
    whole = write_yaml(folder / "whole.yaml", values(images, "runs", lr_decay_epochs=[1, 2], schedule="step"))
    content, file = Path(whole).read_bytes(), folder / "p.yaml"
    return Loader(lambda chance: mutated(content, chance), by_file(file, lambda: Pretrain.from_yaml(file)),
                  (ParamError,))


def checkpoint_loader(folder, images):
    content, file = saved_checkpoint(folder), folder / "checkpoint.pt"
    return Loader(lambda chance: resealed(content, chance), by_file(file, lambda: checkpoint.load(file, WHO)),
                  (CheckpointError,))


def history_loader(folder, images):
    run = runs.create(folder, WHO | {"dataset": "x", "mixer": "y", "encoder": "z", "seed": 0}, {})
    for epoch in range(5):
        runs.record_row(run, {"epoch": epoch, "loss": 1 / (epoch + 1), "lr": 0.1, "views_per_second": 1e3})
    file = run.path / "history.jsonl"
    content = file.read_bytes()
    return Loader(lambda chance: mutated(content, chance), by_file(file, run.history), (CheckpointError,))


def result_loader(folder, images):
    run = runs.create(folder, WHO | {"dataset": "x", "mixer": "y", "encoder": "z", "seed": 0}, {})
    runs.record_row(run, {"epoch": 0, "loss": None})
    runs.write_result(run, {"status": "ok", "knn_top1": 0.25, "versions": {"mixlab": "1"}})
    file = run.path / "result.json"
    content = file.read_bytes()
    return Loader(lambda chance: mutated(content, chance), by_file(file, run.state), (CheckpointError,))


def folder_loader(folder, images):
    """One file of each format in turn is harmed; all are read."""
    whole, place = {}, folder / "pictures"
    for form in ("png", "jpg", "gif", "tiff", "webp", "bmp", "ppm"):
        buffer = io.BytesIO()
        Image.effect_noise((24, 24), 60).convert("RGB").save(buffer, {"jpg": "JPEG"}.get(form, form.upper()))
        whole[form] = buffer.getvalue()
        for name in ("a", "b", "c"):
            (place / name).mkdir(parents=True, exist_ok=True)
            (place / name / f"x.{form}").write_bytes(whole[form])

    def make(chance):
        form = chance.choice(list(whole))
        return form, mutated(whole[form], chance)

    def read(given):
        form, content = given
        (place / "a" / f"x.{form}").write_bytes(content)
        found = data.load(f"folder:{place}", image_size=16, skip_broken=len(content) % 2 == 0)
        (place / "a" / f"x.{form}").write_bytes(whole[form])
        return found
    return Loader(make, read, (DataError,))


LOADERS = {
    "parameters": parameters_loader, "YAML": yaml_loader, "checkpoint": checkpoint_loader, "history": history_loader,
    "result": result_loader, "folder of images": folder_loader,
}


def fuzz(name, folder, images, seconds, seed, tally):
    """Feeds the loader until the time is over; the input that broke it is told."""
    loader, chance = LOADERS[name](folder, images), random.Random(seed)
    warnings.simplefilter("ignore")  # of tags and protocols that readers do not know; pytest puts the filters back
    deadline, given = time.monotonic() + seconds, None
    while time.monotonic() < deadline:
        given = loader.make(chance)
        try:
            loader.read(given)
            ours = True
        except loader.errors as error:
            ours = bool(str(error))
        except Exception as error:
            tally(FUZZED.format(name), False, type(error), error, given)
        tally(FUZZED.format(name), ours, given)


@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_survives_a_moment_of_nonsense(name, tmp_path, images, tally):
    fuzz(name, tmp_path, images, SHORT, name, tally)


@pytest.mark.faults
@pytest.mark.parametrize("name", LOADERS)
def test_a_loader_survives_half_a_minute_of_nonsense(name, tmp_path, images, tally):
    """Of another input every time: what it finds is printed, to be made a test of its own."""
    fuzz(name, tmp_path, images, LONG, time.time_ns(), tally)
