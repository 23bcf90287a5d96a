"""Several processes as one: N ranks started by torchrun give the loss, gradient and weights of one process.

- On every rank the batch is the global batch: images and draws are the same everywhere, and views are cheap.
- In training an encoder takes a contiguous part of the images it is given and gathers what all ranks computed, so a
  method sees the features of the whole batch and contains nothing of this.
- Every rank computes the same loss. Going back, the gather sums what all ranks ask for: N times the gradient, on the
  part of the images that a rank encoded. The mean over the ranks is then the gradient of one process, for the encoder,
  whose ranks each hold N times a part of the sum, as for the heads, whose ranks all hold the whole.
- BatchNorm in the encoder spans the global batch. After the gather it does without our help.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from mixlab.encoders import Encoder
from mixlab.errors import ParamError, RankError, problem

SILENCE = timedelta(minutes=30)  # a rank that hangs ends all after this; rank 0 may measure kNN for minutes meanwhile
STATED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun states beside WORLD_SIZE


@dataclass(frozen=True)
class Ranks:
    """This process among ``count`` of them; ``rank`` 0 alone writes and speaks. One process is the usual case.

    Args:
        rank: number of this process, 0 to count - 1; ``local`` is its number on its machine.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def first(self):
        return self.rank == 0

    def part(self, total):
        """The slice of ``total`` images that this rank encodes; all parts are of one size.

        Raises:
            ParamError: they cannot be divided so.
        """
        if total % self.count:
            raise ParamError(problem("batch_size", f"a number that {self.count} ranks can share, in every call of the "
                                     "encoder", total, "Change batch_size or devices"))
        size = total // self.count
        return slice(self.rank * size, (self.rank + 1) * size)

    def gather(self, x):
        """The parts x (n, ...) of all ranks in their order, (count n, ...); gradients flow back to every rank."""
        return x if self.count == 1 else _Gather.apply(x, self)

    def parts(self, x):
        """The contiguous x of every rank, without gradients."""
        parts = [torch.empty_like(x) for _ in range(self.count)]
        with self._together():
            dist.all_gather(parts, x)
        return parts

    @torch.no_grad()
    def average(self, parameters):
        """Replaces every gradient by its mean over the ranks."""
        if self.count == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = torch.cat([g.reshape(-1) for g in gradients])
        self.sum(total)
        for gradient, mean in zip(gradients, (total / self.count).split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view(gradient.shape))

    def sum(self, x):
        """Replaces x by its sum over the ranks."""
        with self._together():
            dist.all_reduce(x)

    def most(self, number):
        """The largest of the whole numbers that the ranks give; all have then come here."""
        if self.count == 1:
            return number
        largest = torch.tensor(int(number))  # on the host: a GPU is not waited for
        with self._together():
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return largest.item()

    def shared(self, function):
        """What ``function()`` returns or raises on rank 0, on every rank; the others do not call it."""
        if self.count == 1:
            return function()
        outcome = [_outcome(function) if self.first else None]
        with self._together():
            dist.broadcast_object_list(outcome, device="cpu")
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def same(self, what, value):
        """Checks that all ranks have the plain ``value`` of rank 0; all have then come here.

        Raises:
            RankError: on every rank, naming ``what`` and the values.
        """
        theirs = self.shared(lambda: value)
        if self.most(int(theirs != value)):
            raise RankError(f"rank {self.rank}: the ranks differ in {what} ({theirs} on rank 0, {value} here). "
                            "Use the same data and one shared runs_dir on all machines.")

    def spread(self, method):
        """Makes the encoders of ``method`` work on this rank's part of a batch, in training; returns the method."""
        for encoder in [m for m in method.modules() if isinstance(m, Encoder)] if self.count > 1 else ():
            for parent in list(encoder.modules()):
                for name, child in list(parent.named_children()):
                    if isinstance(child, nn.BatchNorm2d):
                        setattr(parent, name, _global_batchnorm(child, self))
            part = _EncoderPart(encoder, self)
            encoder.forward, encoder.feature_maps = part.forward, part.feature_maps
        return method

    @contextmanager
    def _together(self):
        """What torch says when another process is gone, in our words."""
        try:
            yield
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise RankError(f"rank {self.rank}: another rank died or does not answer ({reason}). "
                            "Start again to continue from the last checkpoint.") from error


def started():
    """This process as torchrun describes it in the environment; ``Ranks()`` where nothing launched it.

    Raises:
        ParamError: some other launcher started several processes, which would all write one run.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        return Ranks()
    missing = [name for name in STATED if name not in os.environ]
    if missing or not count.isdecimal():
        raise ParamError(problem("WORLD_SIZE", f"1, or set by torchrun together with {', '.join(STATED)}", count,
                                 "Start with torchrun --nproc-per-node N -m mixlab.train FILE.yaml, or without a "
                                 "launcher of several processes"))
    return Ranks(int(os.environ["RANK"]), int(count), int(os.environ["LOCAL_RANK"]))


@contextmanager
def joined(ranks, device):
    """Connects the ranks for as long as the context lasts; ``device`` is ``cpu`` or ``cuda``, one GPU a rank.

    Raises:
        ParamError: this machine has fewer GPUs than ranks.
    """
    if ranks.count == 1:
        yield
        return
    if device == "cuda":
        if ranks.local >= torch.cuda.device_count():
            raise ParamError(problem("--nproc-per-node", f"at most the {torch.cuda.device_count()} GPUs found",
                                     ranks.local + 1, "Lower it"))
        torch.cuda.set_device(ranks.local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo", timeout=SILENCE)
    yield
    dist.destroy_process_group()  # not after an error: it could wait for a rank that is gone


def _outcome(function):
    try:
        return function(), None
    except Exception as error:  # whatever it is, no rank may wait for it in vain
        return None, error


class _Gather(torch.autograd.Function):
    """All-gather along the first dimension, and its adjoint: the sum over the ranks of what they ask for."""

    @staticmethod
    def forward(ctx, x, ranks):
        ctx.ranks = ranks
        return torch.cat(ranks.parts(x.contiguous()))

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.to(torch.promote_types(gradient.dtype, torch.float32), copy=True).contiguous()
        ctx.ranks.sum(total)
        return total[ctx.ranks.part(len(total))].to(gradient.dtype), None


class _EncoderPart:
    """``forward`` and ``feature_maps`` of an encoder on one rank. In eval mode they are the encoder's own."""

    def __init__(self, encoder, ranks):
        self.encoder, self.ranks = encoder, ranks
        self.own_forward, self.own_maps = encoder.forward, encoder.feature_maps

    def forward(self, images, *, others=None, draw=None):
        if not self.encoder.training:
            return self.own_forward(images, others=others, draw=draw)
        return self.ranks.gather(self.own_forward(**self._part(images, others, draw)))

    def feature_maps(self, images, layers, *, others=None, draw=None):
        if not self.encoder.training:
            return self.own_maps(images, layers, others=others, draw=draw)
        maps = self.own_maps(layers=layers, **self._part(images, others, draw))
        return {layer: self.ranks.gather(m) for layer, m in maps.items()}

    def _part(self, images, others, draw):
        """This rank's images, and of their partners all pixels, or this rank's where features will be mixed."""
        mine = self.ranks.part(len(images))
        if draw is None:
            return {"images": images[mine]}
        draw_part = _rows(draw, mine)
        if draw.layer > 0:
            others, draw_part = others[self.ranks.part(len(others))], _LateDraw(draw_part, self.ranks)
        return {"images": images[mine], "others": others, "draw": draw_part}


def _rows(draw, rows):
    """``draw`` for some of its images; they may have their partner anywhere."""
    return replace(draw, **{f.name: getattr(draw, f.name)[rows] for f in fields(draw)
                            if isinstance(getattr(draw, f.name), torch.Tensor)})


@dataclass(frozen=True, eq=False)
class _LateDraw:
    """A draw that mixes feature maps with those of other images, which other ranks may have made."""

    draw: object
    ranks: Ranks

    @property
    def layer(self):
        return self.draw.layer

    def apply(self, a, b):
        return self.draw.apply(a, self.ranks.gather(b))


def _global_batchnorm(like, ranks):
    """``like``, its very parameters and buffers, over the batch of all ranks."""
    if type(like) is nn.BatchNorm2d and like.weight.is_cuda:
        made = nn.SyncBatchNorm(like.num_features, like.eps, like.momentum)
    else:
        made = GlobalBatchNorm2d(like, ranks)
    made.weight, made.bias = like.weight, like.bias
    for name, buffer in like.named_buffers():
        setattr(made, name, buffer)
    return made.train(like.training)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm over the batch of all ranks, each of which holds a part; over each of its parts, for a split one.

    torch's SyncBatchNorm works on GPUs only and knows no split. Statistics of every image are gathered, which makes
    one exchange a layer and direction, and the mean and variance of the batch, or of its ``splits`` contiguous parts,
    follow from them.

    Args:
        like: a ``BatchNorm2d`` or ``SplitBatchNorm2d``.
    """

    def __init__(self, like, ranks):
        super().__init__(like.num_features, like.eps, like.momentum)
        self.ranks, self.splits = ranks, getattr(like, "splits", 1)

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # (n, C, H, W)
        own = torch.stack(torch.var_mean(wide, (2, 3), correction=0), 1)  # (n, 2, C): variance and mean of each image
        var, mean = self.ranks.gather(own).unflatten(0, (self.splits, -1)).unbind(2)  # (splits, B / splits, C) each
        images = mean.shape[1]  # of a part
        spread = var + (mean - mean.mean(1, keepdim=True)).square()
        var, mean, size = spread.mean(1), mean.mean(1), images * x.shape[2] * x.shape[3]  # (splits, C) each
        self._follow(mean.detach(), var.detach() * size / max(size - 1, 1))
        part = torch.arange(len(x) * self.ranks.count, device=x.device)[self.ranks.part(len(x) * self.ranks.count)]
        part = part // images  # (n,)
        scale = self.weight * (var + self.eps).rsqrt()  # (splits, C)
        shifted = wide - mean[part, :, None, None]
        return torch.addcmul(self.bias[:, None, None], shifted, scale[part, :, None, None]).to(x.dtype)

    def _follow(self, mean, var):
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean.mean(0).to(self.running_mean), self.momentum)
        self.running_var.lerp_(var.mean(0).to(self.running_var), self.momentum)
