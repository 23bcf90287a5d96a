"""The cells of a grid: every combination of lists of parameters, checked before any work, and its unmixed reference."""

import itertools
import json
from dataclasses import dataclass
from functools import cached_property

from mixlab.errors import CheckpointError, ParamError
from mixlab.files import plain, read_json, safe_name
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params.build import LATER, PATHS_AND_PACE
from mixlab.params.mixing import MIXER_NAMES, mixer_fields
from mixlab.params.pretrain import METHOD_NAMES, Pretrain
from mixlab.runs import identity_hash

SHOWN = 4  # combinations named for each refusal
MIXING = (*MIXER_NAMES, "mixer", "mix_until", "n_mix")  # what an unmixed run does without


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Args:
        name: of its files; it holds a hash of what changes the numbers.
        values: the parameters that ``pretrain.ipynb`` is given, as they were written.
        params: the same, checked.
        key: equal for cells that would be the same run, whatever the machine.
        reference: the ``key`` of the same run without mixing; "" for a run that does not mix.
        in_product: false for a cell that is there as a reference only.
    """

    name: str
    values: dict
    params: Pretrain
    key: str
    reference: str = ""
    in_product: bool = True

    @property
    def seed(self):
        return self.params.seed

    @cached_property
    def resolved(self):
        """The resolved parameters; None where method or mixer does not take one. No machine is asked what it has."""
        return _resolved(self.params)


@dataclass(frozen=True)
class Combinations:
    """The cells of a grid in order, and what the parameters refuse, in words."""

    cells: tuple
    refused: tuple


def combinations(base, axes, seeds, also=(), exclude=(), reference=True):
    """Every combination of ``axes`` and each mapping of ``also``, on top of ``base``, with every seed.

    A mixer's own parameter, such as alpha, is left out for a mixer that does not take it, so that several
    combinations become one cell. Cells of all first seeds come before those of the second.
    Args:
        base: parameters of ``pretrain.ipynb`` that all share.
        axes: ``{parameter: list of values}``.
        seeds: whole numbers.
        also: mappings: further cells beside the product.
        exclude: mappings; a combination that agrees with all entries of one is left out.
        reference: whether the unmixed relative of every cell is added.
    Returns:
        ``Combinations``; ``refused`` has a sentence for each different refusal.
    """
    product = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    free = {"mixer", *axes} if "mixer" in axes else set(axes)
    found, refusals = {}, {}
    for own in [*product, *also] or [{}]:
        values = without_foreign({**base, **own}, free)
        if not any(_agrees(values, pattern) for pattern in exclude):
            _add(found, refusals, values, own, reference)
    cells = [_cell(values, params, seed, in_product, reference, (*axes, *(name for one in also for name in one)))
             for seed in seeds for values, params, in_product in found.values()]
    return Combinations(tuple(cells), tuple(_refusal(*pair) for pair in refusals.items()))


def _add(found, refusals, values, own, reference):
    """Checks one combination: into ``found`` with its reference, or into ``refusals``."""
    try:
        wanted = [(values, Pretrain.check(**values), True)]
        if reference:
            other = unmixed(values)
            wanted.append((other, Pretrain.check(**other), False))
    except ParamError as error:
        for line in str(error).split("\n"):
            refusals.setdefault(line, []).append(own)
        return
    for one in wanted:
        key = key_of(one[1])
        if one[2] or key not in found:
            found[key] = one


def without_foreign(values, free):
    """``values`` without the mixer's own parameters that this mixer does not take.

    Only where mixer or parameter is one of ``free``, what a grid varies: elsewhere such a value is a mistake.
    """
    method = METHODS.get(values.get("method", Pretrain.model_fields["method"].default))
    name = values.get("mixer", "auto")
    mixer = method.default_mixer if name == "auto" and method else name
    if mixer not in MIXERS:  # refused later, by name
        return values
    taken = mixer_fields(mixer)
    return {name: value for name, value in values.items()
            if name in taken or name not in MIXER_NAMES or not ({name, "mixer"} & free)}


def unmixed(values):
    """The parameters of the same run without mixing: the method's unmixed relative with mixer none.

    What the relative does not take (``n_mix``, ``reading``) is left out; where both take a parameter and their
    defaults differ (``ema_momentum`` of imix and moco), the relative gets the value of ``values``. For ``unmix`` the
    relative is its base, which it equals but for its mixtures, whose terms come on top of the base's loss; for a method
    that compares regions it is moco. With base byol or simsiam and ``symmetric: false`` the relative stays symmetric.
    """
    params = Pretrain.check(**values)
    method, base = METHODS[params.method], params.resolved_method().get("base")
    name = base or getattr(method, "unmixed_relative", "moco" if method.needs_region else params.method)
    bare = Pretrain(method=name, mixer="none").resolved_method()
    kept = {n: v for n, v in values.items() if n not in MIXING and (n not in METHOD_NAMES or n in bare)}
    other = {"method": name, "mixer": "none"}
    taken = Pretrain(**kept | other).resolved_method()
    own = {n: v for n, v in params.resolved_method().items() if n in taken and n not in MIXING and v != taken[n]}
    return kept | own | other


def key_of(params):
    """Eight hex digits that two runs share if nothing but paths, pace and machine sets them apart.

    What a run does not take is left out, and so are later parameters where they change nothing: keys outlive both.
    """
    kept = {name: value for name, value in _resolved(params).items() if name not in PATHS_AND_PACE
            and value is not None and value != LATER.get(name)}
    return identity_hash(kept | {"precision": params.precision})


def _resolved(params):
    return params.model_copy(update={"device": "cpu"}).resolved()


def _cell(values, params, seed, in_product, reference, varied):
    """The cell of a checked combination with one seed."""
    params = params.model_copy(update={"seed": seed})
    other = key_of(Pretrain.check(**unmixed(values), seed=seed)) if reference else ""
    key = key_of(params)
    words = [params.method, params.mixer_name()]
    words += [f"{name}-{values[name]}" for name in dict.fromkeys(varied)
              if name in values and name not in ("method", "mixer")]
    name = f"{safe_name('-'.join(words))[:60]}-s{seed}-{key}"
    return Cell(name, {**values, "seed": seed}, params, key, "" if other == key else other, in_product)


def _agrees(values, pattern):
    return all(plain(values.get(name)) == plain(value) for name, value in pattern.items())


def _refusal(line, combos):
    """A refusal of the parameters, with the combinations that meet it."""
    texts = list(dict.fromkeys(described(own) for own in combos))
    more = f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return f"{line} (in {'; '.join(texts[:SHOWN])}{more})" if texts != [""] else line


def described(own):
    """``mixer cutmix, alpha 0.2`` of a mapping; "" of an empty one."""
    return ", ".join(f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in own.items())

def cell_file(folder, name):
    """Where a grid in ``folder`` keeps what it knows of the cell ``name``."""
    return folder / "cells" / f"{name}.json"


def read_state(folder, name):
    """What is stored of a cell; {} for nothing, or nothing that can be read."""
    try:
        return read_json(cell_file(folder, name))
    except (FileNotFoundError, CheckpointError):
        return {}
