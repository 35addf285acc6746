"""What the two training commands share: their arguments, their inputs, and what they write."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from workflow_scripts.lib.captioner.data import CaptionDataset, Collator, Split, read_split
from workflow_scripts.lib.captioner.loading import (
    language_model_name,
    load_language_model,
    load_tokenizer,
    save_captioner,
)
from workflow_scripts.lib.captioner.prompts import Prompt, prompts_by_language
from workflow_scripts.lib.captioner.training import train_stage, trainable_parameters, write_curve
from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import CaptionerConfig, Stage, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.files import file_digest, whole_folder, write_json
from workflow_scripts.lib.provenance import provenance

# Config keys that a checkpoint does not depend on.
NOT_OF_TRAINING = {"enabled", "generation", "diversity_floor"}


def add_input_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every captioner command that runs the model."""
    parser.add_argument("--config", type=Path, required=True, help="frozen captioner section (YAML)")
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


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the two stages."""
    add_input_arguments(parser)
    parser.add_argument(
        "--checkpoints",
        type=Path,
        required=True,
        help="folder for checkpoints; a killed run goes on from it",
    )
    parser.add_argument("--model", type=Path, required=True, help="folder to write: adapter and projector")
    parser.add_argument("--curve", type=Path, required=True, help="CSV to write: losses and learning rate")


@dataclass
class Inputs:
    """All that a captioner command reads, opened."""

    arguments: argparse.Namespace
    config: CaptionerConfig
    device: torch.device
    features: FeatureReader
    tokenizer: Any
    prompts: dict[str, Prompt]
    language_model_name: str
    language_model: PreTrainedModel

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
        arguments = self.arguments
        split = read_split(
            arguments.corpus,
            arguments.frames,
            arguments.shards,
            name,
            count=self.config.frames,
            languages=self.config.languages,
        )
        print(split.describe(), flush=True)
        return split

    def dataset(self, examples: Sequence, *, with_caption: bool = True) -> CaptionDataset:
        """Those captions as items of a batch."""
        dataset = CaptionDataset(
            examples,
            self.features,
            self.tokenizer,
            self.prompts,
            video_token=self.language_model.config.get_text_config().vocab_size,
            limit=self.config.max_caption_tokens,
            with_caption=with_caption,
        )
        if dataset.cut:
            print(
                f"{dataset.cut} of {len(dataset)} captions are longer than max_caption_tokens "
                f"({self.config.max_caption_tokens}) and were cut",
                flush=True,
            )
        return dataset


def open_inputs(arguments: argparse.Namespace) -> Inputs:
    """Read the config, seed everything, and load tokenizer and language model."""
    if not sys.stderr.isatty():
        disable_progress_bar()
    config = load_section(CaptionerConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    emulated = device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False)
    if config.precision == "bf16" and emulated:
        raise UserError(f"captioner.precision: {device_name(device)} has no bf16; set it to fp16 (or fp32)")
    name = language_model_name(config, arguments.demo_language_model)
    tokenizer = load_tokenizer(name)
    return Inputs(
        arguments=arguments,
        config=config,
        device=device,
        features=open_features(arguments.features, "token"),
        tokenizer=tokenizer,
        prompts=prompts_by_language(tokenizer, config.prompts),
        language_model_name=name,
        language_model=load_language_model(name, config.quantization, config.precision, device),
    )


def made_by(inputs: Inputs, stage1: Path | None = None) -> dict[str, Any]:
    """What a checkpoint depends on, by name: config, seed, and digests of the inputs."""
    arguments = inputs.arguments
    weights = sorted(Path(inputs.language_model_name).glob("*.safetensors"))
    shards = range(arguments.shards)
    return {
        **inputs.config.model_dump(mode="json", exclude=NOT_OF_TRAINING),
        "seed": arguments.seed,
        "language model": inputs.language_model_name,
        "language model weights": {file.name: file_digest(file) for file in weights},
        "captions": [file_digest(arguments.corpus / f"captions_{shard:03d}.parquet") for shard in shards],
        "frames": [file_digest(arguments.frames / f"status_{shard:03d}.parquet") for shard in shards],
        "features": open_features(arguments.features, "token").digests(),
        "stage 1": file_digest(stage1 / "adapter_model.safetensors") if stage1 else None,
    }


def run_stage(inputs: Inputs, model: PeftModel, stage: Stage, stage1: Path | None = None) -> None:
    """Train the stage and write its model folder and curve (the first process does)."""
    arguments, config = inputs.arguments, inputs.config
    train, val = inputs.split("train"), inputs.split("val")
    train_set, val_set = inputs.dataset(train.examples), inputs.dataset(val.examples)
    trainer = train_stage(
        model,
        stage,
        train_set,
        val_set,
        Collator(inputs.tokenizer.pad_token_id),
        checkpoints=arguments.checkpoints,
        made_by=made_by(inputs, stage1),
        precision=config.precision,
        seed=arguments.seed,
    )
    if not trainer.is_world_process_zero():
        return
    summary = {
        "captions": {"train": len(train.examples), "val": len(val.examples)},
        "captions_without_frames": {"train": train.without_frames, "val": val.without_frames},
        "captions_cut": {"train": train_set.cut, "val": val_set.cut},
        "trained_parameters": trainable_parameters(model),
        "language_model": inputs.language_model_name,
        "best_val_loss": trainer.state.best_metric,
        "provenance": provenance(
            config=arguments.config, seed=arguments.seed, device=device_name(inputs.device)
        ),
    }
    with whole_folder(arguments.model) as folder:
        save_captioner(model, folder)
        write_json(folder / "training.json", summary)
    write_curve(arguments.curve, trainer.state.log_history)
    mark_finished(arguments.checkpoints, "captioner")
