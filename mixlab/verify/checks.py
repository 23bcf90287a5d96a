"""What each file of a run must fit: the sha256 beside it, the run's name, the other files, and the images at hand."""

import io
import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mixlab import checkpoint, data, runs, snapshots
from mixlab.attention.classifier import read_probe
from mixlab.errors import CheckpointError, DataError
from mixlab.evaluate import stored_files
from mixlab.files import read_json, safe_name, sha256
from mixlab.verify.stored import (
    UNFINISHED,
    MissingError,
    NotCheckedError,
    finished_result,
    known_name,
    need,
    splits_at_hand,
    stored_result,
    stored_values,
    who,
)

OK, DAMAGED, MISSING, NOT_CHECKED = "ok", "DAMAGED", "missing", "not checked"
NOT_THERE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # these tell of the run, others of the machine


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Args:
        name: of the file, or of what else was compared.
        state: ``ok``, ``DAMAGED``, ``missing`` or ``not checked``.
        text: what was found, or why nothing was looked at.
    """

    name: str
    state: str
    text: str = ""

    @property
    def sound(self):
        return self.state in (OK, NOT_CHECKED)

    def __str__(self):
        line = f"{self.name:<20} {self.state}{': ' * bool(self.text)}{self.text}"
        return "".join(letter if letter.isprintable() else "?" for letter in line)  # names may hold control characters


def verify(run):
    """Re-checks what lies in a run's directory; nothing is written, downloaded or trained.

    Args:
        run: a ``Run`` in any state, also a damaged one.
    Yields:
        ``Check`` after ``Check``; the run is sound if all are.
    """
    fixed = (("params.json", parameters), ("result.json", result), ("history.jsonl", history),
             ("checkpoint.pt", trained_state), ("encoder.safetensors", partial(weights, load=runs.load_encoder)),
             ("head.safetensors", partial(weights, load=runs.load_head)), ("snapshots", kept_features))
    for name, look in fixed:
        yield checked(name, look, run)
    for file in stored_files(run):
        yield checked(file.name, partial(evaluation, file=file), run)
    if not stored_files(run):
        yield Check("linear_eval.json", NOT_CHECKED, "no evaluation is stored")
    for name, look in (("attention.json", attention), ("attention_probe.npz", attention_probe), ("data", images),
                       ("versions", surroundings)):
        yield checked(name, look, run)


def checked(name, look, run):
    """The ``Check`` that the function ``look`` of a run gives; what it stumbles over is damage, or the machine's."""
    try:
        return Check(name, OK, look(run))
    except NotCheckedError as why:
        return Check(name, NOT_CHECKED, str(why))
    except MissingError as why:
        return Check(name, MISSING, str(why))
    except (CheckpointError, DataError) as error:
        return Check(name, DAMAGED, str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Check(name, NOT_CHECKED, f"memory is full ({error})")
    except Exception as error:  # content of any kind may lie in the file, and meets readers with any type of error
        if isinstance(error, OSError) and error.errno and not isinstance(error, NOT_THERE):
            return Check(name, NOT_CHECKED, f"cannot be read ({error.strerror})")
        return Check(name, DAMAGED, f"is not what mixlab wrote ({type(error).__name__}: {error})")


# The files

def parameters(run):
    if not (run.path / "params.json").exists():
        raise MissingError("who the run is cannot be known")
    run.params()
    name, is_own = known_name(run)
    need(is_own, f"what they say is the run {name}, not this one")
    return f"their hash with the checksums of the data is {name[-8:]}"


def result(run):
    if not (run.path / "result.json").exists():
        raise NotCheckedError(f"{UNFINISHED} ({run.state()})")
    found, sealed = run.result(), "sha256" in read_json(run.path / "result.json")
    if found.get("status") != "ok":
        raise NotCheckedError(f"{UNFINISHED} ({found.get('status')}: {found.get('reason')})")
    need(found["run"] == run.path.resolve().name, f"is of the run {found['run']}")
    need(all(np.isfinite(found[name]) for name in ("loss", "knn_top1") if found.get(name) is not None),
         "loss and knn_top1 must be finite")
    return "" if sealed else "by an older mixlab, which kept no sha256 of it"


def history(run):
    if not (run.path / "history.jsonl").exists():
        raise MissingError("no epoch is recorded")
    found, rows = stored_result(run), run.history()
    done = found.get("status") == "ok"
    last = stored_values(run)["epochs"] if done else max([row["epoch"] for row in rows], default=-1)
    need([row["epoch"] for row in rows] == list(range(last + 1)),
         f"has the epochs {[row['epoch'] for row in rows]}; all of 0 to {last} are due")
    wrong = [f"{name} of epoch {row['epoch']}" for row in rows for name, value in row.items()
             if not is_number(value) and (row["epoch"], name, value) != (0, "loss", None)]
    need(not wrong, f"must be finite: {', '.join(wrong)}")
    ends = {name: (rows[-1].get(name), found.get(name)) for name in ("loss", "knn_top1") if done}
    need(all(a == b for a, b in ends.values()), f"ends otherwise than result.json says: {ends}")
    return f"{len(rows)} rows, epochs 0 to {last}, finite"


def is_number(value):
    return isinstance(value, int | float) and math.isfinite(value)


def trained_state(run):
    file, done = run.path / "checkpoint.pt", stored_result(run).get("status") == "ok"
    if not file.exists() and run.name == runs.demo().name:
        raise NotCheckedError("the package brings the run without it, so it can't be continued")
    if not file.exists():
        raise MissingError("the run could not be continued") if done else NotCheckedError("there is none yet")
    if not known_name(run)[1]:
        raise NotCheckedError("params.json is not of this run")
    state, note = checkpoint.load(file, who(run))
    need(not note, note)
    wrong = [name for name, tensor in state["method"].items() if not finite(tensor)]
    need(not wrong, f"must be finite: {', '.join(wrong)}")
    epoch, step = state["progress"]["epoch"], state["progress"]["step"]
    need(not done or epoch == stored_values(run)["epochs"] + 1, f"stands at epoch {epoch}, step {step}")
    return f"its sha256 fits, it is of this run, at epoch {epoch}, step {step}"


def finite(tensor):
    return not torch.is_tensor(tensor) or not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())


def weights(run, load):
    found, name = finished_result(run), load.__name__.removeprefix("load_")
    if not (run.path / f"{name}.safetensors").exists():
        raise MissingError(f"its sha256 was {found[f'{name}_sha256'][:12]}...")
    module = load(run)
    need(all(map(finite, module.state_dict().values())), "must be finite")
    return f"sha256 {found[f'{name}_sha256'][:12]}..., {sum(p.numel() for p in module.parameters()):,} weights"


def kept_features(run):
    found, values, known = snapshots.read(run), stored_values(run), stored_result(run)
    if found is None and not values.get("snapshot_every"):
        raise NotCheckedError("the run keeps none")
    every, end = values["snapshot_every"], values["epochs"]
    last = end if known.get("status") == "ok" else max([row["epoch"] for row in run.history()], default=-1)
    due = {epoch for epoch in range(last + 1) if every and (epoch % every == 0 or epoch == end)}
    lost = sorted(due - set(found.epochs if found else ()))
    if lost:
        raise MissingError(f"of epochs {', '.join(map(str, lost))}")
    if found is None:
        raise NotCheckedError("there is none yet")
    need(bool(np.isfinite(found.features).all()), "features must be finite")
    wanted = data.load(found.dataset, split=found.split).checksum if found.dataset else known.get("queries_checksum")
    need(wanted in (None, found.checksum), f"are of other images than {found.dataset or 'the queries of the run'}")
    return f"{len(found.epochs)} epochs of {len(found.index):,} images{found.dataset and f' of {found.dataset}'}"


def evaluation(run, file):
    record = runs.read_sealed(file)
    need(record["run"] == run.path.resolve().name, f"is of the run {record['run']}")
    need(record["encoder_sha256"] == finished_result(run)["encoder_sha256"], "is of another encoder than the run's")
    suffix = f"-{safe_name(record['dataset'])}" if record["transfer"] else ""
    if file.name != f"linear_eval{suffix}.json":
        return "an earlier evaluation, whose features were not kept"
    embeddings = run.path / f"embeddings{suffix}.npz"
    if not embeddings.exists():
        raise MissingError(f"its {embeddings.name}")
    content = embeddings.read_bytes()
    need(sha256(content) == record["embeddings_sha256"], f"{embeddings.name} does not match its sha256")
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return f"{embeddings.name} fits; {_scored_again(record, stored)}"


def _scored_again(record, stored):
    """Accuracies computed once more from the stored answers."""
    told = {"knn_predictions": (record["knn"] or [{}])[0].get("top1")}
    told["predictions"] = next((row["top1"] for row in record["probes"] if row["probe"] == record["predictions_of"]
                                and row["layer"] == record["predictions_layer"]), None)
    found = {name: (stored[name] == stored["labels"]).mean() for name in told if name in stored.files}
    wrong = [name for name, top1 in found.items() if told[name] is None or abs(told[name] - top1) > 1e-6]
    need(not wrong, f"{', '.join(wrong)}: the stored answers have another accuracy than the one recorded")
    return f"{len(found)} accuracies computed again from stored answers"


def attention(run):
    if not (run.path / "attention.json").exists():
        raise NotCheckedError("no maps are scored")
    record = runs.read_sealed(run.path / "attention.json")
    need(record["encoder_sha256"] == finished_result(run)["encoder_sha256"], "is of another encoder than the run's")
    scores = [row[name] for row in record["mosaics"] + record["boxes"] for name in ("pointing", "energy")]
    need(all(score is None or 0 <= score <= 1 for score in scores), "shares must lie in 0 to 1")
    return f"{len(record['mosaics'])} rows on mosaics, {len(record['boxes'])} on boxes"


def attention_probe(run):
    if not (run.path / "attention_probe.npz").exists():
        raise NotCheckedError("none was needed")
    weight, bias, about = read_probe(run)
    need(finite(weight) and finite(bias), "must be finite")
    if about["encoder_sha256"] != finished_result(run)["encoder_sha256"]:
        raise NotCheckedError("is of another encoder, and will be fitted again")
    return f"a linear classifier of {weight.shape[0]} classes"


def images(run):
    splits, found = splits_at_hand(run), stored_result(run)
    if "data_checksum" not in found:
        raise NotCheckedError(f"{UNFINISHED}, so only its name holds their checksums: see params.json")
    for name, part in (("data_checksum", splits.train), ("queries_checksum", splits.queries)):
        need(part.checksum == found[name], f"{name}: these are other images, {part.checksum[:12]}..., than those of "
                                           f"the run, {found[name][:12]}...")
    return f"the {found['train_images']:,} training images are those of the run"


def surroundings(run):
    then, now = finished_result(run)["versions"], runs.versions()
    changes = [f"{name} {then.get(name)} then, {now[name]} now" for name in now if then.get(name) != now[name]]
    parts = len(run.result().get("continued_from", [])) + 1
    more = f" (the last of {parts} parts)" if parts > 1 else ""
    return (", ".join(changes) or f"mixlab {now['mixlab']} and its libraries are those that made it") + more
