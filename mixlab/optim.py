"""The optimizer, the learning-rate schedules as plain functions of the step, and what no optimizer moves."""

import math

import torch
from torch.nn.modules.batchnorm import _BatchNorm


def learning_rate(values, epochs_done):
    """The learning rate after ``epochs_done`` epochs, a float: warm-up from a tenth, then the schedule."""
    lr, warmup, epochs = values["lr"], values["warmup_epochs"], values["epochs"]
    if epochs_done < warmup:
        return lr * (0.1 + 0.9 * epochs_done / warmup)
    if values["schedule"] == "cosine":
        return lr * (1 + math.cos(math.pi * (epochs_done - warmup) / max(epochs - warmup, 1))) / 2
    if values["schedule"] == "step":
        return lr * values["lr_decay_rate"] ** sum(epochs_done >= e for e in values["lr_decay_epochs"])
    return lr


def build_optimizer(method, values, device):
    """SGD with momentum over the method's own groups or all its parameters; fused on a GPU.

    A group with ``"constant_lr": True`` keeps ``lr``, whatever the schedule.
    """
    groups = method.param_groups() if hasattr(method, "param_groups") else [p for p in method.parameters()
                                                                           if p.requires_grad]
    return torch.optim.SGD(groups, lr=values["lr"], momentum=values["sgd_momentum"],
                           weight_decay=values["weight_decay"], fused=device.type == "cuda")


def restore_optimizer(optimizer, state):
    """Loads a stored state, made on whatever device; how this optimizer computes (fused or not) stays its own."""
    own = [group["fused"] for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, fused in zip(optimizer.param_groups, own, strict=True):
        group["fused"] = fused


def own_state(method):
    """What no gradient moves: frozen parameters, and buffers other than the running statistics of BatchNorm."""
    still = [p.data for p in method.parameters() if not p.requires_grad]
    return still + [buffer for module in method.modules() if not isinstance(module, _BatchNorm)
                    for buffer in module.buffers(recurse=False)]
