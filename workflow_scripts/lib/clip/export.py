"""A checkpoint of open_clip_train as a folder that open_clip loads by `local-dir:`."""

import shutil
from pathlib import Path

import open_clip
from open_clip.factory import load_state_dict, parse_model_name
from open_clip.tokenizer import HFTokenizer
from safetensors.torch import save_file

from workflow_scripts.lib.files import write_json

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def export_folder(checkpoint: Path, model: str, preprocessing: dict, folder: Path) -> None:
    """Write weights, open_clip_config.json and, where the model has one of its own, the tokenizer.

    `preprocessing` is the configuration that the model was trained with.
    """
    state = load_state_dict(str(checkpoint))
    save_file(
        {name: tensor.contiguous() for name, tensor in state.items()}, folder / "open_clip_model.safetensors"
    )
    schema, name = parse_model_name(model)
    if schema == "local-dir":
        for file in Path(name).iterdir():
            if file.is_file() and file.suffix not in WEIGHTS:
                shutil.copyfile(file, folder / file.name)
    else:
        tokenizer = open_clip.get_tokenizer(model)
        if isinstance(tokenizer, HFTokenizer):
            tokenizer.save_pretrained(folder)
    config = {"model_cfg": open_clip.get_model_config(model), "preprocess_cfg": preprocessing}
    write_json(folder / "open_clip_config.json", config)
