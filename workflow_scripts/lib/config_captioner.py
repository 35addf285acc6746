"""The `captioner` section of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from workflow_scripts.lib.config_captioner_presets import PRESETS
from workflow_scripts.lib.config_types import (
    Count,
    Fraction,
    Language,
    Languages,
    Name,
    NotNegative,
    Positive,
    Rate,
    Section,
    Share,
    Text,
)


def _default(section: Section, key: str) -> Any:
    return type(section).model_fields[key].default


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


class Projector(Section):
    """What makes of visual tokens what the language model reads."""

    pooling: Literal["none", "average", "resampler"] = "none"
    """`none`: every visual token of a frame; `average`: their grid averaged down to a smaller one; `resampler`: learned
    queries that attend to a frame's tokens (Flamingo's, Alayrac et al., NeurIPS 2022)."""
    tokens: Positive | None = None
    """Tokens of a frame after pooling; a square number for `average`."""
    layers: Positive = 2
    """Layers of the resampler."""
    heads: Positive = 8
    """Attention heads of the resampler."""

    @model_validator(mode="after")
    def _a_number_of_tokens_to_pool_to(self):
        if (self.pooling == "none") != (self.tokens is None):
            raise ValueError("`tokens` goes with `pooling: average` or `resampler`, and they need it")
        resampling = [key for key in ("layers", "heads") if getattr(self, key) != _default(self, key)]
        if resampling and self.pooling != "resampler":
            raise ValueError(f"{', '.join(resampling)}: only with `pooling: resampler`")
        if self.pooling == "average" and round(self.tokens**0.5) ** 2 != self.tokens:
            raise ValueError(f"tokens: a square number is needed for `pooling: average`, found {self.tokens}")
        return self


class Lora(Section):
    """Low-rank adapters (Hu et al., ICLR 2022) in the language model. What is left out here is the preset's."""

    r: Positive | Literal["auto"] = 16
    """Rank; `auto`: by the number of training captions and the memory of the device (docs/captioner.md)."""
    alpha: Positive | None = None
    """Scale; default: twice the rank."""
    dropout: Share | Literal["auto"] = 0.05
    """Dropout before the adapters; `auto`: by the number of training captions."""
    target_modules: (
        Literal["attention", "attention+mlp_entry", "attention+mlp"]
        | Annotated[list[Text], Field(min_length=1)]
    ) = "attention"
    """Linear layers that get an adapter: those of the attention, those that lead into the MLP as well (gate and up), all
    of the MLP as well, or a list of the last parts
    of their names."""


class Stage(Section):
    """One training stage of the captioner. What is left out here is the preset's."""

    epochs: Positive = 1
    """Passes over the captions."""
    lr: Rate = 2e-4
    """Peak learning rate."""
    lr_scaling: Literal["none", "linear"] = "none"
    """`linear`: `lr` is that of 16 captions an optimizer step, and is multiplied by batch_size / 16."""
    schedule: Literal["cosine", "cosine_with_restarts", "linear", "constant"] = "cosine"
    """How the learning rate falls after the warm-up; steps are optimizer steps."""
    restarts: Positive = 2
    """Cycles of `cosine_with_restarts`."""
    warmup: Share = 0.03
    """Share of the optimizer steps that warms up."""
    batch_size: Positive = 16
    """Captions an optimizer step, over all processes and accumulated forward passes."""
    weight_decay: NotNegative = 0.01
    """AdamW weight decay."""
    max_grad_norm: Rate = 1.0
    """Gradients are clipped to this norm."""
    label_smoothing: Share = 0.0
    """Share of the target probability spread over the vocabulary, in training only."""
    metric: Literal["loss", "cider", "chrf"] = "loss"
    """What of the validation decides which model is kept, and when to stop: its loss, or a score of captions generated
    for `validation.generated` moments."""
    patience: Count = 5
    """Validations without a better metric after which the stage stops; 0: never before the last epoch."""
    threshold: NotNegative = 1e-4
    """By how much a metric has to be better to count."""

    @model_validator(mode="after")
    def _restarts_of_a_schedule_that_has_them(self):
        if self.restarts != _default(self, "restarts") and self.schedule != "cosine_with_restarts":
            raise ValueError("restarts: only with `schedule: cosine_with_restarts`")
        return self


class Validation(Section):
    """What is looked at while a stage trains."""

    every_steps: Positive | None = None
    """Optimizer steps between two validations; default: an epoch's."""
    captions: Positive | None = 2000
    """Validation captions, spread evenly over the split, that the loss is measured on; none: all."""
    generated: Count = 32
    """Moments a language that captions are generated for, whose variety is judged against `diversity_floor`, and whose
    scores are in the curve; 0: none."""


class Running(Section):
    """How the training jobs run; nothing of it changes what they learn, and no edit of it starts one again. What is
    left out here is the preset's."""

    per_device_batch_size: Positive = 2
    """Captions a forward pass of a process, at most; what is missing to batch_size is accumulated."""
    gradient_checkpointing: bool = True
    """Compute activations twice instead of keeping them."""
    checkpoint_steps: Positive | None = None
    """Optimizer steps between two checkpoints; default: those between two validations, and at most 500."""
    log_steps: Positive | None = None
    """Optimizer steps between two rows of the curve; default: a tenth of an epoch's."""
    workers: Count = 2
    """Processes that read batches ahead."""


class Generation(Section):
    """How captions are generated."""

    RUNNING: ClassVar = ("batch_size",)
    """Keys that reach generate_captions as flags, since captions do not depend on them (sampled ones do)."""

    max_new_tokens: Positive | Literal["auto"] = "auto"
    """Tokens at most; `auto`: a tenth more than 99.5 % of the training captions have."""
    min_new_tokens: Count = 0
    """Tokens at least."""
    num_beams: Positive = 1
    """Beams; 1 is greedy (or sampling)."""
    do_sample: bool = False
    """Draw tokens, by the seed and the place of the batch, instead of taking the likeliest."""
    temperature: Rate = 1.0
    """Of `do_sample`."""
    top_p: Annotated[Rate, Field(le=1)] = 1.0
    """Of `do_sample`: the likeliest tokens that have this much of the probability."""
    top_k: Count = 0
    """Of `do_sample`: the so many likeliest tokens; 0: all."""
    length_penalty: float = 1.0
    """Of beams: above 0 favours longer captions."""
    repetition_penalty: Rate = 1.0
    """Above 1 makes tokens that were said less likely (Keskar et al., 2019)."""
    no_repeat_ngram_size: Count = 0
    """No run of so many tokens is said twice; 0: any may be."""
    batch_size: Positive = 32
    """Moments a batch; an edit of it makes no captions again."""

    @model_validator(mode="after")
    def _options_of_sampling(self):
        sampling = {"temperature", "top_p", "top_k"} & self.model_fields_set
        if sampling and not self.do_sample and any(getattr(self, k) != _default(self, k) for k in sampling):
            raise ValueError(f"{', '.join(sorted(sampling))}: only with `do_sample: true`")
        if self.length_penalty != 1 and self.num_beams == 1:
            raise ValueError("length_penalty: only with `num_beams` above 1")
        if self.max_new_tokens != "auto" and self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens {self.min_new_tokens} is above max_new_tokens {self.max_new_tokens}"
            )
        return self


class CaptionEvaluation(Section):
    """How generated captions are judged."""

    diversity_floor: Fraction = 0.5
    """Unique captions a caption, relative to the references: below it the training's log and the report warn of a
    collapse."""

    near_duplicate: Fraction = 0.9
    """Two captions whose texts are this similar (1: equal) say the same."""
    bootstrap: Count = 1000
    """Samples behind the 95 % confidence intervals; 0: none."""
    image_text: bool = True
    """Score captions against the frames' embeddings by a model of images and text, such as CLIP or SigLIP 2."""
    image_text_encoder: Name | None = None
    """One of features.encoders that encodes frames and captions; default: `encoder`, where it does."""


class CaptionerConfig(Section):
    """Video captioning: frozen visual tokens -> projector -> language model with LoRA."""

    enabled: bool = True
    """Train and evaluate the captioner."""
    preset: Literal["auto", "cpu", "t4", "l4", "a100", "h100"] = "auto"
    """Values for a kind of GPU (docs/captioner.md), for the keys that are not written here; `auto`: those for the
    device that stage 1 runs on, printed and recorded in its model folder."""
    encoder: Name | None = None
    """Name of the encoder whose visual tokens are used; it needs a `token_grid`."""
    languages: Languages | None = None
    """Languages to learn and to write; default: all of the corpus."""
    language_shares: dict[Language, Rate] | None = None
    """Share of each language among the training captions of an epoch, as numbers in proportion; default: as they are."""
    captions_per_moment: Literal["all", "one"] = "all"
    """Of several captions of a moment in a language: all are learned in an epoch, or one, another in every epoch."""
    frames: Positive = 8
    """Frames of a moment that the language model sees; left out: the preset's."""
    projector: Projector = Projector()
    """Between the encoder and the language model."""
    language_model: Text | None = None
    """Hub id or local folder of any causal language model."""
    revision: Text | None = None
    """Branch, tag or commit of a hub id."""
    demo_language_model: DemoLanguageModel | None = None
    """Instead of `language_model`: a tiny one made by the rule make_demo_language_model."""
    chat_template: bool = True
    """Prompt in the tokenizer's chat template, where it has one; else, as plain text."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    """Implementation of the language model's attention."""
    quantization: Literal["none", "nf4"] = "nf4"
    """`nf4`: the language model in 4 bits, double-quantised (bitsandbytes); left out: the preset's."""
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """Arithmetic of training and generation; left out: the preset's."""
    prompts: dict[Language, Text] = {
        "en": "Describe the video in English.",
        "ko": "이 영상을 한국어로 설명하세요.",
        "zh": "请用中文描述这段视频。",
    }
    """Instruction by caption language. Your own take the place of all of these: write one for every language."""
    max_caption_tokens: Positive = 512
    """Longer captions are cut, counted and reported."""
    bucket_by_length: bool = True
    """Batches of captions of like length, so that little is padded."""
    lora: Lora = Lora()
    """The adapters of stage 2."""
    stage1: Stage = Stage()
    """Projector only."""
    stage2: Stage = Stage()
    """Projector and LoRA."""
    validation: Validation = Validation()
    """While training."""
    running: Running = Running()
    """How training jobs run."""
    generation: Generation = Generation()
    """Decoding on the test split."""
    evaluation: CaptionEvaluation = CaptionEvaluation()
    """Scores of the generated captions."""

    NOT_OF_STAGES: ClassVar = frozenset({"enabled", "running", "generation", "evaluation"})
    """Keys that no training depends on."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, data: Any) -> Any:
        """A preset that is named fills what is not written. `auto` stays open: see `for_device`."""
        if isinstance(data, Mapping) and (values := PRESETS.get(data.get("preset", "auto"))):
            return _merged(values, data)
        return data

    @model_validator(mode="after")
    def _shares_of_its_languages(self):
        for language in self.language_shares or {}:
            if self.languages and language not in self.languages:
                raise ValueError(f"language_shares: '{language}' is not among `languages`")
        return self

    @model_validator(mode="after")
    def _captions_for_a_metric_of_them(self):
        for name in ("stage1", "stage2"):
            metric = getattr(self, name).metric
            if metric != "loss" and not self.validation.generated:
                raise ValueError(
                    f"{name}.metric: `{metric}` needs captions; set validation.generated above 0"
                )
        return self

    @model_validator(mode="after")
    def _one_language_model(self):
        if self.enabled and (self.language_model is None) == (self.demo_language_model is None):
            raise ValueError("give exactly one of `language_model` and `demo_language_model`")
        if self.revision is not None and self.language_model is None:
            raise ValueError("revision: only with `language_model`, a hub id")
        return self

    @property
    def settled(self) -> CaptionerConfig:
        """With a preset in any case, for what all presets have in common, their epochs: `auto` is taken for `cpu`."""
        return self.with_preset("cpu") if self.preset == "auto" else self

    def part(self, name: str) -> dict[str, Any]:
        """What a command depends on, as plain values: `language_model`, `stage1`, `stage2`, `generation`, `evaluation`.

        Values that the preset `auto` will fill are left out of it.
        """
        if name in ("generation", "evaluation"):
            section = getattr(self, name)
            return section.model_dump(mode="json", exclude=set(getattr(section, "RUNNING", ())))
        kept = {
            "language_model": {
                "include": {"demo_language_model", "languages", "prompts", "max_caption_tokens"}
            },
            "stage1": {"exclude": self.NOT_OF_STAGES | {"stage2"}},
            "stage2": {"exclude": self.NOT_OF_STAGES},
        }[name]
        return self.model_dump(mode="json", exclude_unset=self.preset == "auto", **kept)

    def with_preset(self, name: str, **values: Any) -> CaptionerConfig:
        """This configuration with the preset of that name instead of `auto`; what was written stays.

        `values` take the place of what was written (the device's precision, say).
        """
        written = self.model_dump(exclude_unset=True)
        return type(self).model_validate(_merged(written, values) | {"preset": name})


def _merged(values: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, the second's values before the first's; a section object counts as the mapping that it is."""
    result = dict(values)
    for key, value in over.items():
        if isinstance(value, Section):
            value = value.model_dump(exclude_unset=True)
        inner = result.get(key)
        result[key] = (
            _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
        )
    return result
