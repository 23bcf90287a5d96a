"""SimCLR: two views of one image attract, everything else in the batch repels."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import contrastive
from mixlab.mixers import pair_views, pairs_shown_before


class SimCLR(nn.Module):
    """A simple framework for contrastive learning of visual representations.

    The contrastive loss with image ids as targets. With a mixer it is MixSupCon's construction on image ids: a mixture
    is a positive of every mixture in proportion to the images they share.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer; ``NoMix`` is the method of the paper.
        temperature: > 0; 0.5 is the CIFAR value of the paper.
        proj_dim: width of z.
        proj_hidden: width of the projector's hidden layer.
    Source:
        Chen et al. 2020, arXiv 2002.05709, Eq 1. Differs from the authors' code in its head on CIFAR: theirs has
        BatchNorm and, in some settings, three layers; this is SupContrast's, so that methods differ in the loss alone.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "none"

    def __init__(self, encoder, mixer, *, temperature=0.5, proj_dim=128, proj_hidden=512):
        super().__init__()
        self.encoder, self.mixer, self.temperature = encoder, mixer, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim)

    def forward(self, batch):
        images, others, partner = pair_views(batch.views, 2, batch.key)  # (2B, 3, H, W) each
        draw = self.mixer.draw(images, others, batch.key.child("mixer"), partner=partner)
        z = self.projector(self.encoder(images, others=others, draw=draw))  # (2B, proj_dim)
        count = len(batch.index)
        ids = torch.arange(count, device=z.device).repeat(2)  # (2B,)
        if not self.mixer.mixes:
            return contrastive(z, ids, self.temperature)
        return contrastive(z, draw.targets(ids, count), self.temperature, left_out=pairs_shown_before(draw, count))

    def after_step(self, out):
        """SimCLR keeps no state."""
