"""An encoder's section, as a command that encodes is given it: what decides in a file, how to run as flags."""

import argparse
from pathlib import Path

from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.running import add_running_arguments, with_running_arguments


def add_encoder_arguments(parser: argparse.ArgumentParser) -> None:
    """What the two commands that encode share."""
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="the encoder's section, or what of it decides about this side",
    )
    add_running_arguments(parser, EncoderConfig, EncoderConfig.RUNNING)
    parser.add_argument(
        "--trained-clip", type=Path, nargs="?", help="folder of train_clip, for kind trained_clip"
    )
    parser.add_argument(
        "--shards", type=int, default=1, help="shards of the corpus, to tell the space of all"
    )


def encoder_section(arguments: argparse.Namespace) -> EncoderConfig:
    """The section that the flags of `add_encoder_arguments` tell. UserError when the file or a flag is wrong."""
    section = load_section(EncoderConfig, arguments.config)
    return with_running_arguments(section, EncoderConfig.RUNNING, arguments)
