"""What parameters say about mixing: what each mixer takes, until which epoch it mixes, what excludes what."""

from dataclasses import fields

from mixlab.errors import problem
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS, Pick

MIXER_NAMES = ("alpha", "lam_per", "mix_prob", "grid", "pick_from", "pick_probs", "pick_per", "guide_from")
PICKABLE = tuple(name for name in MIXERS if name not in ("none", "pick"))


def mixer_defaults(params):
    """``{parameter: its value for auto}`` of what the mixer of a checked ``Pretrain`` takes, or those that it picks."""
    name = params.mixer_name()
    names = _picked(params) if name == "pick" else []
    taken = dict.fromkeys(n for one in (name, *names) for n in mixer_fields(one))
    values = {n: f.default for one in (*names, name) for f in fields(MIXERS[one]) if (n := f.name) in taken}
    if names:
        values |= {"pick_from": names, "pick_probs": [1 / len(names)] * len(names)}
        if not any(MIXERS[n].has_alpha for n in names):
            del values["alpha"]
    return values | ({"guide_from": "own"} if "guide_from" in values else {})


def mixer_fields(name):
    """Which of ``MIXER_NAMES`` the mixer ``name`` has as fields of its own."""
    return [field.name for field in fields(MIXERS[name]) if field.name in MIXER_NAMES]


def _picked(params):
    if params.pick_from != "auto":
        return list(params.pick_from)
    return [name for name, known in MIXERS.items() if known in map(type, Pick().pick_from)]


def pick_problems(params):
    """Pairs (names, message) about what ``mixer: pick`` of a checked ``Pretrain`` picks from, and how."""
    if params.mixer_name() != "pick":
        return
    names, probs = _picked(params), params.pick_probs
    if not 2 <= len(names) == len(set(names)):
        yield ("pick_from",), problem("pick_from", "auto, or two or more different mixers", names)
    if probs != "auto" and (len(probs) != len(names) or abs(sum(probs) - 1) > 1e-6):
        yield ("pick_probs", "pick_from"), problem(
            "pick_probs", f"auto, or {len(names)} numbers of sum 1, one for each of {', '.join(names)}", probs)
    whole = [name for name in names if not MIXERS[name].mask_says_all]
    if params.pick_per == "sample" and whole:
        yield ("pick_per", "pick_from"), problem(
            "pick_per", f"auto or batch, because {' and '.join(whole)} cannot be picked per sample", params.pick_per,
            "Pick from others, or per batch")


def mixing_stops(values, epoch):
    """Whether epoch ``epoch`` (from 1) of the run that resolved ``values`` describe is trained without mixing.

    ``mix_until`` of the epochs mix, rounded down to whole epochs, the first one always; 1 or None never stops.
    """
    share = values["mix_until"]
    if share is None or share == 1:
        return False
    return epoch > max(1, int(share * values["epochs"] + 1e-6))  # 0.7 of 10 is 7 whatever floats say


def mix_until_problems(params):
    """Pairs (names, message) where ``mix_until`` of a checked ``Pretrain`` makes no sense."""
    if params.mix_until in ("auto", 1):
        return
    method, names = METHODS[params.method], ("mix_until", "method", "mixer")
    allowed, todo = "", "Leave it out"
    if hasattr(method, "mixing_relatives"):
        allowed = f"auto or 1, because method {params.method} does not mix"
    elif method.needs_region:
        allowed = f"auto or 1, because method {params.method} compares regions"
    elif not MIXERS[params.mixer_name()].mixes:
        allowed, todo = "auto or 1, because mixer none never mixes", "Leave it out, or use another mixer"
    elif params.epochs < 2:
        names, allowed = ("mix_until", "epochs"), f"auto or 1, because epochs is {params.epochs}"
        todo = "Train for at least 2 epochs"
    if allowed:
        yield names, problem("mix_until", allowed, params.mix_until, todo)
