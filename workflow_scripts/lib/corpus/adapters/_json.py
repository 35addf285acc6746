"""JSON annotations: documents, rows that are objects, and the fields of a row.

A format that is an array of objects, or has an object a line, is one call: `json_rows(path, video)`, where `video`
makes an AnnotatedVideo (or a Problem of a kind of its own) of an object and its number. A format with another form
reads `load_document(path, dict)` and goes over `members(document)`. The functions of fields raise ValueError with
what is wrong; `made` turns that into a `bad_row`. No key that is given twice is dropped in silence.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.lib.corpus.adapters._lines import text_lines, whole_text
from workflow_scripts.lib.corpus.annotations import AnnotatedVideo, Problem
from workflow_scripts.lib.errors import UserError

Make = Callable[[dict, int], AnnotatedVideo | Problem]

KINDS = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}


class _Repeated(dict):
    """An object in which a key is there more than once; `pairs` are all of its members."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, Any]]) -> dict:
    made = dict(pairs)
    return made if len(made) == len(pairs) else _Repeated(pairs)


_decode = json.JSONDecoder(object_pairs_hook=_object).decode


def load_document(path: Path, of: type[list] | type[dict]) -> Any:
    """The JSON document of a file, an array or an object as `of` says. Texts may hold lone surrogates, see text_lines.

    UserError when the file cannot be opened, is no JSON (with line and column), or is another kind of document.
    """
    try:
        document = _decode(whole_text(path))
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}:{error.lineno}: not readable as JSON: {error.msg} at column {error.colno}; mend the file there, "
            "or set corpus.adapter to the format that it has"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}; mend the file") from None
    if not isinstance(document, of):
        raise UserError(
            f"{path}: {KINDS[of]} is expected, found {kind(document)}; set corpus.adapter to the format of this file"
        )
    return document


def members(document: dict) -> Iterator[tuple[int, str, Any]]:
    """Number from 1, key and value of every member of an object in its order, also of those whose key is repeated."""
    pairs = document.pairs if isinstance(document, _Repeated) else document.items()
    for number, (key, value) in enumerate(pairs, start=1):
        yield number, key, value


def json_rows(path: Path, make: Make) -> Iterator[AnnotatedVideo | Problem]:
    """What `make` gives for every object of a file that is a JSON array, or has one JSON object a line.

    The number of an object is its place in the array from 1, or its line. UserError when an array is no JSON.
    """
    if _first_character(path) == "[":
        for number, row in enumerate(load_document(path, list), start=1):
            yield made(make, row, number)
    else:
        yield from json_lines(path, make)


def json_lines(path: Path, make: Make) -> Iterator[AnnotatedVideo | Problem]:
    """What `make` gives for the object of every line; blank lines are left out, and a line that is no JSON is a Problem."""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = _decode(line)
        except json.JSONDecodeError as error:
            what = f"not readable as JSON: {error.msg} at character {error.pos + 1}"
            yield Problem(number, "bad_row", what)
        except (ValueError, RecursionError) as error:
            yield Problem(number, "bad_row", f"not readable as JSON: {error}")
        else:
            yield made(make, row, number)


def json_file(path: Path, make: Make) -> AnnotatedVideo | Problem:
    """What `make` gives for the one object that a file holds; its `file` is that file.

    UserError when the file cannot be opened.
    """
    try:
        found = made(make, _decode(whole_text(path)), 1)
    except json.JSONDecodeError as error:
        what = f"not readable as JSON: {error.msg} at column {error.colno}"
        return Problem(error.lineno, "bad_row", what, path)
    except (ValueError, RecursionError) as error:
        return Problem(1, "bad_row", f"not readable as JSON: {error}", path)
    return replace(found, file=path)


def made(make: Make, row: Any, number: int) -> AnnotatedVideo | Problem:
    """What `make` gives for a row that must be an object; a `bad_row` where it raises ValueError or OverflowError."""
    try:
        return make(as_object(row), number)
    except (ValueError, OverflowError) as error:
        return Problem(number, "bad_row", str(error))


def as_object(value: Any, what: str = "a row") -> dict:
    """The value, if it is an object in which every key is there once."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is an object; found {short(value)}")
    if isinstance(value, _Repeated):
        keys = [key for key, _ in value.pairs]
        raise ValueError(
            f"the key `{next(key for key in keys if keys.count(key) > 1)}` is there more than once"
        )
    return value


def as_list(value: Any, what: str) -> list:
    """The value, if it is an array."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is an array; found {short(value)}")
    return value


def text(row: dict, key: str) -> str | None:
    """The text under a key, without blanks around it; None where it is absent, null or empty."""
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{key}` is a text; found {short(value)}")
    return (value or "").strip() or None


def name(row: dict, key: str) -> str | None:
    """The text or whole number under a key, as text; None where it is absent, null or empty."""
    value = row.get(key)
    return str(value) if type(value) is int else text(row, key)


def needed(row: dict, key: str, read: Callable[[dict, str], str | None] = name) -> str:
    """What `read` finds under a key that a row must have: a text or whole number, unless told otherwise."""
    value = read(row, key)
    if value is None:
        raise ValueError(f"no `{key}`; found the keys: {', '.join(row) or 'none'}")
    return value


def texts(row: dict, key: str) -> list[str]:
    """The texts under a key: an array of them, or one; none of them where the key is absent or null."""
    value = row.get(key)
    found = [] if value is None else value if isinstance(value, list) else [value]
    if not all(isinstance(each, str) for each in found):
        raise ValueError(f"`{key}` is a text or an array of texts; found {short(value)}")
    return found


def kind(value: Any) -> str:
    """`an object`, `a number` ...: what a JSON value is."""
    return next((words for type_, words in KINDS.items() if isinstance(value, type_)), "a number")


def short(value: Any) -> str:
    """A JSON value as it is written, its beginning where it is long."""
    written = json.dumps(value, ensure_ascii=False)
    return written if len(written) <= 60 else written[:57] + "..."


def _first_character(path: Path) -> str:
    return next((line.lstrip()[0] for line in text_lines(path) if line.strip()), "")
