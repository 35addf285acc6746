"""The `jsonl` format: one JSON object a line, and each is a video with its captions.

    {"video": "a.mp4", "split": "train", "captions": [{"text": "A dog runs.", "lang": "en", "start_s": 0, "end_s": 4.5}]}
    {"video": "b.mp4", "caption": "A hand stacks three cups."}

- `video`, the path under the root, and either `caption` (a text) or `captions`: a list of texts, or of objects with
  `text` and, if there are, `lang` (or `language`), `start_s` and `end_s` (the captioned moment) and `attributes`
  (words that a right caption holds, by kind).
- For the video, if there are: `split`; `clip_start_s` and `clip_end_s`, the clip inside its file; `id`, its own name
  (default: the path); `source`, the id of the longer video that it was cut from (default: the file); `duration_s`.

Times are seconds. Further keys are ignored, blank lines too. A line that is no object, lacks `video` or captions, has
a key twice or a value of another type is a `bad_row`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.lib.corpus.adapters._json import as_object, json_lines, name, needed, short, text
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
    return json_lines(path, lambda row, line: video_of(row, line, needed(row, "video", text)))


def video_of(row: dict, line: int, path: str) -> AnnotatedVideo:
    """An object as the video at that path; ValueError says what is wrong with it."""
    given = row["captions"] if "captions" in row else row.get("caption")
    if given is None:
        raise ValueError(f"no `caption` and no `captions`; found the keys: {', '.join(row) or 'none'}")
    given = given if isinstance(given, list) else [given]
    return AnnotatedVideo(
        path,
        line,
        [_caption(caption, line) for caption in given],
        text(row, "split"),
        seconds(row.get("clip_start_s")),
        seconds(row.get("clip_end_s")),
        name(row, "id"),
        name(row, "source"),
        seconds(row.get("duration_s")),
    )


def _caption(given: Any, line: int) -> Caption:
    if isinstance(given, str):
        return Caption(given, line)
    if not isinstance(given, dict) or "text" not in given:
        raise ValueError(f"a caption is a text, or an object with `text`; found {short(given)}")
    given = as_object(given, "a caption")
    attributes = given.get("attributes") or {}
    if not isinstance(attributes, dict) or not all(isinstance(word, str) for word in attributes.values()):
        raise ValueError(f"`attributes` are texts by kind; found {short(attributes)}")
    return Caption(
        text(given, "text") or "",
        line,
        text(given, "lang") or text(given, "language"),
        seconds(given.get("start_s")),
        seconds(given.get("end_s")),
        as_object(attributes, "`attributes`"),
    )


ADAPTER = Adapter("jsonl", read_jsonl)
