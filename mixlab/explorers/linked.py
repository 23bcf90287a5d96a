"""Clouds of one data set, linked by image: which point of each shows the same one."""

import html
import re

import numpy as np

from mixlab.errors import ParamError, problem
from mixlab.plots.embedding import KINDS, believable


class Linked:
    """One cloud or two of the same images.

    Args:
        clouds: ``projection.Cloud`` each.
    Raises:
        ParamError: none, more than two, or clouds of different images.
    """

    def __init__(self, clouds):
        self.clouds = list(clouds)
        if not 1 <= len(self.clouds) <= 2:
            raise ParamError(problem("clouds", "one or two", len(self.clouds), "Choose the runs to look at"))
        if not same_images(self.clouds[0], self.clouds[-1]):
            found = [(cloud.run.name, cloud.dataset, cloud.split, cloud.checksum[:8]) for cloud in self.clouds]
            raise ParamError(problem("clouds", "runs looked at on the same images", found, "Choose runs of one data "
                                     "set; of runs that held out other validation images, make clouds of epochs last"))
        self._orders = [np.argsort(cloud.index, kind="stable") for cloud in self.clouds]

    def places(self, which, images):
        """Positions in cloud ``which`` of those of ``images`` (numbers in the data set) that it has, in that order."""
        index, order = self.clouds[which].index, self._orders[which]
        images = np.asarray(images, np.int64)
        at = np.minimum(np.searchsorted(index, images, sorter=order), len(index) - 1)
        places = order[at]
        return places[index[places] == images]

    def image(self, which, place):
        """The number in the data set of the image at ``place`` of cloud ``which``."""
        return int(self.clouds[which].index[place])

    def names(self):
        """What to call each cloud: its run, or if that is one and the same, what else they differ in."""
        runs, layers = ([f(cloud) for cloud in self.clouds] for f in (lambda c: c.run.name, lambda c: c.layer))
        if len(set(runs)) == len(runs):
            return runs
        return layers if len(set(layers)) > 1 else [KINDS.get(cloud.kind, cloud.kind) for cloud in self.clouds]

    def first_with(self, image):
        """(which, place) of the first cloud that has ``image``."""
        found = ((which, self.places(which, [image])) for which in range(len(self.clouds)))
        return next((which, int(places[0])) for which, places in found if len(places))


def same_images(one, other):
    """Whether a number names the same image, of the same label, in both clouds.

    A validation split has the checksum of the training set that it was taken from, whatever its seed and size: only
    the images themselves tell two such splits apart.
    """
    if (one.split, one.checksum, one.pixels.shape[1:]) != (other.split, other.checksum, other.pixels.shape[1:]):
        return False
    _, here, there = np.intersect1d(one.index, other.index, assume_unique=True, return_indices=True)
    if (one.labels is None) != (other.labels is None):
        return False
    alike = one.labels is None or np.array_equal(one.labels[here], other.labels[there])
    return alike and np.array_equal(one.pixels[here], other.pixels[there])


def one_line(text, most=60):
    """``text`` without line breaks and control characters, shortened in its middle to ``most`` letters."""
    text = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+", " ", str(text)).strip()
    half = (most - 1) // 2
    return text if len(text) <= most else f"{text[:half]}…{text[-half:]}"


def in_html(text, most=60):
    """``text`` for a page, whatever it holds; its direction of writing stays its own."""
    return f"<bdi>{html.escape(one_line(text, most))}</bdi>"


def in_plot(text, most=40):
    """``text`` for plotly, which reads a few tags, and formulas between dollar signs: both become plain letters."""
    return re.sub(r"[&<>$]", lambda found: f"&#{ord(found.group())};", one_line(text, most))


def headline(cloud):
    """Run, layer and kind of map, as plotly shows them above it."""
    return f"<b>{in_plot(cloud.run.name, 36)}</b>  {in_plot(cloud.layer)}, {KINDS.get(cloud.kind, in_plot(cloud.kind))}"


def verdict(cloud):
    """One line on how far the map of ``cloud`` can be believed, as plotly shows it below."""
    return in_plot(believable(cloud), 90)
