"""What made features, as JSON: the same model and settings give the same identity on any machine.

    {"space": {"library", "model", "pretrained", "weights_sha256"},     the model, and so the space of its embeddings
     "precision", "dtype",
     "video": {"preprocessing", "token_grid"},                          in the shards of frames
     "text": {"text", "text_layer", "context_length"}}                  in the shards of captions

A shard has the part of its own side only, so that other settings of captions leave the features of frames as they are.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.features.made_by import parsed


def identity(
    config: EncoderConfig,
    space: dict[str, Any],
    preprocessing: dict[str, Any] | None,
    context_length: int | None,
) -> dict[str, Any]:
    """The identity of an encoder; a side that is not loaded has None for `preprocessing` or `context_length`."""
    found: dict[str, Any] = {"space": space, "precision": config.precision, "dtype": config.dtype}
    if preprocessing is not None:
        found["video"] = {"preprocessing": preprocessing, "token_grid": config.token_grid}
    if context_length is not None:
        settings = {"text": config.text, "text_layer": config.text_layer}
        found["text"] = settings | {"context_length": context_length}
    return json.loads(json.dumps(found))


def space(library: str, model: str, pretrained: str | None, weights: nn.Module) -> dict[str, Any]:
    """The part of the identity that tells the model; `weights` is the whole model, before it is cast to anything."""
    return {
        "library": library,
        "model": _portable(model),
        "pretrained": pretrained and _portable(pretrained),
        "weights_sha256": weights_digest(weights),
    }


def same_space(one: str | None, other: str | None) -> bool:
    """Whether frames of one encoder can be compared with sentences of another, given the identities in their shards."""
    identities = parsed(one), parsed(other)
    if not all(isinstance(found, dict) for found in identities):  # of other writers
        return False
    return identities[0].get("space") is not None and identities[0]["space"] == identities[1].get("space")


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, names included, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(data)
    return digest.hexdigest()


def _portable(name: str) -> str:
    """A model's name, without the folders that lead to it where it is a path."""
    prefix, colon, path = name.rpartition(":")
    return prefix + colon + Path(path).resolve().name if Path(path).exists() else name
