"""export_clip: a folder for the hub."""

import json

import pytest

from tests.unit.clip import pipeline
from workflow_scripts.lib.errors import UserError


def export(model, folder, repository="our-lab/tiny"):
    pipeline.run("export_clip", model=model, repository=repository, folder=folder)


def test_the_tokenizer_in_the_folder_is_looked_for_in_the_repository(tmp_path, capsys):
    trained = pipeline.trained() / "trained"
    before = (trained / "open_clip_config.json").read_bytes()
    export(trained, tmp_path / "upload")
    text = json.loads((tmp_path / "upload/open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
    assert text["hf_tokenizer_name"] == "our-lab/tiny"
    names = {file.name for file in (tmp_path / "upload").iterdir()}
    assert {"open_clip_model.safetensors", "tokenizer.json", "tokenizer_config.json", "README.md"} <= names
    assert (trained / "open_clip_config.json").read_bytes() == before
    assert f"hf upload our-lab/tiny {tmp_path / 'upload'} ." in capsys.readouterr().out


def test_it_can_be_written_again(tmp_path):
    trained = pipeline.trained() / "trained"
    export(trained, tmp_path / "upload")
    export(trained, tmp_path / "upload", "others/tiny")
    assert "others/tiny" in (tmp_path / "upload/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("repository", ["tiny", "our lab/tiny", "a/b/c", "https://hf.co/a/b"])
def test_what_is_no_repository(tmp_path, repository):
    with pytest.raises(UserError, match="is no ORG/NAME"):
        export(pipeline.trained() / "trained", tmp_path / "upload", repository)


def test_folders_of_other_things(tmp_path):
    with pytest.raises(
        UserError, match=r"no open_clip_config\.json in it; give a folder that train_clip wrote"
    ):
        export(tmp_path, tmp_path / "upload")
    (tmp_path / "upload").mkdir()
    (tmp_path / "upload/thesis.txt").touch()
    with pytest.raises(UserError, match="holds other things"):
        export(pipeline.trained() / "trained", tmp_path / "upload")
