"""Frozen image-text encoders behind one small interface, whatever library they come from."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
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
    """[N, D] in the joint space of images and texts where the model has one, not normalised."""
    tokens: Tensor | None
    """[N, P, Dv] patch tokens, row by row: all of the vision tower's, or pooled to the encoder's token_grid (P = rows x
    columns); None without a grid."""


@dataclass
class Tokens:
    """N tokenized texts, on the CPU."""

    inputs: dict[str, Tensor]
    """[N, L] each, as the text tower takes them: ids, and a mask where the model wants one."""
    lengths: np.ndarray
    """[N] int64: rows of `Captions.words` that each text gives; 1 with `text: sentence`."""
    cut: np.ndarray
    """[N] bool: longer than the text tower's context, so that words are lost."""


@dataclass
class Captions:
    """What an encoder says about N texts."""

    words: Tensor
    """[sum(lengths), D], text after text: one row a real token, start and end included, of the layer that the encoder's
    text_layer names; with `text: sentence`, the sentences."""
    sentences: Tensor
    """[N, D] in the joint space where the model has one, not normalised."""


class Encoder(Protocol):
    """A frozen encoder. What it says of an item does not depend on the other items of a batch, but for rounding."""

    config: EncoderConfig
    identity: dict[str, Any]
    """What made the features (see `identity`): goes into every shard, and shards that differ are not mixed."""
    context_length: int | None
    """Tokens of a text that the text tower reads; longer ones are cut. None where texts were not asked for."""

    def preprocess(self, images: list[Image.Image]) -> dict[str, Tensor]:
        """The model's own preprocessing of n RGB images, [n, ...] each, on the CPU.

        It runs in worker processes, to which it can be pickled without the model. What can be done faster on the
        device, with the same numbers, is left to `encode_frames`.
        """

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        """Encode N preprocessed images."""

    def tokenize(self, texts: list[str]) -> Tokens:
        """Token ids of texts; longer ones are cut at the model's context length."""

    def encode_captions(self, tokens: Tokens) -> Captions:
        """Encode tokenized texts."""


def load_encoder(
    config: EncoderConfig,
    trained_clip: Path | None,
    device: torch.device,
    sides: Sequence[str] = ("video", "text"),
) -> Encoder:
    """The encoder that `config` names, on `device`; `trained_clip` is the folder that train_clip made.

    `sides` says what will be encoded (video, text), and only what that takes has to be there. UserError says which
    model cannot be had, or which side it lacks.
    """
    # Imported here: each library takes seconds to load, and a run needs one of them.
    if config.kind == "transformers":
        from workflow_scripts.lib.features.encoders.transformers_encoder import TransformersEncoder

        return TransformersEncoder(config, device, sides)
    from workflow_scripts.lib.features.encoders.open_clip_encoder import OpenClipEncoder

    if config.kind == "trained_clip":
        if trained_clip is None:
            raise UserError(
                f"encoder '{config.name}' is of kind trained_clip and needs --trained-clip FOLDER"
            )
        return OpenClipEncoder(config, device, sides, model=f"local-dir:{trained_clip}", name="trained_clip")
    return OpenClipEncoder(config, device, sides, model=config.model, name=config.model)


HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}


def to_device(model: nn.Module, precision: str, device: torch.device) -> None:
    """Move a model, ready for `inference`: what autocast would cast in each pass is cast once, LayerNorms stay fp32."""
    model.eval().to(device, memory_format=torch.channels_last)
    if precision in HALF:
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.MultiheadAttention):
                for weights in module.parameters(recurse=False):
                    weights.data = weights.data.to(HALF[precision])


@contextlib.contextmanager
def inference(precision: str, device: torch.device) -> Iterator[None]:
    """Context of the forward pass: no gradients, and autocast to bf16 or fp16 if asked for."""
    dtype = HALF.get(precision)
    with torch.inference_mode(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        yield


def compiled(forward: Callable, config: EncoderConfig) -> Callable:
    """`forward` through torch.compile where the encoder's config asks for it; it is compiled at its first call."""
    if not config.compile:
        return forward
    fast = torch.compile(forward, dynamic=False)  # else the code depends on which shape comes first

    @functools.wraps(forward)
    def call(*args: Any) -> Any:
        try:
            return fast(*args)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise UserError(
                f"encoder '{config.name}': torch.compile failed ({first_line(error)});"
                " give it `compile: false`"
            ) from error

    return call


def columns(longest: int, context: int, config: EncoderConfig) -> int:
    """Tokens that a batch of texts is padded to: as many as its longest has; for compiled code, one of a few numbers."""
    return min(context, max(16, 1 << (longest - 1).bit_length())) if config.compile else longest


def pool_grid(grid: Tensor, token_grid: Sequence[int] | str) -> Tensor:
    """Patch tokens [N, Dv, rows, columns] to [N, P, Dv], row by row: averaged to the token grid, or `all` as they are."""
    if token_grid != "all":
        rows, columns = token_grid
        if rows > grid.shape[-2] or columns > grid.shape[-1]:
            raise UserError(
                f"token_grid {rows} x {columns} is finer than the {grid.shape[-2]} x {grid.shape[-1]} patches of the model"
            )
        grid = functional.adaptive_avg_pool2d(grid.float(), (rows, columns))
    return grid.flatten(2).transpose(1, 2)


def real_rows(states: Tensor, lengths: np.ndarray) -> Tensor:
    """The first `lengths` rows of each text's states [N, L, D], one after another: [sum(lengths), D]."""
    kept = torch.arange(states.shape[1]) < torch.from_numpy(lengths)[:, None]
    return states[kept.to(states.device)]


def check_text_layer(config: EncoderConfig, layers: int) -> None:
    """UserError when the text tower has fewer layers than `text_layer`."""
    if config.text_layer is not None and config.text_layer > layers:
        raise UserError(
            f"encoder '{config.name}': text_layer {config.text_layer} is not there, the text tower has {layers} layers"
        )


def first_line(error: Exception) -> str:
    """What a library's error says first; the rest is often a page of names."""
    return f"{type(error).__name__}: {next(iter(str(error).strip().splitlines()), '')}"
