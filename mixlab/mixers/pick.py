"""Several mixers in one training: which of them mixes is drawn for each batch, or for each sample."""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch

from mixlab.errors import nearest, problem
from mixlab.mixers.blends import Mixup
from mixlab.mixers.draws import LAM_PER, check_fields, check_images, draw_lam, draw_partner, is_number
from mixlab.mixers.records import Draw, Mixer
from mixlab.mixers.regions import CutMix
from mixlab.rng import to_device


@dataclass(frozen=True)
class Pick(Mixer):
    """One of several mixers, drawn with given probabilities for each batch or each sample.

    Its own ``alpha``, ``lam_per`` and ``mix_prob`` hold for whichever is picked, in place of that one's. Its masks are
    regions or constant, as it comes: no method that needs a region takes it.

    Args:
        pick_from: two or more mixers that mix; none of them a ``Pick``.
        pick_probs: a positive probability for each, sum 1; None is equal ones.
        pick_per: ``batch`` draws one for all; ``sample`` one for each, among mixers that ``mask_says_all``.
        alpha: in (0, 1e6], for those that take one.
        lam_per, mix_prob: as for ``Mixup``.
    Source:
        A coin per batch between Mixup and CutMix is GenSCL's (Kim et al. 2022, arXiv 2206.00384) and Un-Mix's (Shen et
        al. 2020, arXiv 2003.05438), both with alpha 1 and ``lam_per="batch"``.
    """

    pick_from: tuple[Mixer, ...] = (Mixup(), CutMix())
    pick_probs: tuple[float, ...] | None = None
    pick_per: str = "batch"
    alpha: float = 1.0
    lam_per: str = "sample"
    mix_prob: float = 1.0
    has_alpha = True
    takes_guide = True

    def __post_init__(self):
        check_fields(self, _check_from(self.pick_from), _check_probs(self.pick_probs, self.pick_from),
                     _check_per(self.pick_per, self.pick_from))
        object.__setattr__(self, "has_alpha", any(mixer.has_alpha for mixer in self.pick_from))

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        check_images(self, images, others, guide)
        partner = draw_partner(partner, len(images), len(others), key)
        return self.together(images, key, lambda mixer: mixer.draw(images, others, key, partner, lam,
                                                                   guide if mixer.takes_guide else None))

    def together(self, images, key, draw):
        """One Draw for ``images`` of those that ``draw`` makes with each mixer picked for them by ``key``."""
        count = 1 if self.pick_per == "batch" else len(images)
        chosen = key.child("pick").generator().choice(len(self.pick_from), count, p=self._probs())  # (1,) or (n,)
        draws = {number: draw(self._mixer(number)) for number in sorted(set(chosen.tolist()))}
        return draws[chosen[0]] if len(draws) == 1 else _together(draws, to_device(images.device, chosen))

    def _probs(self):
        probs = np.array(self.pick_probs or [1.0] * len(self.pick_from))
        return probs / probs.sum()

    def _mixer(self, number):
        """The mixer of this number, with what ``Pick`` says for all."""
        mixer = self.pick_from[number]
        shared = {field.name for field in fields(mixer)} & {"alpha", "lam_per", "mix_prob"}
        return replace(mixer, **{name: getattr(self, name) for name in shared})


def draw_larger(mixer, images, others, key):
    """``mixer.draw``, but of shares that follow a Beta law the larger goes to the first image: max(lam, 1 - lam).

    A mixer with a law of its own keeps it; ``Pick`` holds this for each of its mixers. Arguments, result and errors as
    in ``Mixer.draw``.
    """
    if isinstance(mixer, Pick):
        return mixer.together(images, key, lambda picked: draw_larger(picked, images, others, key))
    lam = draw_lam(mixer, len(images), key) if mixer.has_alpha else None  # (n,), on the host
    return mixer.draw(images, others, key, lam=None if lam is None else np.maximum(lam, 1 - lam))


def _together(draws, chosen):
    """One Draw whose sample i is that of draw number chosen[i]."""
    first = next(iter(draws.values()))
    lam, mask = first.lam, first.mask
    for number, draw in draws.items():
        here = chosen == number  # (n,)
        lam, mask = torch.where(here, draw.lam, lam), torch.where(here[:, None, None, None], draw.mask, mask)
    return Draw(lam, first.partner, mask, first.num_others, region=True)


def _check_from(mixers):
    many = isinstance(mixers, tuple | list) and len(mixers) >= 2
    fine = many and all(isinstance(m, Mixer) and m.mixes and not isinstance(m, Pick) for m in mixers)
    return "" if fine else problem("pick_from", "two or more mixers that mix, other than Pick", mixers)


def _check_probs(probs, mixers):
    if probs is None:
        return ""
    numbers = isinstance(probs, tuple | list) and all(is_number(p) and p > 0 for p in probs)
    fine = numbers and len(probs) == len(mixers) and abs(sum(probs) - 1) < 1e-6
    return "" if fine else problem("pick_probs", "None, or a number above 0 for each of pick_from, sum 1", probs)


def _check_per(per, mixers):
    if per not in LAM_PER:
        return problem("pick_per", f"one of {', '.join(LAM_PER)}", per, nearest(per, LAM_PER))
    others = [type(m).__name__ for m in mixers if not getattr(m, "mask_says_all", True)]
    if per == "batch" or not others:
        return ""
    return problem("pick_per", f"batch, because {' and '.join(others)} cannot be picked per sample", per)
