"""Approach 1 of mix-ssl: the two views of an image exchange a box, and both regions are compared."""

from torch import nn

from mixlab.heads import projector
from mixlab.losses import info_nce
from mixlab.momentum import KeyBranch, Queue, follow, frozen_copy, with_batchnorm
from mixlab.regions import RegionHead, has_two_regions


class RegionsBetween(nn.Module):
    """L = L_original + w L_mixed + (1 - w) (L_LG + L_LL + L_GG), Eq 7, with a queue for each of three kinds of keys.

    View 1 gets a box of view 2, and view 2 the same box of view 1. G is the average feature outside the box, L inside.
    Every pair is a positive: all four regions show one image. L_original and L_mixed meet whole-image keys of view 2.

    Args:
        mixer: a mixer with a region; its partner is the other view.
        region_weight: w in [0, 1], or ``area``, the measured share outside the box, per sample.
        region_layer: 3 or 4, the encoder's layer whose map is averaged.
        region_pool: ``cells`` (exact areas on the map's grid) or ``bilinear`` (up-sampled to pixels, as the paper).
        encoder, queue_size, ema_momentum, batchnorm, bn_splits, temperature, proj_*: as for ``MoCo``; the regions have
            a linear projector of their own, which the key branch follows too.
    Source:
        "Leveraging Image Mixtures for Unsupervised Detection Pre-training" (mix-ssl), section 3.2.1. Its released code
        has no Approach 1. A mixture without a box, or all box, has no second region and adds 0 to the region terms.
    """

    needs_labels, needs_region = False, True
    views = ("contrast", "contrast")
    default_mixer = "cutmix"

    def __init__(self, encoder, mixer, *, region_weight=0.5, region_layer=4, region_pool="cells", queue_size=4096,
                 ema_momentum=0.99, batchnorm="shuffle", bn_splits=8, temperature=0.1, proj_dim=128, proj_hidden=512,
                 proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.region_weight, self.layers = region_weight, (region_layer, 4)
        self.ema_momentum, self.temperature = ema_momentum, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.region_head = RegionHead(encoder.widths[region_layer - 1], proj_dim, region_pool)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.key_region_head = frozen_copy(self.region_head)
        self.queues = nn.ModuleDict({name: Queue(queue_size, proj_dim, name) for name in ("original", "G", "L")})

    def forward(self, batch):
        (x1, x2), key = batch.views, batch.key
        draw = self.mixer.draw(x1, x2, key.child("mixer"), partner="same")
        q = self.projector(self.encoder(x1))  # (B, proj_dim)
        k = self.key_branch(x2, key.child("keys"))
        maps = list(self.encoder.feature_maps(draw.apply(x1, x2), self.layers).values())
        qm = self.projector(maps[-1].mean((2, 3)))
        q_out, q_in = self.region_head(maps[0], draw)
        key_map = self.key_branch.maps(draw.apply(x2, x1), self.layers[:1], key.child("mixed keys"))[0]
        k_out, k_in = (z.detach() for z in self.key_region_head(key_map, draw))
        regions = self._nce(q_in, k_out, "G") + self._nce(q_in, k_in, "L") + self._nce(q_out, k_out, "G")  # LG LL GG
        regions = has_two_regions(draw) * regions  # (B,)
        weight = draw.lam if self.region_weight == "area" else self.region_weight
        original, mixed = self._nce(q, k, "original"), self._nce(qm, k, "original")  # (B,) each
        loss = (original + weight * mixed + (1 - weight) * regions).mean()
        terms = {"original": original, "mixed": mixed, "regions": regions}
        return {"loss": loss, "keys_original": k, "keys_G": k_out, "keys_L": k_in,
                **{name: term.detach().mean() for name, term in terms.items()}}

    def _nce(self, q, k, queue):
        return info_nce(q, k, self.queues[queue].keys, self.temperature)

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        follow(self.key_region_head, self.region_head, self.ema_momentum)
        for name, queue in self.queues.items():
            queue.push(out[f"keys_{name}"])
