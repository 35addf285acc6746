"""The `jsonl` format: one JSON object a line, and each is a video with its captions.

Keys: `video` and either `caption` (text) or `captions`, a list of texts or of objects with `text` and, if there
are, `lang` (or `language`), `start_s` and `end_s` (the captioned moment) and `attributes` (words that a right
caption holds, by kind); for the video `split`, `clip_start_s`, `clip_end_s` (the clip inside its file). Times are
seconds. Further keys are ignored.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.lib.corpus.adapters._lines import text_lines
from workflow_scripts.lib.corpus.annotations import (
    Adapter,
    AdapterOptions,
    AnnotatedVideo,
    Caption,
    Problem,
    seconds,
)


def read_jsonl(path: Path, options: AdapterOptions) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file and the lines that are none. UserError when the file cannot be opened."""
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            yield _video(json.loads(line), number)
        except json.JSONDecodeError as error:
            yield Problem(
                number, "bad_row", f"not readable as JSON: {error.msg} at character {error.pos + 1}"
            )
        except (ValueError, RecursionError) as error:
            yield Problem(number, "bad_row", str(error))


def _video(row: Any, line: int) -> AnnotatedVideo:
    """One object as a video; ValueError says what is wrong with it."""
    if not isinstance(row, dict):
        raise ValueError(f"an object with `video` and `captions` is expected, found {type(row).__name__}")
    if not _text(row, "video", "the video"):
        raise ValueError(f"no `video`; found the keys: {', '.join(row) or 'none'}")
    given = row["captions"] if "captions" in row else row.get("caption")
    if given is None:
        raise ValueError(f"no `caption` and no `captions`; found the keys: {', '.join(row)}")
    given = given if isinstance(given, list) else [given]
    return AnnotatedVideo(
        row["video"].strip(),
        line,
        [_caption(caption, line) for caption in given],
        _text(row, "split", "the video"),
        seconds(row.get("clip_start_s")),
        seconds(row.get("clip_end_s")),
    )


def _caption(given: Any, line: int) -> Caption:
    if isinstance(given, str):
        return Caption(given, line)
    if not isinstance(given, dict) or "text" not in given:
        raise ValueError(f"a caption is a text, or an object with `text`; found {_short(given)}")
    attributes = given.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(isinstance(word, str) for word in attributes.values()):
        raise ValueError(f"`attributes` are texts by kind; found {_short(attributes)}")
    return Caption(
        _text(given, "text", "a caption") or "",
        line,
        _text(given, "lang", "a caption") or _text(given, "language", "a caption"),
        seconds(given.get("start_s")),
        seconds(given.get("end_s")),
        attributes,
    )


def _text(row: dict, key: str, of: str) -> str | None:
    """The text under a key; None where it is absent or empty."""
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{key}` of {of} is a text; found {_short(value)}")
    return (value or "").strip() or None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


ADAPTER = Adapter("jsonl", read_jsonl)
