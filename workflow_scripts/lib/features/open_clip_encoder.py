"""Any model of open_clip as an Encoder, the one that train_clip made included."""

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import get_model_preprocess_cfg
from PIL import Image
from torch import Tensor, nn

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


class OpenClipEncoder:
    """`model` is what open_clip calls a model name: built-in, `local-dir:FOLDER` or `hf-hub:ORG/NAME`."""

    def __init__(self, config: EncoderConfig, device: torch.device, model: str, name: str):
        self.config = config
        self.device = device
        try:
            self.model, _, self._transform = open_clip.create_model_and_transforms(
                model, pretrained=config.pretrained, device=device, require_pretrained=True
            )
            self._tokenizer = open_clip.get_tokenizer(model)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"encoder '{config.name}': open_clip cannot load {model!r}"
                f" (pretrained: {config.pretrained}): {error}"
            ) from None
        self.model.eval()
        self.context_length = self._tokenizer.context_length
        self.identity = {
            "kind": "open_clip",
            "model": name,
            "pretrained": config.pretrained,
            "weights_sha256": weights_digest(self.model),
            "preprocessing": get_model_preprocess_cfg(self.model),
            "token_grid": config.token_grid,
            "text_layer": config.text_layer,
            "precision": config.precision,
            "dtype": config.dtype,
        }

    def preprocess(self, image: Image.Image) -> dict[str, Tensor]:
        return {"image": self._transform(image)}

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        image = batch["image"].to(self.device)
        with inference(self.config.precision, self.device):
            if self.config.token_grid is None:
                return Frames(self.model.encode_image(image), None)
            found = self.model.forward_intermediates(
                image=image, image_indices=1, normalize=False, normalize_intermediates=True
            )
            grid = pool_grid(found["image_intermediates"][-1], self.config.token_grid)
            return Frames(found["image_features"], grid)

    def encode_captions(self, texts: list[str]) -> list[Caption]:
        ids = self._tokenizer(texts)
        with inference(self.config.precision, self.device):
            if isinstance(getattr(self.model, "text", None), HFTextEncoder):
                return self._encode_with_hf_tower(ids.to(self.device))
            rows, sentences = self._token_states(ids.to(self.device))
        lengths = self._lengths(ids, rows.shape[1])
        return [
            Caption(row[:length], sentence)
            for row, length, sentence in zip(rows, lengths, sentences, strict=True)
        ]

    def _token_states(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Token states [N, context, D] of the configured layer, and sentence embeddings [N, D]."""
        if self.config.text_layer is None:
            found = self.model.forward_intermediates(
                text=ids, text_indices=1, normalize=False, normalize_intermediates=True
            )
            return self._project(found["text_intermediates"][-1]), found["text_features"]
        blocks = getattr(self.model, "text", self.model).transformer.resblocks
        # forward_intermediates begins behind the first block; what goes into it are the word embeddings
        states: list[Tensor] = []
        hooks = [block.register_forward_pre_hook(lambda _, args: states.append(args[0])) for block in blocks]
        hooks.append(blocks[-1].register_forward_hook(lambda _, args, output: states.append(output)))
        try:
            sentences = self.model.encode_text(ids)
        finally:
            for hook in hooks:
                hook.remove()
        rows = states_of_layer(tuple(states), self.config.text_layer, self.config.name)
        return (rows if rows.shape[0] == len(ids) else rows.transpose(0, 1)), sentences

    def _encode_with_hf_tower(self, ids: Tensor) -> list[Caption]:
        tower = self.model.text
        mask = ids != tower.config.pad_token_id
        found = tower.transformer(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True)
        sentences = tower(ids)
        sentences = sentences[0] if isinstance(sentences, tuple) else sentences
        layer = self.config.text_layer
        if layer is None:
            rows = tower.proj(found.last_hidden_state)
        else:
            rows = states_of_layer(found.hidden_states, layer, self.config.name)
        return [Caption(row[kept], one) for row, kept, one in zip(rows, mask, sentences, strict=True)]

    def _project(self, hidden: Tensor) -> Tensor:
        """The text tower's own projection, applied to every token instead of the pooled one."""
        tower = getattr(self.model, "text", self.model)
        projection = tower.text_projection
        if projection is None:
            return hidden
        return projection(hidden) if isinstance(projection, nn.Module) else hidden @ projection

    def _lengths(self, ids: Tensor, rows: int) -> list[int]:
        """Tokens up to and with the end token: what follows is padding.

        CLIP's tokenizer pads with 0 and ends with its highest id; others say what their end is. A
        tokenizer without either (SigLIP) pads with an id of its own.
        """
        inner = getattr(self._tokenizer, "tokenizer", self._tokenizer)
        end = getattr(inner, "eot_token_id", getattr(inner, "eos_token_id", None))
        is_end = ids == end
        first = is_end.int().argmax(dim=1) + 1
        lengths = torch.where(is_end.any(dim=1), first, ids.shape[1])
        return lengths.clamp(max=rows).tolist()
