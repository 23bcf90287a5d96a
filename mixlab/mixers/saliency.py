"""Where an image draws the eye: a saliency map without parameters, for a whole batch at once."""

import torch


def saliency(images):
    """Centre-surround contrast of images (B,C,H,W): (B,1,H,W) float32 >= 0, high where a spot differs from around it.

    The mean of a 3x3 spot against the means of windows of about a quarter, a half and all of the shorter side, as
    absolute differences summed over windows and channels, then summed over a quarter of the shorter side (nothing lies
    outside the image), so that the peak is in the middle of something rather than on one odd pixel or at the border.

    Source:
        Montabone, Soto, 2010, "Human detection using a mobile platform and novel features derived from a visual
        saliency mechanism", the method behind OpenCV's fine-grained saliency. Differs in all channels instead of grey,
        windows that scale with the image, no median filter before and a sum over a window after.
    """
    short = min(images.shape[-2:])
    with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
        pixels = images.float()
        spots = _window_means(pixels, 1)
        contrast = sum((spots - _window_means(pixels, max(2, short // part))).abs() for part in (8, 4, 2))  # (B,C,H,W)
        return _window_sums(contrast.sum(1, keepdim=True), max(1, short // 8))


def peaks(maps, size):
    """Row and column (2,B) int64 of the first maximum of maps (B,1,h,w), as pixels of an image of ``size`` = (H,W)."""
    height, width = maps.shape[-2:]
    at = maps.flatten(1).argmax(1)  # (B,)
    row, column = at // width, at % width
    return torch.stack([(2 * row + 1) * size[0] // (2 * height), (2 * column + 1) * size[1] // (2 * width)])


def _window_means(pixels, radius):
    return _window_sums(pixels, radius) / _window_sums(torch.ones_like(pixels[:1, :1]), radius)


def _window_sums(pixels, radius):
    """Sums over windows of 2 radius + 1 pixels a side, cut at the border; two small matrix products."""
    rows, columns = (_band(size, radius, pixels.device) for size in pixels.shape[-2:])
    return rows @ (pixels @ columns)


def _band(size, radius, device):
    """(size,size) float32, symmetric: 1 where two positions are at most ``radius`` apart."""
    at = torch.arange(size, device=device)
    return ((at[:, None] - at).abs() <= radius).float()
