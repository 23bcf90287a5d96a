"""Parameters: every range from the models themselves, every refusal in the one form, all of them at once."""

import ast
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mixlab.errors import ParamError
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS
from mixlab.params import Ablation, LinearEval, Params, Pretrain, build_method, build_mixer, identity, settle
from mixlab.params.pretrain import BASE_ONLY, METHOD_NAMES

ROOT = Path(__file__).parents[1]
MODELS = Params.__subclasses__()


@pytest.mark.parametrize("model", MODELS)
def test_defaults_pass(model):
    assert model.check() == model()


@pytest.mark.parametrize(("values", "message"), [
    ({"methd": "simclr"}, "methd: a known parameter; got 'simclr' (str). Did you mean \"method\"."),
    ({"temperature": 0}, "temperature: auto or a number > 1e-06 and < 100; got 0 (int)."),
    ({"temperature": -0.1}, "temperature: auto or a number > 1e-06 and < 100; got -0.1 (float)."),
    ({"temperature": math.nan}, "temperature: auto or a number > 1e-06 and < 100; got nan (float)."),
    ({"epochs": "7"}, "epochs: a whole number >= 0 and <= 1000000; got '7' (str). Write it without quotes: 7."),
    ({"batch_size": 256.0}, "batch_size: a whole number >= 2 and <= 1000000; got 256.0 (float)."),
    ({"lr": "1e-3"}, "lr: a number > 0 and <= 1000000; got '1e-3' (str). Write it without quotes: 1.0e-3."),
    ({"method": "Sim-CLR"}, "supmix; got 'Sim-CLR' (str). Did you mean \"simclr\"."),
    ({"mixer": "cut_mix"}, 'Did you mean "cutmix".'),
    ({"dataset": str(ROOT)}, f'To read a folder of images, write "folder:{ROOT}".'),
    ({"lr_decay_epochs": "[1,2]"}, 'got \'[1,2]\' (str). Write it without quotes; to papermill: -y "lr_decay_epochs: '
                                   '[1,2]".'),
    ({"lr_decay_epochs": "1, 2"}, 'to papermill: -y "lr_decay_epochs: [1, 2]".'),
    ({"lr_decay_epochs": 5}, 'got 5 (int). Write it without quotes; to papermill: -y "lr_decay_epochs: [5]".'),
    ({"pick_from": "[mixup, fmix]", "mixer": "pick"}, '-y "pick_from: [mixup, fmix]".'),
    ({"skip_broken": "true"}, "skip_broken: true or false; got 'true' (str). Write it without quotes: true in YAML, "
                              "True elsewhere."),
    ({"encoder": "ResNet18"}, 'Did you mean "resnet18".'),
    ({"alpha": 0}, "alpha: auto or a number > 0 and <= 1000000; got 0 (int)."),
    ({"seed": -1}, "seed: a whole number >= 0 and < 4294967296; got -1 (int)."),
])
def test_a_refusal_says_what_is_allowed_what_came_and_what_to_type(values, message):
    """Faults 34, 35, 44, 45, 46 and 48."""
    with pytest.raises(ParamError) as refused:
        Pretrain.check(**values)
    assert message in str(refused.value)


def test_all_problems_come_at_once():
    with pytest.raises(ParamError) as refused:
        Pretrain.check(methd="x", temperature=0, epochs=5, warmup_epochs=9, method="simclr", n_mix=3)
    lines = str(refused.value).split("\n")
    assert sorted(line.split(":")[0] for line in lines) == ["methd", "n_mix", "temperature", "warmup_epochs"]


@pytest.mark.parametrize(("values", "named"), [
    ({"method": "mixsupcon", "mixer": "none"}, "mixer: a mixer that mixes, because method mixsupcon mixes"),
    ({"method": "simclr", "reading": "row"}, "reading: auto, because method simclr does not take it"),
    ({"method": "cross_entropy", "temperature": 0.2}, "temperature: auto, because method cross_entropy"),
    ({"method": "cross_entropy", "crop_scale": 0.5}, "crop_scale: auto, because method cross_entropy"),
    ({"method": "supcon", "alpha": 1.0}, "alpha: auto, because mixer none does not take it"),
    ({"mixer": "resizemix", "alpha": 1.0}, "alpha: auto, because mixer resizemix does not take it"),
    ({"warmup_epochs": 8}, "warmup_epochs: at most epochs (6)"),
    ({"lr_decay_epochs": [3]}, "lr_decay_epochs: empty, because schedule is cosine"),
    ({"schedule": "step", "lr_decay_epochs": [5, 3]}, "lr_decay_epochs: rising epochs"),
    ({"method": "simclr", "label_fraction": 0.1}, "label_fraction: 1.0, because method simclr uses no labels"),
    ({"dataset": "cifar1", "temperature": 0.0}, "dataset: one of cifar10-mini"),
    ({"dataset": "cifar10", "image_size": 64}, "image_size: 32, the size of cifar10"),
    ({"method": "moco", "queue_size": 63}, "queue_size: auto or at least batch_size (64); got 63"),
    ({"method": "regions_within", "mixer": "mixup"}, "because method regions_within compares regions; got 'mixup'"),
    ({"method": "moco", "batch_size": 60}, "bn_splits: a divisor of batch_size (60); got 8"),
    ({"method": "mixco", "batch_size": 8}, "bn_splits: a divisor of half of batch_size (8); got 8"),
    ({"method": "unmix", "base": "byol", "queue_size": 4096}, "queue_size: auto, because base byol does not take it"),
    ({"method": "moco", "mixer": "cutmix"}, "Use method moco_mix or unmix to mix"),
    ({"mixer": "cutmix", "grid": 3}, "grid: auto, because mixer cutmix does not take it; got 3"),
    ({"mixer": "pick", "grid": 3}, "grid: auto, because mixer pick does not take it"),
    ({"mixer": "mixup", "pick_from": ["mixup", "cutmix"]}, "pick_from: auto, because mixer mixup does not take it"),
    ({"mixer": "pick", "guide_from": "own"}, "guide_from: auto, because mixer pick does not take it"),
    ({"mixer": "pick", "pick_from": ["mixup"]}, "pick_from: auto, or two or more different mixers; got ['mixup']"),
    ({"mixer": "pick", "pick_from": ["mixup", "mixup"]}, "pick_from: auto, or two or more different mixers"),
    ({"mixer": "pick", "pick_from": ["mixup", "none"]}, "pick_from: auto or a list, each one of mixup, cutmix"),
    ({"mixer": "pick", "pick_probs": [0.5, 0.6]}, "pick_probs: auto, or 2 numbers of sum 1, one for each of mixup"),
    ({"mixer": "pick", "pick_probs": [0.2, 0.3, 0.5]}, "pick_probs: auto, or 2 numbers of sum 1"),
    ({"mixer": "pick", "pick_from": ["manifold", "fmix"], "pick_per": "sample"}, "because manifold cannot be picked"),
    ({"mixer": "pick", "pick_from": ["resizemix", "smoothmix"], "alpha": 1.0}, "alpha: auto, because mixer pick"),
    ({"method": "regions_between", "mixer": "pick"}, "because method regions_between compares regions; got 'pick'"),
    ({"mix_until": 0.5, "epochs": 1}, "mix_until: auto or 1, because epochs is 1; got 0.5"),
    ({"mix_until": 0.5, "method": "supcon"}, "mix_until: auto or 1, because mixer none never mixes"),
    ({"mix_until": 0.5, "method": "byol"}, "mix_until: auto or 1, because method byol does not mix"),
    ({"mix_until": 0.5, "method": "regions_within"}, "mix_until: auto or 1, because method regions_within compares"),
])
def test_contradictions_name_both_sides(values, named):
    with pytest.raises(ParamError) as refused:
        Pretrain.check(**values)
    assert named in str(refused.value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("mixer", ["auto", *MIXERS])
def test_every_accepted_pair_resolves_and_builds(method, mixer):
    try:
        values = Pretrain.check(method=method, mixer=mixer).resolved()
    except ParamError as refusal:  # which pairs, and the words: tests/test_methods.py
        assert str(refusal).startswith("mixer: ") and f"because method {method} " in str(refusal)
        return
    open_still = ("data_dir", "train_size", "interactive", "queue_size")
    assert "auto" not in [v for k, v in values.items() if k not in open_still]
    built = build_method(values, num_classes=10)
    assert type(built) is METHODS[method] and type(built.mixer) is MIXERS[values["mixer"]]
    assert json.loads(json.dumps(values)) == values


def test_auto_takes_the_methods_and_mixers_own_values():
    values = Pretrain.check(method="simclr", mixer="manifold", temperature="auto").resolved()
    assert (values["temperature"], values["alpha"], values["n_mix"], values["proj_dim"]) == (0.5, 2.0, None, 128)
    assert build_mixer(values).alpha == 2.0
    assert Pretrain.check(method="cross_entropy").resolved()["temperature"] is None


def test_a_picked_mixer_is_told_all_that_it_takes():
    names = ["mixup", "gridmix", "attentivemix"]
    values = Pretrain.check(mixer="pick", pick_from=names, pick_per="sample", grid=7, alpha=0.3).resolved()
    assert values["pick_probs"] == [1 / 3] * 3 and values["guide_from"] == "own"
    mixer = build_mixer(values)
    assert [type(m) for m in mixer.pick_from] == [MIXERS[n] for n in names]
    assert [m.grid for m in mixer.pick_from[1:]] == [7, 7] and mixer.alpha == 0.3 and mixer.pick_per == "sample"
    assert callable(mixer.pick_from[2].guide_from)
    usual = Pretrain.check(mixer="pick").resolved()
    assert usual["pick_from"] == ["mixup", "cutmix"] and usual["grid"] is usual["guide_from"] is None
    assert build_mixer(usual) == MIXERS["pick"](pick_probs=usual["pick_probs"])
    assert build_mixer(Pretrain.check(mixer="gridmix").resolved()).grid == 4


def test_weights_depend_on_the_seed_alone_and_leave_the_global_generator():
    import torch
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (build_method(Pretrain.check(seed=s).resolved(), 10).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    key = "encoder.stem.0.weight"
    assert torch.equal(one[key], same[key]) and not torch.equal(one[key], other[key])


def test_the_identity_is_what_changes_the_numbers():
    def base_of(values, checksum="c"):
        images = SimpleNamespace(checksum=checksum)
        return identity(values, SimpleNamespace(train=images, queries=images))

    def who(checksum="c", **changes):
        return base_of(Pretrain.check(**changes).resolved(), checksum)

    base = who()
    for same in ({"runs_dir": "/else"}, {"data_dir": "d"}, {"checkpoint_every": 0}, {"knn_every": 3},
                 {"snapshot_every": 1}, {"snapshot_dataset": "cifar10-mini"}, {"compile": True}, {"width": 64},
                 {"interactive": False}, {"fresh": True}, {"mixer": "mixup"}, {"alpha": 1.0}):
        assert who(**same) == base, same
    for other in ({"epochs": 8}, {"lr": 0.2}, {"seed": 1}, {"precision": "fp32"}, {"alpha": 0.5}, {"n_mix": 1}):
        if other.get("precision") != base["precision"]:
            assert who(**other) != base, other
    assert who("d") != base
    split = [base_of(Pretrain.check().resolved() | {"val_seed": seed}) for seed in (0, 1)]
    assert split[0] == base != split[1], "a split of the run's own seed says nothing new"
    later = {"mix_until", "width", "grid", "pick_from", "pick_probs", "pick_per", "guide_from"}
    assert not later & set(base), "runs of old"
    assert who(mix_until=1) == who(mix_until=1.0) == base
    kinds = [{"mix_until": 0.5}, {"width": 16}, {"mixer": "gridmix"}, {"mixer": "gridmix", "grid": 5},
             {"mixer": "pick"},
             {"mixer": "pick", "pick_probs": [0.4, 0.6]}, {"mixer": "pick", "pick_per": "sample"},
             {"mixer": "attentivemix"}, {"mixer": "attentivemix", "guide_from": "some run"}]
    assert len({json.dumps(who(**kind)) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize(("capability", "precision"), [((7, 0), "fp32"), ((7, 5), "fp32"), ((8, 0), "bf16"),
                                                       ((8, 9), "bf16"), ((9, 0), "bf16")])
def test_bf16_is_chosen_only_where_it_is_native(monkeypatch, capability, precision):
    """A T4 (7.5) emulates bfloat16, which torch's plain question takes for yes."""
    device = SimpleNamespace(major=capability[0], minor=capability[1])
    for name, answer in {"is_available": True, "current_device": 0, "get_device_properties": device,
                         "_check_bf16_tensor_supported": True}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
    assert Pretrain(device="cuda").resolved()["precision"] == precision
    assert LinearEval(device="cuda").resolved()["precision"] == precision
    assert Pretrain(device="cuda", precision="bf16").resolved()["precision"] == "bf16", "who asks for it gets it"


def test_every_argument_of_every_method_is_a_parameter():
    assert not set(METHOD_NAMES) - set(Pretrain.model_fields)
    assert set(BASE_ONLY) <= set(METHOD_NAMES)


@pytest.mark.parametrize(("images", "batch", "size"),
                         [(50_000, 512, 4096), (2000, 64, 1000), (24, 8, 12), (24, 16, 16)])
def test_a_queue_is_as_long_as_the_images_allow(images, batch, size):
    values = Pretrain.check(method="moco", batch_size=batch).resolved()
    assert values["queue_size"] == "auto" and settle(values, images)["queue_size"] == size
    given = Pretrain.check(method="moco", batch_size=batch, queue_size=7000).resolved()
    assert settle(given, images)["queue_size"] == 7000
    assert settle(Pretrain.check(method="simclr").resolved(), images)["queue_size"] is None


def test_batchnorm_without_parts_takes_any_batch():
    assert Pretrain.check(method="moco", batch_size=60, batchnorm="plain").batch_size == 60
    assert Pretrain.check(method="byol", predictor_hidden=8, batch_size=60).resolved()["predictor_hidden"] == 8
    assert Pretrain.check(method="unmix", base="simclr", batch_size=60).batch_size == 60


class Namespace(dict):
    """A kernel's variables after running ``cells``."""

    def __init__(self, *cells):
        super().__init__(In=["", *cells])
        for cell in cells:
            exec(cell, self)


def parameters_cell(name):
    cells = json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    return next("".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", []))


def test_the_parameters_cell_is_the_model():
    written = {s.targets[0].id: ast.literal_eval(s.value) for s in ast.parse(parameters_cell("pretrain")).body}
    assert Pretrain.check(**written) == Pretrain() and list(written) == list(Pretrain.model_fields)


def test_unknown_names_are_looked_for_in_the_parameter_cells_only():
    """Fault 44; and running the check again, with variables of one's own about, works."""
    cell = parameters_cell("pretrain")
    assert Pretrain.from_namespace(Namespace(cell, "my_figure = 3\nimport os", "x = 1")) == Pretrain()
    for wrong in (Namespace(cell + "\ntemprature = 0.2"), Namespace(cell, "# Parameters\ntemprature = 0.2")):
        with pytest.raises(ParamError, match='temprature: a known parameter; got 0.2.*Did you mean "temperature"'):
            Pretrain.from_namespace(wrong)
    corrected = Namespace(cell + "\ntemprature = 0.2", cell.replace("temperature = 0.1", "temperature = 0.2"))
    assert Pretrain.from_namespace(corrected).temperature == 0.2


@pytest.mark.parametrize("file", sorted((ROOT / "params" / "pretrain").glob("*.yaml")), ids=lambda f: f.name)
def test_every_recipe_is_accepted_and_opens_with_its_command(file):
    params = Pretrain.from_yaml(file)
    head = [line for line in file.read_text().split("\n") if line.startswith("#")]
    assert f"papermill notebooks/pretrain.ipynb out.ipynb -f params/pretrain/{file.name}" in "\n".join(head)
    assert any("Needs:" in line and "Takes:" in line for line in head)
    if "table1" in file.name:
        assert (params.batch_size, params.epochs, params.lr, params.weight_decay) == (256, 1000, 0.05, 1e-4)
        assert (params.schedule, params.lr_decay_epochs, params.lr_decay_rate) == ("step", [700, 800, 900], 0.1)
    if "table3" in file.name:
        assert (params.batch_size, params.epochs, params.lr, params.weight_decay) == (256, 500, 0.2, 1e-4)
        assert (params.schedule, params.lr_decay_epochs, params.lr_decay_rate) == ("step", [350, 400, 450], 0.1)
    if file.name == "quick.yaml":
        assert params == Pretrain()


@pytest.mark.parametrize(("model", "values", "hint"), [
    (Ablation, {"axes": "{mixer: [mixup]}"}, '-y "axes: {mixer: [mixup]}".'),
    (Ablation, {"seeds": 3}, '-y "seeds: [3]"'), (LinearEval, {"probes": "lbfgs"}, '-y "probes: [lbfgs]"'),
    (LinearEval, {"knn_k": "5,20"}, '-y "knn_k: [5,20]"')])
def test_what_papermill_takes_as_text_is_answered_with_its_y(model, values, hint):
    with pytest.raises(ParamError) as refused:
        model.check(**values)
    assert hint in str(refused.value)
