"""SupMix: SupCon between a view and a mixture of the other, once for each of the mixture's two images."""

from torch import nn

from mixlab.heads import projector
from mixlab.losses import pair_contrast


class SupMix(nn.Module):
    """L = lam SupCon(z_1, zm) + (1 - lam) SupCon(z_1, zm in reverse order), with zm of mixtures of view 2.

    Image i is mixed with image B-1-i, and in each term a mixture counts as an image of the class that the term is
    about, Un-Mix's construction under SupCon's loss.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: a mixer that mixes; the authors draw lam from Beta(0.5, 0.5): alpha 0.5.
        temperature: > 0.
        proj_dim, proj_hidden: widths of z and of the projector's hidden layer.
    Source:
        The SupMix baseline of "Universum-inspired supervised contrastive learning", Han and Chen 2022,
        arXiv 2204.10695; the mixtures are Shen et al. 2020, arXiv 2003.05438. Shares are per sample unless told.
    """

    needs_labels, needs_region = True, False
    views = ("contrast", "contrast")
    default_mixer = "mixup"
    unmixed_relative = "supcon"

    def __init__(self, encoder, mixer, *, num_classes, temperature=0.1, proj_dim=128, proj_hidden=512):
        super().__init__()
        self.encoder, self.mixer, self.num_classes = encoder, mixer, num_classes
        self.temperature = temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim)

    def forward(self, batch):
        x1, x2 = batch.views
        draw = self.mixer.draw(x2, x2, batch.key.child("mixer"), partner="reverse")
        z = self.projector(self.encoder(x1))  # (B, proj_dim)
        zm = self.projector(self.encoder(x2, others=x2, draw=draw))
        own = draw.lam * pair_contrast(z, zm, batch.labels, self.temperature)  # (B,)
        other = (1 - draw.lam).flip(0) * pair_contrast(z, zm.flip(0), batch.labels, self.temperature)
        return {"loss": (own + other).mean()}

    def after_step(self, out):
        """SupMix keeps no state."""
