"""Folders with tiny models of random weights, as the libraries save them."""

import json

import open_clip
import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tests.unit.clip.fake_corpus import TINY
from workflow_scripts.lib.clip.demo_model import write_demo_model
from workflow_scripts.lib.config import EncoderConfig

TEXTS = ["a red square", "빨간 사각형이 있다", "a green square and a red square"]

TEXT = {"vocab_size": 13, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "max_position_embeddings": 10, "eos_token_id": 11, "pad_token_id": 0, "bos_token_id": 1}  # fmt: skip
ROBERTA = TEXT | {"pad_token_id": 0, "max_position_embeddings": 11, "type_vocab_size": 1}
VISION = {"image_size": 24, "patch_size": 8, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1,
          "num_attention_heads": 2}  # fmt: skip
SIZE = {"height": 24, "width": 24}


def word_tokenizer(*, asks_for_mask, limit=None, token_types=False):
    """Words by white space; without a mask, like SigLIP's: no start token, and padding that the model is to see."""
    words = [
        "<pad>",
        "<s>",
        "<unk>",
        "a",
        "red",
        "green",
        "square",
        "and",
        "빨간",
        "사각형이",
        "있다",
        "</s>",
    ]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $0 </s>" if asks_for_mask else "$0 </s>", special_tokens=[("<s>", 1), ("</s>", 11)]
    )
    names = [
        "input_ids",
        *(["token_type_ids"] if token_types else []),
        *(["attention_mask"] if asks_for_mask else []),
    ]
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_input_names=names,
        **({"model_max_length": limit} if limit else {}),
    )


def _siglip_text():
    return TEXT | {"projection_size": 32}


def _vision_only(name):
    made = {
        "dinov2": lambda: hf.Dinov2Model(hf.Dinov2Config(**VISION)),
        "dinov2_registers": lambda: hf.Dinov2WithRegistersModel(
            hf.Dinov2WithRegistersConfig(**VISION, num_register_tokens=3)
        ),
        "siglip_vision": lambda: hf.SiglipVisionModel(hf.SiglipVisionConfig(**VISION)),
        "clip_vision": lambda: hf.CLIPVisionModel(hf.CLIPVisionConfig(**VISION)),
        "clip_vision_projected": lambda: hf.CLIPVisionModelWithProjection(
            hf.CLIPVisionConfig(**VISION, projection_dim=24)
        ),
        "vit": lambda: hf.ViTModel(hf.ViTConfig(**VISION)),
        "vit_classifier": lambda: hf.ViTForImageClassification(hf.ViTConfig(**VISION)),
        "convnext": lambda: hf.ConvNextModel(
            hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 32], depths=[1, 1, 1, 1], patch_size=2)
        ),
        "resnet": lambda: hf.ResNetModel(
            hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 16, 32], depths=[1, 1, 1, 1])
        ),
    }
    return made[name]() if name in made else None


def _text_only(name):
    made = {
        "bert": lambda: hf.BertModel(hf.BertConfig(**TEXT)),
        "bert_language_model": lambda: hf.BertForMaskedLM(hf.BertConfig(**TEXT)),
        "roberta": lambda: hf.RobertaModel(hf.RobertaConfig(**ROBERTA)),
        "xlm_roberta_language_model": lambda: hf.XLMRobertaForMaskedLM(hf.XLMRobertaConfig(**ROBERTA)),
        "t5": lambda: hf.T5Model(
            hf.T5Config(vocab_size=13, d_model=32, d_kv=16, d_ff=32, num_layers=2, num_heads=2)
        ),
        "clip_text": lambda: hf.CLIPTextModel(hf.CLIPTextConfig(**TEXT)),
        "clip_text_projected": lambda: hf.CLIPTextModelWithProjection(
            hf.CLIPTextConfig(**TEXT, projection_dim=24)
        ),
    }
    return made[name]() if name in made else None


def _dual(name):
    made = {
        "clip": lambda: hf.CLIPModel(
            hf.CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
        ),
        "siglip": lambda: hf.SiglipModel(hf.SiglipConfig(text_config=_siglip_text(), vision_config=VISION)),
        "siglip2_naflex": lambda: hf.Siglip2Model(
            hf.Siglip2Config(text_config=_siglip_text(), vision_config=VISION | {"num_patches": 9})
        ),
        "altclip": lambda: hf.AltCLIPModel(
            hf.AltCLIPConfig(
                text_config=ROBERTA | {"project_dim": 24}, vision_config=VISION, projection_dim=24
            )
        ),
        "chinese_clip": lambda: hf.ChineseCLIPModel(
            hf.ChineseCLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=24)
        ),
    }
    return made[name]() if name in made else None


DUAL = ["clip", "siglip", "siglip2_naflex", "altclip", "chinese_clip"]
VISION_ONLY = ["dinov2", "dinov2_registers", "siglip_vision", "clip_vision", "clip_vision_projected", "vit",
               "vit_classifier", "convnext", "resnet"]  # fmt: skip
TEXT_ONLY = ["bert", "bert_language_model", "roberta", "xlm_roberta_language_model", "t5", "clip_text",
             "clip_text_projected"]  # fmt: skip


def transformers_folder(folder, family):
    """The config of an encoder on a folder with a model of `family`, and the processors of its sides."""
    torch.manual_seed(0)
    model = _dual(family) or _vision_only(family) or _text_only(family)
    model.save_pretrained(folder)
    if family in DUAL + VISION_ONLY:
        processor = {
            "clip": lambda: hf.CLIPImageProcessor(size={"shortest_edge": 24}, crop_size=SIZE),
            "siglip2_naflex": lambda: hf.Siglip2ImageProcessor(patch_size=8, max_num_patches=12),
            "dinov2": lambda: hf.BitImageProcessor(size={"shortest_edge": 28}, crop_size=SIZE),
            "convnext": lambda: hf.ViTImageProcessor(size={"height": 48, "width": 48}),
            "resnet": lambda: hf.ViTImageProcessor(size={"height": 64, "width": 64}),
        }.get(family, lambda: hf.SiglipImageProcessor(size=SIZE))
        processor().save_pretrained(folder)
    if family in DUAL + TEXT_ONLY:
        word_tokenizer(
            asks_for_mask="siglip" not in family,
            limit=10 if family == "t5" else None,
            token_types=family in ("bert", "chinese_clip"),
        ).save_pretrained(folder)
    grid = [1, 1] if family == "convnext" else [2, 2]
    sides = {"text": "none", "token_grid": grid} if family in VISION_ONLY else {"token_grid": grid}
    sides = {"frames": False} if family in TEXT_ONLY else sides
    return EncoderConfig(name="x", kind="transformers", model=str(folder), **sides)


def demo_folder(folder):
    """The config of an encoder on a model as train_clip makes it: a ResNet and a causal text tower."""
    folder.mkdir()
    torch.manual_seed(0)
    write_demo_model(folder, TEXTS, TINY.model_copy(update={"image_size": 64}))
    return _with_weights(folder)


def open_clip_folder(folder, family):
    """The same tokenizer with other towers."""
    demo_folder(folder)
    (folder / "open_clip_model.safetensors").unlink()
    settings = folder / "open_clip_config.json"
    config = json.loads(settings.read_text())
    model = config["model_cfg"]
    text = model["text_cfg"]
    vit = {"image_size": 64, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16}
    if family == "vit":
        model["vision_cfg"] = vit
    if family == "coca":
        model |= {
            "custom_text": True,
            "vision_cfg": vit | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "multimodal_cfg": {"context_length": 16, "vocab_size": text["vocab_size"], "width": 32, "heads": 2, "layers": 1,
                               "attn_pooler_heads": 2},
        }  # fmt: skip
        model["text_cfg"] = text | {"embed_cls": True, "output_tokens": True}
    if family in ("siglip", "timm_convnext"):
        trunk = "test_vit" if family == "siglip" else "test_convnext"
        model |= {
            "vision_cfg": {
                "image_size": 160,
                "timm_model_name": trunk,
                "timm_pool": "map" if family == "siglip" else "",
                "timm_proj": "none" if family == "siglip" else "linear",
            },
            "custom_text": True,
        }
        if family == "siglip":
            model["embed_dim"] = 64
            model["text_cfg"] = text | {"no_causal_mask": True, "pool_type": "last", "proj_bias": True}
        config["preprocess_cfg"]["size"] = 160
    if family == "xlm_roberta":
        tower = folder / "tower"
        hf.XLMRobertaModel(hf.XLMRobertaConfig(**ROBERTA), add_pooling_layer=False).save_pretrained(tower)
        for old in folder.glob("token*"):
            old.unlink()
        word_tokenizer(asks_for_mask=True).save_pretrained(folder)
        model |= {"vision_cfg": vit, "custom_text": True}
        model["text_cfg"] = {
            "hf_model_name": str(tower),
            "hf_tokenizer_name": ".",
            "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler",
            "context_length": 9,
        }
    settings.write_text(json.dumps(config))
    torch.manual_seed(0)
    return _with_weights(folder)


OPEN_CLIP = ["demo", "vit", "coca", "siglip", "timm_convnext", "xlm_roberta"]


def _with_weights(folder):
    model = open_clip.create_model(f"local-dir:{folder}")
    with torch.no_grad():
        if hasattr(model, "text_decoder"):  # CoCa: what memory held is left there, and may be NaN
            model.text_decoder.text_projection.zero_()
        for values in model.parameters():  # towers that begin with zeros would hide what is lost
            values.add_(torch.randn_like(values) * 0.02)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return EncoderConfig(name="x", kind="open_clip", model=f"local-dir:{folder}", token_grid=[2, 2])


def model_folder(folder, family):
    """`family` is a family of transformers, or one of OPEN_CLIP with `open_clip_` before it."""
    name = family.removeprefix("open_clip_")
    if name == family:
        return transformers_folder(folder, family)
    return demo_folder(folder) if name == "demo" else open_clip_folder(folder, name)
