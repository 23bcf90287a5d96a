"""The rules of a notebook that stays readable: thin cells, prose before each, no logic, parameters in one place.

Each rule takes a notebook (``nbformat`` version 4) and yields one line for every breach.
"""

import ast
import io
import re
import tokenize

CELLS, LINES, WORDS = 16, 10, 5  # eight cells of code, each with its text
IMPORTS = {"mixlab", "numpy", "matplotlib"}
LOGIC = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.If, ast.For, ast.While, ast.Try, ast.With)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def is_parameters(cell):
    return "parameters" in cell.metadata.get("tags", [])


def first_line(cell):
    return cell.source.strip().split("\n")[0][:60] if cell.source.strip() else "(empty cell)"


def parse(cell):
    """The cell's syntax tree, or None where it is no Python: a magic, a shell command, a mistake."""
    try:
        return ast.parse(cell.source)
    except SyntaxError:
        return None


def is_plain_python(notebook):
    yield from (f"not plain Python: {first_line(c)}" for c in code_cells(notebook) if parse(c) is None)


def is_short(notebook):
    if len(notebook.cells) > CELLS:
        yield f"{len(notebook.cells)} cells, more than {CELLS}"
    for cell in code_cells(notebook):
        lines = [line for line in cell.source.split("\n") if line.strip()]
        if len(lines) > LINES and not is_parameters(cell):
            yield f"{len(lines)} lines, more than {LINES}: {first_line(cell)}"


def has_no_logic(notebook):
    for cell in code_cells(notebook):
        found = sorted({type(n).__name__ for n in ast.walk(parse(cell) or ast.Module([], [])) if isinstance(n, LOGIC)})
        if found:
            yield f"{', '.join(found)} belongs in mixlab: {first_line(cell)}"


def imports_little(notebook):
    for cell in code_cells(notebook):
        for node in ast.walk(parse(cell) or ast.Module([], [])):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            yield from (f"imports {name}, allowed are {', '.join(sorted(IMPORTS))}" for name in names
                        if name.split(".")[0] not in IMPORTS)


def explains_before_it_runs(notebook):
    before = [None, *notebook.cells]
    for previous, cell in zip(before, notebook.cells, strict=False):
        words = previous.source.split() if previous and previous.cell_type == "markdown" else []
        if cell.cell_type == "code" and len(words) < WORDS:
            yield f"no text before: {first_line(cell)}"


def parameters_are_plain(notebook):
    """One tagged cell, the first with code: one literal a line, its meaning behind it, and no second '='."""
    tagged = [cell for cell in code_cells(notebook) if is_parameters(cell)]
    if len(tagged) != 1:
        yield f"{len(tagged)} cells tagged parameters, not 1"
    elif tagged[0] is not code_cells(notebook)[0]:
        yield "the parameters cell is not the first code cell"
    for line in "\n".join(cell.source for cell in tagged).split("\n"):
        if line.strip() and not is_parameter_line(line):
            yield f"not `name = literal  # meaning`, with one '=': {line}"
    names = list(parameters(notebook))
    yield from (f"set twice: {name}" for name in sorted({n for n in names if names.count(n) > 1}))


def is_parameter_line(line):
    tree = parse_line(line)
    if tree is None or len(tree.body) != 1 or not isinstance(tree.body[0], ast.Assign):
        return False
    target, value = tree.body[0].targets[0], tree.body[0].value
    return isinstance(target, ast.Name) and is_literal(value) and line.count("=") == 1 and bool(comment_of(line))


def parse_line(line):
    try:
        return ast.parse(line)
    except SyntaxError:
        return None


def is_literal(value):
    try:
        ast.literal_eval(value)
    except ValueError:
        return False
    return True


def comment_of(line):
    """The words behind '#', or ''."""
    found = [t.string for t in tokenize.generate_tokens(io.StringIO(line).readline) if t.type == tokenize.COMMENT]
    return found[0].lstrip("# ") if found else ""


def parameters(notebook):
    """Names that the parameters cell sets, in order."""
    for cell in code_cells(notebook):
        if is_parameters(cell):
            yield from (m.group(1) for m in re.finditer(r"^(\w+) *=", cell.source, re.MULTILINE))


def checks_parameters_next(notebook):
    """The cell after the parameters checks them: one line, imports apart."""
    cells = code_cells(notebook)
    if not cells or not is_parameters(cells[0]):
        return
    tree = parse(cells[1]) if len(cells) > 1 else None
    statements = [n for n in tree.body if not isinstance(n, ast.Import | ast.ImportFrom)] if tree else []
    if len(statements) != 1 or statements[0].lineno != statements[0].end_lineno or "globals()" not in cells[1].source:
        yield "the cell after the parameters is not the one line that checks them"


def names_the_kernel(notebook):
    found = notebook.metadata.get("kernelspec", {}).get("name")
    if found != "python3":
        yield f"kernelspec {found}, not python3: papermill would need -k python3 to run it"


def says_its_language(notebook):
    """What names a script that is made of it, and tells VS Code and Colab not to guess."""
    found = notebook.metadata.get("language_info", {})
    known = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "nbconvert_exporter": "python"}
    yield from (f"language_info {name} {found.get(name)}, not {value}" for name, value in known.items()
                if found.get(name) != value)


def is_stored_clean(notebook):
    """As nbstripout leaves it: no outputs, no counts, nothing that papermill or a widget wrote."""
    for cell in code_cells(notebook):
        found = [name for name in ("outputs", "execution_count") if cell.get(name)]
        yield from (f"stored {name}: {first_line(cell)}" for name in found)
    written = [notebook.metadata, *[cell.metadata for cell in notebook.cells]]
    yield from (f"stored {name} metadata" for name in ("papermill", "widgets") if any(name in m for m in written))


RULES = (is_plain_python, is_short, has_no_logic, imports_little, explains_before_it_runs, parameters_are_plain,
         checks_parameters_next, names_the_kernel, says_its_language, is_stored_clean)


def problems(notebook):
    """Every breach of every rule."""
    return [line for rule in RULES for line in rule(notebook)]
