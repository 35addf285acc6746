"""The `webvid` format: the CSV files of WebVid-2M and WebVid-10M, a clip a row.

Columns, by their names: `videoid`, `name` (the caption), those that `video_path` needs (`page_dir` by default), and if
there is one, `duration` in the form `PT00H00M24S`. So both the columns of 2M
(`videoid,name,page_idx,page_dir,duration,contentUrl`) and those of 10M (`videoid,contentUrl,duration,page_dir,name`)
do; others are ignored.

The file of a clip is `videos/{page_dir}/{videoid}.mp4` unless `video_path` tells another place. Its id and its source
are the `videoid`. The files of WebVid are one a split: give them as `annotations: {train: ..., val: ...}`.

Captions may hold commas, quotes and line breaks, as the CSV rules have it. A row with too many or too few cells,
without a `videoid` or with a duration of another form is a `bad_row`; an empty duration is not told. A quote that is
never closed stops the reading, since nobody could say which rows it has swallowed.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.adapters._csv import Table
from workflow_scripts.lib.corpus.adapters._patterns import PathOptions, PathPattern
from workflow_scripts.lib.corpus.annotations import Adapter, AnnotatedVideo, Caption, Problem

REQUIRED = ("videoid", "name")
DURATION = re.compile(r"PT(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?", re.ASCII)


class WebVidOptions(PathOptions):
    video_path: Text = "videos/{page_dir}/{videoid}.mp4"
    """Path of a clip under `corpus.root`; any column may stand in braces, `.*` at the end stands for any ending."""


def read_webvid(path: Path, options: WebVidOptions) -> Iterator[AnnotatedVideo | Problem]:
    """A video for every row. UserError when the file cannot be opened or its header lacks a column."""
    table = Table(path, REQUIRED, alike=_both_numbers)
    place = PathPattern(options.video_path, table.header, path)
    for line, cells in table:
        if isinstance(cells, Problem):
            yield cells
            continue
        row = dict(zip(table.header, map(str.strip, cells), strict=True))
        try:
            duration = duration_seconds(row.get("duration", ""))
        except ValueError as error:
            yield Problem(line, "bad_row", str(error))
            continue
        if id_ := row["videoid"]:
            captions = [Caption(row["name"], line)]
            yield AnnotatedVideo(place(row), line, captions, None, None, None, id_, id_, duration)
        else:
            yield Problem(line, "bad_row", "no videoid")


@lru_cache(maxsize=4096)  # a few hundred different ones in millions of rows
def duration_seconds(text: str) -> float | None:
    """Seconds of `PT00H00M24S`; None when the text is empty. ValueError when it is no such duration."""
    if not text:
        return None
    if not (found := DURATION.fullmatch(text)):
        raise ValueError(f"a duration like PT00H00M24S is expected, found {text!r}")
    hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


def _both_numbers(videoid: str, other: str) -> bool:
    return videoid.isdecimal() and other.isdecimal()


ADAPTER = Adapter("webvid", read_webvid, WebVidOptions)
