"""BYOL: one view predicts the slow encoder's projection of the other; nothing repels."""

from torch import nn

from mixlab.heads import predictor, projector
from mixlab.losses import cosine_distance
from mixlab.momentum import KeyBranch, rising


class BYOL(nn.Module):
    """Bootstrap your own latent.

    L = |p(z_1)/|.| - k_2/|.||^2 + the same with the views exchanged, where p predicts and k comes from a slow copy of
    encoder and projector, whose momentum rises to 1 along a cosine.

    Args:
        encoder: images (B, 3, H, W) to h (B, dim).
        mixer: ``NoMix`` only; unmix with base byol mixes.
        ema_momentum: share of itself that the slow copy keeps at the start, in [0, 1).
        proj_dim, proj_hidden: widths of the projector, which has BatchNorm.
        predictor_hidden: width of the predictor's hidden layer.
    Source:
        Grill et al. 2020, arXiv 2006.07733, Eq 2; 0.99 and the widths are what is usual on CIFAR. Differs from the
        authors' code in SGD instead of LARS.
    """

    needs_labels, needs_region = False, False
    views = ("byol_1", "byol_2")
    default_mixer = "none"
    mixing_relatives = ("unmix",)

    def __init__(self, encoder, mixer, *, ema_momentum=0.99, proj_dim=256, proj_hidden=4096, predictor_hidden=4096):
        super().__init__()
        self.encoder, self.mixer, self.ema_momentum = encoder, mixer, ema_momentum
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, batchnorm=True)
        self.predictor = predictor(proj_dim, predictor_hidden)
        self.key_branch = KeyBranch(encoder, self.projector)

    def forward(self, batch):
        x1, x2 = batch.views
        loss = self._loss(x1, x2, batch.key) + self._loss(x2, x1, batch.key)
        return {"loss": loss, "ema_momentum": rising(self.ema_momentum, batch.progress, x1.device)}

    def _loss(self, x, other_view, key):
        p = self.predictor(self.projector(self.encoder(x)))  # (B, proj_dim)
        return cosine_distance(p, self.key_branch(other_view, key)).mean()

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, out["ema_momentum"])
