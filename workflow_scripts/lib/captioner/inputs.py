"""What the captioner's commands read: their common arguments, captions, features, and language model."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from workflow_scripts.lib.captioner.data import CaptionDataset
from workflow_scripts.lib.captioner.examples import Split, read_split
from workflow_scripts.lib.captioner.loading import (
    language_model_config,
    language_model_name,
    load_language_model,
    load_tokenizer,
)
from workflow_scripts.lib.captioner.prompts import Prompt, prompts_by_language
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import CaptionerConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.processes import this_process


def add_input_arguments(
    parser: argparse.ArgumentParser,
    config_help: str = "frozen captioner section, or a stage's part of it (YAML)",
) -> None:
    """Arguments of every captioner command that runs the model."""
    parser.add_argument("--config", type=Path, required=True, help=config_help)
    parser.add_argument(
        "--demo-language-model",
        type=Path,
        nargs="?",
        help="folder of make_demo_language_model; only where the config has demo_language_model",
    )
    parser.add_argument(
        "--features", type=Path, required=True, help="folder of the encoder's features (TokenData)"
    )
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--frames", type=Path, required=True, help="folder of the frames' status tables")
    parser.add_argument("--shards", type=int, required=True, help="number of corpus shards")
    add_compute_arguments(parser)


def start(arguments: argparse.Namespace) -> torch.device:
    """The device, with threads and seeds set; no progress bars where nobody watches.

    Of several processes, the first alone writes to the log.
    """
    if not sys.stderr.isatty():
        disable_progress_bar()
    if not this_process().first:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
    return set_up_compute(arguments.threads, arguments.seed)


def read_captions(arguments: argparse.Namespace, config: CaptionerConfig, split: str) -> Split:
    """The captions of a split that have frames."""
    found = read_split(
        arguments.corpus,
        arguments.frames,
        arguments.shards,
        split,
        count=config.frames,
        languages=config.languages,
    )
    print(found.describe(), flush=True)
    return found


@dataclass
class Inputs:
    """All that a captioner command reads, opened; the language model's weights only when they are asked for."""

    arguments: argparse.Namespace
    config: CaptionerConfig
    device: torch.device
    features: FeatureReader
    tokenizer: Any
    prompts: dict[str, Prompt]
    language_model_name: str

    @cached_property
    def text_config(self) -> PreTrainedConfig:
        """Shape of the language model."""
        return language_model_config(self.language_model_name, self.config.revision)

    @cached_property
    def language_model(self) -> PreTrainedModel:
        """The language model on the device."""
        config = self.config
        return load_language_model(
            self.language_model_name,
            config.quantization,
            config.precision,
            self.device,
            attention=config.attention,
            revision=config.revision,
        )

    @property
    def token_shape(self) -> tuple[int, int]:
        """Visual tokens a frame, and their width; UserError when the features hold none."""
        for key in self.features:
            _, tokens, width = self.features[key].shape
            return tokens, width
        raise UserError(
            f"{self.features.root}: no visual tokens; give the encoder a token_grid, and videos with frames"
        )

    def split(self, name: str) -> Split:
        """The captions of a split that have frames."""
        return read_captions(self.arguments, self.config, name)

    def dataset(self, examples: Sequence, *, with_caption: bool = True) -> CaptionDataset:
        """Those captions as items of a batch."""
        return CaptionDataset(
            examples,
            self.features,
            self.tokenizer,
            self.prompts,
            video_token=self.text_config.vocab_size,
            limit=self.config.max_caption_tokens,
            with_caption=with_caption,
            tokens_per_frame=self.config.projector.tokens or self.token_shape[0],
        )


def open_inputs(arguments: argparse.Namespace, config: CaptionerConfig, device: torch.device) -> Inputs:
    """Open the features and load the tokenizer of the settled `config`."""
    name = language_model_name(config, arguments.demo_language_model)
    tokenizer = load_tokenizer(name, config.revision)
    return Inputs(
        arguments=arguments,
        config=config,
        device=device,
        features=open_features(arguments.features, "token"),
        tokenizer=tokenizer,
        prompts=prompts_by_language(tokenizer, config.prompts, config.chat_template),
        language_model_name=name,
    )
