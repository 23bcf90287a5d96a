"""Losses, pure functions of tensors.

``contrastive`` compares a batch with itself and is streamed; ``info_nce``, ``soft_info_nce`` and ``pair_contrast``
compare pairs with negatives and keep one value per sample, so that a mixture can weigh each by its share.
"""

from mixlab.losses.classification import check_targets, soft_cross_entropy
from mixlab.losses.pairs import cosine_distance, info_nce, pair_contrast, soft_info_nce
from mixlab.losses.streamed import LABEL_SIMILARITIES, READINGS, contrastive

__all__ = ["LABEL_SIMILARITIES", "READINGS", "check_targets", "contrastive", "cosine_distance", "info_nce",
           "pair_contrast", "soft_cross_entropy", "soft_info_nce"]
