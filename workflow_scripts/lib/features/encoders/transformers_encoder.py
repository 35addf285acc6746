"""Models of transformers as an Encoder: of images and texts (CLIP, SigLIP, ...), of images (DINOv2, ...), of texts."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders import preprocessing
from workflow_scripts.lib.features.encoders.encoder import (
    Captions,
    Frames,
    Tokens,
    check_text_layer,
    columns,
    compiled,
    inference,
    pool_grid,
    real_rows,
    to_device,
)
from workflow_scripts.lib.features.encoders.identity import identity, space
from workflow_scripts.lib.features.encoders.transformers_models import (
    context_of,
    load_model,
    load_processor,
    load_tokenizer,
)

MASK = "attention_mask"


class TransformersEncoder:
    """`config.model` is a hub id or a local folder.

    A model of both sides: embeddings and sentences are its image and text features; words are the text tower's last
    states, each taken to the joint space by the projection of the pooled one.
    A vision tower alone: the embedding is the projected one (`image_embeds`) or else the pooler's output; where the
    model has neither, the mean of the patch tokens.
    A text model alone: words are its last states, and a sentence is their mean over the real tokens; where the model
    projects (`text_embeds`), both are projected.
    """

    def __init__(self, config: EncoderConfig, device: torch.device, sides: Sequence[str]):
        self.config = config
        self.device = device
        self.model = load_model(config)
        self._joint = hasattr(self.model, "get_image_features") and hasattr(self.model, "get_text_features")
        self._check_sides(sides)
        described = self.context_length = None
        if "video" in sides:
            processor = load_processor(config)
            self.preprocess = preprocessing.of_processor(processor)
            described = processor.to_dict()
        if "text" in sides:
            self._tokenizer = load_tokenizer(config)
            self.context_length = context_of(self.model, self._tokenizer, config.name)
        model = space("transformers", config.model, None, self.model)
        self.identity = identity(config, model, described, self.context_length)
        self._full_context = "text" in sides and self._padding_counts()
        for side, tower in (("video", "vision_model"), ("text", "text_model")):
            if self._joint and side not in sides and hasattr(self.model, tower):
                delattr(self.model, tower)
        to_device(self.model, config.precision, device)
        self._vision = compiled(self._encode_images, config)
        self._text = compiled(self._encode_ids, config)

    def _check_sides(self, sides: Sequence[str]) -> None:
        """UserError when a side is asked for that the model has not."""
        for side, what, takes, without in (
            ("video", "images", "pixel_values", "frames: false"),
            ("text", "texts", "input_ids", "text: none"),
        ):
            if side in sides and not self._joint and self.model.main_input_name != takes:
                raise UserError(
                    f"encoder '{self.config.name}': {self.config.model} is a {type(self.model).__name__}, which"
                    f" does not encode {what}; give it `{without}`"
                )

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        with inference(self.config.precision, self.device):
            embeddings, states = self._vision(self.preprocess.finish(batch, self.device))
            if embeddings is None:
                embeddings = self._pooled(states, batch, (1, 1))[:, 0]
            tokens = self.config.token_grid and self._pooled(states, batch, self.config.token_grid)
        return Frames(embeddings, tokens)

    def _encode_images(self, batch: dict[str, Tensor]) -> tuple[Tensor | None, Tensor]:
        """Embeddings where the model pools, and the states of the last layer."""
        found = self.model.get_image_features(**batch) if self._joint else self.model(**batch)
        embeddings = found.get("image_embeds", found.get("pooler_output"))
        return None if embeddings is None else embeddings.flatten(1), found.last_hidden_state

    def _pooled(self, states: Tensor, batch: dict[str, Tensor], token_grid: Sequence[int] | str) -> Tensor:
        """Patch tokens [N, P, Dv] of states [N, S, Dv], or [N, Dv, rows, columns] of a convolutional tower."""
        if states.ndim == 4:
            return pool_grid(states, token_grid)
        if "spatial_shapes" not in batch:
            rows, columns = self._patches(batch["pixel_values"], states.shape[1])
            # the class token and registers come first
            return pool_grid(_grid(states[:, -rows * columns :], rows, columns), token_grid)
        shapes = batch["spatial_shapes"]
        if token_grid == "all" and (shapes != shapes[0]).any():
            raise UserError(
                f"encoder '{self.config.name}': frames of different shapes have different numbers of patches;"
                " give it a token_grid of rows and columns"
            )
        # Variable resolution: patches come first, then padding.
        parts = [
            pool_grid(_grid(one[None, : rows * columns], rows, columns), token_grid)
            for one, (rows, columns) in zip(states, shapes.tolist(), strict=True)
        ]
        return torch.cat(parts)

    def _patches(self, pixels: Tensor, states: int) -> tuple[int, int]:
        """Rows and columns of patches in images [N, 3, H, W]; UserError where the model's states are not these."""
        settings = getattr(self.model.config, "vision_config", self.model.config)
        patch = getattr(settings, "patch_size", None)
        height, width = (patch, patch) if isinstance(patch, int) else patch or pixels.shape[-2:]
        rows, columns = pixels.shape[-2] // height, pixels.shape[-1] // width
        if patch is None or rows * columns > states:
            raise UserError(
                f"encoder '{self.config.name}': the {states} states of a {type(self.model).__name__} are no grid of"
                " patches; give it no token_grid"
            )
        return rows, columns

    def tokenize(self, texts: list[str]) -> Tokens:
        found = self._ids(texts, self.context_length, "max_length" if self._full_context else "longest")
        lengths = found[MASK].sum(1).numpy()
        if self.config.compile and not self._full_context:
            width = columns(int(lengths.max()), self.context_length, self.config)
            found = self._ids(texts, width, "max_length")
        cut = lengths >= self.context_length
        if cut.any():  # or just as long as the context: a longer one tells
            full = [text for text, is_full in zip(texts, cut, strict=True) if is_full]
            longer = self._ids(full, self.context_length + 1, "longest")
            cut[cut] = longer[MASK].sum(1).numpy() > self.context_length
        return Tokens(found, np.ones_like(lengths) if self.config.text == "sentence" else lengths, cut)

    def _ids(self, texts: list[str], length: int, padding: str) -> dict[str, Tensor]:
        found = self._tokenizer(
            texts,
            padding=padding,
            truncation=True,
            max_length=length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        return dict(found)

    def encode_captions(self, tokens: Tokens) -> Captions:
        inputs = {name: value.to(self.device) for name, value in tokens.inputs.items()}
        with inference(self.config.precision, self.device):
            states, sentences = self._text(inputs)
        if self.config.text == "sentence":
            return Captions(sentences, sentences)
        return Captions(real_rows(states, tokens.lengths), sentences)

    def _encode_ids(self, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Token states [N, L, D] of the configured layer, and sentence embeddings [N, D]."""
        layer = self.config.text_layer
        forward = self.model.get_text_features if self._joint else self.model
        # a tokenizer that gives no mask says so that its model was trained to see the padding
        wanted = {name: value for name, value in inputs.items() if name in self._tokenizer.model_input_names}
        found = forward(**wanted, output_hidden_states=layer is not None)
        last = found.last_hidden_state
        if self._joint:
            sentences = found.pooler_output
        else:
            real = inputs[MASK][:, :, None]
            sentences = found.get("text_embeds", (last * real).sum(1) / real.sum(1))
        if layer is None:
            return self._projection()(last), sentences
        check_text_layer(self.config, len(found.hidden_states) - 1)
        return found.hidden_states[layer], sentences

    def _projection(self) -> nn.Module:
        """The layer that takes the pooled token to the joint space (CLIP's lies on the model, SigLIP's in the tower)."""
        tower = getattr(self.model, "text_model", None)
        for owner, name in ((self.model, "text_projection"), (tower, "head")):
            if hasattr(owner, name):
                return getattr(owner, name)
        return nn.Identity()

    def _padding_counts(self) -> bool:
        """Whether padding changes a sentence, as it does where the last position is pooled (SigLIP); tried in fp32.

        Such a model takes the full context, as it was trained; others take no more than the longest text of a batch.
        """
        short = self._ids(["a"], self.context_length, "longest")
        long = self._ids(["a"], min(self.context_length, short[MASK].shape[1] + 8), "max_length")
        with torch.inference_mode():
            one, other = (self._encode_ids(inputs)[1] for inputs in (short, long))
        return not torch.allclose(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def _grid(patches: Tensor, rows: int, columns: int) -> Tensor:
    """[N, rows x columns, Dv] to [N, Dv, rows, columns]."""
    return patches.transpose(1, 2).unflatten(2, (rows, columns))
