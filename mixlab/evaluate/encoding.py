"""Features of a frozen encoder, each computed once."""

from contextlib import contextmanager
from dataclasses import replace

import torch

from mixlab.precision import exact_fp32
from mixlab.rng import Key, to_device
from mixlab.views import RECIPES, apply_views, draw, pack

CHUNK_PIXELS = 2**19  # encoded at a time: 512 images of 32 x 32


@exact_fp32()
def features(encoder, pixels, precision="fp32"):
    """Features h (N, encoder.dim) float32 of unaugmented images, in eval mode; the encoder is left as it was.

    Args:
        encoder: its buffers ``mean`` and ``std`` normalise the images.
        pixels: uint8 (N, H, W, 3) on any device; they are moved to the encoder's in chunks.
        precision: ``fp32`` or ``bf16``.
    """
    return torch.cat(list(_encoded(encoder, _plain(encoder, pixels), precision)))


@exact_fp32()
def augmented_features(encoder, pixels, recipe, key, precision="fp32"):
    """Features (N, encoder.dim) of one augmented view of every image.

    Args:
        recipe: a name in ``views.RECIPES``; its size becomes the images' own, its mean and std the encoder's.
        key: Key of the whole pass: the views do not depend on how the images are cut into chunks.
    """
    return torch.cat(list(_encoded(encoder, _views(encoder, pixels, recipe, key), precision)))


def _plain(encoder, pixels):
    """Chunks (n, 3, H, W) of images, normalised."""
    for chunk in pixels.split(_chunk(pixels)):
        images = chunk.to(encoder.mean.device, non_blocking=True).permute(0, 3, 1, 2).float() / 255
        yield (images - encoder.mean.view(3, 1, 1)) / encoder.std.view(3, 1, 1)


def _views(encoder, pixels, recipe, key):
    """Chunks (n, 3, H, W) of augmented views, normalised."""
    device, (count, height, width) = encoder.mean.device, pixels.shape[:3]
    mean, std = tuple(encoder.mean.tolist()), tuple(encoder.std.tolist())
    recipe = replace(RECIPES[recipe], size=height, mean=mean, std=std)
    values = to_device(device, pack(draw(recipe, key, count, height, width)))  # (N, 18)
    size = _chunk(pixels)
    for chunk, drawn in zip(pixels.split(size), values.split(size), strict=True):
        yield apply_views(chunk.to(device, non_blocking=True), drawn, recipe)


def _chunk(pixels):
    return max(1, CHUNK_PIXELS // (pixels.shape[1] * pixels.shape[2]))


def _encoded(encoder, chunks, precision):
    """Features of each chunk as float32, without gradients, BatchNorm using what it has stored."""
    with torch.no_grad(), _evaluating(encoder):
        for images in chunks:
            with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
                h = encoder.forward(images)  # not compiled: the sizes of these chunks would each need a graph
            yield h.float()


@contextmanager
def _evaluating(module):
    """Eval mode for a while; every part goes back to the mode it was in."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


class Features:
    """Features of one frozen encoder on named parts of a data set, each computed when first asked and then kept.

    Args:
        encoder: as for ``features``.
        images: ``{"train": Images, "test": Images, ...}``.
        projector: the head after the encoder, for the layer ``projection``; None where there is none.
        precision: ``fp32`` or ``bf16`` for the encoder; features are kept, and projected, in fp32.
        seed: of the augmented passes.
    Attributes:
        layers: the layers there are, ``encoder`` and perhaps ``projection``.
        encodings: how many images have gone through the encoder so far.
    """

    def __init__(self, encoder, images, projector=None, *, precision="fp32", seed=0):
        self.encoder, self.images, self.projector = encoder, images, projector
        self.precision, self.seed = precision, seed
        self.layers = ("encoder",) if projector is None else ("encoder", "projection")
        self.encodings, self._kept = 0, {}

    def of(self, part, layer="encoder"):
        """Features (N, D) float32 of the unaugmented images of ``part``, not normalised."""
        return self._layer((part,), layer, lambda: features(self.encoder, self.images[part].pixels, self.precision))

    def augmented(self, part, number, layer="encoder", *, recipe="weak", role="probe"):
        """Features (N, D) of augmented pass ``number`` (0, 1, ...) over ``part``, drawn by Key(seed, role, number)."""
        return self._layer((part, recipe, role, number), layer, lambda: augmented_features(
            self.encoder, self.images[part].pixels, recipe, Key(self.seed, role, number), self.precision))

    def labels(self, part):
        """Labels int64 (N,) of ``part`` on the encoder's device."""
        return self.images[part].labels.to(self.encoder.mean.device)

    def of_pixels(self, pixels, layer="encoder"):
        """Features (N, D) of other images, uint8 (N, H, W, 3); counted, but not kept."""
        self.encodings += len(pixels)
        h = features(self.encoder, pixels, self.precision)
        return h if layer == "encoder" else self._projected(h)

    def _layer(self, name, layer, compute):
        if name not in self._kept:
            self._kept[name] = compute()
            self.encodings += len(self._kept[name])
        if layer == "encoder":
            return self._kept[name]
        if (*name, layer) not in self._kept:
            self._kept[*name, layer] = self._projected(self._kept[name])
        return self._kept[*name, layer]

    def _projected(self, h):
        with torch.no_grad(), _evaluating(self.projector):
            return self.projector(h)
