"""Features of a frozen encoder, computed once."""

import torch

CHUNK = 512


@torch.inference_mode()
def features(encoder, pixels, precision="fp32"):
    """Features h (N, encoder.dim) float32 of unaugmented images, in eval mode; the encoder is left as it was.

    Args:
        encoder: its buffers ``mean`` and ``std`` normalise the images.
        pixels: uint8 (N, H, W, 3) on any device; they are moved to the encoder's in chunks.
        precision: ``fp32`` or ``bf16``.
    """
    device, was_training = encoder.mean.device, encoder.training
    encoder.eval()
    found = []
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        for chunk in pixels.split(CHUNK):
            images = chunk.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 255  # (n, 3, H, W)
            images = (images - encoder.mean.view(3, 1, 1)) / encoder.std.view(3, 1, 1)
            found.append(encoder(images).float())
    encoder.train(was_training)
    return torch.cat(found)
