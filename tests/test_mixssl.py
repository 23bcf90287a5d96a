"""The mix-ssl family: losses against slow loops, queue and momentum by hand, region features, who pairs with whom."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_methods import SMALL, TinyEncoder, build, make_batch
from torch import nn

from mixlab.encoders import Encoder
from mixlab.errors import ParamError
from mixlab.heads import layout, projector, rebuild
from mixlab.losses import contrastive, cosine_distance, info_nce, pair_contrast, soft_info_nce
from mixlab.methods import METHODS, unmix_bases
from mixlab.mixers import MIXERS, CutMix, Mixup, Pick, ResizeMix, SmoothMix
from mixlab.momentum import KeyBranch, Queue, SplitBatchNorm2d, follow, rising, with_batchnorm
from mixlab.regions import RegionHead, has_two_regions, region_means
from mixlab.rng import Key
from mixlab.views import Batch


def numbers(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(a, b):
    a, b = a.tolist(), b.tolist()
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


# Losses against slow loops


def slow_nce(q, k, negatives, t):
    loss = []
    for i in range(len(q)):
        positive = math.exp(cosine(q[i], k[i]) / t)
        loss.append(-math.log(positive / (positive + sum(math.exp(cosine(q[i], n) / t) for n in negatives))))
    return torch.tensor(loss, dtype=torch.float64)


def test_info_nce_is_its_formula():
    q, k, negatives = numbers(0, 5, 4), numbers(1, 5, 4), numbers(2, 7, 4)
    torch.testing.assert_close(info_nce(q, k, negatives, 0.2), slow_nce(q, k, negatives, 0.2))


def test_soft_info_nce_is_its_formula_and_info_nce_where_targets_are_hard():
    q, k, negatives, t = numbers(0, 3, 4), numbers(1, 5, 4), numbers(2, 7, 4), 0.3
    targets = numbers(3, 3, 5).softmax(1)
    for i, value in enumerate(soft_info_nce(q, k, negatives, targets, t)):
        total = sum(math.exp(cosine(q[i], key) / t) for key in [*k, *negatives])
        slow = -sum(targets[i, j].item() * math.log(math.exp(cosine(q[i], k[j]) / t) / total) for j in range(5))
        assert value.item() == pytest.approx(slow, rel=1e-9)
    hard = soft_info_nce(q, k[:3], negatives, torch.eye(3, dtype=torch.float64), t)
    others = [torch.cat([k[:3][torch.arange(3) != i], negatives]) for i in range(3)]
    expected = [info_nce(q[i:i + 1], k[i:i + 1], others[i], t) for i in range(3)]
    torch.testing.assert_close(hard, torch.cat(expected))


@pytest.mark.parametrize("ids", [(0, 1, 2, 3, 4), (0, 1, 0, 2, 0), (3, 3, 3, 3, 3)])
def test_pair_contrast_is_its_formula_and_its_mean_the_streamed_loss(ids):
    z, t, ids = numbers(0, 10, 4), 0.4, torch.tensor(ids)
    rows = []
    for i in range(10):
        total = sum(math.exp(cosine(z[i], z[a]) / t) for a in range(10) if a != i)
        alike = [p for p in range(10) if p != i and ids[p % 5] == ids[i % 5]]
        rows.append(-sum(math.log(math.exp(cosine(z[i], z[p]) / t) / total) for p in alike) / len(alike))
    got = pair_contrast(z[:5], z[5:], ids, t)
    assert got.tolist() == pytest.approx([(a + b) / 2 for a, b in zip(rows[:5], rows[5:], strict=True)], rel=1e-9)
    torch.testing.assert_close(got.mean(), contrastive(z, ids.repeat(2), t)["loss"])


def test_pair_contrast_has_a_finite_gradient():
    z = numbers(0, 6, 3).requires_grad_()
    pair_contrast(z[:3], z[3:], torch.arange(3), 0.1).sum().backward()
    assert torch.isfinite(z.grad).all()


def test_cosine_distance_is_its_formula():
    p, z = numbers(0, 5, 4), numbers(1, 5, 4)
    expected = [2 - 2 * cosine(a, b) for a, b in zip(p, z, strict=True)]
    assert cosine_distance(p, z).tolist() == pytest.approx(expected)
    squared = (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1)
    torch.testing.assert_close(cosine_distance(p, z), squared)


@pytest.mark.parametrize("loss", [info_nce, lambda q, k, n, t: soft_info_nce(q, k, n, torch.eye(4), t)])
def test_losses_of_pairs_stay_in_fp32_under_autocast(loss):
    q, k, negatives = (numbers(s, 4, 8).float() for s in range(3))
    with torch.autocast("cpu", torch.bfloat16):
        got = loss(q, k, negatives, 0.1)
    torch.testing.assert_close(got, loss(q, k, negatives, 0.1), rtol=0, atol=0)


# The losses of the methods, written again as loops over samples


def forwards(method, batch):
    """Query and key features of both clean views, in the order in which the method makes them."""
    x1, x2 = batch.views
    return method.projector(method.encoder(x1)), method.projector(method.encoder(x2)), method.key_branch(x2, batch.key)


def slow_mixed(q, k, lam, queue, t, reverse):
    """lam L(q_i, k_i) + (1 - lam) L(q_{B-1-i}, k_i), the mixture B-1-i having the share lam of image B-1-i."""
    own, total = slow_nce(q, k, queue, t), 0
    other = slow_nce(q.flip(0), k, queue, t)
    for i in range(len(q)):
        total += lam[i] * own[i] + reverse * (1 - lam[len(q) - 1 - i]) * other[i]
    return total / len(q)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("branches", ["one", "both"])
def test_moco_mix_is_its_formula(branches, reverse):
    method = build({"method": "moco_mix", "mixer": "cutmix"})
    method.mix_branches, method.reverse = branches, reverse
    batch = make_batch(method)
    (x1, x2), queue = batch.views, method.queue.keys
    q, _, k = forwards(method, batch)
    draw = method.mixer.draw(x1, x1, batch.key.child("1").child("mixer"), partner="reverse")
    assert draw.partner.tolist() == [5, 4, 3, 2, 1, 0]
    qm = method.projector(method.encoder(draw.apply(x1, x1)))
    km = method.key_branch(draw.apply(x2, x2), batch.key) if branches == "both" else k
    expected = slow_nce(q, k, queue, 0.1).mean() + slow_mixed(qm, km, draw.lam.double(), queue, 0.1, reverse)
    assert method(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("globally", [0.0, 1.0])
@pytest.mark.parametrize("base", ["moco", "simclr", "byol", "simsiam"])
def test_unmix_is_its_formula(base, globally, symmetric):
    """With both directions the sum of the two, or, for simclr and simsiam, their mean."""
    taken = {k: v for k, v in SMALL.items() if k in inspect.signature(METHODS["unmix"]).parameters}
    with torch.random.fork_rng():
        method = METHODS["unmix"](TinyEncoder(), CutMix(), base=base, global_prob=globally, symmetric=symmetric,
                                  **taken)
    batch = make_batch(method)
    both = zip("12", (batch.views, batch.views[::-1]), strict=True)
    expected = [unmix_direction(method, *views, batch.key.child(n), globally) for n, views in both][:1 + symmetric]
    expected = sum(expected) / (len(expected) if base in ("simclr", "simsiam") else 1)
    assert method(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def unmix_direction(method, x1, x2, key, globally):
    """L(q, k) + lam L(qm, k) + (1 - lam) L(qm reversed, k), image by image, with mixtures of x1 and keys of x2."""
    base = method.base
    draw = (Mixup() if globally else CutMix()).draw(x1, x1, key.child("mixer"), partner="reverse")
    encode = nn.Sequential(method.encoder, method.projector, method.predictor)
    clean = encode(torch.cat([x1, x2])).chunk(2) if base == "simclr" else (encode(x1),)  # BatchNorm sees both views
    q, qm = clean[0], encode(draw.apply(x1, x1))
    k = {"simclr": lambda: clean[1], "simsiam": lambda: method.projector(method.encoder(x2))}.get(
        base, lambda: method.key_branch(x2, key))()
    match = {"moco": lambda a: slow_nce(a, k, method.queue.keys if base == "moco" else (), 0.1),
             "simclr": lambda a: pair_contrast(a, k, torch.arange(6), 0.5),  # its own temperature
             "byol": lambda a: cosine_distance(a, k), "simsiam": lambda a: cosine_distance(a, k) / 2}[base]
    lam, own, other = draw.lam, match(qm), match(qm.flip(0))
    mixed = sum(lam[i] * own[i] + (1 - lam[5 - i]) * other[i] for i in range(6)) / 6
    return match(q).mean() + mixed


def test_flipping_embeddings_is_pairing_with_the_partners_keys():
    q, k, queue, lam = numbers(0, 5, 4), numbers(1, 5, 4), numbers(2, 7, 4), numbers(3, 5).sigmoid()
    flipped = ((1 - lam).flip(0) * info_nce(q.flip(0), k, queue, 0.2)).mean()
    torch.testing.assert_close(flipped, ((1 - lam) * info_nce(q, k.flip(0), queue, 0.2)).mean())


@pytest.mark.parametrize("weight", [0.3, "area"])
def test_regions_between_is_equation_7(weight):
    method = build({"method": "regions_between", "mixer": "cutmix"})
    method.region_weight = weight
    batch = make_batch(method)
    x1, x2 = batch.views
    draw = method.mixer.draw(x1, x2, batch.key.child("mixer"), partner="same")
    q, _, k = forwards(method, batch)
    qm = method.projector(method.encoder(draw.apply(x1, x2)))
    pool = [method.encoder, method.key_branch.encoder]
    maps = [e.feature_maps(draw.apply(a, b), (4,))[4] for e, a, b in zip(pool, (x1, x2), (x2, x1), strict=True)]
    q_g, q_l = method.region_head(maps[0], draw)
    k_g, k_l = method.key_region_head(maps[1], draw)
    original, queue_g, queue_l = (method.queues[name].keys for name in ("original", "G", "L"))
    w = draw.lam if weight == "area" else torch.full((6,), weight)
    regions = slow_nce(q_l, k_g, queue_g, 0.1) + slow_nce(q_l, k_l, queue_l, 0.1) + slow_nce(q_g, k_g, queue_g, 0.1)
    expected = slow_nce(q, k, original, 0.1) + w * slow_nce(qm, k, original, 0.1) + (1 - w) * regions
    assert has_two_regions(draw).all()
    assert method(batch)["loss"].item() == pytest.approx(expected.mean().item(), rel=1e-4)


@pytest.mark.parametrize("weight", [0.3, "area"])
@pytest.mark.parametrize("profile", ["paper_fixed", "as_released"])
def test_regions_within_is_equation_8(profile, weight):
    method = region_method("regions_within", profile=profile, region_weight=weight)
    batch = make_batch(method)
    (x1, x2), fixed = batch.views, profile == "paper_fixed"
    draw = key_draw = method.mixer.draw(x1, x1, batch.key.child("mixer"), partner="reverse")
    if not fixed:
        key_draw = method.mixer.draw(x2, x2, batch.key.child("mixer of keys"), partner="reverse")
    q, _, k = forwards(method, batch)
    qm = method.projector(method.encoder(draw.apply(x1, x1)))
    q_g, q_l = method.region_head(method.encoder.feature_maps(draw.apply(x1, x1), (4,))[4], draw)
    key_map = method.key_branch.encoder.feature_maps(key_draw.apply(x2, x2), (4,))[4]
    k_g, k_l = (method.key_region_head if fixed else method.region_head)(key_map, key_draw)
    queues = {name: queue.keys for name, queue in method.queues.items()}
    assert list(queues) == (["original", "G", "L"] if fixed else ["original", "L"])
    assert (has_two_regions(draw) * has_two_regions(key_draw)).all()

    def term(queries, keys, name):
        return slow_nce(queries, keys, queues[name], 0.1)

    gg_key, gg = (k_g, "G") if fixed else (k, "original")
    back_g, back_l = (q_l, q_g) if fixed else (q_g, q_l)
    total = 0
    for i in range(6):
        w, w_back = (draw.lam[i], 1 - draw.lam[5 - i]) if weight == "area" else (weight, 1 - weight)
        here, there = slice(i, i + 1), slice(5 - i, 6 - i)
        ahead = (term(qm[here], k[here], "original") + term(q_g[here], gg_key[here], gg)
                 + term(q_l[here], k_l[here], "L"))
        back = (term(qm[there], k[here], "original") + term(back_g[there], gg_key[here], gg)
                + term(back_l[there], k_l[here], "L"))
        total += (term(q[here], k[here], "original") + w * ahead + w_back * back).item() / 6
    assert method(batch)["loss"].item() == pytest.approx(total, rel=1e-4)


def region_method(name, **arguments):
    taken = {k: v for k, v in SMALL.items() if k in inspect.signature(METHODS[name]).parameters}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return METHODS[name](TinyEncoder(), CutMix(), **taken | arguments)


def test_byol_is_its_formula_and_simsiam_its():
    for name in ("byol", "simsiam"):
        method = build({"method": name, "mixer": "none"})
        batch = make_batch(method)
        z1, z2 = (method.projector(method.encoder(x)) for x in batch.views)
        p1, p2 = method.predictor(z1), method.predictor(z2)
        if name == "byol":
            z1, z2 = (method.key_branch(x, batch.key) for x in batch.views)
        expected = [(1 - cosine(p1[i], z2[i])) + (1 - cosine(p2[i], z1[i])) for i in range(6)]
        scale = 2 if name == "byol" else 0.5
        assert method(batch)["loss"].item() == pytest.approx(scale * sum(expected) / 6, rel=1e-4)


def test_simsiam_sends_no_gradient_through_z():
    method = build({"method": "simsiam", "mixer": "none"})
    method.predictor = nn.Identity()
    z = []
    method.projector.register_forward_hook(lambda module, inputs, out: z.append(out.retain_grad() or out))
    method(make_batch(method))["loss"].backward()
    for own, other in (z, z[::-1]):
        stopped = cosine_distance(a := own.detach().requires_grad_(), other.detach()).mean() / 4
        torch.testing.assert_close(own.grad, torch.autograd.grad(stopped, a)[0])


def test_imix_and_mixco_are_their_formulas():
    imix, mixco = (build({"method": name, "mixer": "mixup"}) for name in ("imix", "mixco"))
    batch = make_batch(imix)
    x1 = batch.views[0]
    lam = MIXERS["mixup"]().draw(x1, x1, batch.key.child("mixer")).lam
    draw = imix.mixer.draw(x1, x1, batch.key.child("mixer"), lam=np.maximum(lam.numpy(), 1 - lam.numpy()))
    assert (draw.lam >= 0.5).all() and (lam < 0.5).any()
    qm = imix.projector(imix.encoder(draw.apply(x1, x1)))
    _, _, k = forwards(imix, batch)
    targets = draw.targets(torch.arange(6), 6)
    expected = soft_info_nce(qm, k, imix.queue.keys, targets, 0.2).mean()
    assert imix(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
    q, _, k = forwards(mixco, batch)
    draw = mixco.mixer.draw(x1[:3], x1[3:], batch.key.child("mixer"), partner="same")
    qm = mixco.projector(mixco.encoder(draw.apply(x1[:3], x1[3:])))
    targets = torch.cat([torch.diag(draw.lam), torch.diag(1 - draw.lam)], dim=1)  # image i with image 3 + i
    expected = slow_nce(q, k, mixco.queue.keys, 0.1).mean()
    expected += soft_info_nce(qm, k, mixco.queue.keys, targets, 0.05).mean()
    assert mixco(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_imix_keeps_the_law_of_a_picked_mixer_that_has_its_own():
    imix = build({"method": "imix", "mixer": "pick"})
    imix.mixer = Pick((ResizeMix(), SmoothMix()))
    batch = make_batch(imix)
    x1, key = batch.views[0], batch.key.child("mixer")
    draw = imix.mixer.draw(x1, x1, key)
    qm = imix.projector(imix.encoder(draw.apply(x1, x1)))
    _, _, k = forwards(imix, batch)
    expected = soft_info_nce(qm, k, imix.queue.keys, draw.targets(torch.arange(6), 6), 0.2).mean()
    assert imix(batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_gensupcon_mixes_each_view_on_its_own_and_compares_by_cosine():
    method = build({"method": "gensupcon", "mixer": "mixup"})
    batch = make_batch(method)
    draws = [method.mixer.draw(x, x, batch.key.child(f"mixer/{i}")) for i, x in enumerate(batch.views)]
    assert not torch.equal(draws[0].lam, draws[1].lam) and not torch.equal(draws[0].partner, draws[1].partner)
    z = torch.cat([method.projector(method.encoder(d.apply(x, x))) for d, x in zip(draws, batch.views, strict=True)])
    y = F.normalize(torch.cat([d.targets(batch.labels, 3) for d in draws]), dim=1)
    log_share = (F.normalize(z, dim=1) @ F.normalize(z, dim=1).T / 0.1).fill_diagonal_(-math.inf).log_softmax(1)
    weight = (y @ y.T).fill_diagonal_(0)
    expected = -(weight * log_share.clamp(min=-1e9)).sum(1) / weight.sum(1)
    assert method(batch)["loss"].item() == pytest.approx(expected.mean().item(), rel=1e-4)


def test_supmix_is_two_supcons():
    method = build({"method": "supmix", "mixer": "mixup"})
    method.mixer = Mixup(lam_per="batch")
    batch = make_batch(method)
    x1, x2 = batch.views
    draw = method.mixer.draw(x2, x2, batch.key.child("mixer"), partner="reverse")
    z, zm = (method.projector(method.encoder(x)) for x in (x1, draw.apply(x2, x2)))
    labels, lam = batch.labels.repeat(2), draw.lam[0]
    terms = [contrastive(torch.cat([z, m]), labels, 0.1)["loss"] for m in (zm, zm.flip(0))]
    torch.testing.assert_close(method(batch)["loss"], lam * terms[0] + (1 - lam) * terms[1], rtol=1e-4, atol=1e-5)


def test_supmix_weighs_each_mixture_by_the_share_of_the_image_that_it_meets():
    method = build({"method": "supmix", "mixer": "mixup"})
    batch = make_batch(method)
    x1, x2 = batch.views
    draw = method.mixer.draw(x2, x2, batch.key.child("mixer"), partner="reverse")
    z, zm = (method.projector(method.encoder(x)) for x in (x1, draw.apply(x2, x2)))
    own, other = (pair_contrast(z, m, batch.labels, 0.1) for m in (zm, zm.flip(0)))
    terms = [draw.lam[i] * own[i] + (1 - draw.lam[5 - i]) * other[i] for i in range(6)]
    torch.testing.assert_close(method(batch)["loss"], sum(terms) / 6, rtol=1e-4, atol=1e-5)


# Queue and momentum by hand


def rows(*values):
    """Unit rows that can be told apart."""
    return F.one_hot(torch.tensor(values), 64).float()


def held(queue):
    """What each place holds: an id, or -1 where it is still the start."""
    known = queue.keys.max(1)
    return [int(i) if v == 1 else -1 for v, i in zip(known.values, known.indices, strict=True)]


@pytest.mark.parametrize(("size", "batch"), [(4, 4), (8, 4), (7, 3), (5, 4), (9, 2), (3, 3)])
def test_a_queue_is_a_ring_of_the_last_keys(size, batch):
    queue, pushed = Queue(size, 64), []
    expected = [-1] * size
    for step in range(6):
        ids = list(range(step * batch, (step + 1) * batch))
        queue.push(rows(*ids))
        for place, value in enumerate(ids, start=len(pushed)):
            expected[place % size] = value
        pushed += ids
        assert held(queue) == expected and int(queue.cursor) == len(pushed) % size
    assert sorted(held(queue)) == pushed[-size:]


def test_of_a_push_longer_than_the_queue_the_last_keys_stay():
    queue = Queue(3, 64)
    queue.push(rows(0, 1))
    queue.push(rows(2, 3, 4, 5, 6))
    assert sorted(held(queue)) == [4, 5, 6] and int(queue.cursor) == 7 % 3
    queue.push(rows(7))
    assert sorted(held(queue)) == [5, 6, 7]


def test_queues_start_as_different_unit_directions_that_no_seed_changes():
    one, same, other = Queue(5, 3, "G"), Queue(5, 3, "G"), Queue(5, 3, "L")
    assert torch.equal(one.keys, same.keys) and not torch.equal(one.keys, other.keys)
    torch.testing.assert_close(one.keys.norm(dim=1), torch.ones(5))


def test_momentum_by_hand():
    slow, fast = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        slow.weight.copy_(torch.tensor([1.0, 2.0]))
        fast.weight.copy_(torch.tensor([3.0, -2.0]))
        fast.running_mean.fill_(9)
    follow(slow, fast, 0.75)
    assert slow.weight.tolist() == [1.5, 1.0] and slow.running_mean.tolist() == [0, 0]
    follow(slow, fast, torch.tensor(0.5))
    assert slow.weight.tolist() == [2.25, -0.5]


def test_byols_momentum_rises_to_one():
    at = [rising(0.99, progress, "cpu").item() for progress in (0, 0.5, 1)]
    assert at == [pytest.approx(0.99), pytest.approx(0.995), pytest.approx(1)]
    method = build({"method": "byol", "mixer": "none"})
    batch = make_batch(method)
    late = Batch(batch.views, None, batch.index, batch.key, 1, 0.5)
    before = {k: v.clone() for k, v in method.key_branch.named_parameters()}
    with torch.no_grad():
        for p in (*method.encoder.parameters(), *method.projector.parameters()):
            p.add_(1)
    method.after_step(method(late))
    for name, p in method.key_branch.named_parameters():
        torch.testing.assert_close(p, before[name] + 0.005, rtol=0, atol=1e-6)


def test_two_symmetric_moco_steps_by_hand():
    """Queue of 16, batches of 6: keys of view 1, then of view 2, in a ring; made by the encoder as it was before."""
    method = build({"method": "moco", "mixer": "none"})
    method.symmetric = True
    start, places = method.queue.keys.clone(), []
    for step in range(2):
        batch = make_batch(method, step=step)
        state = {k: v.clone() for k, v in method.state_dict().items()}
        k1, k2 = (F.normalize(method.key_branch(x, batch.key), dim=1) for x in batch.views)
        q1, q2 = (method.projector(method.encoder(x)) for x in batch.views)
        method.load_state_dict(state)
        queue = method.queue.keys.clone()
        out = method(batch)
        expected = slow_nce(q1, k2, queue, 0.1).mean() + slow_nce(q2, k1, queue, 0.1).mean()
        assert out["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
        assert torch.equal(method.queue.keys, queue), "a key of this batch came in before the step was over"
        with torch.no_grad():
            for p in method.encoder.parameters():
                p.mul_(1.01)
        slow = [p.clone() for p in method.key_branch.encoder.parameters()]
        method.after_step(out)
        places.append(torch.cat([k1, k2]))
        for before, now, fast in zip(slow, method.key_branch.encoder.parameters(), method.encoder.parameters(),
                                     strict=True):
            torch.testing.assert_close(now, 0.99 * before + 0.01 * fast, rtol=1e-5, atol=1e-7)
    first, second = places
    torch.testing.assert_close(method.queue.keys[:8], second[4:], rtol=1e-5, atol=1e-6)  # wrapped around
    torch.testing.assert_close(method.queue.keys[8:12], first[8:], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(method.queue.keys[12:], second[:4], rtol=1e-5, atol=1e-6)
    assert int(method.queue.cursor) == 24 % 16 and not torch.equal(start, method.queue.keys)


# BatchNorm


def test_split_batchnorm_is_batchnorm_of_each_part():
    plain, x = nn.BatchNorm2d(3), numbers(0, 8, 3, 4, 4).float()
    split = SplitBatchNorm2d(plain, 4)
    parts = [x[2 * k:2 * k + 2] for k in range(4)]  # contiguous, as slices that devices would get
    expected = torch.cat([F.batch_norm(part, None, None, training=True) for part in parts])
    torch.testing.assert_close(split(x), expected, rtol=1e-5, atol=1e-5)
    means = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in parts]).mean(0)
    torch.testing.assert_close(split.running_mean, 0.1 * means)
    torch.testing.assert_close(split.running_var, 0.9 + 0.1 * variances)
    split.eval()
    plain.load_state_dict(split.state_dict())
    torch.testing.assert_close(split(x), plain.eval()(x))
    with pytest.raises(ParamError, match="bn_splits: a divisor of the batch of 6 images; got 4"):
        split.train()(x[:6])


def test_split_batchnorm_leaves_memory_in_its_order():
    """Leaving channels_last and coming back costs a third of a step."""
    x = numbers(0, 8, 16, 4, 4).float().to(memory_format=torch.channels_last).requires_grad_()
    out = SplitBatchNorm2d(nn.BatchNorm2d(16), 4)(x)
    (gradient,) = torch.autograd.grad(out.square().sum(), x)
    assert out.is_contiguous(memory_format=torch.channels_last) and not out.is_contiguous()
    assert gradient.is_contiguous(memory_format=torch.channels_last)


def test_with_batchnorm_replaces_every_layer_and_keeps_the_weights():
    ordinary = Encoder("resnet10")
    state = {k: v.clone() for k, v in ordinary.state_dict().items()}
    split = with_batchnorm(ordinary, "shuffle", 2)
    assert not [m for m in split.modules() if type(m) is nn.BatchNorm2d]
    assert list(state) == list(split.state_dict())
    assert all(torch.equal(v, state[k]) for k, v in split.state_dict().items())
    Encoder("resnet10").load_state_dict(split.state_dict())


def test_a_shuffled_branch_gives_keys_in_the_order_of_the_images():
    encoder = with_batchnorm(TinyEncoder(), "shuffle", 2)
    branch, x = KeyBranch(encoder, nn.Identity(), shuffle=True), numbers(0, 8, 3, 32, 32).float()
    branch.eval()
    torch.testing.assert_close(branch(x, Key(0)), branch.encoder(x))
    torch.testing.assert_close(branch.maps(x, (3,), Key(0))[0], branch.encoder.feature_maps(x, (3,))[3])
    draw = CutMix().draw(x, x, Key(1))
    torch.testing.assert_close(branch(x, Key(0), others=x, draw=draw), branch.encoder(x, others=x, draw=draw))
    branch.train()
    assert not torch.allclose(branch(x, Key(0)), branch(x, Key(1))), "other images meet in BatchNorm"
    assert not torch.allclose(branch(x, Key(0)), branch.encoder(x))


@pytest.mark.parametrize("batchnorm", ["split", "shuffle"])
@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if "batchnorm" in inspect.signature(m).parameters])
def test_every_method_runs_with_split_statistics(name, batchnorm):
    method = region_method(name, batchnorm=batchnorm, bn_splits=2) if name != "moco" else METHODS["moco"](
        TinyEncoder(), MIXERS["none"](), queue_size=16, batchnorm=batchnorm, bn_splits=2)
    method.mixer = MIXERS["none"]() if name == "moco" else method.mixer
    batch = make_batch(method, size=8)
    out = method(batch)
    method.after_step(out)
    assert torch.isfinite(out["loss"]) and any(isinstance(m, SplitBatchNorm2d) for m in method.encoder.modules())
    assert method.key_branch.shuffle == (batchnorm == "shuffle")


def test_a_head_with_a_bare_batchnorm_at_its_end_can_be_rebuilt():
    head = projector(4, 5, 6, depth=3, batchnorm=True, last_batchnorm=True)
    again = rebuild(layout(head))
    again.load_state_dict(head.state_dict())
    x = numbers(0, 3, 4).float()
    torch.testing.assert_close(again.eval()(x), head.eval()(x))


# Region features


def draws(mixer="cutmix", count=6):
    images = torch.zeros(count, 3, 32, 32)
    return MIXERS[mixer]().draw(images, images, Key(3), partner="reverse")


@pytest.mark.parametrize("side", [4, 8, 5])
@pytest.mark.parametrize("mixer", ["cutmix", "resizemix"])
def test_fractional_areas_equal_nearest_up_sampling(mixer, side):
    """Each cell up-sampled to a block of constants; for a side that does not divide 32, on a common grid of both."""
    draw, maps = draws(mixer), numbers(0, 6, 3, side, side)
    outside, inside = region_means(maps, draw.mask, draw.cells(side, side))
    fine = 32 * side // math.gcd(32, side)
    pixels = maps.repeat_interleave(fine // side, 2).repeat_interleave(fine // side, 3)
    mask = draw.mask.repeat_interleave(fine // 32, 2).repeat_interleave(fine // 32, 3).double()
    for got, weight in ((outside, mask), (inside, 1 - mask)):
        torch.testing.assert_close(got, (pixels * weight).sum((2, 3)) / weight.sum((2, 3)), rtol=1e-5, atol=1e-6)


def test_bilinear_agrees_for_constant_maps_and_the_full_mask():
    draw, constant = draws(), numbers(0, 6, 3, 1, 1).expand(-1, -1, 4, 4)
    for got in (*region_means(constant, draw.mask), *region_means(constant, draw.mask, draw.cells(4, 4))):
        torch.testing.assert_close(got, constant[..., 0, 0])
    maps, full = numbers(1, 6, 3, 4, 4), torch.ones(6, 1, 32, 32)
    torch.testing.assert_close(region_means(maps, full)[0], maps.mean((2, 3)))
    torch.testing.assert_close(region_means(maps, full, full[..., :4, :4])[0], maps.mean((2, 3)))


def test_bilinear_is_a_loop_over_pixels_and_differs_from_exact_areas():
    draw, maps = draws(), numbers(1, 6, 2, 4, 4)
    up = F.interpolate(maps, size=(32, 32), mode="bilinear", align_corners=False)
    outside, inside = region_means(maps, draw.mask)
    for i in range(6):
        hole = draw.mask[i, 0] == 0
        torch.testing.assert_close(inside[i], up[i][:, hole].mean(1))
        torch.testing.assert_close(outside[i], up[i][:, ~hole].mean(1))
    assert not torch.allclose(inside, region_means(maps, draw.mask, draw.cells(4, 4))[1])


def test_a_region_without_area_is_a_number_and_counts_nothing():
    images = torch.zeros(3, 3, 32, 32)
    draw = CutMix().draw(images, images, Key(0), partner="reverse", lam=np.array([1.0, 0.5, 0.0]))
    assert has_two_regions(draw).tolist() == [0, 1, 0]
    maps = numbers(0, 3, 2, 4, 4)
    outside, inside = region_means(maps, draw.mask, draw.cells(4, 4))
    torch.testing.assert_close(inside[0], maps[0].mean((1, 2)))
    torch.testing.assert_close(outside[2], maps[2].mean((1, 2)))


def test_a_linear_head_on_averages_is_a_convolution_before_them():
    draw, maps, head = draws(), numbers(0, 6, 3, 8, 8).float(), RegionHead(3, 5, "bilinear")
    convolved = F.conv2d(maps, head.linear.weight[:, :, None, None], head.linear.bias)
    for got, expected in zip(head(maps, draw), region_means(convolved, draw.mask), strict=True):
        torch.testing.assert_close(got, expected)


# Who pairs with whom: images carry their identity in their pixels


class TagEncoder(nn.Module):
    """Tells from the pixels which images are in an image: a feature per tag, its share of the area.

    Mixing happens on the tags' maps, where shares add up, so that blends keep both identities too.
    """

    def __init__(self, tags):
        super().__init__()
        self.dim, self.widths = tags, (tags,) * 4

    def feature_maps(self, images, layers=(1, 2, 3, 4), *, others=None, draw=None):
        maps = F.one_hot(images[:, 0].round().long(), self.dim).permute(0, 3, 1, 2).float()  # (B, tags, H, W)
        if draw is not None:
            theirs = F.one_hot(others[:, 0].round().long(), self.dim).permute(0, 3, 1, 2).float()
            maps = draw.apply(maps, theirs)
        return dict.fromkeys(layers, maps)

    def forward(self, images, *, others=None, draw=None):
        return self.feature_maps(images, (4,), others=others, draw=draw)[4].mean((2, 3))


def tagged(name, mixer, size=6, **arguments):
    """A method whose features are tags, heads left out, and a batch whose image i is filled with its tag."""
    kind = METHODS[name]
    taken = {k: v for k, v in (SMALL | {"num_classes": 3, "proj_dim": size}).items()
             if k in inspect.signature(kind).parameters}
    mixed = MIXERS[mixer](layers=(0,)) if mixer == "manifold" else MIXERS[mixer]()
    method = kind(TagEncoder(size), mixed, **taken | arguments)
    for module in method.modules():
        for part in ("projector", "predictor", "linear"):
            if hasattr(module, part):
                setattr(module, part, nn.Identity())
    labels = torch.arange(size) % 3
    tags = labels if kind.needs_labels else torch.arange(size)
    view = tags.float().view(-1, 1, 1, 1).expand(-1, 3, 32, 32)
    batch = Batch((view, view), labels if kind.needs_labels else None, torch.arange(size), Key(7, "step", 1, 2), 1, 0.0)
    return method, batch


def positives(name, mixer, monkeypatch, **arguments):
    """Every positive of every loss of one step, in order: lists of (B,) shares that query and key have in common."""
    method, batch = tagged(name, mixer, **arguments)
    module, shared = inspect.getmodule(type(method)), []

    def rowwise(q, k, *rest):
        shared.append((F.normalize(q.detach(), dim=1) * F.normalize(k.detach(), dim=1)).sum(1))
        return (q * k).sum(1)

    def soft(q, keys, negatives, targets, temperature):
        shared.append((q.detach() @ keys.T)[targets > 0])
        return q.sum(1)

    def among_themselves(z, targets, temperature, **rest):
        targets = F.one_hot(targets).float() if targets.ndim == 1 else targets
        shared.append((z @ z.T)[(targets @ targets.T > 0) & ~torch.eye(len(z), dtype=torch.bool)])
        return {"loss": z.sum()}

    for loss, spy in (("info_nce", rowwise), ("cosine_distance", rowwise), ("pair_contrast", rowwise),
                      ("soft_info_nce", soft), ("contrastive", among_themselves)):
        for place in (module, unmix_bases):  # where Un-Mix has its losses
            if hasattr(place, loss):
                monkeypatch.setattr(place, loss, spy)
    method(batch)
    return shared


CASES = [("simclr", {}), ("supcon", {}), ("mixsupcon", {}), ("gensupcon", {}), ("supmix", {}), ("imix", {}),
         ("mixco", {}), ("moco", {}), ("moco", {"symmetric": True}), ("byol", {}), ("simsiam", {}),
         *(("moco_mix", {"mix_branches": b, "reverse": r, "symmetric": r}) for b in ("one", "both") for r in (0, 1)),
         *(("unmix", {"base": b, "symmetric": s, "global_prob": g}) for b in ("moco", "simclr", "byol", "simsiam")
           for s in (False, True) for g in (0.0, 1.0)),
         ("regions_between", {}), ("regions_within", {}), ("regions_between", {"region_pool": "bilinear"}),
         ("regions_within", {"region_pool": "bilinear", "region_weight": 0.5}),
         *((name, {"batchnorm": "shuffle"}) for name in ("moco", "moco_mix", "regions_between", "regions_within"))]


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=lambda v: v if isinstance(v, str) else
                         "-".join(map(str, v.values())))
def test_every_positive_shares_an_image(name, arguments, monkeypatch):
    """Supervised methods: a class. Mixers: one that blends and one that pastes, where the method takes them."""
    kind = METHODS[name]
    mixers = ["none"] if hasattr(kind, "mixing_relatives") else ["cutmix"] + ["mixup"] * (not kind.needs_region)
    for mixer in mixers:
        found = positives(name, mixer, monkeypatch, **arguments)
        assert found and all((shares > 1e-6).all() for shares in found), (mixer, found)


def test_as_released_pairs_other_images_in_reverse_gg_and_ll_and_nowhere_else(monkeypatch):
    """Order of the terms: original; mixed, GG, LL; mixed, GG, LL in reverse."""
    found = positives("regions_within", "cutmix", monkeypatch, profile="as_released")
    original, mixed, gg, ll, mixed_back, gg_back, ll_back = found
    for right in (original, mixed, gg, ll, mixed_back):
        assert (right > 1e-6).all()
    for wrong in (gg_back, ll_back):
        assert (wrong == 0).all(), "no reverse positive of the released code shows the same image"
    assert all((shares > 1e-6).all() for shares in positives("regions_within", "cutmix", monkeypatch))


def test_the_fixed_profile_pairs_each_region_with_the_whole_of_its_own_image(monkeypatch):
    found = positives("regions_within", "cutmix", monkeypatch)
    for shares in (found[0], found[2], found[3], found[5], found[6]):
        torch.testing.assert_close(shares, torch.ones(6))  # a region shows one image only
