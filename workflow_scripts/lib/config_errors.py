"""What is wrong with a configuration, in sentences that name the key."""

from typing import Any

from pydantic import BaseModel, ValidationError


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Every error of `model` in a line: the key, what was found and what is allowed."""
    lines = []
    for item in error.errors():
        line = _sentence(item)
        if item["type"] == "extra_forbidden":
            allowed = _fields_at(model, item["loc"][:-1])
            line += f"; allowed: {', '.join(allowed)}" if allowed else ""
        lines.append(line)
    return "config: " + "\n        ".join(lines)


def _fields_at(model: type[BaseModel], loc: tuple) -> list[str]:
    """Field names of the section at that place."""
    for part in loc:
        if isinstance(part, int):
            continue
        nested = list(_models_in(model.model_fields[part].annotation))
        if not nested:
            return []
        model = nested[0]
    return list(model.model_fields)


def _models_in(annotation: Any):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _sentence(error: dict[str, Any]) -> str:
    """One validation error as `key: what was found and what is allowed`."""
    # pydantic also names the alternative of a union that it tried, such as `literal['batch']`
    loc = [str(part) for part in error["loc"] if not str(part).endswith((")", "]"))]
    key = ".".join(loc) or "the configuration"
    if error["type"] == "extra_forbidden":
        return f"{key}: unknown key"
    if error["type"] == "missing":
        return f"{key}: missing, and there is no default"
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict | BaseModel) else f" (found {error['input']!r})"
    return f"{key}: {message}{found}"
