"""CLIP, SigLIP and SigLIP2 models of transformers as an Encoder."""

import torch
from PIL import Image
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders import (
    Caption,
    Frames,
    inference,
    pool_grid,
    states_of_layer,
    weights_digest,
)


class TransformersEncoder:
    """`config.model` is a hub id or a local folder."""

    def __init__(self, config: EncoderConfig, device: torch.device):
        self.config = config
        self.device = device
        try:
            self.model = AutoModel.from_pretrained(config.model).to(device).eval()
            self._images = AutoImageProcessor.from_pretrained(config.model)
            self._tokenizer = AutoTokenizer.from_pretrained(config.model)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"encoder '{config.name}': transformers cannot load {config.model!r} (a hub id needs a network"
                f" or a filled cache; offline, give a local folder): {error}"
            ) from None
        for method in ("get_image_features", "get_text_features"):
            if not hasattr(self.model, method):
                raise UserError(
                    f"encoder '{config.name}': {config.model} is a {type(self.model).__name__}, which does not"
                    " encode images and texts into one space"
                )
        self.context_length = self.model.config.text_config.max_position_embeddings
        self.identity = {
            "kind": "transformers",
            "model": config.model,
            "weights_sha256": weights_digest(self.model),
            "preprocessing": self._images.to_json_string(),
            "token_grid": config.token_grid,
            "text_layer": config.text_layer,
            "precision": config.precision,
            "dtype": config.dtype,
        }

    def preprocess(self, image: Image.Image) -> dict[str, Tensor]:
        return {name: value[0] for name, value in self._images(images=image, return_tensors="pt").items()}

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        with inference(self.config.precision, self.device):
            found = self.model.get_image_features(
                **{name: value.to(self.device) for name, value in batch.items()}
            )
            tokens = None
            if self.config.token_grid is not None:
                tokens = pool_grid(self._grid(found.last_hidden_state, batch), self.config.token_grid)
            return Frames(found.pooler_output, tokens)

    def _grid(self, hidden: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """Patch tokens [N, Dv, rows, columns] of a sequence [N, S, Dv], class token and padding left out."""
        rows, columns = self._patches(batch)
        # Variable resolution: patches first, then padding. Otherwise extra tokens, then patches.
        start = 0 if "spatial_shapes" in batch else hidden.shape[1] - rows * columns
        patches = hidden[:, start : start + rows * columns]
        return patches.transpose(1, 2).unflatten(2, (rows, columns))

    def _patches(self, batch: dict[str, Tensor]) -> tuple[int, int]:
        if "spatial_shapes" in batch:
            shapes = batch["spatial_shapes"]
            if (shapes != shapes[0]).any():
                raise UserError(f"encoder '{self.config.name}': frames of different sizes in one batch")
            return tuple(shapes[0].tolist())
        height, width = batch["pixel_values"].shape[-2:]
        patch = self.model.config.vision_config.patch_size
        return height // patch, width // patch

    def encode_captions(self, texts: list[str]) -> list[Caption]:
        """Texts are padded to the full context: SigLIP was trained so, and CLIP does not mind."""
        found = self._tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.context_length,
            return_attention_mask=True,
            return_tensors="pt",
        )
        real = found["attention_mask"].bool()
        inputs = {
            name: found[name].to(self.device) for name in self._tokenizer.model_input_names if name in found
        }
        with inference(self.config.precision, self.device):
            output = self.model.get_text_features(**inputs, output_hidden_states=True)
            layer = self.config.text_layer
            if layer is None:
                rows = self._projection()(output.last_hidden_state)
            else:
                rows = states_of_layer(output.hidden_states, layer, self.config.name)
        return [
            Caption(row[kept], sentence)
            for row, kept, sentence in zip(rows, real.to(self.device), output.pooler_output, strict=True)
        ]

    def _projection(self) -> nn.Module:
        """The layer that takes the pooled token to the joint space (CLIP's lies on the model, SigLIP's in the tower)."""
        for owner, name in ((self.model, "text_projection"), (self.model.text_model, "head")):
            if hasattr(owner, name):
                return getattr(owner, name)
        return nn.Identity()
