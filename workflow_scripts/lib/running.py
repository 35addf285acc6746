"""Keys of a section that say how a job runs: they reach its command as flags, since they change no result.

So they are in no frozen file, and another number of workers makes nothing anew.
"""

import argparse
from collections.abc import Collection, Iterable
from shlex import quote
from types import NoneType
from typing import TypeVar, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.config_types import Section
from workflow_scripts.lib.errors import UserError

NONE = ""
"""Stands for None on the command line, of a key that may be None."""

S = TypeVar("S", bound=Section)


def add_running_arguments(
    parser: argparse.ArgumentParser, section: type[Section], keys: Iterable[str]
) -> None:
    """A flag for each key of a section: `--key VALUE`, `--key VALUE VALUE` of a list, `--key` or `--no-key` of a bool.

    None is the empty text. A flag that is not given leaves the key as it is.
    """
    for key in keys:
        field = section.model_fields[key]
        default = field.get_default(call_default_factory=True)
        about = " ".join((field.description or "").split()).replace("%", "%%")
        kind = {"nargs": "*"} if isinstance(default, list) else {}
        if field.annotation is bool:
            kind = {"action": argparse.BooleanOptionalAction}
        parser.add_argument(flag(key), help=f"{about} (default: the file's, or {default})", **kind)


def with_running_arguments(section: S, keys: Iterable[str], arguments: argparse.Namespace) -> S:
    """The section with the values of these flags; UserError names a value that it would not allow.

    `arguments.config` is the file of the section, for that sentence. A key that neither the file nor a flag tells stays one
    that is not set.
    """
    given = {key: value for key in keys if (value := getattr(arguments, key)) is not None}
    fields = type(section).model_fields
    values = {
        key: None if value == NONE and _may_be_none(fields[key]) else value for key, value in given.items()
    }
    try:
        return type(section).model_validate(section.model_dump(exclude_unset=True) | values)
    except ValidationError as error:
        raise UserError(f"{arguments.config} with the flags given: {explain(error, type(section))}") from None


def running_flags(section: Section, keys: Collection[str], *, only_set: bool = False) -> str:
    """The same flags with the section's values, quoted, for a command line; a blank comes first.

    With `only_set`, of the keys that somebody wrote into the section: others stay as the command's section has them.
    """
    words: list[str] = []
    for key in keys:
        if only_set and key not in section.model_fields_set:
            continue
        value = getattr(section, key)
        if isinstance(value, bool):
            words.append(flag(key if value else f"no_{key}"))
        elif isinstance(value, list):
            words += [flag(key), *map(str, value)]
        else:  # in one word: a text may begin with a dash
            words.append(f"{flag(key)}={NONE if value is None else value}")
    return "".join(f" {quote(word)}" for word in words)


def flag(key: str) -> str:
    """`save_frequency` as `--save-frequency`."""
    return f"--{key.replace('_', '-')}"


def _may_be_none(field: FieldInfo) -> bool:
    return NoneType in get_args(field.annotation)
