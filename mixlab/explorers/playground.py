"""The mixing playground: two images, a mixer, a share, and everything that follows from them."""

import base64
import html
import io

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from mixlab import data, plots
from mixlab.explorers.place import is_interactive
from mixlab.mixers import MIXERS
from mixlab.rng import Key

SIDE = 128  # pixels a side of a picture


def playground(params):
    """Two images, a mixer and a share: mask, mixture, soft label and label similarities, following the sliders.

    Returns:
        widgets where a person is in Lab, else the same picture as HTML for the parameters as they are.
    """
    scene = Scene(params)
    if not is_interactive(params):
        from IPython.display import HTML
        return HTML(scene.picture(params.mixer, 0, len(scene.names) // 2, 0.6, None, 0))
    import ipywidgets as widgets

    from mixlab.explorers.still import Still, of_html

    wide = {"style": {"description_width": "5.5em"}, "layout": {"width": "20em"}}
    images = [(name, i) for i, name in enumerate(scene.names)]
    mixer = widgets.Dropdown(options=list(MIXERS), value=params.mixer, description="mixer", **wide)
    first = widgets.Dropdown(options=images, value=0, description="first", **wide)
    second = widgets.Dropdown(options=images, value=len(images) // 2, description="second", **wide)
    share = widgets.ToggleButtons(options=["fixed share", "share from Beta"], style={"button_width": "10em"})
    lam = widgets.FloatSlider(value=0.6, min=0, max=1, step=0.01, description="share λ", **wide)
    alpha = widgets.FloatLogSlider(value=1, min=-1.3, max=1, step=0.05, description="alpha", readout_format=".2f",
                                   **wide)
    draw = widgets.BoundedIntText(value=0, min=0, max=9999, description="draw no.", **wide)
    view = widgets.HTML()

    def update(_=None):
        drawn = share.value != "fixed share"
        lam.disabled, alpha.disabled = drawn, not (drawn and MIXERS[mixer.value].has_alpha)
        view.value = scene.picture(mixer.value, first.value, second.value, None if drawn else lam.value,
                                   None if alpha.disabled else alpha.value, draw.value)

    for control in (mixer, first, second, share, lam, alpha, draw):
        control.observe(update, "value")
    update()
    columns = widgets.HBox([widgets.VBox([mixer, first, second]), widgets.VBox([share, lam, alpha, draw])])
    return Still([columns, view], lambda: of_html(view.value))


class Scene:
    """The images of the playground, and the picture of one setting of its controls."""

    def __init__(self, params, per_class=2, most=20):
        values = params.resolved()
        train = data.load_train(values)
        count = min(len(train), max(len(train.classes), 1) * per_class, most)
        self.images = data.take(train, count, params.seed, "scene")
        if self.images.labels is not None:
            self.images = self.images.subset(self.images.labels.argsort(stable=True))
        self.pixels = self.images.pixels.permute(0, 3, 1, 2) / 255  # (N, 3, H, W)
        self.similarity, self.seed, self.values = params.label_similarity, params.seed, values
        self.classes = self.images.classes or tuple(f"image {i}" for i in range(len(self.images)))
        self.labels = torch.arange(len(self.images)) if self.images.labels is None else self.images.labels
        self.names = [f"{self.classes[int(label)]} ({i})" for i, label in enumerate(self.labels)]

    @torch.no_grad()
    def picture(self, name, first, second, lam, alpha, number):
        """The HTML of one setting: ``lam`` is fixed, or None to draw it with ``alpha`` (None: the mixer's own)."""
        mixer = plots.example(self.values, name, alpha)
        lam = 1.0 if not mixer.mixes else lam
        key = Key(self.seed, "playground", step=number)
        a, b = self.pixels[first:first + 1], self.pixels[second:second + 1]
        mixed = mixer(a, key, b, partner="same", lam=lam)
        batch = mixer.draw(self.pixels, self.pixels, key.child("batch"), lam=lam)
        targets = batch.targets(self.labels, len(self.classes))
        heat = colormaps["cividis"](plots.phi(targets, self.similarity).numpy(), bytes=True)[..., :3]
        mask = colormaps["cividis"](mixed.mask[0, 0].numpy(), bytes=True)[..., :3]
        tiles = [(_pixels(a), self.names[first]), (_pixels(b), self.names[second]), (mask, _mask_caption(mixer)),
                 (_pixels(mixed.images), "mixture"), (heat, f"Φ of {len(self.labels)} mixtures")]
        share = float(mixed.lam)
        bars = _label_bars([(self.classes[int(self.labels[i])], s) for i, s in ((first, share), (second, 1 - share))])
        blocks = [*[_tile(*t) for t in tiles], f"<div>{bars}{_density(mixer, share)}</div>"]
        return f'<div style="display:flex;flex-wrap:wrap;gap:14px;align-items:flex-start">{"".join(blocks)}</div>'


def _mask_caption(mixer):
    """What the mask shows, and who chose its cells: no encoder is at hand here."""
    guided = [mixer, *getattr(mixer, "pick_from", ())]
    return "mask: share of first" + ("; guide: saliency map" if any(m.needs_guide for m in guided) else "")


def _pixels(images):
    return (images[0].clamp(0, 1).permute(1, 2, 0) * 255).round().byte().numpy()


def _tile(array, caption):
    """A picture with hard pixel edges and its caption, as HTML."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(buffer, "PNG")
    source = base64.b64encode(buffer.getvalue()).decode()
    text = html.escape(plots.tame(caption))
    return (f'<figure style="margin:0;width:{SIDE}px"><img src="data:image/png;base64,{source}" alt="{text}" '
            f'style="width:{SIDE}px;height:{SIDE}px;image-rendering:pixelated">'
            f'<figcaption style="font-size:12px;line-height:1.3">{text}</figcaption></figure>')


def _label_bars(parts):
    """The soft label: one bar per class, longest possible bar is 1."""
    merged = {}
    for name, share in parts:
        merged[name] = merged.get(name, 0) + share
    rows = [f'<div style="font-size:12px">{html.escape(plots.tame(name))} {share:.2f}</div>'
            '<div style="background:#8884;width:100%;height:14px">'
            f'<div style="background:{colour};width:{100 * share:.1f}%;height:14px"></div></div>'
            for (name, share), colour in zip(merged.items(), plots.COLOURS, strict=False)]
    return f'<div style="width:{SIDE + 30}px"><b style="font-size:12px">soft label</b>{"".join(rows)}</div>'


def _density(mixer, share):
    """The law of the share as a small curve, the measured share as a line in it."""
    lam, density = plots.beta_density(mixer.alpha) if mixer.has_alpha else (np.array([0, 1]), np.array([0, 0]))
    points = " ".join(f"{150 * x:.1f},{90 - 22 * min(y, 4):.1f}" for x, y in zip(lam, density, strict=True))
    at = 150 * share
    title = f"Beta({mixer.alpha:.2g}, {mixer.alpha:.2g})" if mixer.has_alpha else "no Beta law"
    return (f'<figure style="margin:10px 0 0"><svg width="150" height="95" style="overflow:visible">'
            f'<line x1="0" x2="150" y1="90" y2="90" stroke="#888"/>'
            f'<polyline points="{points}" fill="none" stroke="{plots.COLOURS[0]}" stroke-width="2"/>'
            f'<line x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="90" stroke="{plots.COLOURS[1]}" stroke-width="2"/>'
            f'</svg><figcaption style="font-size:12px">{title}; measured λ {share:.2f}</figcaption></figure>')
