"""The shape of the house: which part may import which, how long things get, and what no part may do.

Nothing here runs mixlab but the last two tests; the rest reads its source as syntax trees.
"""

import ast
import os
import re
import statistics
import subprocess
import sys
import textwrap
import tomllib
import warnings
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mixlab"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES})

# Imports go down only: a part may use the parts of lower rows, never those of its own row or above.
FLOORS = (
    {"errors"},
    {"rng", "files", "locks", "allocator", "precision"},
    {"data", "mixers", "encoders", "heads", "losses", "checkpoint", "optim", "momentum", "regions"},
    {"views", "runs", "parallel"},
    {"methods", "evaluate"},
    {"snapshots"},
    {"params", "projection", "attention"},
    {"train", "grid", "plots"},
    {"explorers", "benchmark", "verify"},
    {"__main__"},  # what `python -m mixlab.<part>` runs: it reads parameters, and nothing can import it
)
FLOOR_OF = {part: number for number, parts in enumerate(FLOORS) for part in parts}

FORBIDDEN_NAMES = {"utils", "util", "common", "misc", "helpers", "helper", "tools"}
# Where third-party packages that training does not need may be imported at all, and where at the top of a file.
TOP_LEVEL = {
    "matplotlib": {"plots", "explorers"},
    "plotly": {"plots", "explorers"},
    "ipywidgets": {"explorers"},
    "IPython": {"explorers"},
    "anywidget": {"explorers"},
    "umap": set(),
    "openTSNE": set(),
    "sklearn": set(),
    "lightly": set(),
    "kornia": set(),
    "pytorch_metric_learning": set(),
    "faiss": set(),
}
# The places that draw from a global generator knowingly, as (file, call).
GLOBAL_DRAWS_ALLOWED = {("mixlab/params/build.py", "torch.random.fork_rng"),
                        ("mixlab/params/build.py", "torch.manual_seed")}
# A check for unknown names has to be handed them, and IPython asks a widget what it likes.
ANY_KEYWORD_ALLOWED = {"mixlab/params/base.py check", "mixlab/explorers/still.py _repr_mimebundle_"}

FILE_LINES, FILE_LINES_WISHED, METHOD_LINES, FUNCTION_LINES, MEDIAN_LINES = 330, 300, 95, 40, 10
A_FEW = 8  # the median of fewer functions says nothing


@cache
def tree(file):
    return ast.parse(file.read_text(), str(file))


def part_of(file):
    """``mixlab/losses.py`` and ``mixlab/losses/regions.py`` are both of ``losses``; the package's own is of ''."""
    if file.name == "__main__.py":
        return "__main__"
    name = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if name == "__init__" else name


def imports(node):
    """Every imported module in ``node`` as a dotted name, with the names taken from it; lazy imports too."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from ((alias.name, ()) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield "." * child.level + (child.module or ""), tuple(alias.name for alias in child.names)


def parts_used(file):
    """Parts of mixlab that ``file`` imports; a name taken from the package itself counts if it is a part."""
    for module, names in imports(tree(file)):
        if module == "mixlab":
            yield from (name for name in names if name in FLOOR_OF)
        elif module.startswith("mixlab."):
            yield module.split(".")[1]


def functions(file):
    return [node for node in ast.walk(tree(file)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def code_lines(function):
    """Lines from ``def`` to the end, without the docstring, blank lines and comments."""
    lines = set(range(function.lineno, function.end_lineno + 1))
    if ast.get_docstring(function) is not None:
        lines -= set(range(function.body[0].lineno, function.body[0].end_lineno + 1))
    source = Path(function.file).read_text().splitlines()
    return sum(1 for n in lines if source[n - 1].strip() and not source[n - 1].strip().startswith("#"))


def lengths(file):
    for function in functions(file):
        function.file = file
        yield f"{short(file)}:{function.lineno} {function.name}", code_lines(function)


def dotted(node):
    """``torch.nn.init.normal_`` of the expression that spells it, or '' for anything else."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def calls(file):
    return [node for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]


def short(file):
    return str(file.relative_to(ROOT))


def test_every_part_has_its_floor():
    unknown = {part_of(file) for file in FILES} - {""} - set(FLOOR_OF)
    assert not unknown, f"add {sorted(unknown)} to FLOORS in tests/test_structure.py, on the lowest row that fits"


def test_imports_go_down_only():
    wrong = [f"{short(file)} imports mixlab.{used}" for file in FILES for used in parts_used(file)
             if used != part_of(file) and FLOOR_OF.get(used, 99) >= FLOOR_OF.get(part_of(file), 99)]
    assert not wrong


def test_imports_are_absolute():
    assert not [short(file) for file in FILES for module, _ in imports(tree(file)) if module.startswith(".")]


def test_nothing_imports_explorers():
    assert not [short(file) for file in FILES if "explorers" in parts_used(file) and part_of(file) != "explorers"]


def test_only_params_and_train_look_into_methods():
    allowed = {"params", "train", "methods"}
    by_name = [short(file) for file in FILES for _, names in imports(tree(file)) if "METHODS" in names
               and part_of(file) not in allowed]
    by_attribute = [short(file) for file in FILES for node in ast.walk(tree(file))
                    if isinstance(node, ast.Attribute) and node.attr == "METHODS" and part_of(file) not in allowed]
    assert not by_name + by_attribute


@pytest.mark.parametrize("package", sorted(TOP_LEVEL))
def test_what_training_does_not_need_is_imported_where_it_is_used(package):
    at_top = [short(file) for file in FILES for node in tree(file).body if isinstance(node, ast.Import | ast.ImportFrom)
              for module, _ in imports(node)
              if module.split(".")[0] == package and part_of(file) not in TOP_LEVEL[package]]
    assert not at_top, f"import {package} inside the function that needs it"


def test_no_drawer_for_odds_and_ends():
    names = {part for file in FILES for part in file.relative_to(PACKAGE).with_suffix("").parts}
    assert not names & FORBIDDEN_NAMES


def test_files_fit_a_reading():
    lines = {short(file): len(file.read_text().splitlines()) for file in FILES}
    for name in (name for name, count in lines.items() if FILE_LINES_WISHED < count <= FILE_LINES):
        warnings.warn(f"{name} has {lines[name]} lines, more than {FILE_LINES_WISHED}: time to make it a folder")
    assert not {name: count for name, count in lines.items() if count > FILE_LINES}


def test_a_method_is_one_page():
    lines = {short(file): len(file.read_text().splitlines()) for file in (PACKAGE / "methods").glob("*.py")}
    assert lines and not {name: count for name, count in lines.items() if count > METHOD_LINES}


def test_functions_fit_a_screen():
    assert not [(name, count) for file in FILES for name, count in lengths(file) if count > FUNCTION_LINES]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: short(folder))
def test_most_functions_are_short(folder):
    counts = [count for file in folder.glob("*.py") for _, count in lengths(file)]
    assert len(counts) < A_FEW or statistics.median(counts) <= MEDIAN_LINES


def bases():
    return {node.name: [dotted(base).split(".")[-1] for base in node.bases]
            for file in FILES for node in ast.walk(tree(file)) if isinstance(node, ast.ClassDef)}


def test_inheritance_is_one_deep():
    """A module of ours stands right under nn.Module; other records may share one plain base, not two."""
    parents = bases()
    too_deep = {name for name, of in parents.items() for base in of
                if base in parents and ({"Module"} & set(parents[base]) or set(parents[base]) & set(parents))}
    assert not too_deep


def test_nothing_hides_its_arguments():
    """No ``**kwargs``: a reader sees every argument where it is taken."""
    found = {f"{short(file)} {f.name}" for file in FILES for f in functions(file) if f.args.kwarg}
    assert not found - ANY_KEYWORD_ALLOWED


IN_PLACE_DRAWS = {"uniform_", "normal_", "bernoulli_", "random_", "exponential_", "log_normal_", "geometric_"}
TORCH_DRAWS = re.compile(
    r"torch\.(manual_seed|seed|set_rng_state|get_rng_state|bernoulli|multinomial|normal|poisson|randperm"
    r"|rand(n|int)?(_like)?|cuda\.manual_seed(_all)?|random\..+|distributions\..+)")
NUMPY_DRAWS = re.compile(r"(np|numpy)\.random\.(?!Generator|Philox|SeedSequence|BitGenerator)\w+")


def draws_globally(call):
    """Whether this call takes from, or sets, a generator that the whole process shares."""
    name = dotted(call.func)
    if any(keyword.arg == "generator" for keyword in call.keywords):
        return False
    in_place = isinstance(call.func, ast.Attribute) and call.func.attr in IN_PLACE_DRAWS
    return bool(in_place or TORCH_DRAWS.fullmatch(name) or NUMPY_DRAWS.fullmatch(name) or name.startswith("random."))


def test_no_global_random_generator():
    found = {(short(file), dotted(call.func)) for file in FILES for call in calls(file) if draws_globally(call)}
    assert not found - GLOBAL_DRAWS_ALLOWED
    assert not GLOBAL_DRAWS_ALLOWED - found, "no longer needed: take it off the list"


@pytest.mark.parametrize("line", ["torch.manual_seed(0)", "torch.randn_like(x)", "np.random.default_rng(3)",
                                  "x.normal_()", "random.shuffle(x)", "torch.distributions.Beta(1, 1)",
                                  "torch.random.fork_rng()"])
def test_a_global_draw_is_recognised(line):
    assert draws_globally(ast.parse(line, mode="eval").body)


@pytest.mark.parametrize("line", ["torch.randperm(9, generator=g)", "np.random.Generator(bits)", "g.normal()",
                                  "key.generator().beta(1, 1)", "np.random.Philox(key=1)"])
def test_a_keyed_draw_is_let_through(line):
    assert not draws_globally(ast.parse(line, mode="eval").body)


def test_methods_never_wait_for_the_device():
    waiting = {"item", "tolist", "cpu", "numpy"}
    assert not [f"{short(file)}:{call.lineno}" for file in (PACKAGE / "methods").glob("*.py") for call in calls(file)
                if isinstance(call.func, ast.Attribute) and call.func.attr in waiting]


# Spelt in pieces, so that this file is not its own finding.
PRIVATE = re.compile("|".join([
    r"(?<![\w.~-])/" + r"(work|root|opt|home/\w+|Users/\w+)/", r"files\." + r"pythonhosted", r"(?<!\w)pypi\." + r"org",
    r"deb\." + r"debian", r"registry\." + r"npmjs", r"download\." + r"pytorch", r"--(extra-)?index" + r"-url",
]))


def tracked():
    """Files that are in git or about to be."""
    try:
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True,
                                text=True)
    except FileNotFoundError:
        pytest.skip("git is not installed, so what is tracked is not known")
    if listed.returncode:
        pytest.skip("not a git checkout, so what is tracked is not known")
    return [file for name in listed.stdout.split("\0") if name and (file := ROOT / name).is_file()]


def test_no_file_names_a_machine_or_a_package_host():
    found = []
    for file in tracked():
        text = file.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{short(file)}: {match.group()}" for match in PRIVATE.finditer(text)]
    assert not found


def test_the_private_pattern_finds_what_it_should():
    assert PRIVATE.search("see /" + "home/ada/data") and PRIVATE.search("https://pypi" + ".org/simple")
    assert not PRIVATE.search("docs/wo" + "rk/plan") and not PRIVATE.search("~/wo" + "rk/")


def test_one_list_of_pins():
    """pip reads constraints.txt, uv the same lines in pyproject.toml."""
    pins = (ROOT / "constraints.txt").read_text().split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert pins == project["tool"]["uv"]["constraint-dependencies"]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[\w.!+]+", pin) for pin in pins)
    needed = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["test"]
    assert not {re.split(r"[<>=!~ \[]", line)[0] for line in needed} - {pin.split("==")[0] for pin in pins}


def test_the_lock_with_its_addresses_stays_out_of_git():
    assert "uv.lock" in (ROOT / ".gitignore").read_text().split()


def text_without_encoding(file):
    """Calls that open a file as text and leave its encoding to the system, which on Windows is not UTF-8."""
    for call in [node for node in ast.walk(tree(file)) if isinstance(node, ast.Call)]:
        name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
        mode = next((a.value for a in call.args[1:2] if isinstance(a, ast.Constant)), "r")
        first = {"read_text": 0, "write_text": 1}.get(name)
        given = len(call.args) > first if first is not None else "b" in str(mode)
        opens = first is not None or (name == "open" and isinstance(call.func, ast.Name))
        if opens and not given and "encoding" not in {keyword.arg for keyword in call.keywords}:
            yield f"{short(file)}:{call.lineno}"


def test_text_is_read_and_written_as_utf_8_on_every_system():
    assert not [place for file in FILES for place in text_without_encoding(file)]


ONLY_WHAT_TRAINING_NEEDS = """
    import sys
    from importlib.machinery import PathFinder
    refused = {"plotly", "sklearn", "scipy", "matplotlib", "ipywidgets", "anywidget", "umap", "numba", "tqdm", "pandas",
               "IPython", "ipykernel", "jupyterlab", "jupyter_client", "papermill", "nbformat", "pytest", "hypothesis"}
    found = PathFinder.find_spec
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in refused else found(name, path, target)
    PathFinder.find_spec = find_spec
    try:
        import matplotlib
    except ModuleNotFoundError:
        import mixlab.train
    print("imported", "mixlab.train" in sys.modules)
"""


def test_training_imports_without_the_notebook_packages():
    """``python -m mixlab.train`` needs torch, torchvision, numpy, pydantic, safetensors, pyyaml and pillow only."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(ONLY_WHAT_TRAINING_NEEDS)], capture_output=True,
                          text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == "imported True\n", done.stderr


def test_it_imports_and_trains_without_what_only_posix_has(tmp_path):
    """As on Windows: no fcntl and its like, no O_DIRECTORY, no SIGHUP, no folder opened, no file with two names."""
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "without_posix.py"), str(tmp_path)],
                          capture_output=True, text=True, timeout=300, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0 and done.stdout.endswith("finished True True\n"), done.stderr
