"""Pictures of images: views, mixtures, shares, and the label similarities of a batch."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from mixlab import data
from mixlab.mixers import MIXERS, pair_views, saliency
from mixlab.params import build_guide, build_mixer, build_recipes, view_names
from mixlab.plots.style import COLOURS, short
from mixlab.rng import Key
from mixlab.views import draw_views

SHARE_BATCH = 16  # mixtures drawn together for the histogram of shares
SHARE_PIXELS = 2**22  # of the images that it is drawn for, so that large ones fit


@torch.no_grad()
def views(params, images=6, repeats=4):
    """One row per image: the original, then ``repeats`` views as the method would see them."""
    shown, recipe, _ = sample(params, images)
    drawn = [draw_views(shown.pixels, recipe, Key(params.seed, f"figure/view{i}")) for i in range(repeats)]
    columns = [_rgb(shown.pixels.permute(0, 3, 1, 2) / 255), *[picture(v, recipe) for v in drawn]]
    figure, axes = _grid(images, repeats + 1)
    for row in range(images):
        for column, pictures in enumerate(columns):
            axes[row, column].imshow(pictures[row])
        _row_name(axes[row, 0], class_name(shown, row))
    for column, title in enumerate(["original", *[f"view {i + 1}" for i in range(repeats)]]):
        axes[0, column].set_title(title, fontsize=9)
    return figure


@torch.no_grad()
def mixtures(params, images=6):
    """One row per mixture: image of view 1, its partner of view 2, the mask, the mixture, its lambda and soft label."""
    shown, recipe, values = sample(params, images)
    first, others, draw = _mixing(shown, recipe, values)
    columns = [picture(t, recipe) for t in (first, others[draw.partner], draw.apply(first, others))]
    figure, axes = _grid(images, 5, widths=(1, 1, 1, 1, 1.7))
    for row, ax in enumerate(axes):
        for column, pictures in zip((0, 1, 3), columns, strict=True):
            ax[column].imshow(pictures[row])
        ax[2].imshow(draw.mask[row, 0].numpy(), cmap="cividis", vmin=0, vmax=1)
        names = [class_name(shown, i) for i in (row, int(draw.partner[row]))]
        _soft_label(ax[4], names, float(draw.lam[row]))
    titles = ("view 1", "partner, view 2", "mask (share of view 1)", "mixture", "soft label")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title, fontsize=9)
    if values["guide_from"] == "own":
        figure.supxlabel("Here a saliency map guides; in training, the encoder itself does.", fontsize=9)
    return figure


@torch.no_grad()
def similarities(params, images=48):
    """The matrix of label similarities Phi of a batch sorted by class: without mixing, and with it."""
    shown, recipe, values = sample(params, images)
    _, _, draw = _mixing(shown, recipe, values)
    kind = values["label_similarity"] or "dot"
    labels, count = shown.labels, len(shown.classes)
    if labels is None:  # each image is its own class, as for SimCLR
        labels, count = torch.arange(len(shown)), len(shown)
    plain, soft = torch.nn.functional.one_hot(labels, count).float(), draw.targets(labels, count)
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for ax, rows, title in zip(axes, (plain, soft), ("labels of single images", "labels of mixtures"), strict=True):
        image = ax.imshow(phi(rows, kind).numpy(), cmap="cividis", vmin=0, vmax=1)
        ax.set(title=title, xlabel="image, sorted by class of the first", ylabel="image")
    figure.colorbar(image, ax=axes, label=f"label similarity ({kind})", shrink=0.85)
    return figure


@torch.no_grad()
def gallery(params, shares=(0.9, 0.7, 0.5, 0.3, 0.1)):
    """Every mixer on the same two images, a row each; columns ask for a share, titles show the measured one.

    One place, mask or spot for a row; of ``pick``, whose rows would else show one mixer only, a draw for each column.
    """
    shown, _, values = sample(params, 2)
    pixels = shown.pixels.permute(0, 3, 1, 2) / 255  # (2, 3, H, W)
    names = [name for name, mixer in MIXERS.items() if mixer.mixes]
    figure, axes = _grid(len(names), len(shares) + 2)
    for ax, name in zip(axes, names, strict=True):
        ax[0].imshow(_rgb(pixels)[0])
        ax[-1].imshow(_rgb(pixels)[1])
        mixer = example(values, name)
        for column, lam in enumerate(shares, start=1):
            key = Key(params.seed, "gallery", step=column if name == "pick" else 0)
            mixed = mixer(pixels[:1], key, pixels[1:], partner="same", lam=lam)
            ax[column].imshow(_rgb(mixed.images)[0])
            ax[column].set_xlabel(f"$\\lambda$ {float(mixed.lam):.2f}", fontsize=8, labelpad=1)
        _row_name(ax[0], name)
    for column, which in ((0, "first"), (-1, "second")):
        axes[0, column].set_title(f"{which}: {class_name(shown, -column)}", fontsize=9)
    return figure


def example(values, name, alpha=None):
    """The mixer ``name`` for a picture: as resolved ``values`` describe it if it is theirs, else with its own defaults.

    ``alpha`` replaces its own. The map without parameters guides it, where it needs a guide.
    """
    given = {} if alpha is None else {"alpha": alpha}
    if name == values["mixer"]:
        return build_mixer(values | given)
    return MIXERS[name](**given, **({"guide_from": saliency} if MIXERS[name].needs_guide else {}))


@torch.no_grad()
def shares(params, alphas=(0.2, 0.5, 1.0, 2.0, 4.0), draws=4000):
    """Left, Beta(alpha, alpha) for several alpha; right, the shares this mixer really draws, measured on its masks.

    It draws them for views of training images, since some mixers look where to cut, in many small batches, since some
    draw once for a batch.
    """
    values = params.resolved()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    for alpha, colour in zip(alphas, COLOURS, strict=False):
        left.plot(*beta_density(alpha), color=colour, label=f"$\\alpha$ = {alpha:g}")
    left.set(ylim=(0, 4), xlabel="wanted share $\\lambda$", ylabel="density", title="Beta($\\alpha$, $\\alpha$)")
    left.legend(fontsize=8)
    lam = _drawn_shares(params, draws)
    right.hist(lam.numpy(), bins=40, range=(0, 1), color=COLOURS[0])
    alpha = "" if values["alpha"] is None else f", $\\alpha$ = {values['alpha']:g}"
    right.set(xlabel="measured share $\\lambda$", ylabel="mixtures", title=f"{values['mixer']}{alpha}: {draws:,} draws")
    for ax in (left, right):
        ax.grid(alpha=0.3)
    return figure


def _drawn_shares(params, draws):
    """Measured shares (draws,) of batches of ``SHARE_BATCH`` mixtures."""
    count = min(256, max(SHARE_BATCH, SHARE_PIXELS // params.image_size**2))
    shown, recipe, values = sample(params, count)
    first, others = (draw_views(shown.pixels, recipe, Key(params.seed, f"figure/view{i}")) for i in range(2))
    mixer = build_mixer(values, build_guide(values, recipe.mean, recipe.std) or saliency)
    order = Key(params.seed, "shares").generator().permutation(len(shown))
    found = []
    for number in range(-(-draws // SHARE_BATCH)):
        index = np.roll(order, -number * SHARE_BATCH)[:SHARE_BATCH]
        found.append(mixer.draw(first[index], others[index], Key(params.seed, "shares", step=number)).lam)
    return torch.cat(found)[:draws]


def phi(targets, kind="dot"):
    """Label similarities (N, N) of soft labels (N, K): ``dot``, Eq 6 of the draft, or ``cosine``. For pictures only."""
    rows = torch.nn.functional.normalize(targets, dim=1) if kind == "cosine" else targets
    return rows @ rows.T


def beta_density(alpha, points=400):
    """Density of Beta(alpha, alpha) at ``points`` places strictly inside (0, 1): two arrays."""
    lam = (np.arange(points) + 0.5) / points
    log = (alpha - 1) * (np.log(lam) + np.log1p(-lam))
    density = np.exp(log - log.max())
    return lam, density / density.mean()


def sample(params, count):
    """A few training images, classes in turn and sorted; the first view's recipe; the resolved parameters."""
    values = params.resolved()
    train = data.load_train(values)
    mean, std = data.channel_stats(train)
    recipe = build_recipes(values, view_names(values)[:1], mean, std)[0]
    order = Key(params.seed, "figure").generator().permutation(len(train))
    if train.labels is not None:
        labels = train.labels.numpy()[order]
        turn = np.zeros(len(order), dtype=np.int64)
        for label in np.unique(labels):
            turn[labels == label] = np.arange((labels == label).sum())
        chosen = order[np.lexsort((labels, turn))][:count]
        order = chosen[np.argsort(train.labels.numpy()[chosen], kind="stable")]
    return train.subset(torch.from_numpy(order[:count])), recipe, values


def _mixing(shown, recipe, values):
    """Two views of the images and a draw that mixes the first with the second: first, others, draw."""
    pair = [draw_views(shown.pixels, recipe, Key(values["seed"], f"figure/view{i}")) for i in range(2)]
    first, others, partner = pair_views(pair, 1, Key(values["seed"], "figure/pairs"))
    key, guide = Key(values["seed"], "figure/mixer"), build_guide(values, recipe.mean, recipe.std)
    return first, others, build_mixer(values, guide or saliency).draw(first, others, key, partner=partner)


def picture(images, recipe):
    """Normalised images (B, 3, S, S) as pictures (B, S, S, 3) in 0..1."""
    return _rgb(_raw(images, recipe))


def _raw(images, recipe):
    """Normalised images back in 0..1."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (recipe.mean, recipe.std))
    return images * std + mean


def _rgb(images):
    return images.clamp(0, 1).permute(0, 2, 3, 1).numpy()


def class_name(images, row):
    """The class of an image as figures show it, shortened where it is long; '' without labels."""
    return "" if images.labels is None else short(images.classes[int(images.labels[row])])


def _grid(rows, columns, widths=None):
    size = (1.25 * sum(widths or [1] * columns) + 0.8, 1.25 * rows + 0.3)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained",
                                width_ratios=widths)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
    return figure, axes


def _row_name(ax, name):
    ax.set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")


def _soft_label(ax, names, lam):
    """Two horizontal bars: the share of each image's class."""
    ax.barh([1, 0], [lam, 1 - lam], color=COLOURS[:2], height=0.55)
    for y, name, share in zip((1, 0), names, (lam, 1 - lam), strict=True):
        text = ax.text(0.02, y, f"{name} {share:.2f}", va="center", fontsize=9,
                       bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1})
        text.set_in_layout(False)  # a wide name takes no room from the pictures
    ax.set(xlim=(0, 1), ylim=(-0.7, 1.7))
