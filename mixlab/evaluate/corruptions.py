"""Graded corruptions of test images, made on the device: the accuracy of one probe under each."""

import numpy as np
import torch

from mixlab.errors import ParamError, nearest, problem
from mixlab.rng import Key, to_device

CHUNK = 512  # images corrupted at a time; random draws are keyed by chunk
SEVERITIES = (1, 2, 3, 4, 5)

# The strength at severities 1 to 5.
STRENGTHS = {
    "noise": (0.04, 0.08, 0.12, 0.18, 0.26),  # standard deviation of Gaussian noise; pixels are 0 to 1
    "blur": (0.5, 0.75, 1.0, 1.5, 2.0),  # standard deviation in pixels of an image of 32 pixels a side
    "contrast": (0.7, 0.5, 0.35, 0.2, 0.1),  # what is left of the distance to the image's mean colour
    "pixelation": (0.8, 0.6, 0.5, 0.4, 0.25),  # cells a side, as a share of the pixels a side
    "occlusion": (0.2, 0.3, 0.4, 0.5, 0.6),  # side of a grey square as a share of the image's, anywhere inside
}


def corrupt(pixels, name, severity, seed=0):
    """Corrupted images, uint8 (N, H, W, 3) on the device of ``pixels``.

    Noise and the places of the squares are drawn per image from the seed, the same for all five severities; the other
    corruptions have nothing random. The strengths are ours, not those of CIFAR-10-C: do not compare the two.

    Args:
        pixels: uint8 (N, H, W, 3); left as they are.
        name: one of ``STRENGTHS``.
        severity: 1 (mild) to 5.
    Raises:
        ParamError: an unknown name or severity.
    Source:
        Hendrycks and Dietterich 2019, arXiv 1903.12261.
    """
    if name not in STRENGTHS:
        raise ParamError(problem("corruption", f"one of {', '.join(STRENGTHS)}", name, nearest(name, STRENGTHS)))
    if severity not in SEVERITIES:
        raise ParamError(problem("severity", "a whole number from 1 to 5", severity))
    strength, done = STRENGTHS[name][severity - 1], []
    for step, chunk in enumerate(pixels.split(CHUNK)):
        images = chunk.permute(0, 3, 1, 2).float() / 255  # (n, 3, H, W)
        images = CORRUPTIONS[name](images, strength, Key(seed, f"robustness/{name}", 0, step))
        done.append((images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1))
    return torch.cat(done)


def _noise(images, strength, key):
    noise = key.generator().standard_normal(tuple(images.shape), dtype=np.float32)
    return images + strength * to_device(images.device, noise)


def _blur(images, strength, key):
    height, width = images.shape[2:]
    across = _band(width, strength * width / 32, images)
    return _band(height, strength * height / 32, images) @ images @ across.T


def _band(size, sigma, like):
    """Gaussian smoothing of ``size`` pixels as a matrix (size, size) whose rows sum to 1, also at the borders."""
    place = torch.arange(size, device=like.device, dtype=like.dtype)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    return weights / weights.sum(1, keepdim=True)


def _contrast(images, strength, key):
    mean = images.mean((2, 3), keepdim=True)
    return mean + strength * (images - mean)


def _pixelation(images, strength, key):
    height, width = images.shape[2:]
    return _mosaic(height, strength, images) @ images @ _mosaic(width, strength, images).T


def _mosaic(size, share, like):
    """Averaging over ``share * size`` equal cells of a line of pixels, as a matrix (size, size); cells may cut pixels.

    A pixel takes the mean of the cell that its centre lies in.
    """
    cells = max(1, round(share * size))
    place = torch.arange(size, device=like.device, dtype=like.dtype)
    cell = ((place + 0.5) * cells / size).floor()[:, None]  # (size, 1)
    start, end = cell * size / cells, (cell + 1) * size / cells
    weights = (torch.minimum(place + 1, end) - torch.maximum(place, start)).clamp(min=0)  # (size, size) overlaps
    return weights / weights.sum(1, keepdim=True)


def _occlusion(images, strength, key):
    count, _, height, width = images.shape
    tall, wide = max(1, round(strength * height)), max(1, round(strength * width))
    corners = np.floor(key.generator().random((2, count)) * [[height - tall + 1], [width - wide + 1]])
    top, left = to_device(images.device, corners)[:, :, None]  # (n, 1) each
    row, column = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    inside_y = (row >= top) & (row < top + tall)  # (n, H)
    inside_x = (column >= left) & (column < left + wide)  # (n, W)
    inside = inside_y[:, None, :, None] & inside_x[:, None, None, :]  # (n, 1, H, W)
    return torch.where(inside, 0.5, images)


CORRUPTIONS = {"noise": _noise, "blur": _blur, "contrast": _contrast, "pixelation": _pixelation,
               "occlusion": _occlusion}


def robustness(found, probe, protocol):
    """Rows ``{corruption, severity, top1, images}`` of one fitted probe on corrupted images; severity 0 is clean.

    With ``robustness_size`` the first so many images of a random order are taken, the same for all rows.
    """
    images, rows = found.images["test"], _some(len(found.images["test"]), protocol)
    device = found.encoder.mean.device
    pixels, labels = images.pixels[rows].to(device), found.labels("test")[rows.to(device)]
    clean = found.of("test", probe.layer)[rows.to(device)]
    table = [_row(probe, "none", 0, clean, labels)]
    for name in STRENGTHS:
        for severity in SEVERITIES:
            h = found.of_pixels(corrupt(pixels, name, severity, protocol.seed), probe.layer)
            table.append(_row(probe, name, severity, h, labels))
    return table


def _some(count, protocol):
    wanted = count if protocol.robustness_size == "auto" else min(protocol.robustness_size, count)
    return torch.from_numpy(np.sort(Key(protocol.seed, "robustness").generator().permutation(count)[:wanted]))


def _row(probe, name, severity, features, labels):
    top1 = (probe.classifier(features).argmax(1) == labels).double().mean().item()
    return {"corruption": name, "severity": severity, "top1": top1, "images": len(labels)}
