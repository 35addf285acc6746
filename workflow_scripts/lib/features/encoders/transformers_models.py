"""Loading of transformers models: the part of a checkpoint that encodes, with all of its weights."""

import inspect
from typing import Any

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoTokenizer,
    BaseImageProcessor,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import first_line


def load_model(config: EncoderConfig) -> PreTrainedModel:
    """The model of `config` in fp32, without heads of other tasks; of an encoder-decoder, the encoder.

    UserError when it cannot be had, or its checkpoint lacks weights, which would be random ones.
    """
    try:
        settings = AutoConfig.from_pretrained(config.model)
        model, missing = _read(config.model, _own_class(settings), {})
        if missing and "add_pooling_layer" in inspect.signature(type(model)).parameters:
            model, missing = _read(config.model, type(model), {"add_pooling_layer": False})
    except Exception as error:  # what is no checkpoint fails in many ways
        raise UserError(
            f"encoder '{config.name}': transformers cannot load {config.model!r} (a hub id needs a network or a filled"
            f" cache; offline, give a local folder): {first_line(error)}"
        ) from None
    if missing:
        raise UserError(
            f"encoder '{config.name}': the checkpoint {config.model} lacks {len(missing)} weights of a"
            f" {type(model).__name__} ({missing[0]}, ...); give a model whose weights are complete"
        )
    return model.get_encoder() if settings.is_encoder_decoder else model


def load_processor(config: EncoderConfig) -> BaseImageProcessor:
    """The image processor beside a model."""
    return _beside(AutoImageProcessor, "image processor", "frames: false", config)


def load_tokenizer(config: EncoderConfig) -> PreTrainedTokenizerBase:
    """The tokenizer beside a model, padding on the right."""
    tokenizer = _beside(AutoTokenizer, "tokenizer", "text: none", config, padding_side="right")
    # where the files are missing, transformers makes one that knows no words
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens):
        raise UserError(
            f"encoder '{config.name}': {config.model} has no tokenizer with words;"
            " add the tokenizer's files, or give it `text: none`"
        )
    return tokenizer


def _beside(kind: Any, what: str, without: str, config: EncoderConfig, **settings: Any) -> Any:
    try:
        return kind.from_pretrained(config.model, **settings)
    except Exception as error:
        raise UserError(
            f"encoder '{config.name}': {config.model} has no {what} that can be loaded ({first_line(error)});"
            f" add its files, or give it `{without}`"
        ) from None


def context_of(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> int:
    """Tokens that the text tower of encoder `name` reads: as many as it has positions, or its tokenizer's limit."""
    settings = getattr(model.config, "text_config", model.config)
    limits = [tokenizer.model_max_length]
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is not None:
        # RoBERTa counts positions from behind the padding's
        tables = [table for where, table in model.named_modules() if where.endswith("position_embeddings")]
        skipped = [
            table.padding_idx + 1 for table in tables if getattr(table, "padding_idx", None) is not None
        ]
        limits.append(positions - max(skipped, default=0))
    if min(limits) > 10**6:  # what transformers puts where nothing is said is larger still
        raise UserError(
            f"encoder '{name}': neither the model nor its tokenizer says how many tokens it reads;"
            " set model_max_length in tokenizer_config.json"
        )
    return min(limits)


def _own_class(settings: PretrainedConfig) -> type[PreTrainedModel]:
    """The class that the checkpoint was saved as, which knows its projections; otherwise what the library guesses."""
    [name, *_] = settings.architectures or [""]
    return getattr(transformers, name, AutoModel)


def _read(path: str, kind: Any, options: dict[str, Any]) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of its weights that the checkpoint does not have."""
    model, loading = kind.from_pretrained(path, dtype=torch.float32, output_loading_info=True, **options)
    body = model
    if not any(hasattr(model, name) for name in ("visual_projection", "text_projection")):
        body = model.base_model
    prefix = next(name for name, module in model.named_modules() if module is body)
    return body, sorted(name for name in loading["missing_keys"] if name.startswith(prefix))
