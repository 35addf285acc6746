"""The model that is trained: found before any data is read, and checked against what the configuration asks of it."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
from open_clip.factory import parse_model_name

from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json

PARTS = ("embed_dim", "vision_cfg", "text_cfg")
SEEN_BY_BOTH = (
    ("vision_cfg", "image_size"),
    ("text_cfg", "context_length"),
    ("text_cfg", "vocab_size"),
    ("text_cfg", "hf_tokenizer_name"),
    ("text_cfg", "tokenizer_kwargs"),
)
"""A model and its teacher are given the same pixels and tokens."""


@dataclass(frozen=True)
class Model:
    """A model as open_clip finds it."""

    name: str
    """A registered name, or `local-dir:FOLDER`, `hf-hub:ORG/NAME`."""
    pretrained: str
    """Tag or file that open_clip loads; none: ""."""
    weights: Path | None
    """A file that is loaded over what `local-dir:` and `hf-hub:` bring along: open_clip ignores `pretrained` there."""
    config: dict[str, Any]
    """Its architecture: embed_dim, vision_cfg, text_cfg, ..."""

    @property
    def coca(self) -> bool:
        """Whether it also writes captions (Yu et al., TMLR 2022)."""
        return "multimodal_cfg" in self.config

    @property
    def resnet(self) -> bool:
        """Whether the image tower is one of open_clip's ResNets."""
        return isinstance(self.config["vision_cfg"].get("layers"), list | tuple) and not self.timm

    @property
    def timm(self) -> bool:
        """Whether the image tower is timm's."""
        return "timm_model_name" in self.config["vision_cfg"]

    @property
    def hf_text(self) -> bool:
        """Whether the text tower is one of Hugging Face's."""
        return "hf_model_name" in self.config["text_cfg"]


def find_model(config: ClipConfig, demo_model: Path | None) -> Model:
    """The model of the section; UserError when it or its weights cannot be had, or it cannot do what is asked."""
    if config.demo_model is None:
        keys = ("clip.model", "clip.pretrained")
        model = _find(config.model, config.pretrained, config.cache_dir, *keys, config.force_quick_gelu)
    elif demo_model is None:
        raise UserError("clip.demo_model is set, but --demo-model names no folder")
    else:
        model = _find(f"local-dir:{demo_model}", None, None, "clip.demo_model", "")
    _can_do(config, model)
    if config.distill_model:
        _can_be_taught(config, model)
    return model


def _find(
    name: str, pretrained: str | None, cache: str | None, key: str, weights_key: str, quick_gelu: bool = False
) -> Model:
    schema, place = parse_model_name(name)
    if schema is None:
        if Path(place).is_file():
            place = _register(Path(place), key)
        known = place.replace("/", "-")
        if known not in open_clip.list_models():
            raise UserError(f"{key}: {_unknown(name)}")
        if pretrained and not Path(pretrained).is_file():
            if not quick_gelu:
                check_activation(known, pretrained, key)
            _fetch(place, pretrained, cache, weights_key)
        return Model(place, pretrained or "", None, open_clip.get_model_config(known))
    if schema == "local-dir":
        file = Path(place) / "open_clip_config.json"
        if not file.is_file():
            raise UserError(f"{key}: {place} is no folder with an open_clip_config.json")
        found = read_json(file).get("model_cfg")
    else:
        try:
            found = open_clip.get_model_config(name)
        except Exception as error:  # whatever the hub's client raises
            raise UserError(
                f"{key}: {name!r} could not be fetched ({error}); without a network, give `local-dir:FOLDER`"
            ) from None
    if not isinstance(found, dict) or not set(PARTS) <= set(found):
        raise UserError(
            f"{key}: the open_clip_config.json of {place} has no model_cfg with {', '.join(PARTS)}"
        )
    if pretrained and not Path(pretrained).is_file():
        raise UserError(
            f"{weights_key}: {pretrained!r} is no file, and tags are of open_clip's own models; for {name!r} give a "
            "checkpoint file, or leave it out"
        )
    return Model(name, "", Path(pretrained) if pretrained else None, found)


def _register(file: Path, key: str) -> str:
    """Make a JSON file of a model known to open_clip, by the file's name without its ending."""
    found = read_json(file)
    if not isinstance(found, dict) or not set(PARTS) <= set(found):
        more = "; for a folder with it write `local-dir:FOLDER`" if "model_cfg" in found else ""
        raise UserError(f"{key}: {file} is no model of open_clip, which has {', '.join(PARTS)}{more}")
    if file.suffix != ".json":
        raise UserError(f"{key}: open_clip reads files that end in .json; rename {file}")
    if file.stem in open_clip.list_models() and open_clip.get_model_config(file.stem) != found:
        raise UserError(f"{key}: open_clip has another model {file.stem!r}; rename {file}")
    if "siglip" in file.stem.lower() and not found["text_cfg"].get("hf_tokenizer_name"):
        raise UserError(
            f"{key}: because of the name of {file}, open_clip takes SigLIP's tokenizer; rename it, or set hf_tokenizer_name"
            " in its text_cfg"
        )
    open_clip.add_model_config(file)
    return file.stem


def _unknown(name: str) -> str:
    if name.endswith(".json"):
        return f"there is no file {name}"
    close = difflib.get_close_matches(name, open_clip.list_models(), 3)
    return f"open_clip knows no {name!r}" + (f"; near: {', '.join(close)}" if close else "")


def _fetch(name: str, pretrained: str, cache: str | None, key: str) -> None:
    """Fetch weights now rather than after the data has been read."""
    tag = open_clip.get_pretrained_cfg(name, pretrained)
    if not tag:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
        raise UserError(f"{key}: {pretrained!r} is no file and no tag of {name}; its tags: {tags}")
    try:
        open_clip.download_pretrained(tag, cache_dir=cache)
    except Exception as error:  # whatever the hub's client raises
        raise UserError(
            f"{key}: the weights {pretrained!r} of {name} could not be fetched ({error});"
            " without a network, give the path of a checkpoint file"
        ) from None


def check_activation(name: str, pretrained: str, key: str) -> None:
    """UserError where a built-in model would compute with another activation than its weights were trained with.

    OpenAI's, MetaCLIP's and DFN's weights, for one, need QuickGELU, and open_clip only warns.
    """
    name = name.replace("/", "-")  # as open_clip does
    config = open_clip.get_model_config(name)
    trained_with = open_clip.get_pretrained_cfg(name, pretrained).get("quick_gelu", False)
    if config and trained_with and not config.get("quick_gelu", False):
        raise UserError(
            f"{key}: the weights {pretrained!r} were trained with QuickGELU, with which {name} does not compute: their"
            f" embeddings would be wrong; take {name}-quickgelu"
        )


def _can_do(config: ClipConfig, model: Model) -> None:
    """UserError for what the architecture ignores, or dies of."""
    weights = ("coca_caption_loss_weight", "coca_contrastive_loss_weight")
    other = [key for key in weights if getattr(config, key) != type(config).model_fields[key].default]
    wrong: dict[str, Any] = {
        "lock_image_unlocked_groups": model.resnet and "of a ResNet, all or nothing is locked; set it to 0",
        "force_patch_dropout": model.resnet and "a ResNet has no patches to leave out; leave it out",
        "force_image_size": model.timm
        and "open_clip cannot load an image tower of timm of another size again; take the model of that size",
        "lock_image_freeze_bn_stats": not (model.resnet or model.timm)
        and "a vision transformer has no batch norms; leave it out",
        "pretrained_image": not model.timm and "only image towers of timm have such weights; leave it out",
        "siglip": model.coca and "a CoCa model has no sigmoid loss in open_clip; leave it out",
        "lock_image": model.coca and "open_clip cannot lock the towers of a CoCa model; leave it out",
        "lock_text": model.coca and "open_clip cannot lock the towers of a CoCa model; leave it out",
        "distill_model": model.coca and "open_clip_train does not distill into a CoCa model; leave it out",
    }
    for key, why in wrong.items():
        if why and getattr(config, key):
            raise UserError(f"clip.{key}: {why} (clip.model is {model.name})")
    if other and not model.coca:
        raise UserError(f"clip.{other[0]}: {model.name} is no CoCa model, which would caption; leave it out")
    if config.lock_text and not model.hf_text and not config.lock_text_freeze_layer_norm:
        raise UserError(
            "clip.lock_text: the layer norms of open_clip's own text towers are locked with the rest; set"
            " lock_text_freeze_layer_norm, too"
        )


def _can_be_taught(config: ClipConfig, model: Model) -> None:
    teacher = _find(
        config.distill_model, config.distill_pretrained, config.cache_dir,
        "clip.distill_model", "clip.distill_pretrained",
    )  # fmt: skip
    if teacher.coca:
        raise UserError(
            f"clip.distill_model: {teacher.name} is a CoCa model, which open_clip_train takes no lessons from"
        )
    if teacher.config["embed_dim"] != model.config["embed_dim"]:
        raise UserError(
            f"clip.distill_model: {teacher.name} has embeddings of {teacher.config['embed_dim']} numbers, {model.name}"
            f" of {model.config['embed_dim']}; take a teacher or a model of the other's embed_dim"
        )
    for part, name in SEEN_BY_BOTH:
        ours, theirs = (each.config[part].get(name) for each in (model, teacher))
        if name == "image_size" and config.force_image_size:
            ours = config.force_image_size[0]
        if name == "context_length":
            ours, theirs = config.force_context_length or ours or 77, theirs or 77
        if ours != theirs:
            raise UserError(
                f"clip.distill_model: {teacher.name} sees the same pictures and tokens as {model.name}, and its {name} is"
                f" {theirs} instead of {ours}; take a teacher that agrees in it"
            )
    if "coca" in model.name.lower():
        raise UserError(
            f"clip.model: open_clip_train takes {model.name!r} for a CoCa model because of its name, and does not distill"
            " into those; rename it"
        )
