"""The random choices of mixers: shares and partners, made on the host from a key; and the checks of what comes in."""

import math
from numbers import Real

import numpy as np
import torch

from mixlab.errors import ParamError, nearest, problem
from mixlab.mixers.records import describe, is_float_tensor
from mixlab.rng import draw_cycle

LAM_PER = ("sample", "batch")
PARTNERS = ("permute", "reverse", "same")


def draw_lam(mixer, n, key):
    """Wanted shares (n,) float64 ~ Beta(alpha, alpha), one for all where ``lam_per`` is batch; 1 where not mixed."""
    alpha = max(mixer.alpha, 1e-100)  # the same coin toss as any tiny alpha; NumPy is biased for denormal ones
    lam = key.child("lam").generator().beta(alpha, alpha, size=draws_per_batch(mixer, n))
    return skip_some(mixer, lam, n, key)


def skip_some(mixer, lam, n, key):
    """Shares (n,) of which only ``mix_prob`` are kept; the others become 1, no mixing."""
    mixed = key.child("mixed").generator().random(len(lam)) < mixer.mix_prob
    return np.broadcast_to(np.where(mixed, lam, 1.0), (n,))


def draws_per_batch(mixer, n):
    """1 where the whole batch shares one draw, else n."""
    return 1 if mixer.lam_per == "batch" else n


def given_lam(lam, n):
    """A share fixed by the caller, number or (n,), as float64 (n,). A tensor on a GPU is waited for."""
    values = lam.detach().cpu().double().numpy() if isinstance(lam, torch.Tensor) else np.asarray(lam)
    if values.dtype.kind not in "fiu" or values.shape not in ((), (n,)) or not ((values >= 0) & (values <= 1)).all():
        raise ParamError(problem("lam", f"a number in [0, 1], or {n} of them", lam))
    return np.broadcast_to(values.astype(np.float64), (n,))


def draw_partner(partner, n, num_others, key):
    """Indices (n,) int64 into others, from a name of ``PARTNERS`` or checked from an array."""
    if not isinstance(partner, str):
        return _given_partner(partner, n, num_others)
    if partner not in PARTNERS:
        todo = nearest(partner, PARTNERS)
        raise ParamError(problem("partner", f"one of {', '.join(PARTNERS)} or an array", partner, todo))
    if num_others != n:
        raise ParamError(problem("others", f"{n} images, one for each image, for partner {partner!r}", num_others,
                                 "Give partner as an array of indices into others"))
    if partner == "same":
        return np.arange(n)
    if n < 2:
        raise ParamError(problem("images", f"a batch of at least 2 images for partner {partner!r}", n,
                                 "Mixing needs a second image"))
    return draw_cycle(key.child("partner").generator(), n) if partner == "permute" else np.arange(n)[::-1].copy()


def _given_partner(partner, n, num_others):
    allowed = f"one of {', '.join(PARTNERS)} or a NumPy integer array of shape ({n},) with values in [0, {num_others})"
    if not isinstance(partner, np.ndarray) or partner.dtype.kind not in "iu" or partner.shape != (n,):
        raise ParamError(problem("partner", allowed, describe(partner)))
    wrong = np.flatnonzero((partner < 0) | (partner >= num_others))
    if len(wrong):
        raise ParamError(problem(f"partner[{wrong[0]}]", allowed, int(partner[wrong[0]])))
    return partner.astype(np.int64)


def pair_views(views, n_mix, key):
    """MixSupCon's pairing: each image of a view with another image of the next view.

    Block k of ``n_mix`` takes view k as first images and view k + 1 as second ones (counted round), and pairs them by a
    random cycle of its own, so a pair is never two views of one image. Labels of both are ``labels.repeat(n_mix)``.

    Args:
        views: two or more tensors (B,C,H,W) of the same B >= 2 images in the same order.
        n_mix: mixtures per image, >= 1.
        key: the ``Key`` of the step.
    Returns:
        images (n_mix B,C,H,W), others (n_mix B,C,H,W), partner (n_mix B,) int64 NumPy array into others.
    Raises:
        ParamError: fewer than two views or images, views of different shapes, n_mix below 1.
    """
    if isinstance(n_mix, bool) or not isinstance(n_mix, int) or n_mix < 1:
        raise ParamError(problem("n_mix", "an integer >= 1", n_mix))
    if len(views) < 2 or len({view.shape for view in views}) > 1:
        raise ParamError(problem("views", "two or more views of one shape", [tuple(view.shape) for view in views]))
    size = len(views[0])
    if size < 2:
        raise ParamError(problem("views", "a batch of at least 2 images", size, "Mixing needs a second image"))
    cycles = [draw_cycle(key.child(f"pair/{k}").generator(), size) + k * size for k in range(n_mix)]
    images = torch.cat([views[k % len(views)] for k in range(n_mix)])
    others = torch.cat([views[(k + 1) % len(views)] for k in range(n_mix)])
    return images, others, np.concatenate(cycles)


def shown_before(draw, first, second):
    """Which mixtures show one image unmixed that another before them shows unmixed too, (M,) bool.

    In a contrast such a copy would be a positive, or a negative, with the same pixels. It happens where more mixtures
    of an image are made than it has views, and where a share of 0 leaves a partner that stands for itself elsewhere.

    Args:
        draw: the ``Draw`` of the mixtures.
        first: ids (M,) int64 >= 0 of the first images; equal ids are equal pixels.
        second: ids (M2,) of the second images, which ``draw.partner`` chooses from.
    """
    mixtures = -1 - torch.arange(len(first), device=first.device)  # (M,), each only itself
    shown = torch.where(draw.lam == 1, first, torch.where(draw.lam == 0, second[draw.partner], mixtures))
    ordered, order = shown.sort(stable=True)
    found = torch.zeros_like(first, dtype=torch.bool)
    found[order[1:]] = ordered[1:] == ordered[:-1]
    return found


def pairs_shown_before(draw, size, views=2):
    """``shown_before`` of mixtures (n_mix B,) paired by ``pair_views``, of ``views`` views of B = ``size`` images."""
    row = torch.arange(len(draw.lam), device=draw.lam.device)  # block k takes view k, then view k + 1, counted round
    return shown_before(draw, row % (views * size), (row + size) % (views * size))


def check_images(mixer, images, others, guide):
    """Raises ParamError unless images and others can be mixed, and a guide comes only to a mixer that takes one."""
    if not is_float_tensor(images) or images.ndim != 4 or 0 in images.shape:
        raise ParamError(problem("images", "a floating-point tensor (B, C, H, W), none of them 0", describe(images),
                                 "Integer pixels are scaled and normalised before mixing"))
    allowed = f"a tensor (B2, {', '.join(map(str, images.shape[1:]))}), {images.dtype} on {images.device} like images"
    if not is_float_tensor(others) or _kind(others) != _kind(images) or len(others) == 0:
        raise ParamError(problem("others", allowed, describe(others)))
    if guide is not None:
        check_guide(mixer, guide, others)


def _kind(images):
    return images.shape[1:], images.dtype, images.device


def check_guide(mixer, guide, others):
    """Raises ParamError unless guide is a map (M2,1,h,w) for each of others, and the mixer takes one."""
    if not mixer.takes_guide:
        raise ParamError(problem("guide", f"None, because {type(mixer).__name__} takes no guide", describe(guide)))
    fits = is_float_tensor(guide) and guide.ndim == 4 and guide.shape[:2] == (len(others), 1)
    if not fits or guide.device != others.device or 0 in guide.shape:
        allowed = f"a floating-point tensor ({len(others)}, 1, h, w) on {others.device}, one map for each of others"
        raise ParamError(problem("guide", allowed, describe(guide)))


def check_fields(mixer, *more):
    """Raises one ParamError for all wrong fields of a mixer; ``more``: messages about its own fields, "" if fine."""
    found = [message for message in more if message]
    if mixer.has_alpha and not (is_number(mixer.alpha) and 0 < mixer.alpha <= 1e6):
        found.append(problem("alpha", "a finite number in (0, 1e6]", mixer.alpha))
    if mixer.lam_per not in LAM_PER:
        found.append(problem("lam_per", f"one of {', '.join(LAM_PER)}", mixer.lam_per, nearest(mixer.lam_per, LAM_PER)))
    if not (is_number(mixer.mix_prob) and 0 <= mixer.mix_prob <= 1):
        found.append(problem("mix_prob", "a number in [0, 1]", mixer.mix_prob))
    if found:
        raise ParamError("\n".join(found))


def check_grid(grid):
    """A message about the cells a side of a grid, "" if they are fine."""
    fine = type(grid) is int and 1 <= grid <= 1024
    return "" if fine else problem("grid", "a whole number from 1 to 1024", grid)


def is_number(value):
    """True for a finite real number that is not a bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
