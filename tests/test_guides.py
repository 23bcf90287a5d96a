"""Training with a guided mixer and with mixing that stops: identity, resuming, and what is refused."""

import pytest
import torch
from test_train import assert_same, few_test_images, quiet, tiny  # noqa: F401

from mixlab import runs
from mixlab.errors import CheckpointError, ParamError
from mixlab.explorers.playground import Scene
from mixlab.mixers import MIXERS
from mixlab.params import Mixers, Pretrain, build, load_splits, mixing_stops, name_start
from mixlab.plots import example
from mixlab.train import train


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished run whose encoder can guide: an untrained one."""
    return train(tiny(tmp_path_factory.mktemp("runs"), epochs=0, seed=7), log=quiet)


def interrupted(params):
    """Trains, and is stopped after the first epoch."""
    def stop(row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(params, on_epoch=stop, log=quiet)


@pytest.mark.parametrize("changes", [{}, {"guide_from": "teacher"}], ids=["own encoder", "another run's"])
def test_a_guided_run_resumes_bit_for_bit(changes, teacher, tmp_path):
    changes = {"mixer": "attentivemix", "train_size": 16, "snapshot_every": 0, **changes}
    if "guide_from" in changes:
        changes["guide_from"] = str(teacher.path)
    interrupted(tiny(tmp_path / "stopped", **changes))
    lines = []
    resumed = train(tiny(tmp_path / "stopped", **changes), log=lines.append)
    assert lines[2].startswith("Continuing") and resumed.finished()
    assert_same(resumed, train(tiny(tmp_path / "whole", **changes), log=quiet))


def test_the_guide_is_part_of_who_a_run_is(teacher):
    def name(guide):
        values = name_start(tiny(teacher.path.parent, mixer="attentivemix", epochs=0, guide_from=guide).resolved())
        return values.get("guide_from_sha256"), values["guide_from"]

    assert name("own") == name("auto") == (None, "own")
    digest = teacher.result()["encoder_sha256"]
    assert name("latest") == name(teacher.name) == name(str(teacher.path)) == (digest, teacher.name)
    folder = teacher.path.parent
    named = [train(tiny(folder, mixer="attentivemix", epochs=0, guide_from=guide), log=quiet).name
             for guide in ("own", teacher.name, str(teacher.path))]
    assert named[0] != named[1] == named[2]
    assert runs.Run(folder / named[1]).params()["guide_from_sha256"] == digest


def test_a_guide_that_is_no_finished_run_is_refused(teacher, tmp_path):
    with pytest.raises(ParamError, match="guide_from: a finished run"):
        train(tiny(tmp_path, mixer="attentivemix", guide_from="latest"), log=quiet)
    with pytest.raises(ParamError, match="guide_from: latest, demo, a run directory"):
        train(tiny(teacher.path.parent, mixer="attentivemix", guide_from="nope"), log=quiet)
    assert not list(tmp_path.iterdir())
    unfinished = train(tiny(tmp_path, epochs=0), log=quiet)
    (unfinished.path / "result.json").unlink()
    with pytest.raises(CheckpointError, match="not finished"):
        train(tiny(tmp_path, mixer="attentivemix", guide_from=unfinished.name), log=quiet)
    with pytest.raises(ParamError, match="guide_from: auto, because mixer cutmix does not take it"):
        Pretrain.check(mixer="cutmix", guide_from="latest")


def test_the_named_run_guides_and_knows_how_the_images_are_normalised(teacher):
    values = name_start(tiny(teacher.path.parent, mixer="attentivemix", guide_from=teacher.name).resolved())
    method = build(values, load_splits(values))
    guide = method.mixer.guide_from
    stored = runs.load_encoder(teacher)
    assert all(torch.equal(v, stored.state_dict()[k]) for k, v in guide.encoder.state_dict().items())
    assert torch.allclose(torch.tensor(guide.mean), method.encoder.mean) and len(guide.std) == 3
    assert not [name for name in method.state_dict() if "guide" in name]


@pytest.mark.parametrize(("share", "epochs", "mixed"), [
    (1.0, 10, 10), (None, 10, 10), (0.7, 10, 7), (0.29, 100, 29), (0.07, 100, 7), (0.95, 6, 5), (0.01, 6, 1),
    (0.5, 2, 1), (0.999, 3, 2)])
def test_mixing_stops_after_whole_epochs_of_which_the_first_always_mixes(share, epochs, mixed):
    values = {"mix_until": share, "epochs": epochs}
    assert [epoch for epoch in range(1, epochs + 1) if not mixing_stops(values, epoch)] == list(range(1, mixed + 1))


def test_mix_until_is_part_of_who_a_run_is_and_older_runs_keep_their_names(teacher):
    folder = teacher.path.parent
    small = {"train_size": 8, "snapshot_every": 0}
    plain, ended = (train(tiny(folder, **small, **more), log=quiet) for more in ({}, {"mix_until": 0.5}))
    assert plain.name != ended.name and plain.history()[1]["loss"] == ended.history()[1]["loss"]
    assert plain.history()[2]["loss"] != ended.history()[2]["loss"]
    assert train(tiny(folder, **small, mix_until=1), log=quiet).name == plain.name


def test_the_playground_shows_every_mixer_and_says_who_guides():
    scene = Scene(Mixers.check(mixer="pick", pick_from=["gridmix", "attentivemix"], grid=5), per_class=1)
    pictures = {name: scene.picture(name, 0, 5, 0.6, None, 0) for name in MIXERS}
    assert [name for name, page in pictures.items() if "guide: saliency map" in page] == ["attentivemix", "pick"]
    assert all(page.count("<img") == 5 for page in pictures.values())
    mixer = example(scene.values, "pick", 0.3)
    assert mixer.alpha == 0.3 and [m.grid for m in mixer.pick_from] == [5, 5]
    assert example(scene.values, "gridmix").grid == 4
