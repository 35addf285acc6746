"""A checkpoint of open_clip_train as a folder that open_clip loads, from the disk or from the Hugging Face hub."""

import math
import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import open_clip
from open_clip.constants import HF_CONFIG_NAME as SETTINGS
from open_clip.constants import HF_SAFE_WEIGHTS_NAME
from open_clip.factory import load_state_dict, parse_model_name
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npz", ".npy")
CARD = "README.md"
SIGLIP = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0}
"""What open_clip_train gives to a model with the sigmoid loss: a bias, and how both start."""
PLACE = "local-dir:FOLDER"
"""Stands in the card for where the model is."""


def export_folder(
    checkpoint: Path,
    model: str,
    model_cfg: dict[str, Any],
    preprocessing: dict[str, Any],
    folder: Path,
    cache_dir: str | None = None,
) -> None:
    """Write weights, open_clip_config.json, the tokenizer where it is not open_clip's own, and a model card.

    `model` is what open_clip_train was given, `model_cfg` its `trained_config`, and `preprocessing` the configuration that
    it was trained with; `cache_dir` is where its tokenizer was loaded to. The folder loads by `local-dir:FOLDER`; after
    `prepare_for_hub`, what is uploaded loads by `hf-hub:ORG/NAME`.
    """
    state = load_state_dict(str(checkpoint))
    # clones: tensors that share their memory (tied weights) are refused by safetensors
    save_file(
        {name: tensor.clone().contiguous() for name, tensor in state.items()}, folder / HF_SAFE_WEIGHTS_NAME
    )
    schema, name = parse_model_name(model)
    if schema == "local-dir":
        for file in Path(name).iterdir():
            if file.is_file() and file.suffix not in WEIGHTS and file.name != CARD:
                shutil.copyfile(file, folder / file.name)
    else:
        tokenizer = open_clip.get_tokenizer(model, cache_dir=cache_dir)
        if isinstance(tokenizer, HFTokenizer):
            tokenizer.save_pretrained(folder)
    write_json(folder / SETTINGS, {"model_cfg": model_cfg, "preprocess_cfg": preprocessing})
    (folder / CARD).write_text(_card(model_cfg), encoding="utf-8")


def trained_config(config: ClipConfig, model_cfg: dict[str, Any]) -> dict[str, Any]:
    """The architecture with what the section forces upon it: so its weights load without these options.

    Patch dropout is of the training only, and stays as the model had it.
    """
    found = deepcopy(model_cfg)
    if config.force_quick_gelu:
        found["quick_gelu"] = True
    if config.force_custom_text:
        found["custom_text"] = True
    if size := config.force_image_size:
        found["vision_cfg"]["image_size"] = size[0] if len(size) == 1 else size
    if config.force_context_length:
        found["text_cfg"]["context_length"] = config.force_context_length
    if config.siglip:
        found |= SIGLIP
    return found


def prepare_for_hub(folder: Path, repository: str) -> None:
    """Make the files in `folder` name `repository` (ORG/NAME) where they name a folder of this machine.

    A tokenizer that lies in the folder, and the configuration of a text tower of transformers, are then looked for
    in the repository. What has a name on the hub keeps it. UserError where a part of the model has no place there.
    """
    config = read_json(folder / SETTINGS)
    text = config["model_cfg"]["text_cfg"]
    if "bpe_path" in (text.get("tokenizer_kwargs") or {}):
        raise UserError(
            f"{folder / SETTINGS}: the tokenizer is the file {text['tokenizer_kwargs']['bpe_path']}, which open_clip"
            " reads from the disk only; give the model a tokenizer of transformers (`hf_tokenizer_name`) to publish it"
        )
    if _is_folder(text.get("hf_tokenizer_name")):
        text["hf_tokenizer_name"] = repository
    if _is_folder(tower := text.get("hf_model_name")):
        settings = Path(tower) / "config.json"
        if not settings.is_file():
            raise UserError(
                f"{settings}: not there, and the text tower of {folder} is made by it; put it back"
            )
        shutil.copyfile(settings, folder / "config.json")
        text["hf_model_name"] = repository
    write_json(folder / SETTINGS, config)
    card = folder / CARD
    card.write_text(card.read_text(encoding="utf-8").replace(PLACE, f"hf-hub:{repository}"), encoding="utf-8")


def _is_folder(name: str | None) -> bool:
    """`.` is the folder itself; a name on the hub is no folder, unless one of that name is here."""
    return bool(name) and Path(name).is_dir()


def _card(model_cfg: dict[str, Any]) -> str:
    """A model card in the hub's form."""
    text = model_cfg["text_cfg"]
    return f"""---
library_name: open_clip
pipeline_tag: zero-shot-image-classification
tags: [clip]
---
# A CLIP model

Trained by open_clip_train {open_clip.__version__}. Embeddings of {model_cfg["embed_dim"]} numbers; texts of up to \
{text.get("context_length", 77)} tokens.

```python
import open_clip

model, _, preprocess = open_clip.create_model_and_transforms("{PLACE}")
tokenizer = open_clip.get_tokenizer("{PLACE}")
```
"""
