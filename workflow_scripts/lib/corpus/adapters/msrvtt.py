"""The `msrvtt` format: MSR-VTT, a JSON object with `videos` and `sentences`.

`videos` are objects with `video_id` and `split` (`train`, `validate`, which is `val` here, or `test`); `sentences` are
objects with `video_id` and `caption`, in any order. The file of a video is `{video_id}.mp4` unless `video_path` tells
another place; its id and its source are the `video_id`. `start time` and `end time` are times in the YouTube video that
the file was cut from, so they tell its duration, and nothing is cut again. Clips of one YouTube video may lie in two of
the official splits: they are taken as published. Further keys (`category`, `url`, `sen_id` ...) are ignored.

With `jsfusion_test` the splits are those of JSFusion, known as 1k-A: the 1,000 videos of that CSV file
(`key,vid_key,video_id,sentence`) are the test split, each with that one sentence, and all others (9,000) are training
videos with all of their sentences. The videos may come in one JSON file or, as they were first published, in two (list
both in `annotations`).

A video or sentence without `video_id`, a sentence of a video that is not there, and a value of another type are a
`bad_row`, as is a row of the CSV file whose video is not there (in a JSON file that holds more than train and validate).
A video without sentences is a `no_caption`. The line of a problem is the place in its list, from 1, or the line of the
CSV file.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._csv import Table
from workflow_scripts.lib.corpus.adapters._json import as_object, load_document, made, needed, text
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem, seconds
from workflow_scripts.lib.errors import UserError

SPLITS = {"validate": "val"}


class MsrVttOptions(PathOptions):
    video_path: Text = "{video_id}.mp4"
    """Path of a video under `corpus.root`. Fields: `video_id`."""
    jsfusion_test: Path | None = None
    """CSV file of the 1k-A test split; its splits take the place of the annotated ones."""


def read_msrvtt(path: Path, options: MsrVttOptions) -> Iterator[AnnotatedVideo | Problem]:
    """The videos in their order. UserError when the file is not of this form or a file cannot be opened."""
    place = PathPattern(options.video_path, ["video_id"], path)
    document = load_document(path, dict)
    try:
        as_object(document)
    except ValueError as error:
        raise UserError(f"{path}: {error}; put its members together") from None
    videos: dict[str, AnnotatedVideo] = {}
    for number, row in enumerate(_rows(document, "videos", path), start=1):
        video = made(partial(_video, place), row, number)
        if isinstance(video, Problem):
            yield video
        elif video.id in videos:
            yield Problem(number, "duplicate_video", f"{video.id!r} was there before")
        else:
            videos[video.id] = video
    for number, row in enumerate(_rows(document, "sentences", path), start=1):
        try:
            _add_sentence(videos, row, number)
        except ValueError as error:
            yield Problem(number, "bad_row", str(error))
    if options.jsfusion_test:
        yield from _jsfusion(videos, options.jsfusion_test)
    yield from videos.values()


def _rows(document: dict, key: str, path: Path) -> list:
    if not isinstance(document.get(key), list):
        raise UserError(
            f"{path}: no list `{key}`; found the keys: {', '.join(document) or 'none'}. MSR-VTT is an object with "
            "`videos` and `sentences`"
        )
    return document[key]


def _video(place: PathPattern, row: dict, number: int) -> AnnotatedVideo:
    id_, split = needed(row, "video_id"), text(row, "split")
    start, end = seconds(row.get("start time")), seconds(row.get("end time"))
    return AnnotatedVideo(
        place({"video_id": id_}),
        number,
        [],
        SPLITS.get(split, split),
        id=id_,
        source=id_,
        duration_s=None if start is None or end is None else end - start,
    )


def _add_sentence(videos: dict[str, AnnotatedVideo], row: Any, number: int) -> None:
    row = as_object(row, "a sentence")
    id_ = needed(row, "video_id")
    if id_ not in videos:
        raise ValueError(f"a sentence of {id_!r}, which is not among the videos")
    videos[id_].captions.append(Caption(text(row, "caption") or "", number))


def _jsfusion(videos: dict[str, AnnotatedVideo], file: Path) -> Iterator[Problem]:
    """Give the videos the 1k-A splits, and those of its test split their one sentence."""
    # Of the two files that MSR-VTT was first published as, the one with train and validate has none of them.
    has_test = any(video.split not in ("train", "val") for video in videos.values())
    for video in videos.values():
        video.split = "train"
    table = Table(file, ("video_id", "sentence"), alike=lambda id_, other: id_.startswith("video"))
    id_at, sentence_at = map(table.header.index, ("video_id", "sentence"))
    for line, cells in table:
        if isinstance(cells, Problem):
            yield replace(cells, file=file)
            continue
        video = videos.get(cells[id_at].strip())
        if video and video.file:
            yield Problem(line, "duplicate_video", f"{video.id!r} is in line {video.line} already", file)
        elif video:
            video.split, video.file, video.line = "test", file, line
            video.captions = [Caption(cells[sentence_at], line)]
        elif has_test:
            yield Problem(
                line, "bad_row", f"{cells[id_at]!r} is not among the videos of the annotation", file
            )


ADAPTER = Adapter("msrvtt", read_msrvtt, MsrVttOptions, counts="entry")
