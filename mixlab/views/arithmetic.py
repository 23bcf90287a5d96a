"""The arithmetic of a view: pure functions of tensors, the same shapes whatever was drawn."""

import torch

from mixlab.views.draws import unpack

HUE = 3  # the operations of the colour jitter: 0 brightness, 1 contrast, 2 saturation, 3 hue


def apply_views(pixels, values, recipe):
    """Makes the views that `draw` drew: a pure function of tensors, made for `torch.compile(dynamic=False)`.

    Args:
        pixels: uint8 (B,H,W,3).
        values: float32 (B,18), `pack` of the draws, on the same device.
        recipe: the Recipe of the draws. Steps of probability 0 are left out.
    Returns:
        float32 (B,3,S,S). Agrees with torchvision's functional float path to 2e-6 before the normalisation,
        as long as float32 matrix products are not lowered to TF32 (then 5e-4). Autocast does not reach inside.
    """
    draws = unpack(values)
    with torch.autocast(pixels.device.type, enabled=False):
        x = _crop(pixels, draws, recipe)  # (B,3,S,S) in [0, 1]
        if recipe.jitter_prob > 0:
            _jitter_(x, draws.order.long(), draws.factors)
        if recipe.grey_prob > 0:
            x.lerp_(_grey(x), _per_sample(draws.grey))
        if recipe.blur_prob > 0:
            x = _blur(x, draws.sigma, recipe.blur_kernel)
        if recipe.solarise_prob > 0:  # min(x, 1 - x) inverts what is above one half
            x.lerp_(torch.minimum(x, 1 - x), _per_sample(draws.solarise))
        for channel, mean, std in zip(x.unbind(1), recipe.mean, recipe.std, strict=True):
            channel.sub_(mean).div_(std)
        return x


def _per_sample(column):
    return column.reshape(-1, 1, 1, 1)


def _crop(pixels, draws, recipe):
    """Crop, resize, flip, pad: uint8 (B,H,W,3) to float32 (B,3,S,S) in [0, 1]."""
    batch, height, width, _ = pixels.shape
    x = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)  # (B,3,H,W)
    if recipe.keeps_place(height, width):
        return x.div_(255)
    rows = torch.arange(recipe.size, device=pixels.device).expand(batch, -1)
    columns = rows + draws.flip * (recipe.size - 1 - 2 * rows)
    wy = _weights(rows + draws.shift_y, draws.top, draws.height, height, recipe)  # (B,S,H)
    wx = _weights(columns + draws.shift_x, draws.left, draws.width, width, recipe)  # (B,S,W)
    # Pixels are whole numbers and, at size 32, weights are multiples of 1/64: both products are exact.
    x = torch.bmm(x.view(batch, 3 * height, width), wx.mT).view(batch, 3, height, recipe.size)
    return torch.matmul(wy[:, None], x).div_(255)


def _weights(place, start, length, extent, recipe):
    """How much of each of `extent` pixels goes into the output pixels at `place` (B,S) of a resized box: (B,S,extent).

    A tent around the output pixel's centre. Where boxes can be larger than the view, the tent is as wide as the
    step between centres and cut off at the box; else centres are kept inside the box, which is cheaper.
    """
    inside = place.clamp(0, recipe.size - 1)
    centre = (inside + 0.5) * (length / recipe.size) - 0.5  # (B,S) in pixels of the box
    pixel = torch.arange(extent, device=place.device)
    if extent > recipe.size:
        step = (length / recipe.size).clamp(min=1)[..., None]
        pixel = (pixel - start)[:, None]  # (B,1,extent)
        weights = (1 - (centre[..., None] - pixel).abs() / step).clamp(min=0)
        weights = weights * ((pixel >= 0) & (pixel < length[..., None]))
        weights = weights / weights.sum(2, keepdim=True)
    else:
        centre = torch.minimum(centre.clamp(min=0), length - 1) + start
        weights = (centre[..., None] - pixel).abs_().neg_().add_(1).clamp_(min=0)
    return weights * (inside == place)[..., None] if recipe.crop_padding else weights


def _jitter_(x, order, factors):
    """Colour jitter of x (B,3,S,S) in place, each sample with its own `order` (B,4).

    The hue, which costs most, is turned once for all samples, between two sweeps of the other operations: one for what
    comes before a sample's hue, one for what comes after. An operation outside its sweep has weight 0, which changes
    nothing, so shapes never depend on the draws.
    """
    is_hue = order == HUE
    past = is_hue.cumsum(1)  # (B,4): 0 before the hue's turn, 1 from it on
    weights = torch.where(is_hue, 0.0, 1 - factors.gather(1, order))
    columns = weights * (past == 0), weights * past, (order == 1).to(x.dtype), (order == 2).to(x.dtype)
    before, after, average, own = (column.T.reshape(4, -1, 1, 1, 1) for column in columns)
    for turn in range(3):
        _blend_(x, before[turn], average[turn], own[turn])
    _turn_hue_(x, factors[:, HUE])
    for turn in range(1, 4):
        _blend_(x, after[turn], average[turn], own[turn])


def _blend_(x, weight, average, own):
    """Moves x in place by `weight` towards black, its mean grey (where `average` is 1) or its own grey (`own`)."""
    grey = _grey(x)  # (B,1,S,S)
    mean = grey.mean((2, 3), keepdim=True).mul_(average)
    x.lerp_(grey.mul_(own).add_(mean), weight).clamp_(0, 1)


def _grey(x):
    red, green, blue = x.unbind(1)
    return (red * 0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1)


def _turn_hue_(x, shift):
    """Turns the hue of x (B,3,S,S) in place by `shift` (B,) full turns; HSV's value and saturation stay. No branches.

    With channels scaled to minimum 0 and maximum 1 and the hue h on [0, 6), |h - 3| = 2 + R - G - B in all six sectors,
    and h > 3 where B > G. Back again: R = |h - 3| - 1, G = 2 - |h - 2|, B = 2 - |h - 4|, each clamped to [0, 1].
    """
    red, green, blue = x.unbind(1)  # (B,S,S) each
    low = torch.minimum(torch.minimum(red, green), blue)
    chroma = torch.maximum(torch.maximum(red, green), blue).sub_(low)
    hue = (red - green).add_(low - blue).div_(chroma.clamp(min=1e-12)).add_(2).copysign_(blue - green)  # h - 3
    hue = hue.add_(6 * shift[:, None, None])
    hue = hue.sub_((hue / 6).round_(), alpha=6)  # back into [-3, 3]
    red = hue.abs().sub_(1)
    green = (hue + 1).abs_().neg_().add_(2)
    blue = (hue - 1).abs_().neg_().add_(2)
    for channel, part in enumerate((red, green, blue)):
        x[:, channel] = part.clamp_(0, 1).mul_(chroma).add_(low)


def _blur(x, sigma, kernel):
    """Gaussian blur of (B,3,S,S) with `sigma` (B,1) of each sample and reflected borders, as two matrix products."""
    size = x.shape[-1]
    offsets = torch.arange(kernel, device=x.device) - kernel // 2
    taps = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-2)) ** 2)  # (B,K); sigma 0: one tap
    pixels = torch.arange(size, device=x.device)
    source = (size - 1) - ((size - 1) - (pixels[:, None] + offsets).abs()).abs()  # (S,K)
    lands = (source[..., None] == pixels).to(x.dtype)  # (S,K,S)
    band = torch.einsum("bk,skt->bst", taps / taps.sum(1, keepdim=True), lands)[:, None]
    return band @ x @ band.mT
