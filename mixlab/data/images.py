"""The record that every data set becomes, and what can be asked of it."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from mixlab.errors import DataError, problem


@dataclass(frozen=True, eq=False, repr=False)
class Images:
    """Images in memory, with their labels if they have any.

    Args:
        pixels: uint8 (N, H, W, 3) on the CPU, RGB, 0..255; N >= 1.
        labels: int64 (N,), label k meaning ``classes[k]``; None for images without labels.
        classes: the names of the classes; () without labels.
        checksum: 64 hex digits that name these pixels and labels; computed where it is left empty: SHA-256 over
            the text of the shape, the pixels and the labels as little-endian int64.
        skipped: relative names of broken files that were left out.
        notes: sentences about how the pixels were made.
    Raises:
        DataError: anything else, naming the first wrong entry.
    """

    pixels: torch.Tensor
    labels: torch.Tensor | None = None
    classes: tuple[str, ...] = ()
    checksum: str = ""
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self):
        check_pixels(self.pixels)
        if self.labels is not None:
            _check_label_tensor(self.labels, len(self.pixels), len(self.classes))
        if not self.checksum:
            object.__setattr__(self, "checksum", _checksum(self.pixels, self.labels))

    def __len__(self):
        return len(self.pixels)

    def __repr__(self):
        height, width = self.pixels.shape[1:3]
        return f"Images({len(self):,} of {height} x {width}, {len(self.classes)} classes, {self.checksum[:8]})"

    def subset(self, index):
        """The images at ``index`` (int64, any order). The checksum stays that of the whole: it says where from."""
        index = torch.as_tensor(index)
        return replace(self, pixels=self.pixels[index], labels=None if self.labels is None else self.labels[index])


def _checksum(pixels, labels):
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(pixels.contiguous().numpy())
    if labels is not None:
        digest.update(labels.numpy().astype("<i8"))
    return digest.hexdigest()


def check_pixels(pixels):
    """Refuses all but uint8 (N, H, W, 3) with N, H, W >= 1; names the first image that is not finite.

    Raises:
        DataError: naming the dtype and shape, or the index of the image.
    """
    if not torch.is_tensor(pixels):
        raise DataError(problem("pixels", "a uint8 tensor (N, H, W, 3)", pixels, "Wrap arrays in torch.from_numpy"))
    if pixels.is_floating_point() and pixels.ndim and len(pixels):
        bad = (~torch.isfinite(pixels)).reshape(len(pixels), -1).any(1).nonzero()
        if len(bad):
            raise DataError(f"pixels[{int(bad[0])}]: uint8 values; got NaN or infinity ({pixels.dtype}), "
                            f"in {len(bad)} images altogether. Remove these images.")
    if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3 or not pixels.numel():
        got = f"{pixels.dtype} {tuple(pixels.shape)}"
        raise DataError(problem("pixels", "a uint8 tensor (N, H, W, 3) that is not empty", got,
                                "Scale to 0..255, round, convert to uint8, channels last"))


def _check_label_tensor(labels, count, num_classes):
    if not torch.is_tensor(labels) or tuple(labels.shape) != (count,):
        got = tuple(labels.shape) if hasattr(labels, "shape") else labels
        raise DataError(problem("labels", f"an int64 tensor of shape ({count},), one label an image", got))
    if not num_classes:
        raise DataError(problem("classes", "the names of the classes that the labels number", (), "Give them"))
    check_labels(labels, num_classes)
    if labels.dtype != torch.int64:
        raise DataError(problem("labels", "an int64 tensor", str(labels.dtype), "Convert it with .long()"))


def check_labels(labels, num_classes):
    """Refuses labels that are not integers in 0..num_classes - 1 (so -100, floats and booleans, too).

    Args:
        labels: (N,) tensor, array or list.
        num_classes: int >= 1.
    Raises:
        DataError: with the index and the value of the first wrong label.
    """
    array = np.asarray(labels.tolist() if torch.is_tensor(labels) else labels)
    allowed = f"an integer in 0..{num_classes - 1}"
    if array.ndim != 1:
        raise DataError(problem("labels", f"one label an image, each {allowed}", f"shape {array.shape}"))
    wrong = np.ones(len(array), bool) if array.dtype.kind not in "iu" else (array < 0) | (array >= num_classes)
    if wrong.any():
        first = int(_clearest(array, wrong))
        raise DataError(problem(f"labels[{first}]", allowed, array[first].item(),
                                f"{int(wrong.sum())} of {len(array)} labels are wrong; correct them"))


def _clearest(array, wrong):
    """Of wrong labels the first; of floats the first that is not even a whole number in disguise."""
    if array.dtype.kind == "f" and (array % 1 != 0).any():
        return np.argmax(array % 1 != 0)
    return np.argmax(wrong)


def channel_stats(images):
    """Mean and standard deviation of each channel over all pixels, exactly, as fractions of 255.

    Returns:
        (mean, std): two tuples of 3 floats in 0..1 (R, G, B). std is at least 1e-3, so that normalising
        constant images stays finite.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, stds = [], []
    for channel in range(3):
        share = torch.bincount(images.pixels[..., channel].reshape(-1), minlength=256).double()  # (256,)
        share /= share.sum()
        means.append(float(share @ values))
        stds.append(max(float(share @ (values - means[-1]) ** 2) ** 0.5, 1e-3))
    return tuple(means), tuple(stds)


def overlap(a, b):
    """Counts the images of ``b`` whose pixels all occur, as one whole image, in ``a``: the leak check for a test set.

    Finds equal images only, not near-duplicates (CIFAR has those: Barz and Denzler, 2020, arXiv 1902.00423).
    """
    if a.pixels.shape[1:] != b.pixels.shape[1:]:
        return 0
    seen = {_fingerprint(image) for image in a.pixels.numpy()}
    return sum(_fingerprint(image) in seen for image in b.pixels.numpy())


def _fingerprint(image):
    return hashlib.sha256(np.ascontiguousarray(image)).digest()
