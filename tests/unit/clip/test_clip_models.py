"""Which model open_clip is given, and what is refused because of its architecture."""

import json

import open_clip
import pytest

from tests.unit.clip import tiny_training as tiny
from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.models import check_activation, find_model
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError

RESNET, COCA, VIT = "RN50", "coca_ViT-B-32", "ViT-B-32"
TIMM, ROBERTA = "vit_medium_patch16_gap_256", "roberta-ViT-B-32"


def found(**settings):
    return find_model(ClipConfig(**settings), None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "ViT-B-33"}, r"knows no 'ViT-B-33'; near: .*ViT-B-32"),
        ({"model": "no/such.json"}, r"there is no file no/such\.json"),
        ({"model": VIT, "pretrained": "nobody"}, "no file and no tag of ViT-B-32; its tags: openai"),
        ({"model": "local-dir:/no/such"}, "/no/such is no folder with an open_clip_config.json"),
        (
            {"model": RESNET, "lock_image": True, "lock_image_unlocked_groups": 1},
            "of a ResNet, all or nothing",
        ),
        ({"model": RESNET, "force_patch_dropout": 0.5}, "no patches"),
        ({"model": VIT, "lock_image": True, "lock_image_freeze_bn_stats": True}, "no batch norms"),
        ({"model": VIT, "pretrained_image": True}, "only image towers of timm"),
        ({"model": COCA, "siglip": True}, "no sigmoid loss"),
        ({"model": COCA, "lock_image": True}, "cannot lock"),
        ({"model": COCA, "lock_text": True, "lock_text_freeze_layer_norm": True}, "cannot lock"),
        ({"model": COCA, "distill_model": "local-dir:/t"}, "does not distill into a CoCa"),
        ({"model": VIT, "coca_caption_loss_weight": 1}, "clip.coca_caption_loss_weight: ViT-B-32 is no CoCa"),
        ({"model": VIT, "lock_text": True}, "set lock_text_freeze_layer_norm, too"),
    ],
)
def test_what_an_architecture_cannot_do(settings, message):
    with pytest.raises(UserError, match=message):
        found(**settings)


def test_what_it_can_do():
    assert (
        found(model=VIT, force_patch_dropout=0.5, lock_image=True, lock_image_unlocked_groups=2).name == VIT
    )
    assert found(model=RESNET, lock_image=True, lock_image_freeze_bn_stats=True).resnet
    assert found(model=COCA, coca_caption_loss_weight=1).coca
    assert found(model=ROBERTA, lock_text=True).hf_text, "whose layer norms may stay unlocked"
    timm = next(
        name
        for name in open_clip.list_models()
        if "timm_model_name" in open_clip.get_model_config(name)["vision_cfg"]
    )
    assert found(model=timm, pretrained_image=True).timm


def test_weights_that_cannot_be_fetched_are_told_early(monkeypatch):
    def no_network(tag, cache_dir):
        raise RuntimeError(f"no network, nor anything in {cache_dir}")

    monkeypatch.setattr(open_clip, "download_pretrained", no_network)
    with pytest.raises(
        UserError,
        match=r"'openai' of ViT-B-32-quickgelu could not be fetched.*no network, nor anything in /c",
    ):
        found(model=f"{VIT}-quickgelu", pretrained="openai", cache_dir="/c")
    with pytest.raises(UserError, match="could not be fetched"):
        found(model=VIT, pretrained="openai", force_quick_gelu=True)


def test_an_activation_that_weights_were_not_trained_with():
    """Every tag of open_clip's that is for QuickGELU, and no other, is refused for a model without it."""
    with pytest.raises(UserError, match=r"clip.model: .*'openai'.*take ViT-B-32-quickgelu"):
        found(model=VIT, pretrained="openai")
    with pytest.raises(UserError, match=r"clip.distill_model: .*take RN50-quickgelu"):
        found(model=VIT, distill_model="RN50", distill_pretrained="cc12m")
    with_it = {pair for pair in open_clip.list_pretrained() if pair[0].endswith("-quickgelu")}
    for name, tag in open_clip.list_pretrained():
        if (better := (f"{name}-quickgelu", tag)) in with_it:
            for spelled in (name, name.replace("ViT-B-32", "ViT-B/32")):
                with pytest.raises(UserError, match=f"take {better[0]}$"):
                    check_activation(spelled, tag, "clip.model")
        else:
            check_activation(name, tag, "clip.model")
    assert {name for name, _ in with_it} <= set(open_clip.list_models())


def test_a_model_of_the_hub(monkeypatch):
    monkeypatch.setattr(open_clip, "get_model_config", lambda name: tiny.VIT)
    assert found(model="hf-hub:me/mine").name == "hf-hub:me/mine"

    def no_network(name):
        raise RuntimeError("no network")

    monkeypatch.setattr(open_clip, "get_model_config", no_network)
    with pytest.raises(
        UserError, match=r"'hf-hub:me/mine' could not be fetched .*no network.*local-dir:FOLDER"
    ):
        found(model="hf-hub:me/mine")


def test_the_demo_model():
    with pytest.raises(UserError, match="--demo-model names no folder"):
        found(demo_model=TINY)


def test_a_json_file_is_known_by_its_name(tmp_path):
    path = tiny.write_model(tmp_path)
    model = found(model=path)
    assert path.endswith(f"{model.name}.json") and model.config == tiny.VIT and not model.coca
    assert found(model=path) == model, "once more, from another command"
    weights = tmp_path / "w.pt"
    weights.touch()
    assert found(model=path, pretrained=str(weights)).pretrained == str(weights)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.json",
            {"model_cfg": {}},
            "has embed_dim, vision_cfg, text_cfg; for a folder with it write `local-dir:",
        ),
        ("a.json", [1], "is no model of open_clip"),
        ("ViT-B-32.json", tiny.VIT, "another model 'ViT-B-32'; rename"),
        ("a.config", tiny.VIT, "end in .json; rename"),
        ("my_siglip.json", tiny.VIT, "SigLIP's tokenizer; rename it, or set hf_tokenizer_name"),
    ],
)
def test_json_files_that_are_no_models(tmp_path, name, content, message):
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError, match=message):
        found(model=str(tmp_path / name))


def test_a_folder_with_weights_of_another_place(tmp_path):
    settings = tmp_path / "open_clip_config.json"
    settings.write_text(json.dumps({"model_cfg": tiny.VIT}))
    weights = tmp_path / "other.pt"
    weights.touch()
    model = found(model=f"local-dir:{tmp_path}", pretrained=str(weights))
    assert (model.name, model.pretrained, model.weights) == (f"local-dir:{tmp_path}", "", weights)
    assert found(model=f"local-dir:{tmp_path}").weights is None
    with pytest.raises(UserError, match="'openai' is no file, and tags are of open_clip's own models"):
        found(model=f"local-dir:{tmp_path}", pretrained="openai")
    settings.write_text("{}")
    with pytest.raises(UserError, match="has no model_cfg with embed_dim"):
        found(model=f"local-dir:{tmp_path}")


def test_teachers(tmp_path):
    student = tiny.write_model(tmp_path)
    with pytest.raises(UserError, match=r"embeddings of 512 numbers, tiny_.* of 16"):
        weights = tmp_path / "w.pt"
        weights.touch()
        found(model=student, distill_model=VIT, distill_pretrained=str(weights))
    with pytest.raises(UserError, match=r"clip\.distill_model: open_clip knows no 'ViT-B-33'"):
        found(model=student, distill_model="ViT-B-33", distill_pretrained="openai")
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "open_clip_config.json").write_text(json.dumps({"model_cfg": tiny.COCA}))
    with pytest.raises(UserError, match="takes no lessons from"):
        found(model=student, distill_model=f"local-dir:{teacher}")
    (teacher / "open_clip_config.json").write_text(json.dumps({"model_cfg": tiny.VIT}))
    assert found(model=student, distill_model=f"local-dir:{teacher}").name
    with pytest.raises(UserError, match=r"takes 'coca_.*' for a CoCa model because of its name"):
        found(model=tiny.write_model(tmp_path, name="coca"), distill_model=f"local-dir:{teacher}")


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("vision_cfg", "image_size", 48),
        ("text_cfg", "vocab_size", 99),
        ("text_cfg", "hf_tokenizer_name", "x"),
    ],
)
def test_a_teacher_sees_the_same_pixels_and_tokens(tmp_path, part, name, value):
    teacher = {**tiny.VIT, part: {**tiny.VIT[part], name: value}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": teacher}))
    with pytest.raises(UserError, match=f"its {name} is {value} instead of"):
        found(model=tiny.write_model(tmp_path), distill_model=f"local-dir:{tmp_path}")


def test_a_tower_of_timm_keeps_its_size():
    with pytest.raises(UserError, match=r"clip\.force_image_size: .* of timm of another size"):
        found(model="ViT-B-16-SigLIP", force_image_size=[384])
