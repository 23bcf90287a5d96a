"""Encoders: shapes, stems, and mixing at a hidden layer."""

import pytest
import torch
from torchvision.models import resnet18

from mixlab.encoders import ENCODERS, Encoder
from mixlab.errors import ParamError
from mixlab.heads import layout, projector, rebuild
from mixlab.mixers import MIXERS
from mixlab.rng import Key


@pytest.fixture(scope="module")
def images():
    return torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ENCODERS)
def test_features_and_maps_have_their_shapes(name, images):
    encoder = Encoder(name).eval()
    width = encoder.dim // 8
    with torch.no_grad():
        maps = encoder.feature_maps(images[:2])
        assert {k: tuple(m.shape[1:]) for k, m in maps.items()} == {
            k: (width * 2 ** (k - 1), 2 ** (6 - k), 2 ** (6 - k)) for k in (1, 2, 3, 4)}
        torch.testing.assert_close(encoder(images[:2]), maps[4].mean((2, 3)))


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize(("name", "widths"), [("resnet10", (24, 48, 96, 192)), ("resnet50", (96, 192, 384, 768))])
def test_the_first_width_scales_every_layer(name, widths, stem, images):
    """dim is 8 x width, of bottlenecks 32 x width; every other number of channels scales likewise."""
    encoder, usual = Encoder(name, stem, 24).eval(), Encoder(name, stem)
    assert encoder.widths == widths and encoder.dim == widths[-1] and usual.dim == widths[-1] // 3 * 8
    with torch.no_grad():
        assert encoder(images[:1]).shape == (1, encoder.dim)
        assert tuple(m.shape[1] for m in encoder.feature_maps(images[:1]).values()) == widths
    for (key, ours), other in zip(encoder.state_dict().items(), usual.state_dict().values(), strict=True):
        wanted = [n if n in (1, 3, 7) and i else n * 3 // 8 if n > 3 else n for i, n in enumerate(other.shape)]
        assert list(ours.shape) == wanted or key in ("mean", "std"), key


def test_width_64_draws_the_weights_that_torchvision_draws():
    torch.manual_seed(3)
    theirs = resnet18()
    torch.manual_seed(3)
    ours = Encoder("resnet18", "imagenet")
    assert torch.equal(ours.layers[3][1].conv2.weight, theirs.layer4[1].conv2.weight)
    assert torch.equal(ours.stem[0].weight, theirs.conv1.weight)


def test_narrow_convolutions_start_with_the_variance_of_wide_ones():
    """Normal, variance 2 / (k k channels out), as He et al. 2015."""
    torch.manual_seed(0)
    for stem, conv in (("imagenet", lambda e: e.stem[0]), ("cifar", lambda e: e.layers[3][0].conv1)):
        weight = conv(Encoder("resnet10", stem, 32)).weight
        wanted = 2 / (weight.shape[0] * weight[0, 0].numel())
        assert weight.var().item() == pytest.approx(wanted, rel=0.1)


@pytest.mark.parametrize("width", [7, 257, 16.0, True, "16"])
def test_a_width_out_of_range_is_refused(width):
    with pytest.raises(ParamError, match=r"width: a whole number in 8\.\.256; got"):
        Encoder("resnet10", width=width)


def test_both_ways_to_run_an_encoder_are_compiled(images):
    encoder, graphs = Encoder("resnet10").eval(), []
    expected = encoder(images), encoder.feature_maps(images, (2, 4))
    encoder.compile(backend=lambda graph, inputs: graphs.append(graph) or graph)
    assert torch.equal(encoder(images), expected[0]) and len(graphs) == 1
    maps = encoder.feature_maps(images, (2, 4))
    assert len(graphs) == 2 and all(torch.equal(maps[layer], expected[1][layer]) for layer in (2, 4))


def test_the_ordinary_stem_is_torchvisions_resnet():
    theirs, ours = resnet18().eval(), Encoder("resnet18", "imagenet").eval()
    theirs.fc = torch.nn.Identity()
    renamed = {k.replace("layers.", "layer") if k.startswith("layers") else k: v for k, v in ours.state_dict().items()}
    names = {"stem.0": "conv1", "stem.1": "bn1", "layer0": "layer1", "layer1": "layer2", "layer2": "layer3",
             "layer3": "layer4"}
    state = {}
    for key, value in renamed.items():
        for ours_prefix, theirs_prefix in names.items():
            if key.startswith(ours_prefix + "."):
                state[theirs_prefix + key[len(ours_prefix):]] = value
                break
    theirs.load_state_dict(state)
    pictures = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(theirs(pictures), ours(pictures))


def test_resnet18_has_the_published_size():
    count = sum(p.numel() for p in Encoder("resnet18").parameters())
    assert count == 11_168_832  # 11,689,512 of torchvision's, less 513,000 of fc and 7,680 of the 7x7 stem


@pytest.mark.parametrize("layer", [1, 2, 3, 4])
def test_mixing_at_a_layer_is_mixing_its_maps(images, layer):
    encoder = Encoder("resnet10").eval()
    draw = MIXERS["manifold"](layers=(layer,)).draw(images, images, Key(1))
    with torch.no_grad():
        both = encoder.feature_maps(images, (layer,))[layer]
        wanted = draw.apply(both, both)
        for deeper in encoder.layers[layer:]:
            wanted = deeper(wanted)
        torch.testing.assert_close(encoder(images, others=images, draw=draw), wanted.mean((2, 3)))


def test_pixels_are_mixed_before_the_stem(images):
    encoder = Encoder("resnet10").eval()
    draw = MIXERS["cutmix"]().draw(images, images, Key(1))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images, others=images, draw=draw), encoder(draw.apply(images, images)))


def test_unknown_names_are_refused():
    with pytest.raises(ParamError, match='Did you mean "resnet18"'):
        Encoder("resnet-18")
    with pytest.raises(ParamError, match="stem: one of cifar, imagenet"):
        Encoder("resnet18", "cirar")


@pytest.mark.parametrize(("depth", "batchnorm", "linear", "norms"),
                         [(1, False, 1, 0), (2, False, 2, 0), (3, True, 3, 2)])
def test_projectors(depth, batchnorm, linear, norms):
    head = projector(16, 32, 8, depth=depth, batchnorm=batchnorm)
    kinds = [type(m).__name__ for m in head]
    assert head(torch.randn(5, 16)).shape == (5, 8)
    assert (kinds.count("Linear"), kinds.count("BatchNorm1d")) == (linear, norms)
    assert len({id(m) for m in head}) == len(kinds)
    again = rebuild(layout(head)) if depth > 1 else head
    again.load_state_dict(head.state_dict())
    torch.testing.assert_close(again.eval()(torch.ones(5, 16)), head.eval()(torch.ones(5, 16)))
