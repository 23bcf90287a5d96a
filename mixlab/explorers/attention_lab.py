"""The widgets of the attention explorer in JupyterLab."""

import anywidget
import ipywidgets as widgets
import torch
import torch.nn.functional as F
from traitlets import Dict, Int, List, Unicode

from mixlab.encoders import LAYERS
from mixlab.errors import CheckpointError, DataError, ParamError, problem
from mixlab.explorers import twin
from mixlab.explorers.attention import MAPS, asset, colour_scale, notes, scene, spread
from mixlab.explorers.pictures import own_picture, rule
from mixlab.explorers.still import Still, of_figure
from mixlab.plots.attention import attention as attention_figure

SCRIPT = asset("attention.js") + asset("attention_widget.js")
THUMB, COLUMNS, MOST = 38, 20, 12  # pixels of a small picture, small pictures in a row of their sheet, rows shown
WIDE = {"style": {"description_width": "3.5em"}, "layout": {"width": "23em"}}


class Grid(anywidget.AnyWidget):
    """Maps over images. ``picked`` comes back: the position, among all images, of the one to compare with."""

    _esm, _css = SCRIPT, asset("attention.css")
    part = Unicode("grid").tag(sync=True)
    colours = Unicode().tag(sync=True)
    opacity = Unicode("0.65").tag(sync=True)
    scene = Dict().tag(sync=True)
    picked = Int(-1).tag(sync=True)


class Picker(anywidget.AnyWidget):
    """Small pictures to choose from. ``chosen`` comes back, and a file of one's own as a message with its bytes."""

    _esm, _css = SCRIPT, asset("attention.css")
    part = Unicode("picker").tag(sync=True)
    rule = Unicode().tag(sync=True)
    pictures = Dict().tag(sync=True)
    chosen = List(Int()).tag(sync=True)
    message = Unicode().tag(sync=True)


class Desk:
    """The whole explorer: ``widget`` shows it. Pictures of one's own come after the test images, in the order given.

    Raises:
        ParamError: ``attention_method`` class on images without labels.
    """

    def __init__(self, viewer, params):
        self.viewer, self.pixels, self.names = viewer, viewer.images.pixels, list(viewer.names)
        self.labels = torch.full((len(self.names),), -1) if viewer.images.labels is None else viewer.images.labels
        viewer.log = self.say
        _check_method(params.attention_method, viewer.images)
        start = params.attention_method + (f"-{params.attention_power}" * (params.attention_method == "activation"))
        has_classes = viewer.images.labels is not None
        options = [(text, name) for name, text in MAPS.items() if has_classes or name != "class"]
        self.map = widgets.Dropdown(options=options, value=start, description="map", **WIDE)
        self.layer = widgets.ToggleButtons(options=LAYERS, value=params.attention_layer,
                                           style={"button_width": "2.6em"})
        classes = [("its own class", -2), ("what the run says", -1),
                   *[(name, k) for k, name in enumerate(viewer.images.classes)]]
        self.asked = widgets.Dropdown(options=classes, value=-2, description="class", **WIDE)
        self.grid = Grid(colours=colour_scale(), opacity=str(params.opacity))
        self.picker = Picker(rule=rule(viewer.images.pixels.shape[1]))
        self.picker.chosen = spread(len(self.names), min(params.attention_images, 4))
        self.stock()
        self.redraw()
        for control in (self.map, self.layer, self.asked):
            control.observe(self.redraw, "value")
        self.grid.observe(self.redraw, "picked")
        self.picker.observe(self.choose, "chosen")
        self.picker.on_msg(self.receive)
        layers = widgets.HBox([widgets.Label("layer"), self.layer])
        line = widgets.HBox([self.map, self.asked, layers], layout={"flex_flow": "row wrap", "grid_gap": "0 12px"})
        self.widget = Still([line, self.picker, self.grid], lambda: of_figure(attention_figure(
            viewer.runs, images=params.attention_images, method=params.attention_method, layer=params.attention_layer,
            power=params.attention_power, opacity=params.opacity, seed=params.seed, data_dir=viewer.data_dir,
            device=viewer.device)))

    def say(self, text):
        """Shows a line of text under the pictures to choose from."""
        self.picker.message = text

    def stock(self):
        """The sheet of small pictures, of test images and one's own."""
        images = F.interpolate(self.pixels.permute(0, 3, 1, 2).float(), (2 * THUMB, 2 * THUMB), mode="area")
        sheet = twin.sprite(images.round().byte().permute(0, 2, 3, 1).numpy(), COLUMNS)
        self.picker.pictures = {"sheet": sheet, "columns": COLUMNS, "names": self.names}

    def choose(self, _=None):
        """Follows the choice of images; more than ``MOST`` push the first ones out."""
        if len(self.picker.chosen) > MOST:
            self.picker.chosen = self.picker.chosen[-MOST:]
            return  # which comes back here
        self.redraw()

    def receive(self, _, content, buffers):
        """Takes a picture of one's own: it is shown as the last row."""
        name, size = str(content.get("name", "picture")), self.pixels.shape[1]
        try:
            picture = own_picture(name, bytes(buffers[0]), size)
        except DataError as error:
            return self.say(str(error))
        self.pixels, self.names = torch.cat([self.pixels, picture[None]]), [*self.names, name]
        self.labels = torch.cat([self.labels, torch.tensor([-1])])
        self.say("")
        self.stock()
        self.picker.chosen = [*self.picker.chosen, len(self.names) - 1]

    def redraw(self, _=None):
        """Maps of the chosen images, as the controls say."""
        method, _, power = self.map.value.partition("-")
        self.asked.disabled = method != "class"
        rows = [row for row in self.picker.chosen if row < len(self.names)]
        if not rows:
            self.grid.scene = {"columns": [], "rows": [], "tiles": [], "note": "Choose images above.", "picked": -1}
            return
        pixels, other = self.pixels[rows], rows.index(self.grid.picked) if self.grid.picked in rows else 0
        try:
            shown = self.viewer.maps(pixels, method, (self.layer.value,), power=int(power or 2), asked=self.ask(rows),
                                     other=pixels[other:other + 1])
        except (ParamError, DataError, CheckpointError, OSError) as error:
            return self.say(str(error))
        drawn = scene(self.viewer, pixels, [self.names[row] for row in rows], shown, self.layer.value,
                      notes()[self.map.value], other if method == "similarity" else -1)
        self.grid.scene = drawn | {"positions": rows}  # a row's number changes when an earlier one goes

    def ask(self, rows):
        """The class that each image is asked for; -1 is what the run takes it for."""
        if self.asked.value == -2:
            return self.labels[rows]
        return torch.full((len(rows),), self.asked.value)


def _check_method(method, images):
    if method == "class" and images.labels is None:
        raise ParamError(problem("attention_method", "activation or similarity, because the images have no labels",
                                 method, "Use activation"))
