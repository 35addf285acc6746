"""Captioned moments, and objects that hold a video with its moments under every key, as several formats write them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.lib.corpus.adapters._json import as_list, load_document, made, members, short, texts
from workflow_scripts.lib.corpus.annotations import AnnotatedVideo, Caption, Problem, seconds


def keyed_videos(
    path: Path, make: Callable[[str, dict, int], AnnotatedVideo]
) -> Iterator[AnnotatedVideo | Problem]:
    """What `make` gives for every key, its object and its place in the file from 1; a `bad_row` where it cannot.

    UserError when the file is not one JSON object.
    """
    for number, key, value in members(load_document(path, dict)):
        if key.strip():
            yield made(partial(make, key.strip()), value, number)
        else:
            yield Problem(number, "no_video", "the key, which is the video's name, is empty")


def moment(value: Any, what: str) -> tuple[float, float]:
    """Start and end of `[start, end]`; ValueError when it is not two numbers."""
    if isinstance(value, list) and len(value) == 2:
        start, end = (seconds(each) for each in value)
        if start is not None and end is not None:
            return start, end
    raise ValueError(f"{what} is [start, end]; found {short(value)}")


def timed_captions(row: dict, line: int, per_second: float = 1.0) -> list[Caption]:
    """The captions of a row with as many `sentences` as `timestamps`, which count `per_second` a second.

    ValueError when their numbers differ: nobody can say which sentence belongs to which moment.
    """
    sentences, timestamps = texts(row, "sentences"), as_list(row.get("timestamps"), "`timestamps`")
    if len(sentences) != len(timestamps):
        raise ValueError(f"{len(timestamps)} timestamps, but {len(sentences)} sentences")
    captions = []
    for sentence, timestamp in zip(sentences, timestamps, strict=True):
        start, end = moment(timestamp, "a timestamp")
        captions.append(Caption(sentence.strip(), line, start_s=start / per_second, end_s=end / per_second))
    return captions
