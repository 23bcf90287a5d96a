"""Weighted k-nearest-neighbour classification."""

import torch
import torch.nn.functional as F

from mixlab.errors import ParamError, problem
from mixlab.evaluate.encoding import features

CHUNK = 256  # queries compared with the bank at a time
SOME = 2048  # of the bank, or up to twice as many, are enough to see a collapse
LARGE = 8192  # from this size of the bank on, screening pays
SPARE = 50  # candidates beside half of k, for a small k
ROWS = 8  # of a table of rough values, whose columns with the largest maxima hold the largest values
ROUNDING = 2**-8  # of bfloat16, relative: it keeps eight binary digits


@torch.inference_mode()
def knn_predict(bank, bank_labels, queries, num_classes, k=200, temperature=0.1):
    """Classes of ``queries`` by a vote of their k nearest in ``bank``, each weighing exp(cosine / temperature).

    Args:
        bank: (N, D) features with ``bank_labels`` int64 (N,).
        queries: (M, D) features.
        num_classes: classes are 0 to num_classes - 1.
        k: neighbours, 1 to N.
        temperature: > 0; smaller lets the nearest decide.
    Returns:
        int64 (M,) predicted classes.
    Raises:
        ParamError: k outside 1 to N.
    Source:
        Wu et al. 2018, arXiv 1805.01978, section 3.4 (k 200, temperature 0.07; 0.1 in MoCo's CIFAR demo and mix-ssl).
    """
    if not 1 <= k <= len(bank):
        raise ParamError(problem("k", f"a whole number from 1 to the bank's {len(bank)} images", k, "Lower it"))
    bank, predicted = F.normalize(bank, dim=1), []
    nearest = _screened(bank, k) if _screening_pays(bank, k) else lambda chunk: _nearest(bank, chunk, k)
    for chunk in F.normalize(queries, dim=1).split(CHUNK):
        similarity, index = nearest(chunk)  # (m, k)
        weights = ((similarity - similarity.amax(1, keepdim=True)) / temperature).exp()  # the nearest weighs 1
        votes = weights.new_zeros(len(chunk), num_classes)
        votes.scatter_add_(1, bank_labels[index], weights)
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def _nearest(bank, chunk, k):
    """Cosines (m, k) with the k nearest of ``bank`` to each of ``chunk``, and their places, in no order."""
    return (chunk @ bank.T).topk(k, sorted=False)


def _screening_pays(bank, k):
    """On a CPU that multiplies bfloat16 faster than float32."""
    native = bank.device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return native and bank.dtype == torch.float32 and len(bank) >= max(LARGE, 8 * k)


def _screened(bank, k):
    """``_nearest`` for one bank, with the same answer sooner.

    A product in bfloat16 picks half as many candidates again as are asked for, float32 decides among them, and a
    bound on the rounding proves for each query that none was missed; the few without a proof are asked in float32.
    Features are centred first, which changes no rank: what rounding can hide is then small beside what differs.
    """
    mean = bank.mean(0)
    parts = [_rounded(rows - mean, mean) for rows in bank.split(CHUNK)]
    none = torch.zeros(-len(bank) % ROWS, bank.shape[1] + 2, dtype=torch.bfloat16)
    none[:, -1] = torch.finfo(none.dtype).min                                  # never a candidate
    rough = torch.cat([*(part for part, _, _ in parts), none])                 # (N or a few more, D + 2)
    longest, lost = (max(part[i] for part in parts) for i in (1, 2))
    longest += lost  # of what was rounded, too

    def nearest(chunk):
        centred = chunk - mean
        rough_chunk = centred.bfloat16()
        ones = rough_chunk.new_ones(len(chunk), 2)
        value, index = _largest(torch.cat([rough_chunk, ones], 1) @ rough.T, k + k // 2 + SPARE)
        exact = torch.stack([bank.index_select(0, i) @ query for i, query in zip(index, chunk, strict=True)])
        similarity, place = exact.topk(k, sorted=False)
        index = index.gather(1, place)
        left_out = value.amin(1).float()                                       # no other's rough value is larger
        error = (centred - rough_chunk).norm(dim=1) * longest + centred.norm(dim=1) * lost
        error += ROUNDING * left_out.abs() + 2**-13 * longest + 2**-15         # of the result, and of summing up
        unsure = similarity.amin(1) - chunk @ mean <= left_out + error
        if unsure.any():
            similarity[unsure], index[unsure] = _nearest(bank, chunk[unsure], k)
        return similarity, index

    return nearest


def _largest(values, count):
    """The ``count`` largest (m, count) of each row of ``values`` (m, N), in no order, and their places.

    Each is in one of the ``count`` columns with the largest maxima of the row as a table, which is read once.
    """
    table = values.view(len(values), ROWS, -1)
    columns = table.amax(1).topk(min(count, table.shape[2]), sorted=False).indices
    largest, place = table.gather(2, columns[:, None].expand(-1, ROWS, -1)).flatten(1).topk(count, sorted=False)
    width = columns.shape[1]
    return largest, place // width * table.shape[2] + columns.gather(1, place % width)


def _rounded(rest, mean):
    """Centred features and what centring took from their products, in bfloat16; their largest norm; what it lost."""
    bias = (rest @ mean)[:, None]
    coarse = bias.bfloat16()
    rough = torch.cat([rest.bfloat16(), coarse, (bias - coarse).bfloat16()], 1)
    return rough, rest.norm(dim=1).amax(), (rest - rough[:, :-2]).norm(dim=1).amax()


def spread(features):
    """Root mean square distance of the normalised features (N, D) from their mean: 0 (one point) to 1 (no direction).

    Source:
        After the collapse measure of Chen and He 2020, arXiv 2011.10566, section 4.1: the standard deviation per
        dimension, times the root of D.
    """
    z = F.normalize(features, dim=1).double()
    return (z - z.mean(0)).square().sum(1).mean().sqrt().item()


def knn_top1(encoder, bank, queries, *, k=200, temperature=0.1, precision="fp32"):
    """Top-1 accuracy in [0, 1] of weighted kNN on backbone features; k is at most the bank's size.

    Args:
        bank, queries: labelled ``Images``.
    Returns:
        ``{"knn_top1": accuracy, "knn_k": the k used, "feature_spread": spread of some of the bank}``.
    """
    k = min(k, len(bank))
    device, known = encoder.mean.device, features(encoder, bank.pixels, precision)
    found = knn_predict(known, bank.labels.to(device), features(encoder, queries.pixels, precision), len(bank.classes),
                        k, temperature)
    return {"knn_top1": (found == queries.labels.to(device)).float().mean().item(), "knn_k": k,
            "feature_spread": spread(known[::max(1, len(known) // SOME)])}
