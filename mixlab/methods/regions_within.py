"""Approach 2 of mix-ssl: images of a batch exchange boxes, and each region is compared with its own image."""

import torch
from torch import nn

from mixlab.heads import projector
from mixlab.losses import info_nce
from mixlab.momentum import KeyBranch, Queue, follow, frozen_copy, with_batchnorm
from mixlab.regions import RegionHead, has_two_regions


class RegionsWithin(nn.Module):
    """L = L_original + w (L_mixed + L_GG + L_LL) + (1 - w) (L_mixed^R + L_GG^R + L_LL^R), Eq 8.

    Image i, in both views, gets a box of image B-1-i: outside (G) shows i, inside (L) B-1-i, and in reversed queries
    the other way round. ``paper_fixed`` pairs what shows one image: there, inside with outside. ``as_released`` pairs
    outside with outside and inside with inside there too, which are different images; its GG key is that of the whole
    image, each view has its own box, two queues hold whole images and insides, and keys share the region head.

    Args:
        mixer: a mixer with a region.
        profile: ``paper_fixed`` or ``as_released``.
        region_weight: w in [0, 1], or ``area``, the measured share of image i, per sample.
        encoder, region_layer, region_pool, queue_size, ...: as for ``RegionsBetween``.
    Source:
        "Leveraging Image Mixtures for Unsupervised Detection Pre-training" (mix-ssl), section 3.2.2. The code gives
        the second box the first one's size and encodes the reversed batch again; here its size is its own.
    """

    needs_labels, needs_region = False, True
    views = ("contrast", "contrast")
    default_mixer = "cutmix"

    def __init__(self, encoder, mixer, *, profile="paper_fixed", region_weight="area", region_layer=4,
                 region_pool="cells", queue_size=4096, ema_momentum=0.99, batchnorm="shuffle", bn_splits=8,
                 temperature=0.1, proj_dim=128, proj_hidden=512, proj_depth=2):
        super().__init__()
        self.encoder, self.mixer = with_batchnorm(encoder, batchnorm, bn_splits), mixer
        self.fixed, self.region_weight, self.layers = profile == "paper_fixed", region_weight, (region_layer, 4)
        self.ema_momentum, self.temperature = ema_momentum, temperature
        self.projector = projector(encoder.dim, proj_hidden, proj_dim, depth=proj_depth)
        self.region_head = RegionHead(encoder.widths[region_layer - 1], proj_dim, region_pool)
        self.key_branch = KeyBranch(self.encoder, self.projector, batchnorm == "shuffle")
        self.key_region_head = frozen_copy(self.region_head) if self.fixed else None
        names = ("original", "G", "L") if self.fixed else ("original", "L")
        self.queues = nn.ModuleDict({name: Queue(queue_size, proj_dim, name) for name in names})

    def forward(self, batch):
        (x1, x2), key = batch.views, batch.key
        k = self.key_branch(x2, key.child("keys"))  # (B, proj_dim)
        original = self._nce(self.projector(self.encoder(x1)), k, "original")  # (B,)
        draw = self.mixer.draw(x1, x1, key.child("mixer"), partner="reverse")
        key_draw = draw if self.fixed else self.mixer.draw(x2, x2, key.child("mixer of keys"), partner="reverse")
        maps = list(self.encoder.feature_maps(draw.apply(x1, x1), self.layers).values())
        q = self.projector(maps[-1].mean((2, 3)))  # (B, proj_dim), of mixtures
        q_out, q_in = self.region_head(maps[0], draw)
        key_map = self.key_branch.maps(key_draw.apply(x2, x2), self.layers[:1], key.child("mixed keys"))[0]
        k_out, k_in = (z.detach() for z in (self.key_region_head or self.region_head)(key_map, key_draw))
        two, key_two = has_two_regions(draw), has_two_regions(key_draw)  # (B,) each
        there = self._nce(q, k, "original") + two * key_two * self._regions(q_out, q_in, k, k_out, k_in)  # (B,)
        q, q_out, q_in, two = (t.flip(0) for t in (q, q_out, q_in, two))
        pair = (q_in, q_out) if self.fixed else (q_out, q_in)  # reversed query i shows image i inside
        back = self._nce(q, k, "original") + two * key_two * self._regions(*pair, k, k_out, k_in)  # (B,)
        w = draw.lam if self.region_weight == "area" else torch.full_like(draw.lam, self.region_weight)  # (B,)
        loss = (original + w * there + (1 - w).flip(0) * back).mean()
        return {"loss": loss, "original": original.detach().mean(), "mixed": there.detach().mean(),
                "mixed_reverse": back.detach().mean(), "keys_original": k, "keys_G": k_out, "keys_L": k_in}

    def _regions(self, q_g, q_l, k, k_out, k_in):
        return self._nce(q_g, *((k_out, "G") if self.fixed else (k, "original"))) + self._nce(q_l, k_in, "L")

    def _nce(self, q, k, queue):
        return info_nce(q, k, self.queues[queue].keys, self.temperature)

    def after_step(self, out):
        self.key_branch.follow(self.encoder, self.projector, self.ema_momentum)
        for name, queue in self.queues.items():
            queue.push(out[f"keys_{name}"])
        if self.fixed:
            follow(self.key_region_head, self.region_head, self.ema_momentum)
