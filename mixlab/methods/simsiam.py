"""SimSiam: one view predicts the other, which gets no gradient; no queue, no slow encoder."""

from torch import nn

from mixlab.heads import predictor, projector
from mixlab.losses import cosine_distance


class SimSiam(nn.Module):
    """Simple Siamese representation learning.

    L = (D(p_1, z_2) + D(p_2, z_1)) / 2 with D the negative cosine, here plus 1, so that 0 is the least; z gets no
    gradient. ``spread`` near 1 says that z has not collapsed: its standard deviation times the root of its width.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: ``NoMix`` only.
        proj_dim, proj_hidden: widths of the three-layer projector, BatchNorm at its end too.
        predictor_hidden: width of the predictor's hidden layer; its learning rate stays constant.
    Source:
        Chen and He 2020, arXiv 2011.10566, Eq 1-3; 2048 and 512 are its ImageNet widths.
    """

    needs_labels, needs_region = False, False
    views = ("contrast", "contrast")
    default_mixer = "none"
    mixing_relatives = ("unmix",)

    def __init__(self, encoder, mixer, *, proj_dim=2048, proj_hidden=2048, predictor_hidden=512):
        super().__init__()
        self.encoder, self.mixer = encoder, mixer
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=3, batchnorm=True, last_batchnorm=True)
        self.predictor = predictor(proj_dim, predictor_hidden)

    def forward(self, batch):
        z1, z2 = (self.projector(self.encoder(x)) for x in batch.views)  # (B, proj_dim) each
        loss = cosine_distance(self.predictor(z1), z2.detach()) + cosine_distance(self.predictor(z2), z1.detach())
        return {"loss": loss.mean() / 4, "spread": spread(z1.detach())}

    def param_groups(self):
        slowing = [*self.encoder.parameters(), *self.projector.parameters()]
        return [{"params": slowing}, {"params": list(self.predictor.parameters()), "constant_lr": True}]

    def after_step(self, out):
        """SimSiam keeps no state."""


def spread(z):
    """The standard deviation of the directions of z (B, D) times the root of D: near 1 unless they collapse."""
    return nn.functional.normalize(z.float(), dim=1).std(0).mean() * z.shape[1] ** 0.5
