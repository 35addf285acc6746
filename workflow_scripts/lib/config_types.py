"""Sections of a configuration and the kinds of values in them, read as a person means them."""

import math
import re
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A part of the configuration. Unknown keys are refused; the docstring under a field is its documentation."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def number(value: Any) -> Any:
    """`1e-4` is text to YAML 1.1 and a number to a person; a yes or no is not a number."""
    if isinstance(value, bool):
        raise ValueError("a number is needed here, not yes or no")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError("a number is needed here") from None
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a finite number is needed here")
    return value


def _all_different(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("each may be there only once")
    return values


def _text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(
            "text is needed here; YAML reads an unquoted yes, no, on or off as a truth value: put it in quotes"
        )
    return value


def _language(value: Any) -> Any:
    """Unquoted `no` is Norwegian, whatever YAML 1.1 says."""
    return "no" if value is False else value


def _name(value: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*", value):
        raise ValueError("letters of any script, digits, '_', '-' and '.' only: it becomes a folder name")
    return value


# The bounds stand before the validators: so they reach the JSON schema.
Int = Annotated[int, BeforeValidator(number)]
Count = Annotated[int, Field(ge=0), BeforeValidator(number)]
Seed = Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(number)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(number)]
Float = Annotated[float, BeforeValidator(number)]
NotNegative = Annotated[float, Field(ge=0), BeforeValidator(number)]
Rate = Annotated[float, Field(gt=0), BeforeValidator(number)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(number)]
Share = Annotated[float, Field(ge=0, lt=1), BeforeValidator(number)]
Text = Annotated[str, BeforeValidator(_text)]
Name = Annotated[str, BeforeValidator(_text), AfterValidator(_name)]
Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$"), BeforeValidator(_language)]
Languages = Annotated[list[Language], Field(min_length=1), AfterValidator(_all_different)]
