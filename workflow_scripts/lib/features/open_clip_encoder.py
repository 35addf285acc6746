"""Any model of open_clip as an Encoder, the one that train_clip made included."""

import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import get_model_preprocess_cfg
from PIL import Image
from torch import Tensor, nn

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders import Caption, Frames, inference, pool_grid, weights_digest


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
        self.identity = {
            "kind": "open_clip",
            "model": name,
            "pretrained": config.pretrained,
            "weights_sha256": weights_digest(self.model),
            "preprocessing": get_model_preprocess_cfg(self.model),
            "token_grid": config.token_grid,
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
            found = self.model.forward_intermediates(
                text=ids.to(self.device), text_indices=1, normalize=False, normalize_intermediates=True
            )
            rows = self._project(found["text_intermediates"][-1])
        return [
            Caption(row[:length], sentence)
            for row, length, sentence in zip(
                rows, self._lengths(ids, rows.shape[1]), found["text_features"], strict=True
            )
        ]

    def _encode_with_hf_tower(self, ids: Tensor) -> list[Caption]:
        tower = self.model.text
        mask = ids != tower.config.pad_token_id
        hidden = tower.transformer(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        sentences = tower(ids)
        sentences = sentences[0] if isinstance(sentences, tuple) else sentences
        rows = tower.proj(hidden)
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
