"""The embedding explorer: what an encoder holds similar, dot by dot."""

import numpy as np

from mixlab.explorers.cards import HINT, STYLE, Pictures, card, sheet
from mixlab.explorers.colouring import MOST, TITLES, colourings, mistakes, most_mistaken
from mixlab.explorers.linked import Linked, in_html, one_line
from mixlab.explorers.place import is_interactive
from mixlab.files import safe_name, write_json
from mixlab.plots.embedding import KINDS
from mixlab.plots.embedding import embedding as map_figure

STEP = 700  # milliseconds an epoch is shown while playing


def embedding(params, clouds, project=None):
    """Maps of one run or of two side by side, linked by image, with the image itself under the pointer.

    Pointing at a dot brings up its image, label, kNN prediction, neighbour purity and true nearest neighbours in
    feature space, to which lines lead on the map. A loop or box drawn around dots shows their images and classes, and
    saves their numbers in the run's folder.

    Args:
        params: ``interactive`` is read.
        clouds: one or two ``projection.Cloud`` of the same data set.
        project: ``project(cloud, kind)`` returning the cloud on another map ("pca", "tsne" or "umap"); called when
            that map is first asked for. None: there is no choice of map.
    Returns:
        an ``Explorer`` where a person is in Lab (its ``box`` is the widget, its ``selected`` the image numbers last
        selected), else None: a headless notebook shows pictures and keeps the page of ``write_embedding_page``.
    Raises:
        ParamError: no cloud, more than two, or clouds of different data sets.
    """
    linked = Linked(clouds)
    return Explorer(linked, project) if is_interactive(params) else None


class Explorer:
    """The widgets of ``embedding`` and what they do. ``selected``: image numbers (tuple of int), ascending."""

    def __init__(self, linked, project=None):
        from mixlab.explorers.panes import Panes

        self.linked, self.project, self.selected = linked, project, ()
        self.pictures = [Pictures(cloud) for cloud in linked.clouds]
        self.colourings = [colourings(cloud) for cloud in linked.clouds]
        self.given = {which: cloud for which, cloud in enumerate(linked.clouds)}
        self.made = {(which, cloud.kind): cloud for which, cloud in self.given.items()}
        self.epochs = sorted({epoch for cloud in linked.clouds for epoch in cloud.epochs})
        self._make_controls()
        classes = max(len(one.marks(range(MOST))) for each in self.colourings for one in each.values())
        self.panes = Panes(linked, classes)
        self._listen()
        self.draw()
        self.box = self._arrange()

    def _ipython_display_(self):
        self.box._ipython_display_()

    def _make_controls(self):
        import ipywidgets as widgets

        first, last, narrow = self.linked.clouds[0], len(self.epochs) - 1, {"description_width": "auto"}
        mixed = len({cloud.kind for cloud in self.linked.clouds}) > 1
        titles = [t for t in self.colourings[0] if all(t in each for each in self.colourings)]
        self.colour = widgets.Dropdown(options=titles, description="colour", style=narrow, layout={"width": "200px"})
        self.only = widgets.ToggleButton(description="only mistakes", layout={"width": "120px"},
                                         disabled=any(mistakes(c) is None for c in self.linked.clouds))
        self.kind = widgets.Dropdown(options=[("as given", "")] * mixed + [(n, k) for k, n in KINDS.items()],
                                     value="" if mixed else first.kind, description="map", style=narrow,
                                     layout={"width": "130px"}, disabled=self.project is None)
        self.play = widgets.Play(value=last, min=0, max=last, interval=STEP)
        self.slider = widgets.IntSlider(value=last, min=0, max=last, readout=False, layout={"width": "160px"})
        self.epoch = widgets.HTML()
        widgets.jslink((self.play, "value"), (self.slider, "value"))  # both start at the same value
        self.picked = widgets.SelectMultiple(
            options=[(one_line(name), i) for i, name in enumerate(first.classes)], value=most_mistaken(first),
            rows=8, description="classes", style=narrow, layout={"width": "200px"})
        self.name = widgets.Text(value="selection", description="save loops as", style=narrow,
                                 layout={"width": "220px"})
        self.note, self.card, self.sheet = widgets.HTML(), widgets.HTML(HINT), widgets.HTML()

    def _arrange(self):
        import ipywidgets as widgets

        from mixlab.explorers.still import Still

        style, row = widgets.HTML(STYLE, layout={"display": "none"}), {"flex_flow": "row wrap", "align_items": "center"}
        player = [self.play, self.slider, self.epoch] if len(self.epochs) > 1 else []
        controls = widgets.HBox([self.kind, self.colour, self.only, *player], layout=row)
        several, many = len(self.linked.clouds) > 1, len(self.linked.clouds[0].classes) > MOST
        self.card.layout = {"flex": "1 1 290px", "min_width": "270px", "margin": f"{0 if several else 30}px 0 0 8px"}
        stage = widgets.VBox([self.panes.width, self.panes.figure],
                             layout={"flex": f"1000 1 {860 if several else 520}px", "min_width": "320px"})
        side = widgets.VBox([self.picked, self.card]) if many else self.card
        body = widgets.HBox([stage, side], layout=row | {"align_items": "flex-start"})
        saving = widgets.HBox([self.name, self.note], layout=row)
        return Still([style, controls, body, saving, self.sheet], self.still)

    def still(self):
        """The maps as they are at the last epoch, in the chosen colour."""
        from mixlab.explorers.still import of_figure

        colour = {title: name for name, title in TITLES.items()}.get(self.colour.value, "label")
        return of_figure(map_figure(self.linked.clouds, colour))

    def _listen(self):
        for control in (self.colour, self.only, self.picked):
            control.observe(lambda _: self.draw(), "value")
        self.slider.observe(lambda _: self.move(), "value")
        self.shown = self.kind.value
        self.kind.observe(lambda change: self.switch(change.new), "value")
        self.panes.on_hover(self.hover)
        self.panes.on_selection(self.select)

    def points(self):
        """The coordinates of each cloud at the chosen epoch: of its nearest epoch at or before that, else its first."""
        epoch = self.epochs[self.slider.value]
        return [c.maps[max((i for i, e in enumerate(c.epochs) if e <= epoch), default=0)] for c in self.linked.clouds]

    def draw(self):
        """All dots in the chosen colours, mistakes only if asked."""
        chosen = [each[self.colour.value] for each in self.colourings]
        marks = chosen[0].marks(self.picked.value)
        kept = [mistakes(cloud) if self.only.value else None for cloud in self.linked.clouds]
        members = [one.members(marks, keep) for one, keep in zip(chosen, kept, strict=True)]
        self.panes.show(self.points(), marks, members, self.colour.value, self.selected)
        self._say_epoch()

    def move(self):
        """The dots where they were at the chosen epoch."""
        self.panes.move(self.points())
        self._say_epoch()

    def _say_epoch(self):
        epoch, last = self.epochs[self.slider.value], self.epochs[-1]
        said = f' <span class="mixlab-soft">(colours, neighbours and quality of epoch {last})</span>'
        self.epoch.value = f"epoch {epoch}{'' if epoch == last else said}"

    def tell(self, text):
        """One line under the maps; ``text`` is HTML."""
        self.note.value = f'<span style="font-size:12px">{text}</span>'

    def switch(self, kind):
        """Another map of the same features, computed once; if that fails, the note says why and the map stays."""
        try:
            clouds = [self._mapped(which, kind) for which in self.given]
        except (ValueError, RuntimeError, ImportError, OSError, MemoryError) as error:
            self.kind.value = self.shown
            return self.tell(in_html(f"No {KINDS[kind]} map: {error}", 400))
        self.linked.clouds[:], self.shown = clouds, kind
        self.panes.heads()
        self.draw()
        return self.tell("")

    def _mapped(self, which, kind):
        if not kind:
            return self.given[which]
        if (which, kind) not in self.made:
            self.tell(f"computing {KINDS[kind]}… (once; the explorer answers again afterwards)")
            self.made[which, kind] = self.project(self.given[which], kind)
        return self.made[which, kind]

    def hover(self, pane, place):
        """The card of the dot at ``place`` of map ``pane``, and its ring in all of them."""
        image = self.linked.image(pane, place)
        self.card.value = card(self.linked, self.pictures, image)
        self.panes.ring(image)

    def select(self, pane, places):
        """Shows, marks in every map, and saves, the images at ``places`` of map ``pane``."""
        self.selected = tuple(np.sort(self.linked.clouds[pane].index[places]).tolist())
        self.panes.choose(self.selected)
        self.sheet.value = sheet(self.linked, pane, self.pictures[pane], places)
        self.tell(self._save(pane) if self.selected else "")

    def _save(self, pane):
        """Writes the numbers of the selected images into the folder of the run; says where, or why not."""
        cloud = self.linked.clouds[pane]
        path = cloud.run.path / "selections" / f"{safe_name(self.name.value)}.json"
        record = {"run": cloud.run.name, "dataset": cloud.dataset, "split": cloud.split, "layer": cloud.layer,
                  "map": cloud.kind, "epoch": self.epochs[self.slider.value], "index": list(self.selected)}
        try:
            path.parent.mkdir(exist_ok=True)
            write_json(path, record)
        except OSError as error:
            return in_html(f"{len(self.selected):,} images selected; their numbers were not saved: {error}", 400)
        return f"The numbers of these {len(self.selected):,} images are in {in_html(path, 300)}."
