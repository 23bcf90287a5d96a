"""Losses of pairs, one value per sample: InfoNCE against a queue, its soft form, NT-Xent of two views, cosine distance.

All normalise their inputs and are computed in float32 (float64 for float64 inputs), whatever autocast says.
"""

import torch
import torch.nn.functional as F

from mixlab.losses.arguments import widened


def info_nce(q, k, negatives, temperature):
    """-log( exp(q_i.k_i / t) / (exp(q_i.k_i / t) + sum_n exp(q_i.n / t)) ), (B,).

    Args:
        q, k: queries and their positive keys, (B, D) each, not normalised.
        negatives: keys of other images, (K, D).
        temperature: > 0.
    Source:
        van den Oord et al. 2018, arXiv 1807.03748; with a queue, He et al. 2019, arXiv 1911.05722, Eq 1.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k, negatives = _units(q, k, negatives)
        positive = (q * k).sum(1, keepdim=True)  # (B, 1)
        logits = torch.cat([positive, q @ negatives.T], dim=1) / temperature  # (B, 1 + K)
        return logits.logsumexp(1) - logits[:, 0]


def soft_info_nce(q, keys, negatives, targets, temperature):
    """-sum_j targets_ij log softmax_j(q_i . [keys, negatives] / t), (M,): the keys of the batch share the positive.

    Args:
        q: queries (M, D), not normalised.
        keys: of the images in the batch, (B, D).
        negatives: keys of other images, (K, D).
        targets: share of each image of the batch in each query, (M, B), rows that sum to 1.
        temperature: > 0.
    Source:
        i-Mix, Lee et al. 2020, arXiv 2010.08887; MixCo, Kim et al. 2020, arXiv 2010.06300.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, keys, negatives = _units(q, keys, negatives)
        logits = torch.cat([q @ keys.T, q @ negatives.T], dim=1) / temperature  # (M, B + K)
        return -(targets * logits.log_softmax(1)[:, :targets.shape[1]]).sum(1)


def pair_contrast(z1, z2, ids, temperature):
    """SupCon's L_out over two views, (B,): entry i is the mean over the anchors z1_i and z2_i.

    Ids that are all different make it SimCLR's NT-Xent. The mean over i is ``contrastive`` of both views; this one is
    not streamed and holds the (2B, 2B) matrix.

    Args:
        z1, z2: two views of B images, (B, D) each, not normalised.
        ids: (B,) int64, of images or classes.
        temperature: > 0.
    Source:
        Chen et al. 2020, arXiv 2002.05709, Eq 1; Khosla et al. 2020, arXiv 2004.11362, Eq 2.
    """
    with torch.autocast(z1.device.type, enabled=False):
        z = torch.cat(_units(z1, z2))  # (2B, D)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        log_share = (z @ z.T / temperature).masked_fill(itself, -torch.inf).log_softmax(1)  # (2B, 2B)
        ids = ids.repeat(2)
        positive = (ids[:, None] == ids) & ~itself
        loss = -log_share.masked_fill(~positive, 0).sum(1) / positive.sum(1)  # (2B,); each has its other view
        return loss.view(2, -1).mean(0)


def cosine_distance(p, z):
    """2 - 2 cos(p_i, z_i), (B,): the squared distance of two unit vectors.

    Source:
        Grill et al. 2020, arXiv 2006.07733, Eq 2.
    """
    with torch.autocast(p.device.type, enabled=False):
        p, z = _units(p, z)
        return 2 - 2 * (p * z).sum(1)


def _units(*vectors):
    return [F.normalize(widened(v), dim=1) for v in vectors]
