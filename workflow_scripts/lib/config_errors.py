"""What is wrong with a configuration, in sentences that name the key."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Every error of `model` in a line: the key, what was found and what is allowed."""
    lines = []
    for item in error.errors():
        keys, section = _place(model, item["loc"])
        line = _sentence(item, ".".join(keys))
        if item["type"] == "extra_forbidden" and section:
            line += f"; allowed: {', '.join(section.model_fields)}"
        lines.append(line)
    return "config: " + "\n        ".join(lines)


def _place(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[list[str], type[BaseModel] | None]:
    """The keys as a person writes them, and the section that the last of them stands in.

    pydantic's `loc` also names the option of a union that it tried: a section by its `kind` or its class, or
    `literal['batch']`.
    """
    keys: list[str] = []
    section: type[BaseModel] | None = None
    options = [model]
    for part in loc:
        if isinstance(part, int):
            keys.append(str(part))
        elif len(options) > 1:
            options = [
                option for option in options if part in get_args(option.model_fields["kind"].annotation)
            ]
        elif not part.endswith((")", "]")) and part not in {option.__name__ for option in options}:
            keys.append(part)
            section = options[0] if options else None
            field = section.model_fields.get(part) if section else None
            options = list(_models_in(field.annotation)) if field else []
    return keys, section


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _sentence(error: dict[str, Any], key: str) -> str:
    """One validation error as `key: what was found and what is allowed`."""
    key = key or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if error["type"] == "missing":
        return f"{key}: missing, and there is no default"
    if error["type"] == "union_tag_not_found":
        return f"{key}.kind: missing, and there is no default"
    if error["type"] == "union_tag_invalid":
        return f"{key}.kind: one of {error['ctx']['expected_tags']} is needed (found {error['ctx']['tag']!r})"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict | BaseModel) else f" (found {error['input']!r})"
    return f"{key}: {message}{found}"
