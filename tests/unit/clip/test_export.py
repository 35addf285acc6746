"""Folders of trained models: what open_clip, the features stage and the hub read of them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip.model import get_model_preprocess_cfg
from PIL import Image
from torch.nn.functional import normalize

from tests.unit.features.tiny_models import TEXTS, open_clip_folder
from tests.workflow.planning import ROOT
from workflow_scripts.lib.clip.export import export_folder, prepare_for_hub, trained_config
from workflow_scripts.lib.clip.models import find_model
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import load_encoder

VIT = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PICTURE = Image.linear_gradient("L").convert("RGB")


def export(config: ClipConfig, folder: Path, prefix: str = "", **made) -> tuple:
    """Make a model as training does, export it to `folder`, and return its embeddings of a picture and texts."""
    found = find_model(config, None)
    torch.manual_seed(3)
    model, _, preprocess = open_clip.create_model_and_transforms(found.name, found.pretrained, **made)
    model.eval()
    checkpoint = folder.parent / "epoch_1.pt"
    torch.save({"epoch": 1, "state_dict": {prefix + k: v for k, v in model.state_dict().items()}}, checkpoint)
    tokenizer = open_clip.get_tokenizer(found.name, context_length=config.force_context_length)
    folder.mkdir()
    preprocessing = get_model_preprocess_cfg(model)
    export_folder(checkpoint, found.name, trained_config(config, found.config), preprocessing, folder)
    return embeddings(model, preprocess, tokenizer)


def embeddings(model, preprocess, tokenizer) -> tuple:
    with torch.no_grad():
        images = model.encode_image(preprocess(PICTURE)[None], normalize=True)
        return images, model.encode_text(tokenizer(TEXTS), normalize=True)


def loaded(name: str) -> tuple:
    model, _, preprocess = open_clip.create_model_and_transforms(name, require_pretrained=True)
    return embeddings(model.eval(), preprocess, open_clip.get_tokenizer(name))


def same(one: tuple, other: tuple) -> bool:
    return all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def write_model(folder: Path, name: str = "tiny-vit-of-a-test.json", **changes) -> ClipConfig:
    (folder / name).write_text(json.dumps(VIT | changes))
    return ClipConfig(model=str(folder / name))


@pytest.mark.parametrize("family", ["demo", "vit", "coca", "siglip", "xlm_roberta"])
def test_a_folder_loads_in_open_clip_and_as_an_encoder(tmp_path, family):
    open_clip_folder(tmp_path / "source", family)
    expected = export(
        ClipConfig(model=f"local-dir:{tmp_path / 'source'}"), tmp_path / "made", prefix="module."
    )
    moved = (tmp_path / "made").rename(tmp_path / "moved to another place")
    assert same(loaded(f"local-dir:{moved}"), expected)
    encoder = load_encoder(EncoderConfig(name="x", kind="trained_clip"), moved, torch.device("cpu"))
    found = encoder.encode_captions(encoder.tokenize(TEXTS)).sentences
    assert torch.allclose(normalize(found.float(), dim=1), expected[1], atol=1e-5)
    found = encoder.encode_frames(encoder.preprocess([PICTURE])).embeddings
    assert torch.allclose(normalize(found.float(), dim=1), expected[0], atol=1e-4)
    assert not (moved / "open_clip_pytorch_model.bin").exists()


@pytest.mark.parametrize(
    ("option", "made"),
    [
        ({}, {}),
        ({"force_image_size": [48]}, {"force_image_size": 48}),
        ({"force_image_size": [32, 64]}, {"force_image_size": [32, 64]}),
        ({"force_context_length": 9}, {"force_context_length": 9}),
        ({"force_quick_gelu": True}, {"force_quick_gelu": True}),
        ({"force_custom_text": True}, {"force_custom_text": True}),
        ({"siglip": True}, {"init_logit_bias": -10}),
        ({"image_mean": [0.1, 0.2, 0.3]}, {"image_mean": (0.1, 0.2, 0.3)}),
        ({"image_std": [0.4, 0.5, 0.6]}, {"image_std": (0.4, 0.5, 0.6)}),
        ({"image_resize_mode": "squash"}, {"image_resize_mode": "squash"}),
    ],
)  # fmt: skip
def test_a_custom_model_needs_neither_its_json_nor_the_options_that_it_was_trained_with(
    tmp_path, option, made
):
    config = write_model(tmp_path).model_copy(update=option)
    expected = export(config, tmp_path / "made", **made)
    assert same(loaded(f"local-dir:{tmp_path / 'made'}"), expected)


def test_patch_dropout_is_of_the_training_only(tmp_path):
    config = write_model(tmp_path).model_copy(update={"force_patch_dropout": 0.5})
    export(config, tmp_path / "made", force_patch_dropout=0.5)
    settings = json.loads((tmp_path / "made/open_clip_config.json").read_text())
    assert "patch_dropout" not in settings["model_cfg"]["vision_cfg"]


def test_the_card_says_how_to_load_it(tmp_path):
    export(write_model(tmp_path), tmp_path / "made")
    card = (tmp_path / "made/README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlibrary_name: open_clip\n")
    assert 'create_model_and_transforms("local-dir:FOLDER")' in card
    prepare_for_hub(tmp_path / "made", "our-lab/tiny")
    assert 'get_tokenizer("hf-hub:our-lab/tiny")' in (tmp_path / "made/README.md").read_text(encoding="utf-8")


def test_a_tokenizer_that_cannot_be_published(tmp_path):
    text = VIT["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": "merges.txt.gz"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": VIT | {"text_cfg": text}}))
    with pytest.raises(UserError, match=r"the tokenizer is the file merges\.txt\.gz.*hf_tokenizer_name"):
        prepare_for_hub(tmp_path, "our-lab/tiny")


LOAD = """
import sys, torch
from tests.unit.clip.test_export import loaded
for name in sys.argv[2:]:
    torch.save(loaded(f"hf-hub:our-lab/{name}"), f"{sys.argv[1]}/{name}.pt")
"""


ABSENT = ("config.json", "processor_config.json", "preprocessor_config.json", "added_tokens.json",
          "special_tokens_map.json", "chat_template.jinja", "chat_template.json", "adapter_config.json")  # fmt: skip


@pytest.mark.slow
def test_what_is_uploaded_loads_from_the_hub(tmp_path):
    """The hub's cache, as a download leaves it, stands for the hub."""
    families = ["demo", "vit", "coca", "siglip", "xlm_roberta"]
    expected = {}
    for family in families:
        (tmp_path / family).mkdir()
        open_clip_folder(tmp_path / family / "source", family)
        config = ClipConfig(model=f"local-dir:{tmp_path / family / 'source'}")
        expected[family] = export(config, tmp_path / family / "made")
        prepare_for_hub(tmp_path / family / "made", f"our-lab/{family}")
        cache = tmp_path / "home/hub" / f"models--our-lab--{family}"
        (cache / "refs").mkdir(parents=True)
        (cache / "refs/main").write_text("0" * 40)
        shutil.copytree(tmp_path / family / "made", cache / "snapshots" / ("0" * 40))
        (absent := cache / ".no_exist" / ("0" * 40)).mkdir(parents=True)  # what was asked for in vain
        for name in ABSENT:
            if not (tmp_path / family / "made" / name).exists():
                (absent / name).touch()
        shutil.rmtree(tmp_path / family / "source")
    subprocess.run(
        [sys.executable, "-c", LOAD, tmp_path, *families],
        cwd=ROOT, check=True, env=os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    for family in families:
        assert same(torch.load(tmp_path / f"{family}.pt"), expected[family]), family
