"""The `csv` format: one row a caption; the rows of a video follow each other.

    video,caption,lang,split,start_s,end_s
    강아지.mp4,A dog catches a ball.,en,train,0,4.5
    강아지.mp4,강아지가 공을 잡는다.,ko,train,0,4.5
    강아지.mp4,"It lies down, and sleeps.",en,train,4.5,12

The first line names the columns, in any order and case: `video` (path under the root) and `caption`; and if there
are,

- `lang` (or `language`) of the caption (default: the first of `corpus.languages`), `start_s` and `end_s`, the captioned
  moment (default: the whole video);
- of the video: `split`; `clip_start_s` and `clip_end_s`, the clip inside its file; `id`, its own name (default: the
  path); `source`, the id of the longer video that it was cut from (default: the file); `duration_s`.

Times are seconds. Further columns are ignored, but one that is nearly called like one of these is refused. An empty
cell tells nothing. What a video's first row leaves open, a later one may tell.

Cells with commas, quotes or line breaks stand in quotes, a quote inside of them twice. A row with too many or too few
cells, without a video, or with a time that is no number is a `bad_row`, as is one that gives the video another id,
source or duration than the rows before; another split is a `bad_split`. A quote that is never closed stops the
reading, since nobody could say which rows it has swallowed.
"""

from collections.abc import Callable, Iterator
from operator import itemgetter
from pathlib import Path, PurePosixPath

from workflow_scripts.lib.corpus.adapters._csv import Table
from workflow_scripts.lib.corpus.adapters._grouping import one_video
from workflow_scripts.lib.corpus.annotations import (
    Adapter,
    AdapterOptions,
    AnnotatedVideo,
    Caption,
    Problem,
    seconds,
)

REQUIRED = ("video", "caption")
TEXTS = ("lang", "language", "split", "id", "source")
TIMES = ("start_s", "end_s", "clip_start_s", "clip_end_s", "duration_s")


def read_csv(path: Path, options: AdapterOptions) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file, each with the captions of its consecutive rows, and the rows that are no such row.

    UserError when the file cannot be opened or its header lacks a column.
    """
    table = Table(path, REQUIRED, TEXTS + TIMES, alike=_same_ending, any_case=True)
    row_of = _row_reader(table.header)
    rows: list[AnnotatedVideo] = []  # of the video in hand
    for line, cells in table:
        row = cells if isinstance(cells, Problem) else row_of(line, cells)
        if isinstance(row, Problem):
            yield row
            continue
        if rows and not _same_video(row, rows[0]):
            yield from one_video(rows)
            rows = []
        rows.append(row)
    if rows:
        yield from one_video(rows)


def _same_ending(path: str, other: str) -> bool:
    return PurePosixPath(path).suffix == PurePosixPath(other).suffix != ""


def _same_video(row: AnnotatedVideo, other: AnnotatedVideo) -> bool:
    return row.path == other.path and row.start_s == other.start_s and row.end_s == other.end_s


def _row_reader(header: list[str]) -> Callable[[int, list[str]], AnnotatedVideo | Problem]:
    """A function of line and cells that makes a video with one caption of them."""
    # A column that is not there is the empty cell that is put at the end of every row.
    place = {name: header.index(name) if name in header else -1 for name in REQUIRED + TEXTS + TIMES}
    texts = itemgetter(*(place[name] for name in REQUIRED + TEXTS))
    times = itemgetter(*(place[name] for name in TIMES))
    timed = any(name in header for name in TIMES)

    def row(line: int, cells: list[str]) -> AnnotatedVideo | Problem:
        cells.append("")
        video, text, lang, language, split, id_, source = map(str.strip, texts(cells))
        if not video:
            return Problem(line, "bad_row", "no video path")
        start = end = clip_start = clip_end = duration = None
        if timed:
            try:
                start, end, clip_start, clip_end, duration = (seconds(cell.strip()) for cell in times(cells))
            except ValueError as error:
                return Problem(line, "bad_row", str(error))
        caption = Caption(text, line, lang or language or None, start, end)
        return AnnotatedVideo(
            video, line, [caption], split or None, clip_start, clip_end, id_ or None, source or None, duration
        )

    return row


ADAPTER = Adapter("csv", read_csv)
