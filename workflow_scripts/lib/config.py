"""The whole configuration as pydantic models: the only schema.

`parse_config` checks a mapping (what the Snakefile does before any job is planned), and
`load_section` reads a frozen section back in a command.
docs/config.md and docs/config.schema.json are generated from these models.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError, model_validator

from workflow_scripts.lib.config_captioner import CaptionerConfig as CaptionerConfig
from workflow_scripts.lib.config_captioner import CaptionEvaluation as CaptionEvaluation
from workflow_scripts.lib.config_captioner import DemoLanguageModel as DemoLanguageModel
from workflow_scripts.lib.config_captioner import Generation as Generation
from workflow_scripts.lib.config_captioner import Lora as Lora
from workflow_scripts.lib.config_captioner import Running as Running
from workflow_scripts.lib.config_captioner import Stage as Stage
from workflow_scripts.lib.config_captioner import Validation as Validation
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
from workflow_scripts.lib.config_types import Name, Positive, Section, Seed, Text
from workflow_scripts.lib.errors import UserError

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
    def _demo_alone(self):
        # Here, since what the demo's rules write for its commands names the annotations that they have made.
        unused = {"annotations", "root"} & self.corpus.model_fields_set
        if self.corpus.adapter == "demo" and unused:
            raise ValueError(
                f"corpus: adapter 'demo' renders its own videos and makes no use of {', '.join(sorted(unused))}; for"
                " your own, set corpus.adapter (csv, jsonl, folder ...)"
            )
        return self

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
    def _images_and_text_are_scored_by_one_encoder(self):
        name = self.captioner.evaluation.image_text_encoder
        if self.captioner.enabled and name is not None:
            sides = {encoder.name: encoder.sides() for encoder in self.features.encoders}
            if set(sides.get(name, ())) != {"video", "text"}:
                both = [name for name, found in sides.items() if set(found) == {"video", "text"}]
                raise ValueError(
                    "captioner.evaluation.image_text_encoder: one of features.encoders that encodes frames and "
                    f"captions is needed ({', '.join(both) or 'none does'}), found {name!r}"
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
        for language in self.captioner.language_shares or {}:
            if language not in self.corpus.languages:
                raise ValueError(f"captioner.language_shares: '{language}' is not among corpus.languages")
        for language in self.captioner.languages or self.corpus.languages:
            if self.captioner.enabled and language not in self.captioner.prompts:
                raise ValueError(
                    f"captioner.prompts: no prompt for the language '{language}'; write one for every language"
                )
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
    """The section of that name; or a part of `clip` or `captioner` that decides about less than the whole of it."""
    if name.startswith("captioner_"):
        return _yaml(config.captioner.part(name.removeprefix("captioner_")))
    parts = {"clip_data": config.clip.data, "clip_evaluation": config.clip.evaluation()}
    return freeze(parts.get(name) or getattr(config, name))


def freeze_side(encoder: EncoderConfig, side: Side) -> str:
    """What of an encoder decides about the features of a side, as YAML text: while it stays, the features stay."""
    return _as_yaml(encoder, encoder.NOT_DECIDING[side])


def _as_yaml(section: Section, without: Set[str] | Mapping[str, Any]) -> str:
    return _yaml(section.model_dump(mode="json", exclude=without))


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
