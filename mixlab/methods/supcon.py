"""SupCon: every image of a class attracts every other image of that class."""

from torch import nn

from mixlab.heads import projector
from mixlab.losses import contrastive
from mixlab.mixers import pair_views, pairs_shown_before


class SupCon(nn.Module):
    """Supervised contrastive learning, the form L_out.

    The contrastive loss with class ids as targets. With a mixer it equals MixSupCon with ``reading: anchor``.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer; ``NoMix`` is the method of the paper.
        num_classes: number of classes.
        temperature: > 0; 0.07 is the authors' default, 0.1 the value behind their published CIFAR numbers.
        proj_dim: width of z.
        proj_hidden: width of the projector's hidden layer.
    Source:
        Khosla et al. 2020, arXiv 2004.11362, Eq 2. Differs from the authors' code in three ways: no factor
        temperature / 0.07, anchors without a positive leave the mean, and no warm-up unless asked for.
    """

    needs_labels, needs_region = True, False
    views = ("contrast", "contrast")
    default_mixer = "none"

    def __init__(self, encoder, mixer, *, num_classes, temperature=0.07, proj_dim=128, proj_hidden=512):
        super().__init__()
        self.encoder, self.mixer, self.temperature = encoder, mixer, temperature
        self.num_classes = num_classes
        self.projector = projector(encoder.dim, proj_hidden, proj_dim)

    def forward(self, batch):
        images, others, partner = pair_views(batch.views, 2, batch.key)  # (2B, 3, H, W) each
        draw = self.mixer.draw(images, others, batch.key.child("mixer"), partner=partner)
        z = self.projector(self.encoder(images, others=others, draw=draw))  # (2B, proj_dim)
        labels = batch.labels.repeat(2)  # (2B,)
        if not self.mixer.mixes:
            return contrastive(z, labels, self.temperature)
        targets = draw.targets(labels, self.num_classes)  # (2B, num_classes)
        return contrastive(z, targets, self.temperature, left_out=pairs_shown_before(draw, len(batch.index)))

    def after_step(self, out):
        """SupCon keeps no state."""
