"""The attention explorer: maps of several runs over the same images, in JupyterLab and as a page of its own."""

import base64
import html

import torch
from matplotlib import colormaps

from mixlab.attention import Viewer
from mixlab.data.cifar import ASSETS
from mixlab.encoders import LAYERS
from mixlab.explorers import twin
from mixlab.explorers.place import device_of, is_interactive
from mixlab.files import write

MAPS = {"activation-1": "activation |A|", "activation-2": "activation |A|²", "activation-4": "activation |A|⁴",
        "class": "Grad-CAM of a class", "similarity": "Grad-CAM of a similarity"}
NOTES = {"activation": "The sum over channels of |A| to the power {power}, class unseen: where features are strong.",
         "class": "Where the image speaks for the class below it, by the run's own head or a linear probe on its "
                  "features; with the probability it gives.",
         "similarity": "Where each image resembles the outlined one. Click an image on the left to compare with it."}


def notes():
    """One line on what each of ``MAPS`` shows."""
    return {name: NOTES[name.split("-")[0]].format(power=name[-1]) for name in MAPS}


def colour_scale():
    """Cividis, which colour-blind people read as others do: 256 x 3 bytes in base64."""
    return base64.b64encode((colormaps["cividis"](range(256))[:, :3] * 255).round().astype("uint8")).decode()


def quantised(values):
    """Maps (..., h, w) in [0, 1] as bytes 0 to 255 in base64, one after the other."""
    return base64.b64encode((values * 255).round().byte().contiguous().numpy()).decode()


def attention(params, runs):
    """Images by rows, runs by columns: any layer, map and image of the test set, and pictures of a person's own.

    Args:
        params: ``Visualize``; the fields ``attention_*``, ``opacity``, ``seed``, ``data_dir`` and ``device`` say what
            is shown first.
        runs: list of finished ``Run`` with the same classes and image size.
    Returns:
        widgets; None where nobody is there to move anything: a notebook shows ``plots.attention`` then.
    Raises:
        ParamError: ``attention_method`` class on images without labels; and as ``mixlab.attention.Viewer``.
    """
    if not is_interactive(params):
        return None
    from mixlab.explorers.attention_lab import Desk

    viewer = Viewer(runs, seed=params.seed, data_dir=params.data_dir, device=device_of(params))
    return Desk(viewer, params).widget


def spread(count, wanted):
    """At most ``wanted`` of the positions 0 to count - 1, evenly: images sorted by class give different ones."""
    wanted = min(wanted, count)
    return [i * count // wanted for i in range(wanted)]


def scene(viewer, pixels, names, shown, layer, note, picked=-1):
    """What ``attentionGrid`` of assets/attention.js draws, as plain values; the bytes of maps in base64."""
    values = [one.values[layer] for one in shown]
    tiles = [[{"height": maps.shape[1], "width": maps.shape[2], "values": quantised(maps[i]), "words": one.words[i]}
              for maps, one in zip(values, shown, strict=True)] for i in range(len(pixels))]
    return {"columns": viewer.titles, "rows": _rows(pixels, names), "tiles": tiles, "note": note, "picked": picked}


def _rows(pixels, names):
    return [{"name": name, "picture": twin.png(picture.numpy())} for name, picture in zip(names, pixels, strict=True)]


def attention_page(runs, *, images=8, opacity=0.65, seed=0, data_dir="auto", device="cpu", log=print):
    """One HTML document with every layer and map of ``runs`` over some test images; it needs no network and no kernel.

    Args:
        runs: list of finished ``Run`` with the same classes and image size.
        images: rows, of different classes as far as there are; the page grows with their square.
        opacity: of the maps at the start, in [0, 1].
        seed, data_dir, device, log: as ``mixlab.attention.Viewer``.
    Returns:
        the document as text, under 1 MB for 8 images of 32 pixels and 4 runs.
    """
    viewer = Viewer(runs, count=images, seed=seed, data_dir=data_dir, device=device, log=log)
    pixels = viewer.images.pixels
    single = [name for name in MAPS if name.startswith("activation")]
    single += ["class"] if viewer.images.labels is not None else []
    found = {name: _stored(viewer, pixels, name) for name in single}
    found["similarity"] = [_stored(viewer, pixels, "similarity", pixels[i:i + 1]) for i in range(len(pixels))]
    content = {"columns": viewer.titles, "rows": _rows(pixels, viewer.names), "maps": found, "notes": notes(),
               "colours": colour_scale(), "opacity": opacity}
    script = asset("attention.js") + asset("attention_page.js")
    body = f"<style>{asset('attention.css')}</style>{_controls(found)}<div id='grid'></div>"
    return twin.page("Attention maps", body, content, script)


def write_attention_page(path, runs, *, images=8, opacity=0.65, seed=0, data_dir="auto", device="cpu", log=print):
    """Writes ``attention_page`` to ``path``, whole or not at all."""
    write(path, attention_page(runs, images=images, opacity=opacity, seed=seed, data_dir=data_dir, device=device,
                               log=log))


def asset(name):
    """The text of a file of ``mixlab/assets``."""
    return (ASSETS / name).read_text("utf-8")


def _stored(viewer, pixels, name, other=None):
    """All layers of one map: ``{"layers": {layer: {height, width, values}}, "words": rows of words}``."""
    method, _, power = name.partition("-")
    shown = viewer.maps(pixels, method, LAYERS, power=int(power or 2), asked=viewer.images.labels, other=other)
    layers = {}
    for layer in LAYERS:
        maps = torch.stack([one.values[layer] for one in shown], 1)  # (N, runs, h, w)
        layers[layer] = {"height": maps.shape[2], "width": maps.shape[3], "values": quantised(maps)}
    return {"layers": layers, "words": [list(words) for words in zip(*[one.words for one in shown], strict=True)]}


def _controls(found):
    options = [f"<option value='{name}'{' selected' * (name == 'activation-2')}>{html.escape(text)}</option>"
               for name, text in MAPS.items() if name in found]
    layers = [f"<label><input type='radio' name='layer' value='{layer}'{' checked' * (layer == LAYERS[-1])}> {layer}"
              "</label>" for layer in LAYERS]
    return (f"<div class='attention-controls'><label>map <select id='map'>{''.join(options)}</select></label>"
            f"<fieldset><legend>layer</legend>{''.join(layers)}</fieldset></div>")
