"""The model folder: weights as safetensors, sizes as JSON."""

import dataclasses
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, whole_folder, write_json
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def write_model(folder: Path, weights: Path, config: GMMFormerConfig) -> None:
    """Make the folder from a safetensors file with the model's state_dict."""
    with whole_folder(folder) as temporary:
        shutil.copyfile(weights, temporary / WEIGHTS)
        write_json(temporary / CONFIG, dataclasses.asdict(config))


def read_model(folder: Path) -> GMMFormer:
    """The model, in evaluation mode, on the CPU. UserError names a file that is missing or does not fit."""
    config = read_json(folder / CONFIG)
    try:
        model = GMMFormer(GMMFormerConfig(**config))
    except (TypeError, ValueError) as error:
        raise UserError(f"{folder / CONFIG}: not the sizes of a GMMFormer: {error}") from None
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise UserError(f"{folder / WEIGHTS}: the weights cannot be loaded: {error}") from None
    return model.eval()
