"""Flags that commands of retrieval share."""

import argparse
from pathlib import Path

from pydantic import ValidationError

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError

RUNNING = {
    "workers": "processes that read batches ahead",
    "prefetch": "batches that each of them is ahead",
    "checkpoint_steps": "optimizer steps between two checkpoints within an epoch",
    "keep_epochs": "keep the checkpoint of every so many epochs; 0: of none",
    "log_steps": "optimizer steps between two rows of the training log",
}
"""Keys of the section that are not frozen, and reach the training as flags: they change no result."""


def add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--features` and `--text-features`."""
    parser.add_argument("--config", type=Path, required=True, help="frozen `retrieval` section (YAML)")
    parser.add_argument(
        "--features", type=Path, required=True, help="folder of the features of videos, and lists of captions"
    )
    parser.add_argument(
        "--text-features",
        type=Path,
        required=True,
        help="folder of the features of captions; may be the same",
    )


def add_training_arguments(parser: argparse.ArgumentParser) -> None:
    """How a training runs: `--workers`, `--prefetch`, `--checkpoint-steps`, ..., `--wandb`."""
    for key, what in RUNNING.items():
        default = RetrievalConfig.model_fields[key].default
        parser.add_argument(_flag(key), type=int, help=f"{what} ({default})")
    parser.add_argument("--wandb", metavar="PROJECT", help="project of Weights & Biases to log to, too")


def with_training_arguments(config: RetrievalConfig, arguments: argparse.Namespace) -> RetrievalConfig:
    """The configuration with the values of the flags that were given; UserError names one that the section would not
    allow."""
    flags = {key: getattr(arguments, key) for key in (*RUNNING, "wandb")}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return RetrievalConfig.model_validate({**config.model_dump(), **given})
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{_flag(first['loc'][0])} {first['input']!r}: {first['msg']}") from None


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
