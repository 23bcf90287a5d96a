"""What mixers return, and what they share."""

from dataclasses import dataclass

import torch

from mixlab.errors import ParamError, problem
from mixlab.mixers.grids import cell_means, shrink


@dataclass(frozen=True, eq=False)
class Draw:
    """Everything that is random about the mixing of M images, on their device.

    Args:
        lam: (M,) float32 in [0, 1], the measured share of the first image: the mean of its mask.
        partner: (M,) int64, index of the second image in ``others``.
        mask: (M,1,H,W) float32 in [0, 1], weight of the first image per pixel.
        num_others: number of second images, M2.
        layer: 0 mixes pixels, k > 0 the output of the encoder's layer k.
        region: True where the mask varies over the image, False where it is lam everywhere.
        box: (M,4) int64, top, left, bottom, right (exclusive) of the second image's box; None for mixers without one.
        resized: True where the whole second image is shrunk into its box.
    """

    lam: torch.Tensor
    partner: torch.Tensor
    mask: torch.Tensor
    num_others: int
    layer: int = 0
    region: bool = False
    box: torch.Tensor | None = None
    resized: bool = False

    def apply(self, a, b):
        """Mixes a (M,C,h,w) with b[partner], b (M2,C,h,w); in a's dtype, differentiable, a and b untouched.

        Images and feature maps of any size: on a grid other than the mask's, cells get exact fractions of area.
        Vectors (M,D) have no place for a region and are mixed by lam. Sums are made in float32 or wider; where the
        weight of a is 1 it comes back bit for bit.

        Raises:
            ParamError: a or b is no floating-point tensor of such a shape.
        """
        self._check(a, b)
        if a.ndim == 2 or not self.region:
            return _blend(a, b[self.partner], self.lam.view(-1, *[1] * (a.ndim - 1)))
        weight = self.cells(*a.shape[-2:])  # (M,1,h,w)
        if self.resized:
            return _paste(a, b[self.partner], weight, self.box, self.mask.shape[-2:])
        return _blend(a, b[self.partner], weight)

    def cells(self, height, width):
        """The mask on a grid of any size: (M,1,height,width), the share of the first image in each cell's area."""
        if (height, width) == tuple(self.mask.shape[-2:]):
            return self.mask
        if not self.region:
            return self.lam[:, None, None, None].expand(-1, 1, height, width)
        return cell_means(self.mask, height, width)

    def targets(self, labels, num_classes, other_labels=None):
        """Soft targets (M,K) float32: lam * onehot(labels) + (1 - lam) * onehot(other_labels[partner]).

        Args:
            labels: (M,) integers in [0, K), of the first images; image ids serve as well as classes. The range is the
                caller's to check, since reading it here would stall a GPU: a label outside it gives a row short of 1.
            num_classes: K >= 1.
            other_labels: (M2,) of the second images; ``labels`` when left out.
        Raises:
            ParamError: labels of another shape, type or device.
        """
        others = labels if other_labels is None else other_labels
        self._check_labels("labels", labels, len(self.lam))
        self._check_labels("other_labels" if other_labels is not None else "labels", others, self.num_others)
        if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
            raise ParamError(problem("num_classes", "an integer >= 1", num_classes))
        classes = torch.arange(num_classes, device=self.lam.device)  # (K,)
        own, other = labels[:, None] == classes, others[self.partner][:, None] == classes  # (M,K) each
        return self.lam[:, None] * own + (1 - self.lam[:, None]) * other

    def _check(self, a, b):
        if not is_float_tensor(a) or a.ndim not in (2, 4) or len(a) != len(self.lam):
            allowed = f"a floating-point tensor ({len(self.lam)}, C, h, w) or ({len(self.lam)}, D)"
            raise ParamError(problem("a", allowed, describe(a)))
        shape = (self.num_others, *a.shape[1:])
        if not is_float_tensor(b) or b.shape != shape or (b.dtype, b.device) != (a.dtype, a.device):
            allowed = f"a tensor of shape {shape}, {a.dtype} on {a.device}, to go with a"
            raise ParamError(problem("b", allowed, describe(b)))

    def _check_labels(self, name, labels, count):
        whole = isinstance(labels, torch.Tensor) and labels.dtype in (torch.int64, torch.int32, torch.uint8)
        if not whole or labels.shape != (count,) or labels.device != self.lam.device:
            allowed = f"an integer tensor of shape ({count},) on {self.lam.device}"
            raise ParamError(problem(name, allowed, describe(labels)))


@dataclass(frozen=True, eq=False)
class Mixed:
    """A mixed batch: images (M,C,H,W), and lam (M,), partner (M,), mask (M,1,H,W) as in the ``Draw`` it came from."""

    images: torch.Tensor
    lam: torch.Tensor
    partner: torch.Tensor
    mask: torch.Tensor
    draw: Draw

    def targets(self, labels, num_classes, other_labels=None):
        """Soft targets (M,K) float32, rows summing to 1; see ``Draw.targets``."""
        return self.draw.targets(labels, num_classes, other_labels)


class Mixer:
    """What all mixers share: facts that others may ask, and draw + apply in one call.

    Facts: ``mixes`` (False: a control that leaves images alone), ``has_region`` (the mask varies over the image),
    ``has_alpha`` (shares follow Beta(alpha, alpha)), ``takes_guide`` and ``needs_guide`` (a saliency map from outside).
    A mixer with ``has_alpha`` has a field ``alpha``; every mixer that mixes has ``lam_per`` and ``mix_prob``.
    ``mask_says_all``: its mixtures are made at the pixels and are what the mask says of two images in their places.
    """

    mixes = True
    has_region = False
    has_alpha = False
    takes_guide = False
    needs_guide = False
    mask_says_all = True

    def __call__(self, images, key, others=None, partner="permute", lam=None, guide=None):
        """``draw`` and ``apply`` at the pixels, whatever the draw's layer; ``others=None`` takes the partners from
        ``images``. Arguments and errors as in ``draw``; returns ``Mixed``."""
        others = images if others is None else others
        draw = self.draw(images, others, key, partner, lam, guide)
        return Mixed(draw.apply(images, others), draw.lam, draw.partner, draw.mask, draw)

    def draw(self, images, others, key, partner="permute", lam=None, guide=None):
        """Decides shares, partners and masks for ``images``.

        Args:
            images: (M,C,H,W) floating point, the first images.
            others: (M2,C,H,W), same dtype and device; the second images are others[partner].
            key: the ``Key`` of this draw: equal keys give equal draws on every device.
            partner: ``permute`` is one random cycle, so no image is its own partner; ``reverse`` is the batch in
                reverse order (the middle of an odd batch meets itself); both need M2 = M >= 2. ``same`` is image i
                with others[i]. Or a NumPy array (M,) of indices into others.
            lam: fixes the wanted share, a number in [0, 1] or one per image (M,); then ``mix_prob`` is not asked, and
                boxes are moved inside the image rather than clipped, so that the measured share is the wanted one up
                to the rounding of the box to whole pixels.
            guide: saliency maps (M2,1,h,w) of *others*, on any grid; for mixers with ``takes_guide``.
        Returns:
            Draw
        Raises:
            ParamError: naming the argument, what is allowed and what came.
        """
        raise NotImplementedError("a mixer defines draw")


def _blend(a, b, weight):
    """weight * a + (1 - weight) * b in a's dtype. Where that is a alone, a is copied: no NaN of b comes in."""
    wide = torch.promote_types(a.dtype, weight.dtype)
    mixed = torch.lerp(b.to(wide), a.to(wide), weight.to(wide)).to(a.dtype)
    return torch.where(weight == 1, a, mixed)


def _paste(a, b, weight, box, size):
    """weight * a + b shrunk into its box, in a's dtype."""
    wide = torch.promote_types(a.dtype, weight.dtype)
    small = shrink(b.to(wide), box, size)  # (M,C,h,w), already weighted by 1 - weight
    mixed = (weight * a.to(wide) + small).to(a.dtype)
    return torch.where(weight == 1, a, mixed)


def is_float_tensor(value):
    """True for a floating-point torch tensor."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def describe(value):
    """What an error message shows of a tensor: its shape, dtype and device; of anything else, itself."""
    return (tuple(value.shape), value.dtype, str(value.device)) if isinstance(value, torch.Tensor) else value
