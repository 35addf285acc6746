"""The whole configuration as pydantic models: the only schema.

`parse_config` checks a mapping (what the Snakefile does before any job is planned), and
`load_section` reads a frozen section back in a command.
docs/config.md and docs/config.schema.json are generated from these models.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from workflow_scripts.lib.config_clip import ClipConfig as ClipConfig  # from here, too
from workflow_scripts.lib.config_clip import DemoClipModel as DemoClipModel
from workflow_scripts.lib.config_data import CorpusConfig as CorpusConfig
from workflow_scripts.lib.config_data import FramesConfig as FramesConfig
from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.config_features import EncoderConfig as EncoderConfig
from workflow_scripts.lib.config_features import FeaturesConfig as FeaturesConfig
from workflow_scripts.lib.config_features import ImportedEncoder as ImportedEncoder
from workflow_scripts.lib.config_features import Side
from workflow_scripts.lib.config_retrieval import RetrievalConfig as RetrievalConfig
from workflow_scripts.lib.config_types import (
    Fraction,
    Language,
    Languages,
    Name,
    NotNegative,
    Positive,
    Rate,
    Section,
    Seed,
    Share,
    Text,
)
from workflow_scripts.lib.errors import UserError

# ------------------------------------------------------------------------------- captioner


class DemoLanguageModel(Section):
    """A tiny Qwen3 trained on the training captions; it stands in for a downloaded LLM."""

    hidden_size: Positive = 160
    """Width."""
    layers: Positive = 4
    """Transformer layers."""
    vocab_size: Positive = 1024
    """BPE tokens at most."""
    lr: Rate = 2e-3
    """Learning rate of the text pretraining (keywords of a caption -> the caption)."""
    epochs: Positive = 8
    """Epochs of the text pretraining."""
    batch_size: Positive = 64
    """Captions a batch."""


class Lora(Section):
    """Low-rank adapters (Hu et al., ICLR 2022) in the language model."""

    r: Positive = 16
    """Rank."""
    alpha: Positive = 32
    """Scale; twice the rank is usual."""
    dropout: Share = 0.05
    """Dropout before the adapters."""
    target_modules: Annotated[list[Text], Field(min_length=1)] = ["q_proj", "k_proj", "v_proj", "o_proj"]
    """Linear layers that get an adapter, by the last part of their name."""


class Stage(Section):
    """One training stage of the captioner."""

    epochs: Positive = 1
    """Passes over the captions."""
    lr: Rate = 2e-4
    """Peak learning rate."""
    warmup: Share = 0.03
    """Share of the optimizer steps that warms up; cosine to zero after it."""
    batch_size: Positive = 16
    """Captions an optimizer step, over all processes and accumulated batches."""
    accumulation: Positive = 1
    """Forward passes that an optimizer step is collected from."""
    weight_decay: NotNegative = 0.01
    """AdamW weight decay."""
    label_smoothing: Share = 0.0
    """Share of the target probability spread over the vocabulary, in training only."""

    @model_validator(mode="after")
    def _accumulation_divides(self):
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of accumulation {self.accumulation}"
            )
        return self


class Generation(Section):
    """How captions are generated."""

    max_new_tokens: Positive = 64
    """Tokens at most."""
    num_beams: Positive = 1
    """1 is greedy."""
    batch_size: Positive = 32
    """Moments a batch."""


class CaptionerConfig(Section):
    """Video captioning: frozen visual tokens -> projector -> language model with LoRA."""

    enabled: bool = True
    """Train and evaluate the captioner."""
    encoder: Name | None = None
    """Name of the encoder whose visual tokens are used; it needs a `token_grid`."""
    languages: Languages | None = None
    """Languages to learn and to write; default: all of the corpus."""
    frames: Positive = 8
    """Frames of a moment that the language model sees."""
    language_model: Text | None = None
    """Hub id or local folder of any causal language model."""
    demo_language_model: DemoLanguageModel | None = None
    """Instead of `language_model`: a tiny one made by the rule make_demo_language_model."""
    quantization: Literal["none", "nf4"] = "nf4"
    """`nf4`: the language model in 4 bits, double-quantised (bitsandbytes)."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Arithmetic of training and generation."""
    prompts: dict[Language, Text] = {
        "en": "Describe the video in English.",
        "ko": "이 영상을 한국어로 설명하세요.",
        "zh": "请用中文描述这段视频。",
    }
    """Instruction by caption language."""
    max_caption_tokens: Positive = 512
    """Longer captions are cut, counted and reported."""
    lora: Lora = Lora()
    """The adapters of stage 2."""
    stage1: Stage = Stage(lr=2e-4, warmup=0.1)
    """Projector only."""
    stage2: Stage = Stage(epochs=4, lr=1e-4, label_smoothing=0.1)
    """Projector and LoRA."""
    generation: Generation = Generation()
    """Decoding on the test split."""
    diversity_floor: Fraction = 0.5
    """Unique captions a caption, relative to the references: below it the report warns of a collapse."""

    @model_validator(mode="after")
    def _one_language_model(self):
        if self.enabled and (self.language_model is None) == (self.demo_language_model is None):
            raise ValueError("give exactly one of `language_model` and `demo_language_model`")
        return self


# ---------------------------------------------------------------------------------- report


class ReportConfig(Section):
    """The page that people look at."""

    title: Text = "Vidloom"
    """Heading of the page."""
    examples: Positive = 8
    """Retrieval and caption examples shown."""


# ----------------------------------------------------------------------------------- whole


class Config(Section):
    """A whole configuration file. The stages clip, retrieval and captioner are off when left out."""

    run: Name
    """Name of the experiment: its folder under results/."""
    seed: Seed = 0
    """Seed of every random choice."""
    corpus: CorpusConfig
    frames: FramesConfig = FramesConfig()
    clip: ClipConfig = ClipConfig(enabled=False)
    features: FeaturesConfig
    retrieval: RetrievalConfig = RetrievalConfig(enabled=False)
    captioner: CaptionerConfig = CaptionerConfig(enabled=False)
    report: ReportConfig = ReportConfig()

    @model_validator(mode="after")
    def _imported_or_not(self):
        kinds = [encoder.kind for encoder in self.features.encoders]
        if not self.corpus.is_imported:
            if "imported" in kinds:
                raise ValueError(
                    "features.encoders: kind 'imported' goes with `corpus.adapter: imported`, since the features are the "
                    f"corpus; found adapter '{self.corpus.adapter}'"
                )
            return self
        if kinds != ["imported"]:
            raise ValueError(
                "features.encoders: with `corpus.adapter: imported`, exactly one encoder is needed, of `kind: imported`; "
                f"found {', '.join(kinds)}"
            )
        if "frames" in self.model_fields_set:
            raise ValueError(
                "frames: imported features have no videos to take frames from; remove the section"
            )
        for stage, section, needed in (
            ("clip", self.clip, "frames"),
            ("captioner", self.captioner, "visual tokens"),
        ):
            if section.enabled:
                raise ValueError(
                    f"{stage}.enabled: imported features come without {needed}; set it to false, or remove the section"
                )
        if self.retrieval.enabled and self.retrieval.visual != "embeddings":
            raise ValueError("retrieval.visual: imported features have no visual tokens; write `embeddings`")
        return self

    @model_validator(mode="after")
    def _encoders_are_there(self):
        names = [encoder.name for encoder in self.features.encoders]
        for stage, section in (("retrieval", self.retrieval), ("captioner", self.captioner)):
            if not section.enabled:
                continue
            if section.encoder not in names:
                raise ValueError(
                    f"{stage}.encoder: one of features.encoders is needed ({', '.join(names)}), "
                    f"found {section.encoder!r}"
                )
            needs_tokens = stage == "captioner" or section.visual == "tokens"
            if needs_tokens and self.features.encoder(section.encoder).token_grid is None:
                raise ValueError(
                    f"{stage}.encoder: '{section.encoder}' keeps no visual tokens; give it a token_grid"
                )
            if "video" not in self.features.encoder(section.encoder).sides():
                raise ValueError(f"{stage}.encoder: '{section.encoder}' encodes no frames")
        if self.retrieval.enabled:
            text = self.retrieval.text_encoder or self.retrieval.encoder
            if text not in names:
                raise ValueError(
                    f"retrieval.text_encoder: one of features.encoders is needed ({', '.join(names)}), found {text!r}"
                )
            if "text" not in self.features.encoder(text).sides():
                raise ValueError(f"retrieval.text_encoder: '{text}' encodes no captions; name one that does")
        for encoder in self.features.encoders:
            if encoder.kind == "trained_clip" and not self.clip.enabled:
                raise ValueError(
                    f"features.encoders: '{encoder.name}' is the model of train_clip, but clip.enabled is false"
                )
        return self

    @model_validator(mode="after")
    def _languages_are_there(self):
        sections = (
            ("clip.data", self.clip.data), ("retrieval", self.retrieval), ("captioner", self.captioner),
        )  # fmt: skip
        for stage, section in sections:
            for language in section.languages or []:
                if language not in self.corpus.languages:
                    raise ValueError(f"{stage}.languages: '{language}' is not among corpus.languages")
        for language in self.captioner.languages or self.corpus.languages:
            if self.captioner.enabled and language not in self.captioner.prompts:
                raise ValueError(f"captioner.prompts: no prompt for the language '{language}'")
        return self


def parse_config(data: dict[str, Any]) -> Config:
    """Check a configuration; UserError names every wrong key, what was found and what is allowed."""
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, Config)) from None


S = TypeVar("S", bound=Section)


def load_section(model: type[S], path: Path) -> S:
    """Read a frozen section (`.../config/<section>.yaml`) back into its model."""
    try:
        return model.model_validate(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {explain(error, model)}") from None


def freeze(section: Section) -> str:
    """A section as YAML text, defaults filled in: what `freeze_config` writes and `load_section` reads."""
    return _as_yaml(section, getattr(section, "NOT_FROZEN", set()))


def freeze_named(config: Config, name: str) -> str:
    """The section of that name; or a part of `clip` that decides about less than the whole of it."""
    parts = {"clip_data": config.clip.data, "clip_evaluation": config.clip.evaluation()}
    return freeze(parts.get(name) or getattr(config, name))


def freeze_side(encoder: EncoderConfig, side: Side) -> str:
    """What of an encoder decides about the features of a side, as YAML text: while it stays, the features stay."""
    return _as_yaml(encoder, encoder.NOT_DECIDING[side])


def _as_yaml(section: Section, without: Set[str] | Mapping[str, Any]) -> str:
    values = section.model_dump(mode="json", exclude=without)
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
