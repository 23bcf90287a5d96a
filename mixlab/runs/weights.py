"""The weights a run leaves, each vouched for by its sha256 in the result."""

import json

import safetensors.torch
from safetensors import SafetensorError, safe_open

from mixlab.encoders import Encoder
from mixlab.errors import CheckpointError
from mixlab.files import sha256, write
from mixlab.heads import rebuild
from mixlab.runs.directory import FRESH


def save_weights(run, name, module, about):
    """Writes ``<name>.safetensors`` with ``about`` (a plain dict) in its header; returns its sha256."""
    state = {key: tensor.contiguous().cpu() for key, tensor in module.state_dict().items()}
    content = safetensors.torch.save(state, {"about": json.dumps(about)})  # one entry: their order is not kept
    write(run.path / f"{name}.safetensors", content)
    return sha256(content)


def load_encoder(run, device="cpu"):
    """The frozen encoder of a finished run, in eval mode, checked against the sha256 in its result.

    Raises:
        CheckpointError: unfinished run, or a damaged file.
    """
    return _load_weights(run, "encoder", _encoder, device)


def _encoder(about):
    return Encoder(about["encoder"], about["stem"], about.get("width", 64))  # files of before there was a width


def load_head(run, device="cpu"):
    """The frozen projector, or the control's classifier, of a finished run. Errors as in ``load_encoder``."""
    return _load_weights(run, "head", lambda about: rebuild(about["layout"]), device)


def _load_weights(run, name, make, device):
    if not run.finished():
        raise CheckpointError(f"{run.path}: is {run.state()}, not finished. Start it again to finish it.")
    file = run.path / f"{name}.safetensors"
    if not file.exists() or sha256(file) != run.result()[f"{name}_sha256"]:
        raise CheckpointError(f"{file}: missing, or damaged: it does not match the sha256 in result.json. "
                              f"{FRESH}")
    try:
        with safe_open(file, "pt") as stored:
            module = make(json.loads(stored.metadata()["about"]))
        module.load_state_dict(safetensors.torch.load_file(file))
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{file}: is not of this mixlab ({error}). Use the mixlab that wrote it.") from error
    return module.to(device).eval().requires_grad_(False)
