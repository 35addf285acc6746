"""The checks of what a command's flags say, by the types of the configuration."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from workflow_scripts.lib.errors import UserError


def check_flag(flag: str, value: Any, kind: Any) -> None:
    """UserError when the value of a flag is not of a kind of `config_types`."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise UserError(f"{flag} {value!r}: {error.errors()[0]['msg']}") from None
