"""Files that the section names are inputs of the training, and never its own result."""

import pytest

from workflow_scripts.lib.clip.named_files import named_files
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError


def test_files_and_folders_are_named_and_other_names_are_not(tmp_path):
    weights, teacher, folder = tmp_path / "가중치.pt", tmp_path / "teacher.json", tmp_path / "모델"
    folder.mkdir()
    for file in (weights, teacher, folder / "open_clip_config.json", folder / "open_clip_model.safetensors"):
        file.touch()
    config = ClipConfig(
        model=f"local-dir:{folder}",
        pretrained=str(weights),
        distill_model=str(teacher),
        distill_pretrained="openai",
    )
    assert named_files(config, tmp_path / "trained") == [
        str(folder / "open_clip_config.json"), str(folder / "open_clip_model.safetensors"), str(weights), str(teacher)
    ]  # fmt: skip
    assert named_files(ClipConfig(model="ViT-B-32", pretrained="openai"), tmp_path / "trained") == []


@pytest.mark.parametrize("key", ["model", "pretrained"])
def test_the_result_of_this_run_is_refused(tmp_path, key):
    trained = tmp_path / "trained"
    own = (
        {"model": f"local-dir:{trained}/../trained"}
        if key == "model"
        else {"pretrained": str(trained / "w.pt")}
    )
    with pytest.raises(UserError, match=rf"clip\.{key}: .* is what this run itself makes"):
        named_files(ClipConfig(**{"model": "ViT-B-32"} | own), trained)
