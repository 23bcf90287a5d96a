"""Views against torchvision's functions applied to one image at a time, and the laws of their draws."""

from dataclasses import FrozenInstanceError, replace
from itertools import permutations

import numpy as np
import pytest
import torch
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from mixlab.errors import DataError, ParamError
from mixlab.rng import Key
from mixlab.views import RECIPES, Batch, Recipe, apply_views, draw, draw_views, pack, plain

KEY = Key(7, "test/view")
AS_IS = dict(mean=(0, 0, 0), std=(1, 1, 1))  # leaves out the normalisation
STILL = dict(crop_scale=(1, 1), flip_prob=0, jitter_prob=0, grey_prob=0, **AS_IS)
WRONG = {
    "size": (0, "32", True),
    "crop_scale": ((0, 1), (0.5, 0.2), (0.2, 1.1), 0.2),
    "crop_ratio": ((0.0, 1.0),),
    "crop_padding": (-1, 2.0),
    "flip_prob": (1.5, "0.8", float("nan"), None, -0.1),
    "jitter": ((0.4, 0.4, 0.4), (0.4, 0.4, 0.4, 0.6), (-0.4, 0.4, 0.4, 0.1)),
    "blur_sigma": ((0, 2),),
    "mean": ((0.5, 0.5),),
    "std": ((0.2, 0.2, 0),),
}
JITTER = F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue


def images(batch, height=32, width=32, seed=0):
    """Photo-like uint8 images: smooth colours, some noise, and the extremes 0 and 255."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.uniform(-80, 335, (batch, 3, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
    noisy = smooth + torch.from_numpy(rng.normal(0, 12, smooth.shape))
    return noisy.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def one_by_one(pixels, draws, recipe):
    """The same views from torchvision's functions, image after image, in float32."""
    return torch.stack([by_torchvision(p, draws, i, recipe) for i, p in enumerate(pixels)])


def by_torchvision(pixels, draws, i, recipe):
    size, shrinks = [recipe.size, recipe.size], max(pixels.shape[:2]) > recipe.size
    top, left, height, width, shift_y, shift_x = (int(column[i]) for column in draws[:6])
    x = pixels.permute(2, 0, 1).float() / 255
    x = F.resized_crop(x, top, left, height, width, size, antialias=shrinks)
    x = F.pad(x, [recipe.crop_padding])
    x = F.crop(x, recipe.crop_padding + shift_y, recipe.crop_padding + shift_x, *size)
    x = F.horizontal_flip(x) if draws.flip[i] else x
    for operation in draws.order[i]:
        x = JITTER[operation](x, float(draws.factors[i, operation]))
    x = F.rgb_to_grayscale(x, 3) if draws.grey[i] else x
    x = F.gaussian_blur(x, [recipe.blur_kernel] * 2, [float(draws.sigma[i])] * 2) if draws.sigma[i] else x
    x = F.solarize(x, 0.5) if draws.solarise[i] else x
    return F.normalize(x, recipe.mean, recipe.std)


def assert_agrees(recipe, batch, height=32, width=32, tolerance=2e-6, key=KEY):
    pixels, draws = images(batch, height, width), draw(recipe, key, batch, height, width)
    ours, theirs = draw_views(pixels, recipe, key), one_by_one(pixels, draws, recipe)
    assert ours.dtype == torch.float32 and ours.shape == (batch, 3, recipe.size, recipe.size)
    assert (ours - theirs).abs().max() <= tolerance
    return draws


def test_contrast_recipe_agrees_with_torchvision_for_all_orders():
    draws = assert_agrees(Recipe(**AS_IS), 400)
    orders = {tuple(order) for order in draws.order[draws.factors[:, 0] != 1]}
    assert orders == set(permutations(range(4)))
    assert draws.flip.any() and draws.grey.any() and not draws.grey.all()


def test_strong_jitter_agrees_with_torchvision():
    """Factors up to 2.5 in a row enlarge rounding about eightfold, in torchvision's float32 as much as in ours."""
    assert_agrees(Recipe(jitter=(1.5, 1.5, 1.5, 0.5), jitter_prob=1, **AS_IS), 240, tolerance=2e-5)


def test_normalised_views_agree_with_torchvision():
    assert_agrees(Recipe(), 32, tolerance=2e-6 / min(Recipe().std))


@pytest.mark.parametrize("size", [32, 24, 37])
@pytest.mark.parametrize("height, width", [(32, 32), (24, 17), (9, 32)])
def test_crops_of_small_images_agree_with_plain_bilinear(size, height, width):
    if max(height, width) <= size:
        assert_agrees(Recipe(size=size, crop_scale=(0.05, 1), jitter_prob=0, **AS_IS), 64, height, width)


@pytest.mark.parametrize("height, width", [(64, 64), (97, 61), (48, 32), (20, 50), (150, 200)])
def test_crops_of_large_images_agree_with_antialiased(height, width):
    recipe = Recipe(crop_scale=(0.05, 1), jitter_prob=0, **AS_IS)
    draws = assert_agrees(recipe, 64, height, width)
    sides = np.concatenate([draws.height, draws.width])
    assert sides.max() > 32 or max(height, width) == 50


def test_upscaling_is_the_same_in_both_forms_of_the_weights():
    recipe = Recipe(crop_scale=(0.05, 0.2), jitter_prob=0, **AS_IS)
    small = images(32)
    large = torch.zeros(32, 40, 40, 3, dtype=torch.uint8)
    large[:, :32, :32] = small
    values = torch.from_numpy(pack(draw(recipe, KEY, 32, 32, 32)))
    assert (apply_views(small, values, recipe) - apply_views(large, values, recipe)).abs().max() < 2e-6


@pytest.mark.parametrize("height, width, padding", [(32, 32, 4), (32, 32, 40), (64, 64, 4), (24, 30, 3)])
def test_weak_recipe_agrees_with_pad_and_crop(height, width, padding):
    recipe = replace(RECIPES["weak"], crop_padding=padding, **AS_IS)
    draws = assert_agrees(recipe, 96, height, width)
    shifts = np.array([draws.shift_y, draws.shift_x])
    assert -padding <= shifts.min() < 0 < shifts.max() <= padding
    assert padding > 4 or set(shifts.ravel()) == set(range(-padding, padding + 1))


def test_weak_recipe_moves_pixels_and_changes_none():
    pixels = images(20)
    recipe = replace(RECIPES["weak"], **AS_IS)
    draws, views = draw(recipe, KEY, 20, 32, 32), draw_views(pixels, recipe, KEY)
    for i in np.flatnonzero(~draws.flip):
        padded = torch.nn.functional.pad(pixels[i].permute(2, 0, 1).float() / 255, (4, 4, 4, 4))
        y, x = 4 + draws.shift_y[i], 4 + draws.shift_x[i]
        assert torch.equal(views[i], padded[:, y : y + 32, x : x + 32])


@pytest.mark.parametrize("size", [32, 48])
def test_blur_and_solarise_agree_with_torchvision(size):
    recipe = Recipe(size=size, blur_prob=0.6, solarise_prob=0.5, **AS_IS)
    draws = assert_agrees(recipe, 96)
    assert [Recipe(size=size).blur_kernel for size in (8, 32, 48, 224)] == [3, 3, 5, 23]
    assert 0 < (draws.sigma > 0).sum() < 96 and 0 < draws.solarise.sum() < 96


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("batch", [1, 2, 3, 5, 64])
def test_every_recipe_agrees_for_every_batch_size(name, batch):
    assert_agrees(replace(RECIPES[name], **AS_IS), batch)


def test_batches_of_several_blocks_equal_one_block():
    pixels, recipe = images(300), RECIPES["contrast"]
    values = torch.from_numpy(pack(draw(recipe, KEY, 300, 32, 32)))
    assert torch.allclose(draw_views(pixels, recipe, KEY), apply_views(pixels, values, recipe), atol=1e-5)


def test_a_view_does_not_depend_on_the_other_images():
    pixels, recipe = images(16), RECIPES["byol_2"]
    values = torch.from_numpy(pack(draw(recipe, KEY, 16, 32, 32)))
    alone = apply_views(pixels[5:6], values[5:6], recipe)
    assert torch.allclose(apply_views(pixels, values, recipe)[5:6], alone, atol=1e-5)


def test_same_key_same_views_and_pixels_stay():
    pixels = images(8)
    before = pixels.clone()
    first, again = (draw_views(pixels, RECIPES["contrast"], KEY) for _ in range(2))
    assert torch.equal(first, again) and torch.equal(pixels, before)
    draw_views(pixels, Recipe(crop_scale=(1, 1), flip_prob=0, solarise_prob=1), KEY)  # nothing moves: no crop is made
    assert torch.equal(pixels, before)
    for other in (KEY.child("second"), Key(8, KEY.role), Key(7, KEY.role, step=1)):
        assert not torch.equal(first, draw_views(pixels, RECIPES["contrast"], other))


def test_full_flip_mirrors_exactly():
    pixels = images(6)
    views = draw_views(pixels, Recipe(**STILL | {"flip_prob": 1}), KEY)
    assert torch.equal(views, (pixels.permute(0, 3, 1, 2).float() / 255).flip(3))


@pytest.mark.parametrize("value", [0, 1, 127, 255])
def test_constant_images_stay_finite_and_constant(value):
    pixels = torch.full((24, 32, 32, 3), value, dtype=torch.uint8)
    views = draw_views(pixels, Recipe(blur_prob=0.5, **AS_IS), KEY)
    assert torch.isfinite(views).all() and (views >= 0).all() and (views <= 1.000001).all()
    assert (views.amax((2, 3)) - views.amin((2, 3))).max() < 1e-6


def test_orders_are_uniform_and_independent_between_views():
    """Chi-square over the 24 orders and over the 16 pairs of hue positions; bounds at about 1e-6."""
    orders = [draw(Recipe(), KEY.child(view), 24_000, 32, 32).order for view in ("0", "1")]
    for order in orders:
        counts = np.unique(order @ [64, 16, 4, 1], return_counts=True)[1]
        assert len(counts) == 24 and ((counts - 1000) ** 2 / 1000).sum() < 75
    places = [(order == 3).argmax(1) for order in orders]
    pairs = np.bincount(4 * places[0] + places[1], minlength=16)
    assert ((pairs - 1500) ** 2 / 1500).sum() < 60


def test_probabilities_and_ranges_are_those_of_the_recipe():
    recipe = Recipe(flip_prob=0.3, grey_prob=0.1, blur_prob=0.6, solarise_prob=0.4, jitter=(0.4, 0.2, 2.0, 0.1))
    draws = draw(recipe, KEY, 20_000, 32, 32)
    jittered = draws.factors[draws.factors[:, 0] != 1]
    seen = [c.mean() for c in (draws.flip, draws.grey, draws.sigma > 0, draws.solarise)] + [len(jittered) / 20_000]
    assert np.allclose(seen, [0.3, 0.1, 0.6, 0.4, 0.8], atol=0.02)
    assert np.allclose(jittered.min(0), [0.6, 0.8, 0.0, -0.1], atol=0.01)
    assert np.allclose(jittered.max(0), [1.4, 1.2, 3.0, 0.1], atol=0.01)
    assert np.allclose(np.corrcoef(draws.flip, draws.grey)[0, 1], 0, atol=0.03)


@pytest.mark.parametrize("height, width, scale", [(32, 32, (0.2, 1)), (20, 48, (0.5, 1)), (48, 20, (0.08, 1))])
def test_boxes_are_distributed_as_torchvisions(height, width, scale):
    """Two-sample Kolmogorov-Smirnov distance of every coordinate, and of height x width."""
    recipe, image = Recipe(crop_scale=scale), torch.empty(3, height, width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        theirs = np.array([RandomResizedCrop.get_params(image, scale, recipe.crop_ratio) for _ in range(3000)]).T
    ours = np.array(draw(recipe, KEY, 3000, height, width)[:4]).astype(int)
    for a, b in zip([*theirs, theirs[2] * theirs[3]], [*ours, ours[2] * ours[3]], strict=True):
        steps = np.union1d(a, b)
        distance = [np.mean(a <= step) - np.mean(b <= step) for step in steps]
        assert np.abs(distance).max() < 0.06  # at 3000 each, chance exceeds 0.06 once in about 20,000
    assert (ours[0] + ours[2] <= height).all() and (ours[1] + ours[3] <= width).all() and (ours >= 0).all()


@pytest.mark.parametrize("height, width", [(8, 100), (100, 8), (1, 30)])
def test_impossible_crops_fall_back_to_the_centre(height, width):
    draws = draw(Recipe(crop_scale=(0.9, 1)), KEY, 5, height, width)
    with torch.random.fork_rng(devices=[]):
        theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), (0.9, 1), (3 / 4, 4 / 3))
    assert {tuple(int(v) for v in box) for box in zip(*draws[:4], strict=True)} == {theirs}


def test_plain_images_are_only_normalised():
    pixels, recipe = images(5), RECIPES["contrast"]
    expected = F.normalize(pixels.permute(0, 3, 1, 2).float() / 255, recipe.mean, recipe.std)
    assert torch.equal(plain(pixels), expected)
    assert torch.equal(plain(pixels, recipe), draw_views(pixels, RECIPES["plain"], KEY))


def test_plain_cuts_and_resizes_other_sizes():
    pixels = images(3, 48, 65)
    recipe = Recipe(size=24, **AS_IS)
    square = pixels[:, :, 8:56].permute(0, 3, 1, 2).float() / 255
    assert (plain(pixels, recipe) - F.resize(square, [24, 24], antialias=True)).abs().max() < 2e-6


def test_recipes_are_those_of_the_papers():
    assert RECIPES["contrast"] == Recipe() and set(RECIPES) == {"contrast", "weak", "plain", "byol_1", "byol_2"}
    assert RECIPES["byol_1"].solarise_prob == 0 and RECIPES["byol_2"].solarise_prob == 0.2
    assert all(recipe.blur_prob == 0 for recipe in RECIPES.values())


@pytest.mark.parametrize("field, value", [(field, value) for field, values in WRONG.items() for value in values])
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ParamError, match=rf"^{field}: .*; got .*\({type(value).__name__}\)\.$"):
        Recipe(**{field: value})


def test_all_wrong_fields_are_named_at_once():
    with pytest.raises(ParamError) as caught:
        Recipe(size=3, flip_prob=2)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["size", "flip_prob"]


def test_lists_become_tuples_and_recipes_stay_as_made():
    recipe = Recipe(crop_scale=[0.2, 1.0], jitter=[0.4, 0.4, 0.4, 0.1])
    assert recipe == Recipe() and hash(recipe) == hash(Recipe())
    with pytest.raises(FrozenInstanceError):
        recipe.size = 64


@pytest.mark.parametrize(
    "pixels",
    [torch.zeros(2, 32, 32, 3), torch.zeros(2, 3, 32, 32).byte(), torch.zeros(0, 32, 32, 3).byte(), np.zeros(3)],
)
def test_other_pixels_are_refused(pixels):
    with pytest.raises(DataError, match="^pixels: "):
        draw_views(pixels, Recipe(), KEY)


def test_autocast_outside_changes_nothing():
    pixels = images(4)
    expected = draw_views(pixels, Recipe(blur_prob=1), KEY)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(draw_views(pixels, Recipe(blur_prob=1), KEY), expected)


def test_batch_record_holds_what_it_is_given():
    views = (torch.zeros(2, 3, 8, 8),)
    batch = Batch(views=views, labels=None, index=torch.arange(2), key=KEY, epoch=3, progress=0.5)
    assert batch.views is views and batch.key == KEY and (batch.epoch, batch.progress) == (3, 0.5)


def test_views_are_one_graph_for_all_draws_of_a_shape():
    """What compiling needs, without the minutes of compiling: the slow test below compares compiled values."""
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph.forward

    captured = torch.compile(apply_views, dynamic=False, fullgraph=True, backend=keep)
    for number in range(3):
        pixels, key = images(4, seed=number), Key(number, "captured")
        assert torch.equal(draw_views(pixels, Recipe(), key, captured), draw_views(pixels, Recipe(), key))
    assert len(graphs) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe, batch, height",
    [(Recipe(**AS_IS), 8, 32), (Recipe(blur_prob=0.5, solarise_prob=0.5, crop_padding=2, **AS_IS), 5, 40)],
)
def test_compiled_views_equal_eager(recipe, batch, height):
    """In one graph, so nothing in it waits for the device."""
    compiled = torch.compile(apply_views, dynamic=False, fullgraph=True)
    pixels = images(batch, height, 32)
    for step in range(2):
        key = replace(KEY, step=step)
        eager = draw_views(pixels, recipe, key)
        assert (draw_views(pixels, recipe, key, apply=compiled) - eager).abs().max() < 2e-6
