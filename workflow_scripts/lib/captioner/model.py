"""The captioner: cached visual tokens -> projector -> causal language model.

The design is LLaVA's (Liu et al., "Visual Instruction Tuning", NeurIPS 2023, section 4.1), for
the frames of a moment and with visual tokens that were computed once: training never touches the
vision encoder.
"""

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

# Relative, so that a merged model's folder can bring both files along.
from .projector import Projector

IGNORE = -100  # label of a position that is not to be predicted


class CaptionerModelConfig(PreTrainedConfig):
    """Shape of a captioner.

    `text_config` is the language model's config, always as a copy: a wrapper and an inner model that
    share one config object lose the causal mask. `visual_width` is Dv, `tokens_per_frame` P, and
    `max_frames` the number of frames that have a learned place. `pooling` ("none", "average" or "resampler") makes
    `pooled_tokens` of a frame's tokens; the resampler's layers and heads are its own.
    """

    model_type = "vidloom_captioner"
    sub_configs = {"text_config": AutoConfig}  # noqa: RUF012 (transformers reads the plain attribute)

    def __init__(
        self,
        text_config: PreTrainedConfig | dict | None = None,
        visual_width: int = 64,
        tokens_per_frame: int = 4,
        max_frames: int = 8,
        pooling: str = "none",
        pooled_tokens: int | None = None,
        resampler_layers: int = 2,
        resampler_heads: int = 8,
        label_smoothing: float = 0.0,
        **kwargs: Any,
    ):
        if isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = copy.deepcopy(text_config)
        self.visual_width = visual_width
        self.tokens_per_frame = tokens_per_frame
        self.max_frames = max_frames
        self.pooling = pooling
        self.pooled_tokens = pooled_tokens
        self.resampler_layers = resampler_layers
        self.resampler_heads = resampler_heads
        self.label_smoothing = label_smoothing
        super().__init__(**kwargs)

    @property
    def places_per_frame(self) -> int:
        """How many `<video>` stand for a frame: its tokens after pooling."""
        return self.tokens_per_frame if self.pooled_tokens is None else self.pooled_tokens

    @property
    def video_token_id(self) -> int:
        """Id of `<video>`, the place of a visual token: one past the vocabulary.

        It is never looked up and can never be generated, so the embeddings stay as they are.
        """
        return self.text_config.vocab_size


class CaptionerForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Predicts a caption after a prompt in which `<video>` stands for every visual token.

    The Trainer takes a class of this name for one whose loss is on shifted labels, and counts tokens so.
    """

    config_class = CaptionerModelConfig
    base_model_prefix = "language_model"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _keep_in_fp32_modules_strict = ["projector"]  # noqa: RUF012 (as transformers has it)

    def __init__(self, config: CaptionerModelConfig, language_model: PreTrainedModel | None = None):
        super().__init__(config)
        if language_model is None:
            language_model = AutoModelForCausalLM.from_config(copy.deepcopy(config.text_config))
        self.language_model = language_model
        self.projector = Projector(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """New projectors only: the language model comes with its weights."""
        if isinstance(module, Projector):
            module.reset_parameters()

    def get_input_embeddings(self) -> nn.Module:
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        return self.language_model.get_output_embeddings()

    def embed(self, input_ids: Tensor, visual: Tensor | None, frames: Tensor | None) -> Tensor:
        """Embeddings [B, L, H] of the ids [B, L], with projected visual tokens in the places of `<video>`.

        `visual` is [B, F, P, Dv], of which the first `frames` [B] frames of a row count. ValueError when
        the places and the visual tokens differ in number.
        """
        places = input_ids == self.config.video_token_id
        embeddings = self.get_input_embeddings()(input_ids.masked_fill(places, 0))
        if visual is None:
            return embeddings
        shown = torch.arange(visual.shape[1], device=visual.device) < frames[:, None]
        tokens = self.projector(visual)[shown]
        if places.sum() != tokens.shape[0] * tokens.shape[1]:
            raise ValueError(
                f"{int(places.sum())} <video> places for {tuple(tokens.shape[:2])} visual tokens"
            )
        return embeddings.masked_scatter(places[..., None], tokens.to(embeddings.dtype))

    def forward(
        self,
        input_ids: Tensor | None = None,
        visual: Tensor | None = None,
        frames: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits [B, L, V], and with `labels` [B, L] the loss.

        With labels, only the logits from the place before the first label on are computed. `position_ids` [B, L] is named
        since generation makes them only of a padded batch where it is: models with learned positions need them.
        `num_items_in_batch` is the number of labels that the loss is a mean over (all of an optimizer step's).
        """
        if inputs_embeds is None:
            inputs_embeds = self.embed(input_ids, visual, frames)
        if labels is not None:
            asked = (labels != IGNORE).any(dim=0)
            # nothing is asked of a batch that only fills up the last step
            first = int(asked.int().argmax()) if asked.any() else labels.shape[1] - 1
            logits_to_keep = labels.shape[1] - max(first, 1) + 1
            kwargs.setdefault("use_cache", False)
        output = self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        if labels is not None:
            smoothing = self.config.label_smoothing if self.training else 0.0
            kept = labels[:, -logits_to_keep:]
            output.loss = caption_loss(output.logits, kept, smoothing, num_items_in_batch)
        return output

    @torch.no_grad()
    def generate(
        self,
        input_ids: Tensor | None = None,
        visual: Tensor | None = None,
        frames: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Generated ids [B, new tokens], without the prompt. Rows are padded on the left.

        The prompt goes in as embeddings: `<video>` is no id of the vocabulary.
        """
        if visual is not None:
            kwargs["inputs_embeds"], input_ids = self.embed(input_ids, visual, frames), None
        return super().generate(inputs=input_ids, **kwargs)


def caption_loss(
    logits: Tensor, labels: Tensor, smoothing: float, num_items_in_batch: Tensor | int | None = None
) -> Tensor:
    """Cross-entropy of the next token, in fp32: logits [B, L, V] at a place predict the label [B, L] after it.

    Computed here and not by TrainingArguments.label_smoothing_factor, which does not shift the labels of
    a class like this one, and smooths the evaluation loss as well.
    """
    total = F.cross_entropy(
        logits[:, :-1].flatten(0, 1).float(),
        labels[:, 1:].flatten(),
        ignore_index=IGNORE,
        label_smoothing=smoothing,
        reduction="sum",
    )
    if num_items_in_batch is None:
        num_items_in_batch = (labels[:, 1:] != IGNORE).sum()
    return total / num_items_in_batch
