"""A run's directory: its name, made from what changes the numbers, and what stands in it."""

from dataclasses import dataclass
from pathlib import Path

from mixlab.errors import CheckpointError
from mixlab.files import plain, read_json, safe_name, sha256, write_json
from mixlab.locks import PAUSE_SECONDS, held, taken
from mixlab.runs.history import digest, parse_history
from mixlab.runs.lock import LOCK

FRESH = "Train the run again with fresh: true."


@dataclass(frozen=True)
class Run:
    """One run directory. Reading is safe while another process writes it."""

    path: Path

    @property
    def name(self):
        return self.path.name

    def params(self):
        """The resolved parameters the run was started with."""
        return read_json(self.path / "params.json")

    def history(self):
        """The recorded rows in order of epoch; a torn last line is left out.

        Raises:
            CheckpointError: a damaged line elsewhere, by number; other rows than a finished run's result vouches for.
        """
        file, known = self.path / "history.jsonl", self.result().get("history_sha256")  # asked first: it comes last
        content = file.read_bytes() if file.exists() else b""
        if known and sha256(content) != known:
            raise CheckpointError(f"{file}: damaged, it does not match the sha256 in result.json. {FRESH}")
        return parse_history(content.decode(errors="replace"), file)

    def result(self):
        """What ``result.json`` says, or ``{}`` before there is one.

        Raises:
            CheckpointError: it is damaged.
        """
        file = self.path / "result.json"
        record = read_json(file) if file.exists() else {}
        known = record.pop("sha256", None)
        if known and known != digest(record):
            raise CheckpointError(f"{file}: damaged, its content does not match the sha256 in it. "
                                  "Delete it and start the run again: it ends from its checkpoint.")
        return record

    def finished(self):
        return self.result().get("status") == "ok"

    def state(self):
        """``finished``, ``running``, or what the last process left: ``interrupted``, ``failed``, ``unfinished``."""
        status = self.result().get("status", "unfinished")
        if status == "ok":
            return "finished"
        return "running" if self.held() else status

    def held(self):
        """Whether a live process holds the run."""
        return held(self.path / LOCK)


def identity_hash(identity):
    """Eight hex digits naming ``identity``, a flat dict of plain values."""
    return digest(plain(identity))[:8]


def run_name(identity):
    """``<dataset>-<method>-<mixer>-<encoder>-s<seed>-<hash8>`` of an identity."""
    head = "-".join(safe_name(identity[k]) for k in ("dataset", "method", "mixer", "encoder"))
    return f"{head}-s{identity['seed']}-{identity_hash(identity)}"


def create(runs_dir, identity, params, fresh=False):
    """The directory of this identity, made if it is new.

    ``fresh`` makes another beside it (``...-2``), or takes up the last such one that was left unfinished.
    """
    base = Path(runs_dir) / run_name(identity)
    path, number = base, 1
    while fresh and path.exists() and (number == 1 or Run(path).finished() or held(path / LOCK)):
        number += 1
        path = base.with_name(f"{base.name}-{number}")
    path.mkdir(parents=True, exist_ok=True)
    while not (path / "params.json").exists():
        _write_params(path, params)
    return Run(path)


def _write_params(path, params):
    """Under the run's lock, since who takes it removes half-written files; or leaves it to the start that has it."""
    with taken(path / LOCK, PAUSE_SECONDS) as free:
        if free and not (path / "params.json").exists():
            write_json(path / "params.json", params)
