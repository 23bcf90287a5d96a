"""What ``visualize.ipynb`` does in its cells: which runs become which maps, and which page lies where."""

import html

from mixlab import attention, data, plots, projection
from mixlab.evaluate.evaluation import CONTROL
from mixlab.explorers.attention import attention as attention_explorer
from mixlab.explorers.attention import write_attention_page
from mixlab.explorers.colouring import TITLES
from mixlab.explorers.embedding import embedding
from mixlab.explorers.embedding_twin import write_embedding_page
from mixlab.explorers.linked import same_images
from mixlab.explorers.place import device_of, is_interactive
from mixlab.files import safe_name, writable_folder, write
from mixlab.plots.attention import attention as attention_figure
from mixlab.plots.attention import localisation as localisation_figure
from mixlab.plots.embedding import embedding as map_figure
from mixlab.plots.embedding import embedding_epochs
from mixlab.runs import writable

MOST = 4  # runs with maps of their own
TSNE_POINTS = 3000  # up to here t-SNE takes seconds, and UMAP would spend them on its start


def alike(runs, log=print):
    """The first ``MOST`` of ``runs`` that have the data set and the image size of the first one; says what is left."""
    first = _images_of(runs[0])
    kept = [run for run in runs if _images_of(run) == first][:MOST]
    if len(kept) < len(runs):
        log(f"Looked at below: {', '.join(run.name for run in kept)} (at most {MOST} runs on the images of the first).")
    return kept


def _images_of(run):
    values = run.params()
    return values["dataset"], values.get("image_size")


def clouds(params, runs, log=print):
    """A ``projection.Cloud`` for each of the runs that are ``alike``.

    ``projection: auto`` is PCA of fewer images than t-SNE needs, t-SNE for up to ``TSNE_POINTS``, else UMAP. The folder
    ``reports_dir`` is tried first, so that a mistake in it is known before the work.
    """
    if params.reports_dir != "none":
        writable_folder(data.resolve(params.reports_dir), "reports_dir")
    return [_cloud(params, run, params.layer, params.projection, log) for run in alike(runs, log)]


def _cloud(params, run, layer, kind, log, epochs="all"):
    found = projection.cloud(run, layer=layer, kind="pca" if kind == "auto" else kind, points=params.points,
                             seed=params.seed, data_dir=params.data_dir, neighbours=params.neighbours,
                             epochs=epochs, device=params.device, log=log)
    if kind == "auto":
        found = projection.remap(found, _kind_for(len(found)), seed=params.seed)
    return found


def _kind_for(points):
    """What ``projection: auto`` means for so many points."""
    if points < projection.FEWEST["tsne"]:
        return "pca"
    return "tsne" if points <= TSNE_POINTS else "umap"


def _pair(params, runs, clouds, log):
    """Two clouds: of the first two runs; of a single one its other layer, or else another map."""
    first = clouds[0]
    if len(clouds) > 1:
        return _on_same_images(params, clouds[:2], log)
    if runs[0].params()["method"] == CONTROL:
        other = "pca" if first.kind != "pca" else "tsne"
        fits = len(first) >= projection.FEWEST[other]
        return [first, *([projection.remap(first, other, seed=params.seed)] if fits else [])]
    other = "projection" if params.layer == "encoder" else "encoder"
    same = params.model_copy(update={"points": max(len(first), 50)})
    return _on_same_images(params, [first, _cloud(same, runs[0], other, first.kind, log)], log)


def _on_same_images(params, pair, log):
    """``pair`` as it is if its images can be linked, else both on test images, at the last epoch.

    Snapshots of a run that held out images show those, which other runs and the projection layer need not have.
    """
    if len(pair) < 2 or same_images(*pair):
        return pair
    kept = [cloud for cloud in pair if cloud.split == "test"]
    if kept:
        params = params.model_copy(update={"points": max(len(kept[0]), 50), "projection": kept[0].kind})
    names = ", ".join(dict.fromkeys(cloud.run.name for cloud in pair if cloud.split != "test"))
    log(f"Side by side on test images, at the last epoch: {names} (snapshots show validation images of its own).")
    return [cloud if cloud.split == "test" else _cloud(params, cloud.run, cloud.layer, params.projection, log, "last")
            for cloud in pair]


def maps(params, clouds):
    """The first cloud as an explorer; headless as a picture, with one of its epochs where it has several."""
    if is_interactive(params):
        return _explorer(params, clouds[:1])
    map_figure(clouds[:1], params.colour)
    if len(clouds[0].epochs) > 1:
        embedding_epochs(clouds[0], params.colour)
    return None


def side_by_side(params, runs, clouds, log=print):
    """The first two clouds linked, as an explorer; headless as a picture.

    Of a single run these are its two layers, or two maps where it has no projector.
    """
    pair = _pair(params, runs, clouds, log)
    if is_interactive(params):
        return _explorer(params, pair)
    map_figure(pair, params.colour)
    return None


def _explorer(params, several):
    explorer = embedding(params, several, lambda cloud, kind: projection.remap(cloud, kind, seed=params.seed))
    title = TITLES[params.colour]
    explorer.colour.value = title if title in explorer.colour.options else explorer.colour.value
    return explorer


def looks(params, runs):
    """Attention maps of the runs that are ``alike`` as an explorer; headless as a picture."""
    shown = alike(runs, _say_nothing)
    if is_interactive(params):
        return attention_explorer(params, shown)
    attention_figure(shown, images=params.attention_images, method=params.attention_method,
                     layer=params.attention_layer, power=params.attention_power, opacity=params.opacity,
                     seed=params.seed, data_dir=params.data_dir, device=device_of(params))
    return None


def localisation(params, runs, log=print):
    """Scores of the maps of the runs that are ``alike``, each stored in its run, as a picture.

    A second picture is of boxes around single objects, where the data set brings them.
    """
    shown = alike(runs, _say_nothing)
    if not params.mosaics:
        return log("Not scored: mosaics is 0.")
    if shown[0].result().get("knn_top1") is None:  # a run measures it wherever there are labels
        return log("Not scored: without labels there is no class to ask for.")
    records = [attention.localisation(run, mosaics=params.mosaics, layers=(params.attention_layer,), seed=params.seed,
                                      data_dir=params.data_dir, device=device_of(params), log=log) for run in shown]
    localisation_figure(shown, records, layer=params.attention_layer)
    if all(record["boxes"] for record in records):
        localisation_figure(shown, records, layer=params.attention_layer, rows="boxes")
    return None


def pages(params, runs, clouds):
    """Writes ``embedding.html`` and ``attention.html`` into the first run, and where asked copies into ``reports_dir``.

    The pages show up to two maps, of the same images, and attention of all runs that are ``alike``. A run that can't be
    written is left alone.
    Returns:
        HTML: the numbers of each map, and where the pages lie.
    """
    from IPython.display import HTML

    first, shown = runs[0], alike(runs, _say_nothing)
    pair = _on_same_images(params, clouds[:2], _say_nothing)
    files = _files_of_pages(params, first)
    if not files:
        return HTML(quality_table(clouds) + f"<p>No pages: {html.escape(plots.tame(first.path))} can't be written. Set "
                                            "reports_dir to a folder that can.</p>")
    embedding_page, attention_page = files[0]
    write_embedding_page(embedding_page, pair, f"Embedding of {first.name}")
    write_attention_page(attention_page, shown, images=params.attention_images, opacity=params.opacity,
                         seed=params.seed, data_dir=params.data_dir, device=device_of(params), log=_say_nothing)
    for page, copy in [(page, copy) for copies in files[1:] for page, copy in zip(files[0], copies, strict=True)]:
        write(copy, page.read_bytes())
    return HTML(quality_table(clouds) + _places([file for pair in files for file in pair]))


def _files_of_pages(params, run):
    """Pairs of files, of both pages: in the run if it can be written, and in ``reports_dir`` where that is asked."""
    files, names = [], ("embedding", "attention")
    if writable(run):
        files.append([run.path / f"{name}.html" for name in names])
    if params.reports_dir != "none":
        folder = writable_folder(data.resolve(params.reports_dir), "reports_dir")
        files.append([folder / f"{name}-{safe_name(run.name)}.html" for name in names])
    return files


def quality_table(clouds):
    """HTML: how much of the true neighbourhoods each map kept."""
    head = ("run", "layer", "map", "images", "true neighbours near on the map", "trustworthiness", "made by")
    rows = [_cells("th", head), *[_cells("td", _numbers(cloud)) for cloud in clouds]]
    return f"<table style='font-size:12px'>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _numbers(cloud):
    quality = cloud.quality
    kept = "not measured" if quality["neighbours_kept"] is None else (
        f"{100 * quality['neighbours_kept']:.0f} % of {quality['k']}")
    trust = "not measured" if quality["trustworthiness"] is None else f"{quality['trustworthiness']:.3f}"
    return cloud.run.name, cloud.layer, cloud.kind, f"{len(cloud):,}", kept, trust, cloud.made_by


def _cells(tag, texts):
    return "".join(f"<{tag} style='text-align:left'>{html.escape(plots.tame(text))}</{tag}>" for text in texts)


def _places(files):
    lines = [f"<li><code>{html.escape(plots.tame(file))}</code>, {file.stat().st_size / 1e6:.1f} MB</li>"
             for file in files]
    return f"<p>Pages that open without a network:</p><ul>{''.join(lines)}</ul>"


def _say_nothing(_):
    """For what an earlier cell has said."""
