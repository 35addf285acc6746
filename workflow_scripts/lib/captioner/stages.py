"""A stage from its command line to its model folder."""

import argparse
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel

from workflow_scripts.lib.captioner.arguments import shared_batch
from workflow_scripts.lib.captioner.curve import write_curve
from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.examples import Split
from workflow_scripts.lib.captioner.generation import new_tokens
from workflow_scripts.lib.captioner.inputs import (
    Inputs,
    add_input_arguments,
    open_inputs,
    read_captions,
    start,
)
from workflow_scripts.lib.captioner.loading import (
    language_model_files,
    load_captioner,
    new_captioner,
    save_captioner,
)
from workflow_scripts.lib.captioner.memory import (
    Estimate,
    check_memory,
    estimate_memory,
    meta_captioner,
    validation_batch,
)
from workflow_scripts.lib.captioner.sampler import padding_share
from workflow_scripts.lib.captioner.settings import begun_settings, for_device, with_lora, write_settings
from workflow_scripts.lib.captioner.sources import copy_sources
from workflow_scripts.lib.captioner.training import (
    StageTrainer,
    train_projector_only,
    train_stage,
    trainable_parameters,
)
from workflow_scripts.lib.captioner.validation import CaptionCheck
from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.compute import device_name
from workflow_scripts.lib.config import (
    CaptionerConfig,
    CaptionEvaluation,
    Generation,
    Running,
    Stage,
    load_section,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import file_digest, whole_folder, write_json
from workflow_scripts.lib.frames.sampling import spread
from workflow_scripts.lib.processes import this_process
from workflow_scripts.lib.provenance import provenance
from workflow_scripts.lib.running import add_running_arguments, with_running_arguments


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
    parser.add_argument(
        "--diversity-floor",
        type=float,
        default=CaptionEvaluation().diversity_floor,
        help="share of the references' diversity under which the log warns of a collapse (default: %(default)s)",
    )
    add_running_arguments(parser, Running, Running.model_fields)


def run_stage(arguments: argparse.Namespace, stage1: Path | None = None) -> None:
    """Train a stage, the second one from the model folder of the first; the first process writes what is learned."""
    device = start(arguments)
    config = load_section(CaptionerConfig, arguments.config)
    running = with_running_arguments(config.running, Running.model_fields, arguments)
    read = inputs_read(arguments, stage1)
    begun = begun_settings(config, arguments.checkpoints, read, device)
    config = for_device(config.model_copy(update={"running": running}), device, stage1, begun)
    stage = config.stage2 if stage1 else config.stage1
    config = with_shared_batch(config, stage)
    train, val = (read_captions(arguments, config, name) for name in ("train", "val"))
    if not len(train.examples):
        raise UserError(
            "captioner: no training captions with frames; look at the frames' status tables for the reasons"
        )
    inputs = open_inputs(arguments, with_lora(config, len(train.examples), device, stage1, begun), device)
    train_set = inputs.dataset(train.examples)
    val_set = inputs.dataset(capped(val, config.validation.captions).examples)
    told = summary(inputs, {"train": (train, train_set), "val": (val, val_set)}, stage1)
    model = captioner_of(inputs, stage1)
    trainer = train_stage(
        model,
        inputs.config,
        stage,
        train_set,
        val_set,
        Collator(inputs.tokenizer.pad_token_id),
        checkpoints=arguments.checkpoints,
        made_by=made_by(inputs, read, stage1) if this_process().first else {},
        seed=arguments.seed,
        caption_check=caption_check(inputs, stage, val, told),
    )
    if trainer.is_world_process_zero():
        write_stage(inputs, trainer, told)
    trainer.accelerator.wait_for_everyone()  # none leaves while another is at work
    trainer.accelerator.end_training()


def with_shared_batch(config: CaptionerConfig, stage: Stage) -> CaptionerConfig:
    """With the captions that a forward pass of each process really takes; UserError when the processes cannot share the
    stage's batch evenly."""
    captions, _ = shared_batch(stage.batch_size, config.running.per_device_batch_size, this_process().world)
    running = config.running.model_copy(update={"per_device_batch_size": captions})
    return config.model_copy(update={"running": running})


def capped(split: Split, count: int | None) -> Split:
    """At most `count` captions of the split, spread evenly over it."""
    if count is None:
        return split
    places = spread(np.arange(len(split.examples)), count)
    return replace(split, examples=split.examples.take(places))


def captioner_of(inputs: Inputs, stage1: Path | None) -> PeftModel:
    """The model that the stage begins with."""
    if stage1 is not None:
        return load_captioner(stage1, inputs.language_model, trainable=True)
    tokens, width = inputs.token_shape
    config = inputs.config
    model = new_captioner(
        inputs.language_model,
        config.lora,
        visual_width=width,
        tokens_per_frame=tokens,
        max_frames=config.frames,
        projector=config.projector,
    )
    train_projector_only(model)
    return model


def expected_memory(inputs: Inputs, train: CaptionDataset, stage1: Path | None) -> Estimate:
    """What training will need of the device; UserError when it does not fit."""
    config = inputs.config
    model = meta_captioner(config, inputs.text_config, *inputs.token_shape)
    if stage1 is None:
        train_projector_only(model)
    estimate = estimate_memory(
        model,
        config,
        tokens=int(train.lengths().max()),
        labels=int(min(train.caption_tokens.max(), train.limit)),
        on_gpu=inputs.device.type == "cuda",
    )
    check_memory(estimate, inputs.device)
    return estimate


def caption_check(inputs: Inputs, stage: Stage, val: Split, told: dict[str, Any]) -> CaptionCheck | None:
    """Captions to generate while the stage trains, if any. UserError when CIDEr is to decide and cannot."""
    count = inputs.config.validation.generated
    if not len(val.examples):
        print("no validation captions: the model of the last epoch is kept", flush=True)
        return None
    if stage.metric == "cider" and count == 1:
        raise UserError(
            "captioner.validation.generated: CIDEr (`metric`) needs 2 moments a language or more, found 1"
        )
    if not count:
        return None
    return CaptionCheck.of(
        val.examples,
        count,
        lambda moments: inputs.dataset(moments, with_caption=False),
        max_new_tokens=new_tokens(Generation(), told),
        batch_size=validation_batch(inputs.config),
        floor=inputs.arguments.diversity_floor,
    )


def summary(
    inputs: Inputs, splits: dict[str, tuple[Split, CaptionDataset]], stage1: Path | None
) -> dict[str, Any]:
    """What is known before the training, for training.json: counts, lengths, and the memory that is expected."""
    for split, dataset in splits.values():
        if dataset.cut:
            print(
                f"{split.name}: {dataset.cut} of {len(dataset)} captions are longer than max_caption_tokens "
                f"({dataset.limit}) and were cut",
                flush=True,
            )
    train = splits["train"][1]
    tokens = token_counts(train)
    print(f"tokens of a training caption: median {tokens['median']}, at most {tokens['max']}", flush=True)
    return {
        "captions": {name: len(dataset) for name, (_, dataset) in splits.items()},
        "captions_without_frames": {name: split.without_frames for name, (split, _) in splits.items()},
        "captions_cut": {name: dataset.cut for name, (_, dataset) in splits.items()},
        "caption_tokens": tokens,
        "languages": train.examples.languages()[0],
        "memory_bytes": asdict(expected_memory(inputs, train, stage1)),
    }


def token_counts(dataset: CaptionDataset) -> dict[str, int]:
    """How long captions are before they are cut, in tokens with the end's."""
    median, most = np.percentile(dataset.caption_tokens, [50, 99.5], method="higher")
    return {"median": int(median), "p99_5": int(most), "max": int(dataset.caption_tokens.max())}


def inputs_read(arguments: argparse.Namespace, stage1: Path | None = None) -> dict[str, Any]:
    """Digests of what a stage reads besides the language model, by name."""
    shards = range(arguments.shards)
    return {
        "seed": arguments.seed,
        "caption files": [
            file_digest(arguments.corpus / f"captions_{shard:03d}.parquet") for shard in shards
        ],
        "frame files": [file_digest(arguments.frames / f"status_{shard:03d}.parquet") for shard in shards],
        "features": open_features(arguments.features, "token").digests(),
        "stage 1": file_digest(stage1 / "adapter_model.safetensors") if stage1 else None,
    }


def made_by(inputs: Inputs, read: dict[str, Any], stage1: Path | None = None) -> dict[str, Any]:
    """What a checkpoint depends on, by name: config, and digests of the inputs. The language model is loaded."""
    left_out = CaptionerConfig.NOT_OF_STAGES | ({"stage2"} if stage1 is None else set())
    return {
        **inputs.config.model_dump(mode="json", exclude=left_out),
        "language model": inputs.language_model_name,
        "language model files": language_model_files(inputs.language_model_name, inputs.config.revision),
        **read,
    }


def write_stage(inputs: Inputs, trainer: StageTrainer, told: dict[str, Any]) -> None:
    """The stage's model folder and its curve."""
    arguments, sampler = inputs.arguments, trainer.sampler
    named = ("features", "frames", "corpus", "language_model", "demo_language_model")
    paths = vars(arguments) | {"language_model": inputs.config.language_model}
    training = {
        **told,
        "trained_parameters": trainable_parameters(trainer.model),
        "padding": padding_share(sampler.order(0), sampler.lengths, trainer.args.per_device_train_batch_size),
        "language_model": inputs.language_model_name,
        "metric": trainer.args.metric_for_best_model,
        "best_metric": trainer.state.best_metric,
        "made_from": {name: paths[name] and str(paths[name]) for name in named},
        "provenance": provenance(
            config=arguments.config, seed=arguments.seed, device=device_name(inputs.device)
        ),
    }
    with whole_folder(arguments.model) as folder:
        save_captioner(trainer.model, folder)
        write_settings(inputs.config, folder)
        copy_sources(arguments.features, arguments.frames, folder)
        write_json(folder / "training.json", training)
    write_curve(arguments.curve, trainer.state.log_history)
    mark_finished(arguments.checkpoints, "captioner")
