"""What a region method compares: the boxes, their cells on the feature grid, and which pairs attract."""

import matplotlib.pyplot as plt
import torch

from mixlab.params import build_mixer
from mixlab.plots.images import class_name, picture, sample
from mixlab.plots.style import COLOURS
from mixlab.rng import Key
from mixlab.views import draw_views

SIDES = {3: 8, 4: 4}  # cells a side of the maps of 32-pixel images


@torch.no_grad()
def regions(params):
    """For region methods: two mixtures with their regions on the feature grid, and the pairs that the loss attracts.

    Lines join a region of the query with a region of the key; a line in the second colour joins two different images,
    which only ``profile: as_released`` does. None for other methods.
    """
    values = params.resolved()
    if values["region_layer"] is None:
        return None
    shown, recipe, _ = sample(params, 2)
    views = [draw_views(shown.pixels, recipe, Key(params.seed, f"figure/view{i}")) for i in range(2)]
    within = values["profile"] is not None
    query, key, draw = _mixtures(views, values, params.seed, within)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained", width_ratios=(1, 1.4))
    _grid(left, picture(query, recipe)[0], draw, values["region_layer"], query.shape[-1])
    names = [class_name(shown, i) for i in (0, 1)]
    tiles = _tiles(picture(query, recipe), picture(key, recipe), draw.mask, names, within)
    if values["profile"] == "as_released":  # its G key is that of the whole image
        tiles["k_out"] = (picture(views[1], recipe)[0], 0, f"key, whole image: {names[0]}")
    _pairs(right, tiles, _attracting(within, values["profile"]))
    return figure


def _mixtures(views, values, seed, within):
    """Mixed query and key images (2, 3, H, W), and their draw: with the other image, or with the other view."""
    first, second = views
    mixer = build_mixer(values)  # where it needs a guide: a saliency map, as in the other pictures before training
    draw = mixer.draw(first, first, Key(seed, "figure/regions"), partner="reverse" if within else "same", lam=0.6)
    if within:
        return draw.apply(first, first), draw.apply(second, second), draw
    return draw.apply(first, second), draw.apply(second, first), draw


def _grid(axis, image, draw, layer, side):
    """The first mixture, and the share of the outside region in each cell of the feature map."""
    cells = draw.cells(SIDES[layer] * side // 32, SIDES[layer] * side // 32)[0, 0]  # (h, w)
    axis.imshow(image, extent=(0, 1, 1, 0))
    axis.set(xticks=[], yticks=[], title=f"shares of the outside region, layer {layer}")
    count = len(cells)
    for row in range(count):
        for column in range(count):
            share = float(cells[row, column])
            corner = (column / count, row / count)
            axis.add_patch(plt.Rectangle(corner, 1 / count, 1 / count, fill=False, lw=0.6, ec="w"))
            axis.text(corner[0] + 0.5 / count, corner[1] + 0.5 / count, f"{share:.2g}", ha="center", va="center",
                      fontsize=7, bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8})


def _tiles(query, key, mask, names, within):
    """Cut-out regions: {name: (picture, image shown, caption)} of mixture 0, and of its reverse for Approach 2."""
    outside = mask[:, 0, :, :, None].numpy()  # (2, H, W, 1)
    other = 1 if within else 0

    def tile(pictures, index, inside, whose):
        weight = 1 - outside[index] if inside else outside[index]
        shows = (other if index == 0 else 0) if inside else index
        region = "inside" if inside else "outside"
        return pictures[index] * weight + 0.88 * (1 - weight), shows, f"{whose}, {region}: {names[shows]}"

    found = {"q_out": tile(query, 0, False, "query"), "q_in": tile(query, 0, True, "query"),
             "k_out": tile(key, 0, False, "key"), "k_in": tile(key, 0, True, "key")}
    if within:
        found |= {"r_in": tile(query, 1, True, "reversed query"), "r_out": tile(query, 1, False, "reversed query")}
    return found


def _attracting(within, profile):
    """Names of the regions that attract: of the query, of the key."""
    if not within:
        return [("q_out", "k_out"), ("q_in", "k_in"), ("q_in", "k_out")]
    there = [("q_out", "k_out"), ("q_in", "k_in")]
    fixed = profile == "paper_fixed"
    return [*there, *([("r_in", "k_out"), ("r_out", "k_in")] if fixed else [("r_out", "k_out"), ("r_in", "k_in")])]


def _pairs(axis, tiles, pairs):
    """Query regions on the left, key regions on the right, a line for each pair that attracts."""
    left, right = ([name for name in tiles if (name[0] == "k") == is_key] for is_key in (False, True))
    place = {name: (column, -(i + 0.5) * 4 / len(names)) for column, names in ((0, left), (3, right))
             for i, name in enumerate(names)}
    size = 0.42 if len(left) > 2 else 0.7
    for name, (x, y) in place.items():
        image, _, caption = tiles[name]
        axis.imshow(image, extent=(x - size, x + size, y - size, y + size), zorder=2)
        axis.text(x + (size + 0.1) * (1 if x else -1), y, caption.replace(", ", ",\n"), fontsize=8, va="center",
                  ha="left" if x else "right")
    for query, key in pairs:
        same = tiles[query][1] == tiles[key][1]
        (x1, y1), (x2, y2) = place[query], place[key]
        axis.plot([x1 + size, x2 - size], [y1, y2], color=COLOURS[0 if same else 1], lw=2, ls="-" if same else "--")
    wrong = sum(tiles[q][1] != tiles[k][1] for q, k in pairs)
    axis.set(xlim=(-2.2, 5.2), ylim=(-4, 0), title="pairs that attract: " + (
        f"{wrong} join different images (dashed)" if wrong else "each shows one image"))
    axis.set_axis_off()

