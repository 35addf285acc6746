"""Keys of the `clip` section that are not frozen: they reach train_clip as flags, since they change no result."""

import argparse
from shlex import quote

from pydantic import ValidationError

from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.errors import UserError

NONE = ""
"""Stands for None on the command line."""


def add_running_arguments(parser: argparse.ArgumentParser) -> None:
    """A flag for each key of `ClipConfig.RUNNING`."""
    for key in ClipConfig.RUNNING:
        field = ClipConfig.model_fields[key]
        about = " ".join((field.description or "").split()).replace("%", "%%")
        several = {"nargs": "*"} if isinstance(field.default, list) else {}
        parser.add_argument(flag(key), help=f"{about} (default: {field.default})", **several)


def with_running_arguments(config: ClipConfig, arguments: argparse.Namespace) -> ClipConfig:
    """The section with the values of these flags; UserError names a value that it would not allow."""
    given = {key: getattr(arguments, key) for key in ClipConfig.RUNNING}
    values = {
        key: None if value == NONE and ClipConfig.model_fields[key].default is None else value
        for key, value in given.items()
        if value is not None
    }
    try:
        return ClipConfig.model_validate(config.model_dump() | values)
    except ValidationError as error:
        raise UserError(f"{arguments.config} with the flags given: {explain(error, ClipConfig)}") from None


def running_flags(config: ClipConfig) -> str:
    """The same flags with the section's values, quoted, for a command line; a blank comes first."""
    words = []
    for key in ClipConfig.RUNNING:
        value = getattr(config, key)
        values = value if isinstance(value, list) else [NONE if value is None else value]
        words += [flag(key), *(str(one) for one in values)]
    return "".join(f" {quote(word)}" for word in words)


def flag(key: str) -> str:
    """`save_frequency` as `--save-frequency`."""
    return f"--{key.replace('_', '-')}"
