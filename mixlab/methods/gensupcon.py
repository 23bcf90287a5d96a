"""GenSupCon: both views are mixed on their own, and mixtures attract by the cosine of their labels."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import contrastive
from mixlab.mixers import shown_before


class GenSupCon(nn.Module):
    """Generalised supervised contrastive learning: cross-entropy between label similarity and feature similarity.

    Each view is mixed within itself, independently of the other; of the 2B mixtures, i and j attract by the cosine of
    their mixed labels, divided by the sum over j != i.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer that mixes.
        num_classes: number of classes.
        temperature: > 0.
        label_similarity: ``cosine``, or ``dot`` as MixSupCon has it.
        reading: ``anchor``, or MixSupCon's ``row`` and ``pairs``.
        proj_dim, proj_hidden: widths of z and of the projector's hidden layer.
    Source:
        Kim et al. 2022, arXiv 2206.00384. The authors toss a coin per view and batch between Mixup and CutMix, one
        share for the batch: mixer ``pick`` with ``lam_per: batch``. Here it is CutMix, per sample, unless told.
    """

    needs_labels, needs_region = True, False
    views = ("contrast", "contrast")
    default_mixer = "cutmix"
    unmixed_relative = "supcon"

    def __init__(self, encoder, mixer, *, num_classes, temperature=0.1, label_similarity="cosine", reading="anchor",
                 proj_dim=128, proj_hidden=512):
        super().__init__()
        self.encoder, self.mixer, self.num_classes = encoder, mixer, num_classes
        self.temperature, self.label_similarity, self.reading = temperature, label_similarity, reading
        self.projector = projector(encoder.dim, proj_hidden, proj_dim)

    def forward(self, batch):
        z, targets, left_out, ids = [], [], [], torch.arange(len(batch.index), device=batch.labels.device)
        for number, x in enumerate(batch.views):
            draw = self.mixer.draw(x, x, batch.key.child(f"mixer/{number}"))
            z.append(self.projector(self.encoder(x, others=x, draw=draw)))  # (B, proj_dim)
            targets.append(draw.targets(batch.labels, self.num_classes))  # (B, num_classes)
            left_out.append(shown_before(draw, ids, ids))  # (B,)
        return contrastive(torch.cat(z), torch.cat(targets), self.temperature, reading=self.reading,
                           label_similarity=self.label_similarity, left_out=torch.cat(left_out))

    def after_step(self, out):
        """GenSupCon keeps no state."""
