"""What the explorers of a grid tell about one of its spots: its runs, their curves, mixtures of its mixer."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from mixlab import data, plots
from mixlab.errors import DataError, ParamError
from mixlab.explorers import twin
from mixlab.params import build_mixer, described
from mixlab.rng import Key

MIXTURES = 8  # pictures of a spot
ENLARGED = 2  # times a picture's pixels, so that it can be seen


@dataclass(frozen=True)
class Spot:
    """One place of a heat map: its panel, its labels, its runs in order of seed, and the effect of mixing if known."""

    panel: object
    row: str
    column: str | None
    runs: tuple
    expected: int
    effect: object

    @property
    def title(self):
        place = f"{self.row}, {self.panel.names[1]} {self.column}" if self.column is not None else self.row
        return f"{place} ({self.panel.title})"

    @property
    def mean(self):
        """Accuracy in percent; None without runs."""
        return 100 * plots.mean_and_spread(self.runs)[0] if self.runs else None

    @property
    def text(self):
        """``38.4 ± 0.5, n 3``."""
        if not self.runs:
            return f"0 of {self.expected}"
        mean, spread = plots.mean_and_spread(self.runs)
        count = f"n {len(self.runs)}" + (f" of {self.expected}" if len(self.runs) < self.expected else "")
        return f"{100 * mean:.1f}" + (f" ± {100 * spread:.1f}" if spread is not None else "") + f", {count}"


def spots_of(panel, comparisons):
    """All spots of a panel, those of unmixed relatives last."""
    effects = plots.effects_of(panel, comparisons)
    found = []
    for place, expected in {**panel.expected, **{p: len(g) for p, g in panel.unmixed.items()}}.items():
        group = panel.spots.get(place) or panel.unmixed.get(place, [])
        row, column = plots.in_label(place[0]), None if place[1] is None else plots.in_label(place[1])
        runs = tuple(sorted(group, key=lambda made: made.cell.seed))
        found.append(Spot(panel, row, column, runs, expected, effects.get(place)))
    return found


def effect_in_words(effect):
    """The effect as a sentence with its intervals, that for one comparison and that for all; "" where there is none."""
    if effect is None:
        return ""
    text = f"{100 * effect.mean:+.1f} points to unmixed, {effect.n} paired seed{'s' if effect.n > 1 else ''}"
    if effect.interval is None:
        return f"{text}: no interval from one pair."
    if effect.comparisons == 1:
        return f"{text}; 95 % interval {_ends(effect.interval)}."
    return (f"{text}; 95 % interval of this one alone {_ends(effect.interval)}, "
            f"for all {effect.comparisons} comparisons at once {_ends(effect.wide)}.")


def _ends(interval):
    low, high = (100 * end for end in interval)
    return f"{low:+.1f} to {high:+.1f}, which {'holds' if low <= 0 <= high else 'misses'} 0"


def table_of(spot):
    """Lists (seed, accuracy, unmixed accuracy, seconds, run) of texts for the runs of a spot."""
    found = []
    for made in spot.runs:
        other = spot.panel.references.get(made.cell.reference)
        found.append([str(made.cell.seed), f"{100 * made.top1:.1f} %", f"{100 * other.top1:.1f} %" if other else "–",
                      "–" if made.seconds is None else f"{made.seconds:.0f} s", made.run.name])
    return found


HEAD = ("seed", "accuracy", "unmixed", "training", "run")


def facts_of(made):
    """Pairs (what, text) about one run: its summary."""
    values, result, folder = made.cell.resolved, made.run.result(), nearby(made.run.path)
    known = made.about
    return [("run", made.run.name), ("where", folder), ("status", result["status"]),
            ("parameters", described(made.cell.values)),
            ("method, mixer", f"{values['method']}, {values['mixer']}"),
            ("data", f"{known['dataset']}, {known['train_images']} training and {known['test_images']} test images"),
            ("accuracy", f"{100 * made.top1:.2f} %"),
            ("time", f"{made.seconds:.0f} s on {known['device']}, {known['threads']} threads"),
            ("made by", str(known["trained_by"])),
            *([("executed notebook", nearby(made.notebook))] if made.notebook.is_file() else []),
            ("to evaluate", f"papermill notebooks/linear_eval.ipynb out.ipynb -p run {folder}")]


def curves_of(spot, side=3.0):
    """Loss and kNN curves of a spot's runs as PNG bytes; runs whose history is gone have no line."""
    figure = Figure(figsize=(3.1 * side, side), layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, made in enumerate(spot.runs):
        plots.draw_curves(left, right, made.run.history(), plots.COLOURS[i % len(plots.COLOURS)],
                          f"seed {made.cell.seed}")
    if spot.runs:
        left.legend(fontsize=8)
    return plots.png(figure, dpi=70)


class Strips:
    """Mixtures of a few training images, as each spot's mixer makes them; images are loaded once for each data set."""

    def __init__(self):
        self.images = {}

    def strip(self, spot):
        """uint8 (H, N * W, 3): N mixtures side by side; None where there are no images."""
        values = spot.runs[0].cell.resolved if spot.runs else None
        pixels = None if values is None else self._pixels(values)
        if pixels is None:
            return None
        mixed = build_mixer(values)(pixels, Key(values["seed"], "explorer")).images.clamp(0, 1)  # (N, 3, H, W)
        tiles = (mixed * 255).round().byte().permute(2, 0, 3, 1).numpy()  # (H, N, W, 3)
        strip = tiles.reshape(tiles.shape[0], -1, 3)
        return np.repeat(np.repeat(strip, ENLARGED, 0), ENLARGED, 1)

    def _pixels(self, values):
        """float (N, 3, H, W) in [0, 1], or None."""
        name = (values["dataset"], values["data_dir"], values["image_size"])
        if name not in self.images:
            try:
                train = data.load_train({**values, "train_size": "auto"})
                chosen = data.take(train, min(MIXTURES, len(train)), 0, "explorer")
                self.images[name] = chosen.pixels.permute(0, 3, 1, 2) / 255
            except (DataError, ParamError, OSError):
                self.images[name] = None
        return self.images[name]


def picture(spot, strips):
    """The mixtures of a spot as a data address, or ""."""
    strip = strips.strip(spot)
    return "" if strip is None else twin.png(strip)


def nearby(path):
    """``path`` as seen from the project's folder, so that a page that travels names no machine."""
    home = data.project_folder()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
