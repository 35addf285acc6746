"""The model folder: weights as safetensors, sizes as JSON; and the model of a checkpoint."""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, whole_folder, write_json
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_model(folder: Path, weights: Mapping[str, Tensor], config: GMMFormerConfig) -> None:
    """Make the folder from the model's state_dict. UserError where it holds something else than a model."""
    with whole_folder(folder, made_of=CONFIG) as temporary:
        save_file({name: value.contiguous() for name, value in weights.items()}, temporary / WEIGHTS)
        write_json(temporary / CONFIG, dataclasses.asdict(config))


def read_model(folder: Path) -> GMMFormer:
    """The model, in evaluation mode, on the CPU. UserError names a file that is missing or does not fit."""
    model = _made(folder / CONFIG, read_json(folder / CONFIG))
    try:
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{folder / WEIGHTS}: the weights cannot be loaded: {error}") from None
    return _loaded(folder / WEIGHTS, model, weights)


def read_checkpoint_model(file: Path) -> GMMFormer:
    """The same of a checkpoint of its training, which holds `model_config` and `model`, the weights."""
    try:
        content = dict(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
        config, weights = content["model_config"], content["model"]
    except Exception as error:  # damaged ones fail in every way
        raise UserError(
            f"{file}: cannot be read as a checkpoint of train_retrieval ({type(error).__name__}); give one that it wrote,"
            " or convert one of the original GMMFormer by convert_checkpoint"
        ) from None
    return _loaded(file, _made(file, config), weights)


def _made(file: Path, config: dict[str, Any]) -> GMMFormer:
    try:
        return GMMFormer(GMMFormerConfig(**config))
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise UserError(f"{file}: not the sizes of a GMMFormer: {error}") from None


def _loaded(file: Path, model: GMMFormer, weights: Mapping[str, Tensor]) -> GMMFormer:
    try:
        model.load_state_dict(weights)
    except (RuntimeError, TypeError) as error:  # a line for every tensor that does not fit
        reason = textwrap.shorten(str(error), 300, placeholder=" ...")
        raise UserError(f"{file}: the weights cannot be loaded: {reason}") from None
    return model.eval()
