"""An encoder's section, as a command that encodes is given it: what decides in a file, how to run as flags."""

import argparse
from pathlib import Path
from shlex import quote

from pydantic import ValidationError

from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.errors import UserError


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """What the two commands that encode share. The flags that stand for `EncoderConfig.RUNNING` take the place of what the
    file of `--config` says."""
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="the encoder's section, or what of it decides about this side",
    )
    parser.add_argument("--batch-size", type=int, help="items a forward pass (default: the section's)")
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, help="use torch.compile (default: the section's)"
    )
    parser.add_argument("--space", help="what must fit on the disk, corpus or shard (default: the section's)")
    parser.add_argument(
        "--trained-clip", type=Path, nargs="?", help="folder of train_clip, for kind trained_clip"
    )
    parser.add_argument(
        "--shards", type=int, default=1, help="shards of the corpus, to tell the space of all"
    )


def encoder_section(arguments: argparse.Namespace) -> EncoderConfig:
    """The section that the flags of `add_encoder_arguments` tell. UserError when the file or a flag is wrong."""
    section = load_section(EncoderConfig, arguments.config)
    flags = {key: getattr(arguments, key) for key in EncoderConfig.RUNNING}
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return EncoderConfig.model_validate(section.model_dump() | given)
    except ValidationError as error:
        raise UserError(f"{arguments.config} with the flags given: {explain(error, EncoderConfig)}") from None


def running_flags(encoder: EncoderConfig) -> str:
    """The same flags with the section's values, for a command line."""
    compiled = "--compile" if encoder.compile else "--no-compile"
    return f"--batch-size {encoder.batch_size} {compiled} --space {quote(encoder.space)}"
