"""Activation maps: how strongly an encoder's features fire at each place of an image."""

from contextlib import contextmanager

import torch
import torch.nn.functional as F

from mixlab.data.images import check_pixels
from mixlab.encoders import LAYERS
from mixlab.errors import ParamError, problem

POWERS = (1, 2, 4)
CHUNK_PIXELS = 2**18  # encoded at a time: 256 images of 32 x 32


def energy(features, power):
    """The map (B, h, w) of features A (B, C, h, w): the sum over channels of |A|^p, at least 0.

    Args:
        power: p, one of 1, 2, 4. The higher, the more the strongest channels count.
    Raises:
        ParamError: another power.
    Source:
        Zagoruyko and Komodakis 2017, arXiv 1612.03928, section 3.1: F_sum^p. Differs from the authors' code in not
        being normalised here; see ``normalise``.
    """
    if power not in POWERS or isinstance(power, bool):
        raise ParamError(problem("power", f"one of {', '.join(map(str, POWERS))}", power))
    return features.abs().pow(power).sum(1)


def activation_maps(encoder, pixels, layers=(4,), power=2):
    """Maps ``{layer: (N, h, w)}`` float32 of whole images, in eval mode; the encoder is left as it was.

    Args:
        encoder: an ``Encoder``; its buffers ``mean`` and ``std`` normalise the images.
        pixels: uint8 (N, H, W, 3) on any device, not augmented.
        layers: of 1 to 4. For images of 32 pixels and the CIFAR stem h = w = 32, 16, 8 and 4.
        power: see ``energy``.
    Raises:
        ParamError: an unknown layer or power. DataError: other pixels.
    """
    return energies(encoder, pixels, layers, (power,))[power]


def energies(encoder, pixels, layers=(4,), powers=POWERS):
    """As ``activation_maps`` for several powers, ``{power: {layer: (N, h, w)}}``; the images are encoded once."""
    check_layers(layers)
    parts = []
    with torch.no_grad(), resting(encoder):
        for images in prepared(encoder, pixels):
            found = encoder.feature_maps(images, layers)
            parts.append([[energy(found[layer].float(), power) for layer in layers] for power in powers])
    return {power: joined(layers, chunks) for power, chunks in zip(powers, zip(*parts, strict=True), strict=True)}


def joined(layers, parts):
    """``{layer: (N, h, w)}`` of chunks, each a list of maps in the order of ``layers``."""
    return {layer: torch.cat(chunks) for layer, chunks in zip(layers, zip(*parts, strict=True), strict=True)}


def normalise(maps):
    """Maps (N, h, w) in [0, 1]: each divided by its own largest value, so that 0 stays "nothing here".

    A map without any energy stays 0. This is for looking: scores take maps as they are.
    """
    largest = maps.amax((1, 2), keepdim=True)
    return maps / torch.where(largest > 0, largest, 1)


def enlarge(maps, height, width):
    """Maps (N, height, width): bilinear between the centres of the cells, constant beyond the outermost ones."""
    return F.interpolate(maps[:, None], (height, width), mode="bilinear", align_corners=False)[:, 0]


def prepared(encoder, pixels):
    """Chunks (n, 3, H, W) of uint8 pixels (N, H, W, 3), on the encoder's device and normalised as it wants them.

    Raises:
        DataError: anything but uint8 (N, H, W, 3).
    """
    check_pixels(pixels)
    mean, std = encoder.mean.view(3, 1, 1), encoder.std.view(3, 1, 1)
    for chunk in pixels.split(max(1, CHUNK_PIXELS // (pixels.shape[1] * pixels.shape[2]))):
        images = chunk.to(encoder.mean.device).permute(0, 3, 1, 2).float() / 255
        yield (images - mean) / std


def check_layers(layers):
    """Refuses what is not a layer of an encoder.

    Raises:
        ParamError: naming the first wrong one.
    """
    if not layers:
        raise ParamError(problem("layers", "at least one layer", layers))
    for layer in layers:
        if layer not in LAYERS or isinstance(layer, bool):
            raise ParamError(problem("layer", f"one of {', '.join(map(str, LAYERS))}", layer))


@contextmanager
def resting(encoder):
    """Eval mode for a while, so that BatchNorm learns nothing; every part goes back to the mode it was in."""
    modes = {part: part.training for part in encoder.modules()}
    encoder.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
