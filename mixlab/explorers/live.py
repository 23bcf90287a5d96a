"""The live curve of a training."""

from matplotlib.figure import Figure

from mixlab import plots
from mixlab.explorers.place import is_interactive


def live_curve(params):
    """A callable for ``train(on_epoch=...)`` that draws loss and kNN curves as epochs end; headless it does nothing."""
    if not is_interactive(params):
        return lambda row: None
    import ipywidgets as widgets
    from IPython.display import display

    from mixlab.explorers.still import Still, of_png

    bar = widgets.IntProgress(max=max(params.epochs, 1), description="epoch 0", layout={"width": "60%"})
    picture, rows = widgets.Image(format="png"), []
    box = Still([bar, picture], lambda: of_png(picture.value))
    display(box)

    def update(row):
        rows.append(row)
        bar.value, bar.description = row["epoch"], f"epoch {row['epoch']}"
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        plots.draw_curves(*figure.subplots(1, 2), rows)
        picture.value = plots.png(figure)
        if row["epoch"] == params.epochs:
            box.keep()

    return update
