"""What is told of a language model before it is trained on, and what is none."""

import pytest
import torch
import transformers as hf
from huggingface_hub import constants

from tests.unit.captioner.language_models import write_language_model
from workflow_scripts.lib.captioner.loading import language_model_files, load_language_model
from workflow_scripts.lib.errors import UserError

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def test_a_model_of_images_and_texts_is_refused(tmp_path):
    text = {**SIZES, "vocab_size": 32, "num_key_value_heads": 1, "head_dim": 8}
    vision = {**SIZES, "image_size": 16, "patch_size": 8}
    config = hf.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    hf.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path / "gemma3")
    with pytest.raises(UserError, match=r"language_model: .*gemma3' is a Gemma3For.*take one of text alone"):
        load_language_model(str(tmp_path / "gemma3"), "none", "fp32", torch.device("cpu"))


def test_weights_and_tokenizer_tell_a_folder(tmp_path):
    folder = write_language_model(tmp_path / "model", "llama", ["a dog"])
    files = language_model_files(str(folder))
    assert {"model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(files)
    (folder / "README.md").write_text("another commit")
    assert language_model_files(str(folder)) == files
    (folder / "chat_template.jinja").write_text("another template")
    assert language_model_files(str(folder)) != files


def test_a_link_to_weights_elsewhere_is_told_by_what_it_leads_to(tmp_path):
    weights = tmp_path / "elsewhere.safetensors"
    weights.write_bytes(b"one")
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.safetensors").symlink_to(weights)
    before = language_model_files(str(tmp_path / "model"))
    weights.write_bytes(b"two")
    assert language_model_files(str(tmp_path / "model")) != before


def test_a_hubs_model_is_told_by_what_was_fetched(tmp_path, monkeypatch):
    """Two commits with the same weights: the second one's README alone is another."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert language_model_files("me/mine") == {}
    cache = tmp_path / "models--me--mine"
    (cache / "refs").mkdir(parents=True)
    (cache / "blobs").mkdir()

    def commit(name: str, **blobs: str) -> dict[str, str]:
        (cache / "refs/main").write_text(name)
        snapshot = cache / "snapshots" / name
        snapshot.mkdir(parents=True)
        for file, blob in {"config.json": "c0", **blobs}.items():
            (cache / "blobs" / blob).touch()
            (snapshot / file).symlink_to(f"../../blobs/{blob}")
        return language_model_files("me/mine")

    first = commit("1" * 40, **{"model.safetensors": "aa", "README.md": "r1"})
    assert first == {"model.safetensors": "aa"}
    assert commit("2" * 40, **{"model.safetensors": "aa", "README.md": "r2"}) == first
    assert commit("3" * 40, **{"model.safetensors": "bb"}) != first
