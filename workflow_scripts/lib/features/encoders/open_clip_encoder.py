"""Any model of open_clip as an Encoder, the one that train_clip made included."""

from collections.abc import Sequence

import numpy as np
import open_clip
import torch
from open_clip.hf_model import HFTextEncoder
from open_clip.model import get_model_preprocess_cfg
from torch import Tensor, nn

from workflow_scripts.lib.clip.models import check_activation
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
    first_line,
    inference,
    pool_grid,
    real_rows,
    to_device,
)
from workflow_scripts.lib.features.encoders.identity import identity, space


class OpenClipEncoder:
    """`model` is what open_clip calls a model name: built-in, `local-dir:FOLDER` or `hf-hub:ORG/NAME`.

    Words are the text tower's last states, each taken to the joint space by the projection of the pooled one.
    """

    def __init__(
        self, config: EncoderConfig, device: torch.device, sides: Sequence[str], model: str, name: str
    ):
        self.config = config
        self.device = device
        self._load(model, with_tokenizer="text" in sides)
        self.identity = identity(
            config,
            space("open_clip", name, config.pretrained, self.model),
            dict(get_model_preprocess_cfg(self.model)) if "video" in sides else None,
            self.context_length,
        )
        if "video" not in sides:
            self.model.visual = nn.Identity()
        to_device(self.model, config.precision, device)
        self._vision = compiled(self._encode_images, config)
        self._text = compiled(self._encode_with_hf_tower if self._hf_tower else self._encode_ids, config)

    def _load(self, model: str, with_tokenizer: bool) -> None:
        """Set the model, its preprocessing, and its tokenizer if asked for."""
        config = self.config
        if config.pretrained is not None and ":" in model:  # open_clip would leave it out
            raise UserError(
                f"encoder '{config.name}': `pretrained` ({config.pretrained}) goes with the name of a built-in model;"
                f" {model} has weights of its own"
            )
        if config.pretrained is not None:
            check_activation(model, config.pretrained, f"encoder '{config.name}'")
        try:
            self.model, _, transform = open_clip.create_model_and_transforms(
                model, pretrained=config.pretrained, require_pretrained=True
            )
            self._tokenizer = open_clip.get_tokenizer(model) if with_tokenizer else None
        except Exception as error:  # what is no checkpoint fails in many ways
            raise UserError(
                f"encoder '{config.name}': open_clip cannot load {model!r}"
                f" (pretrained: {config.pretrained}): {first_line(error)}"
            ) from None
        self.preprocess = preprocessing.of_compose(transform)
        self.context_length = self._tokenizer.context_length if with_tokenizer else None
        self._tower = getattr(self.model, "text", self.model)
        self._hf_tower = isinstance(self._tower, HFTextEncoder)
        vision = getattr(self.model.visual, "trunk", self.model.visual)  # timm's lies in a wrapper
        if config.token_grid is not None and not hasattr(vision, "forward_intermediates"):
            raise UserError(
                f"encoder '{config.name}': the vision tower of {model}, a {type(vision).__name__}, gives no grid of"
                " patches; give it no token_grid"
            )
        if with_tokenizer and not self._hf_tower:
            check_text_layer(config, len(self._tower.transformer.resblocks))

    def encode_frames(self, batch: dict[str, Tensor]) -> Frames:
        with inference(self.config.precision, self.device):
            return Frames(*self._vision(self.preprocess.finish(batch, self.device)["image"]))

    def _encode_images(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """Embeddings and tokens."""
        if self.config.token_grid is None:
            return self.model.encode_image(image, normalize=False), None
        found = self.model.forward_intermediates(
            image=image, image_indices=1, normalize=False, normalize_intermediates=True
        )
        return found["image_features"], pool_grid(found["image_intermediates"][-1], self.config.token_grid)

    def tokenize(self, texts: list[str]) -> Tokens:
        ids = self._tokenizer(texts)
        lengths = self._lengths(ids)
        cut = lengths >= self.context_length
        if cut.any():  # or just as long as the context: a longer one tells
            longer = self._tokenizer(
                [text for text, full in zip(texts, cut, strict=True) if full],
                context_length=self.context_length + 1,
            )
            cut[cut] = self._lengths(longer) > self.context_length
        return Tokens({"ids": ids}, np.ones_like(lengths) if self._only_sentences else lengths, cut)

    def encode_captions(self, tokens: Tokens) -> Captions:
        ids = tokens.inputs["ids"]
        if self._hf_tower:  # which masks the padding
            ids = ids[:, : columns(int(self._real(ids).sum(1).max()), self.context_length, self.config)]
        with inference(self.config.precision, self.device):
            states, sentences = self._text(ids.to(self.device))
        return Captions(sentences if states is None else real_rows(states, tokens.lengths), sentences)

    def _encode_ids(self, ids: Tensor) -> tuple[Tensor | None, Tensor]:
        """Token states [N, context, D] of the configured layer, and sentence embeddings [N, D]."""
        if self._only_sentences:
            return None, self.model.encode_text(ids, normalize=False)
        layer, tower = self.config.text_layer, self._tower
        if layer == 0:  # what goes into the first block; forward_intermediates begins behind it
            states = tower.token_embedding(ids)
            states = states + tower.positional_embedding[: ids.shape[1]]
            return states, self.model.encode_text(ids, normalize=False)
        found = self.model.forward_intermediates(
            text=ids,
            text_indices=1 if layer is None else [layer - 1],
            normalize=False,
            normalize_intermediates=layer is None,
        )
        [states] = found["text_intermediates"]
        return self._project(states) if layer is None else states, found["text_features"]

    def _project(self, states: Tensor) -> Tensor:
        """The text tower's own projection, applied to every token instead of the pooled one."""
        projection = self._tower.text_projection
        if projection is None:
            return states
        return projection(states) if isinstance(projection, nn.Module) else states @ projection

    def _encode_with_hf_tower(self, ids: Tensor) -> tuple[Tensor | None, Tensor]:
        """As `_encode_ids`, for a text tower of transformers."""
        layer, tower, mask = self.config.text_layer, self._tower, self._real(ids).long()
        found = tower.transformer(input_ids=ids, attention_mask=mask, output_hidden_states=layer is not None)
        sentences = tower.proj(tower.pooler(found, mask))
        if self._only_sentences:
            return None, sentences
        if layer is None:
            return tower.proj(found.last_hidden_state), sentences
        check_text_layer(self.config, len(found.hidden_states) - 1)
        return found.hidden_states[layer], sentences

    @property
    def _only_sentences(self) -> bool:
        return self.config.text == "sentence"

    def _real(self, ids: Tensor) -> Tensor:
        """What a text tower of transformers does not mask."""
        return ids != self._tower.config.pad_token_id

    def _lengths(self, ids: Tensor) -> np.ndarray:
        """Tokens [N] up to and with the first end token: what follows is padding.

        A tokenizer without an end pads with an id of its own; CLIP's pads with 0, which is a word, and has an end.
        """
        if self._hf_tower:
            return self._real(ids).sum(1).numpy()
        inner = getattr(self._tokenizer, "tokenizer", self._tokenizer)
        end = getattr(inner, "eot_token_id", getattr(inner, "eos_token_id", None))
        padding = getattr(inner, "pad_token_id", None)
        places = torch.arange(1, ids.shape[1] + 1)
        last = torch.where(ids != padding, places, 0).amax(1) if padding is not None else places[-1]
        if end is None:
            return last.expand(len(ids)).numpy()
        first_end = torch.where(ids == end, places, len(places) + 1).amin(1)
        return torch.where(first_end <= len(places), first_end, last).numpy()
