"""What tests/test_parallel.py starts under torchrun, and also calls in its own process: every method for three steps.

    torchrun --nproc-per-node 2 tests/ranks_program.py FOLDER     writes FOLDER/<rank>.pt
"""

import inspect
import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.models.resnet import BasicBlock

from mixlab import parallel
from mixlab.encoders import Encoder
from mixlab.errors import ParamError, RankError
from mixlab.methods import METHODS
from mixlab.mixers import MIXERS, EncoderGuide
from mixlab.rng import Key
from mixlab.views import Batch

BATCH, SIZE, CLASSES, STEPS = 8, 8, 3, 3
SMALL = {"queue_size": 24, "proj_hidden": 16, "predictor_hidden": 16, "proj_dim": 12, "bn_splits": 2}


def cases():
    """``{name: (method, mixer, arguments, dtype)}``: every method, every mixer, and what differs most between ranks."""
    found = {name: (name, method.default_mixer, {}, torch.float64) for name, method in METHODS.items()}
    found |= {f"mixsupcon-{mixer}": ("mixsupcon", mixer, {}, torch.float64) for mixer in MIXERS if mixer != "none"}
    more = {
        "supcon-mixup": ("supcon", "mixup", {}),
        "mixsupcon-three": ("mixsupcon", "manifold", {"n_mix": 3, "reading": "pairs"}),
        "moco-plain": ("moco", "none", {"batchnorm": "plain", "symmetric": True}),
        "moco-four-parts": ("moco", "none", {"batchnorm": "split", "bn_splits": 4}),
        "moco-eight-parts": ("moco", "none", {"batchnorm": "split", "bn_splits": 8}),  # four on each rank
        "moco_mix-both": ("moco_mix", "manifold", {"batchnorm": "plain", "mix_branches": "both", "reverse": True}),
        "unmix-simclr": ("unmix", "cutmix", {"base": "simclr"}),
        "unmix-byol": ("unmix", "resizemix", {"base": "byol", "symmetric": True, "global_prob": 0.0}),
        "unmix-simsiam": ("unmix", "manifold", {"base": "simsiam", "symmetric": True, "global_prob": 0.0}),
        "regions_between-3": ("regions_between", "cutmix", {"region_layer": 3, "region_pool": "bilinear"}),
        "regions_within-released": ("regions_within", "cutmix", {"profile": "as_released", "batchnorm": "plain"}),
    }
    found |= {name: (*case, torch.float64) for name, case in more.items()}
    return found | {f"{name} in float32": (*found[name][:3], torch.float32) for name in ("mixsupcon", "moco", "byol")}


class TinyEncoder(Encoder):
    """The real encoder's blocks, an eighth as wide."""

    def __init__(self):
        super().__init__("resnet10")
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.layers = nn.ModuleList(_block(*sizes) for sizes in ((8, 8, 1), (8, 16, 1), (16, 16, 2), (16, 24, 2)))
        self.dim, self.widths = 24, (8, 16, 16, 24)


def _block(width, out, stride):
    shortcut = nn.Sequential(nn.Conv2d(width, out, 1, stride, bias=False), nn.BatchNorm2d(out))
    return nn.Sequential(BasicBlock(width, out, stride, shortcut))


def build(method, mixer, arguments, dtype):
    kind = METHODS[method]
    taken = inspect.signature(kind).parameters
    arguments = {name: value for name, value in SMALL.items() if name in taken} | arguments
    arguments |= {"num_classes": CLASSES} if kind.needs_labels else {}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = TinyEncoder()
        guide = {"guide_from": EncoderGuide(encoder)} if MIXERS[mixer].needs_guide else {}
        return kind(encoder, MIXERS[mixer](**guide), **arguments).to(dtype)


def batch_of(method, step, dtype):
    generator = torch.Generator().manual_seed(step)
    views = tuple(torch.randn(BATCH, 3, SIZE, SIZE, generator=generator, dtype=dtype) for _ in method.views)
    labels = torch.randint(CLASSES, (BATCH,), generator=generator) if method.needs_labels else None
    return Batch(views, labels, torch.arange(BATCH), Key(0, "step", 1, step), 1, step / STEPS)


def steps(ranks, case):
    """Losses and gradients of three steps, and every parameter and buffer after them."""
    method = ranks.spread(build(*case))
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9)
    losses, gradients = [], []
    for step in range(STEPS):
        out = method(batch_of(method, step, case[-1]))
        optimizer.zero_grad()
        out["loss"].backward()
        ranks.average(method.parameters())
        gradients.append({n: p.grad.clone() for n, p in method.named_parameters() if p.grad is not None})
        losses.append(out["loss"].detach())
        optimizer.step()
        method.after_step(out)
    return {"losses": torch.stack(losses), "gradients": gradients, "state": method.state_dict()}


def autocast_step(ranks):
    """The loss of a step in bf16."""
    method = ranks.spread(build("moco_mix", "manifold", {"batchnorm": "shuffle"}, torch.float32))
    with torch.autocast("cpu", torch.bfloat16):
        loss = method(batch_of(method, 0, torch.float32))["loss"]
    loss.backward()
    ranks.average(method.parameters())
    return loss.detach()


def agreements(ranks):
    """What the ranks decide together; a dictionary of plain values."""
    def refuse():
        raise ParamError("mine")

    found = {"most": ranks.most(5 if ranks.rank == 1 else 2), "shared": ranks.shared(lambda: f"of rank {ranks.rank}")}
    for name, ask in {"refused": lambda: ranks.shared(refuse), "same": lambda: ranks.same("a run", ranks.rank),
                      "odd": lambda: ranks.part(7)}.items():
        try:
            ask()
        except (ParamError, RankError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def main(folder):
    torch.set_num_threads(1)
    ranks = parallel.started()
    with parallel.joined(ranks, "cpu"):
        found = {"agreements": agreements(ranks), "autocast": autocast_step(ranks)}
        found["cases"] = {name: steps(ranks, case) for name, case in cases().items()}
        torch.save(found, Path(folder) / f"{ranks.rank}.pt")


if __name__ == "__main__":
    main(sys.argv[1])
