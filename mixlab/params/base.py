"""The check that every notebook's parameters pass before any work, and the words of its refusals."""

import ast
import math
import re
import typing
from typing import Annotated, Literal

import annotated_types as at
from pydantic import BaseModel, ConfigDict, ValidationError

from mixlab.errors import ParamError, nearest, problem
from mixlab.files import check_path, load_yaml


class Params(BaseModel):
    """What every notebook's parameters share: strict types, no unknown name, all problems in one message."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    @classmethod
    def check(cls, **values):
        """The parameters, defaults filled in, or one ParamError that names every problem."""
        try:
            params, problems = cls(**values), []
        except ValidationError as error:
            problems = [_explain(cls, e) for e in error.errors()]
            wrong = {e["loc"][0] for e in error.errors()}
            params = cls(**{k: v for k, v in values.items() if k not in wrong})
            problems += [text for names, text in params.contradictions() if not wrong & set(names)]
        else:
            problems = [text for _, text in params.contradictions()]
        problems += params.wrong_folders()
        if problems:
            raise ParamError("\n".join(dict.fromkeys(problems)))
        return params

    @classmethod
    def from_namespace(cls, namespace):
        """Checks a notebook's variables; names it does not know are looked for in its parameter cells only.

        Args:
            namespace: ``globals()`` of the notebook.
        """
        written = _parameter_names(namespace.get("In", ()), cls.model_fields)
        names = [n for n in {**dict.fromkeys(cls.model_fields), **dict.fromkeys(written)} if n in namespace]
        return cls.check(**{n: namespace[n] for n in names})

    @classmethod
    def from_yaml(cls, path):
        """Checks a YAML file of parameters, read by stricter rules than YAML's own (``files.load_yaml``)."""
        return cls.check(**load_yaml(path))

    def contradictions(self):
        """Pairs (names, message) of parameters that exclude each other."""
        return []

    def wrong_folders(self):
        """Messages about parameters that name a folder and could be no path."""
        for name in [name for name in type(self).model_fields if name.endswith("_dir")]:
            try:
                check_path(name, getattr(self, name))
            except ParamError as error:
                yield str(error)


def _parameter_names(cells, known):
    """Names assigned in the latest parameters cell and the latest cell that papermill injected."""
    injected = [c for c in cells if c.lstrip().startswith("# Parameters")][-1:]
    own = [c for c in cells if len(_assigned(c).keys() & known.keys()) * 2 > len(known)][-1:]
    return [name for cell in (*own, *injected) for name in _assigned(cell)]


def _assigned(cell):
    """Names that ``cell`` assigns, if it is nothing but assignments; else none."""
    try:
        body = ast.parse(cell).body
    except (SyntaxError, ValueError):
        return {}
    plain = all(isinstance(s, ast.Assign | ast.AnnAssign) for s in body)
    targets = [t for s in body for t in (getattr(s, "targets", None) or [getattr(s, "target", None)])]
    return dict.fromkeys(t.id for t in targets if isinstance(t, ast.Name)) if plain else {}


def _explain(model, error):
    """One pydantic error in the house form."""
    name, got = error["loc"][0], error["input"]
    if name not in model.model_fields:
        return problem(name, "a known parameter", got, nearest(name, model.model_fields) or
                       f"Known are {', '.join(model.model_fields)}")
    is_whole = not any(isinstance(part, int) for part in error["loc"])  # else an entry of a list
    return problem(name, allowed(model, name), got, _hint(model, name, got, is_whole))


def allowed(model, name):
    """What parameter ``name`` of ``model`` may be, in words."""
    field = model.model_fields[name]
    return _describe(field.annotation, field.metadata)


def _describe(kind, metadata=()):
    args = typing.get_args(kind)
    if typing.get_origin(kind) is Annotated:
        constraints = args[1].metadata if hasattr(args[1], "metadata") else ()
        return _describe(args[0], constraints)
    if typing.get_origin(kind) is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(str(a) for a in args)
    if typing.get_origin(kind) is list:
        return f"a list, each {_describe(args[0])}"
    if args:
        return " or ".join(_describe(a) for a in args)
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text",
             dict: "names with values"}
    return " ".join([words[kind], " and ".join(_bound(m) for m in metadata)]).strip()


def _bound(constraint):
    forms = {at.Ge: (">=", "ge"), at.Gt: (">", "gt"), at.Le: ("<=", "le"), at.Lt: ("<", "lt"),
             at.MinLen: ("of length >=", "min_length")}
    sign, attribute = forms[type(constraint)]
    bound = getattr(constraint, attribute)
    return f"{sign} {int(bound) if bound == int(bound) else bound}"


def _hint(model, name, got, is_whole):
    text = allowed(model, name)
    if is_whole and (structure := _as_structure(text, got)):
        return f'Write it without quotes; to papermill: -y "{name}: {structure}"'
    if isinstance(got, str) and "true or false" in text and got.strip().lower() in ("true", "false"):
        return f"Write it without quotes: {got.strip().lower()} in YAML, {got.strip().capitalize()} elsewhere"
    if isinstance(got, str) and "number" in text:
        number = _as_number(got)
        return f"Write it without quotes: {number}" if number else ""
    if isinstance(got, bool) or "one of" not in text:
        return ""
    return nearest(got, text.replace("one of ", "").replace(" or ", ", ").split(", "))


def _as_structure(allowed, got):
    """How YAML writes a list, or names with values, that came as text or as a single value; or ''."""
    text = str(got).strip()
    if "names with values" in allowed and isinstance(got, str) and text.startswith("{"):
        return text
    if "a list" not in allowed or not isinstance(got, str | int | float) or isinstance(got, bool):
        return ""
    if isinstance(got, str) and text.startswith("["):
        return text
    is_entry = not isinstance(got, str) or "," in text or allowed.startswith("a list")
    return f"[{text}]" if is_entry else ""


def _as_number(text):
    """The number that ``text`` spells, spelt so that YAML reads it as one (a dot, a signed exponent); or ''."""
    text = text.strip()
    try:
        finite = math.isfinite(float(text))
    except ValueError:
        return ""
    text = re.sub(r"^([+-]?\d+)\.?(?=[eE])", r"\1.0", text)
    return re.sub(r"(?<=[eE])(?=\d)", "+", text) if finite else ""
