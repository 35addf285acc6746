"""Frozen image-text encoders behind one small interface, whatever library they come from."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError


@dataclass
class Frames:
    """What an encoder says about N frames."""

    embeddings: Tensor
    """[N, D] in the joint space of images and texts, not normalised."""
    tokens: Tensor | None
    """[N, P, Dv] patch tokens, pooled to the encoder's token_grid (P = rows x columns); None without a grid."""


@dataclass
class Caption:
    """What an encoder says about one caption."""

    tokens: Tensor
    """[L, D] one row a real token, start and end included, of the layer that the encoder's text_layer names."""
    sentence: Tensor
    """[D] in the joint space, not normalised."""


class Encoder(Protocol):
    """A frozen encoder; the two encode methods run under `inference`."""

    identity: dict[str, Any]
    """What made the features: goes into every shard, and shards that differ are not mixed."""
    context_length: int
    """Tokens of a caption that the text tower reads; longer ones are cut."""

    def preprocess(self, image: Image.Image) -> dict[str, Tensor]:
        """The model's own preprocessing of one RGB image; runs in threads."""

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        """Encode N preprocessed images, each tensor stacked to [N, ...]."""

    def encode_captions(self, texts: list[str]) -> list[Caption]:
        """Encode texts; longer ones are cut at the model's context length."""


def load_encoder(config: EncoderConfig, trained_clip: Path | None, device: torch.device) -> Encoder:
    """The encoder that `config` names, on `device`; `trained_clip` is the folder that train_clip made.

    UserError says which model cannot be had, and why.
    """
    # Imported here: each library takes seconds to load, and a run needs one of them.
    if config.kind == "transformers":
        from workflow_scripts.lib.features.transformers_encoder import TransformersEncoder

        return TransformersEncoder(config, device)
    from workflow_scripts.lib.features.open_clip_encoder import OpenClipEncoder

    if config.kind == "trained_clip":
        if trained_clip is None:
            raise UserError(
                f"encoder '{config.name}' is of kind trained_clip and needs --trained-clip FOLDER"
            )
        return OpenClipEncoder(config, device, model=f"local-dir:{trained_clip}", name="trained_clip")
    return OpenClipEncoder(config, device, model=config.model, name=config.model)


@contextlib.contextmanager
def inference(precision: str, device: torch.device) -> Iterator[None]:
    """Context of the forward pass: no gradients, and autocast to bf16 or fp16 if asked for."""
    dtype = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield


def pool_grid(grid: Tensor, token_grid: tuple[int, int]) -> Tensor:
    """Average patch tokens [N, Dv, rows, columns] to [N, P, Dv], P = the token grid's rows x columns, row by row."""
    rows, columns = token_grid
    if rows > grid.shape[-2] or columns > grid.shape[-1]:
        raise UserError(
            f"token_grid {rows} x {columns} is finer than the {grid.shape[-2]} x {grid.shape[-1]} patches of the model"
        )
    return functional.adaptive_avg_pool2d(grid.float(), (rows, columns)).flatten(2).transpose(1, 2)


def states_of_layer(states: tuple[Tensor, ...], layer: int, name: str) -> Tensor:
    """The token states after `layer` layers; UserError when the text tower of encoder `name` has fewer."""
    if layer >= len(states):
        raise UserError(
            f"encoder '{name}': text_layer {layer} is not there, the text tower has {len(states) - 1} layers"
        )
    return states[layer]


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over all parameters and buffers, names included, in hex."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(data)
    return digest.hexdigest()
