"""MixSupCon: mixtures attract in proportion to the labels they share."""

from torch import nn

from mixlab.heads import projector
from mixlab.losses import contrastive
from mixlab.mixers import pair_views, pairs_shown_before


class MixSupCon(nn.Module):
    """Mixed images inside supervised contrastive learning.

    An image of view 1 is mixed with another image of view 2, and so are their labels:
    x_k = lam_k x_i + (1 - lam_k) x_j and y_k = lam_k y_i + (1 - lam_k) y_j. Only mixtures enter the loss,
    L = - sum_ij Phi_ij Psi_ij / sum_ij Phi_ij over pairs i != j of mixtures, with Phi_ij = y_i . y_j and
    Psi_ij = z_i . z_j / temperature - log of the denominator; ``reading`` says which denominator and normaliser.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer; ``NoMix`` is refused by the parameters (use supcon).
        num_classes: number of classes.
        n_mix: mixtures per image, >= 1; 2 makes a contrast set as large as SupCon's. Once mixing has stopped each view
            enters once; and a mixture that is one image whole enters only where none before it is the same.
        reading: ``row`` (nearest to Eq 3-4), ``pairs`` (the printed double sum) or ``anchor`` (SupCon's normaliser).
        label_similarity: ``dot`` (Eq 6) or ``cosine`` (GenSCL, arXiv 2206.00384).
        temperature: > 0; the draft gives none, 0.07 is the default of the code its tables come from.
        proj_dim: width of z.
        proj_hidden: width of the projector's hidden layer.
    Source:
        "Mixed Images Enhance Supervised Contrastive Learning" (draft), Eq 4-6. As printed, Eq 4-6 carry one index and
        have no gradient (tests/test_losses.py shows it); this is the form over ordered pairs that its text describes.
    """

    needs_labels, needs_region = True, False
    views = ("contrast", "contrast")
    default_mixer = "mixup"
    unmixed_relative = "supcon"

    def __init__(self, encoder, mixer, *, num_classes, n_mix=2, reading="row", label_similarity="dot",
                 temperature=0.07, proj_dim=128, proj_hidden=512):
        super().__init__()
        self.encoder, self.mixer, self.num_classes = encoder, mixer, num_classes
        self.n_mix, self.temperature = n_mix, temperature
        self.reading, self.label_similarity = reading, label_similarity
        self.projector = projector(encoder.dim, proj_hidden, proj_dim)

    def forward(self, batch):
        count = self.n_mix if self.mixer.mixes else min(self.n_mix, len(batch.views))
        images, others, partner = pair_views(batch.views, count, batch.key)  # (count B, 3, H, W) each
        draw = self.mixer.draw(images, others, batch.key.child("mixer"), partner=partner)
        z = self.projector(self.encoder(images, others=others, draw=draw))  # (count B, proj_dim)
        targets = draw.targets(batch.labels.repeat(count), self.num_classes)  # (count B, num_classes)
        return contrastive(z, targets, self.temperature, reading=self.reading, label_similarity=self.label_similarity,
                           left_out=pairs_shown_before(draw, len(batch.index)))

    def after_step(self, out):
        """MixSupCon keeps no state."""
