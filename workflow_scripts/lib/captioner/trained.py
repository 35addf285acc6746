"""A captioner as a stage left it in its folder, opened to be used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.examples import Example
from workflow_scripts.lib.captioner.generation import generate, new_tokens
from workflow_scripts.lib.captioner.live import Seen
from workflow_scripts.lib.captioner.loading import load_captioner, load_language_model, load_tokenizer
from workflow_scripts.lib.captioner.prompts import Prompt, prompts_by_language
from workflow_scripts.lib.captioner.settings import read_settings
from workflow_scripts.lib.config import CaptionerConfig, Generation, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.keys import caption_key, video_key


@dataclass(frozen=True)
class Trained:
    """A captioner, and what it takes to ask it."""

    settings: CaptionerConfig
    """Those that it was trained with."""
    training: dict[str, Any]
    """Content of training.json."""
    tokenizer: Any
    generation: Generation
    prompts: dict[str, Prompt]
    """By the languages that it learned."""
    model: PeftModel
    device: torch.device

    def new_tokens(self) -> int:
        """Tokens of a caption at most."""
        return new_tokens(self.generation, self.training)

    def captions(self, seen: Seen, languages: Sequence[str], seed: int = 0) -> dict[str, str]:
        """A caption of a moment in each language, as generate_captions writes it.

        UserError names a language that the captioner did not learn.
        """
        for language in languages:
            if language not in self.prompts:
                raise UserError(
                    f"--language {language}: the captioner learned {', '.join(self.prompts)}; choose of these"
                )
        examples = [
            Example(
                key=caption_key(0, number), video=0, language=language, start_s=None, end_s=None, text="",
                attributes={}, frames=tuple(range(len(seen.tokens))),
            )
            for number, language in enumerate(languages)
        ]  # fmt: skip
        config = self.model.base_model.model.config
        dataset = CaptionDataset(
            examples,
            {video_key(0): seen.tokens},
            self.tokenizer,
            self.prompts,
            video_token=config.video_token_id,
            limit=self.settings.max_caption_tokens,
            with_caption=False,
            tokens_per_frame=config.places_per_frame,
        )
        options, tokens = self.generation, self.new_tokens()
        captions = generate(
            self.model, dataset, self.tokenizer, options, self.device, max_new_tokens=tokens, seed=seed
        )
        texts = [caption.text for caption in captions]
        return dict(zip(languages, texts, strict=True))


def open_trained(
    folder: Path,
    device: torch.device,
    *,
    generation: Path | None = None,
    language_model: str | None = None,
    precision: str | None = None,
    dequantized: bool = False,
) -> Trained:
    """The captioner of a stage's folder around its language model, which `language_model` (hub id or folder) replaces.

    `generation` is the file of a frozen section (default: its defaults), `precision` another arithmetic than the
    training's. `dequantized`: the weights that a 4-bit language model computes with, as plain ones. UserError when the
    folder is no such one, or the language model is not there.
    """
    settings, training = read_settings(folder), read_json(Path(folder, "training.json"))
    name, revision = language_model or training["language_model"], settings.revision
    if language_model:
        revision = None  # it is one of the model that was replaced
    tokenizer = load_tokenizer(name, revision)
    prompts = prompts_by_language(tokenizer, settings.prompts, settings.chat_template)
    no_flash = settings.attention == "flash_attention_2" and device.type == "cpu"
    base = load_language_model(
        name,
        settings.quantization,
        precision or settings.precision,
        device,
        attention="sdpa" if no_flash else settings.attention,
        revision=revision,
    )
    if dequantized and settings.quantization != "none":
        base = _dequantized(base)
    model = load_captioner(Path(folder), base).to(device).eval()
    learned = {language: prompts[language] for language in training["languages"]}
    options = load_section(Generation, generation) if generation else Generation()
    return Trained(settings, training, tokenizer, options, learned, model, device)


def _dequantized(model: PreTrainedModel) -> PreTrainedModel:
    model = model.dequantize()
    for module in model.modules():
        module._is_hf_initialized = True  # or a model around it would draw the new layers' weights at random
    return model
