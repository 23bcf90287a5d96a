"""Which runs to verify: unlike elsewhere, damaged and unfinished ones too."""

from fnmatch import fnmatchcase
from pathlib import Path

from mixlab import runs
from mixlab.errors import ParamError, problem
from mixlab.files import check_path

SIGNS = ("params.json", "result.json", "history.jsonl", "checkpoint.pt")  # a folder with one of these is, or was, a run


def select(name, runs_dir):
    """The runs that ``name`` means: a name below ``runs_dir``, a path, a glob over names, or ``latest``, the newest
    finished one.

    Returns:
        list of ``Run``, at least one, by name.
    Raises:
        ParamError: nothing is meant by it. CheckpointError: ``latest``, and a result below ``runs_dir`` is damaged.
    """
    check_path("run", name)
    if name == "latest":
        return [runs.find(name, runs_dir)]
    if name == "demo":  # the copy below runs_dir, or the package's own; nothing is written
        name = runs.demo().name if is_run(Path(runs_dir) / runs.demo().name) else str(runs.demo().path)
    folders = sorted(Path(runs_dir).iterdir()) if Path(runs_dir).is_dir() else []
    known = [folder for folder in folders if is_run(folder)]
    if any(letter in name for letter in "*?["):
        found = [folder for folder in known if fnmatchcase(folder.name, name)]
    else:
        found = [folder for folder in known if folder.name == name] or [Path(name)] * is_run(Path(name))
    if not found:
        allowed = f"latest, a run's directory, or a name or pattern of the {len(known)} runs below {runs_dir}"
        raise ParamError(problem("run", allowed, name, runs.suggestion(name, [folder.name for folder in known])))
    return [runs.Run(folder) for folder in found]


def is_run(folder):
    return any((folder / sign).is_file() for sign in SIGNS)
