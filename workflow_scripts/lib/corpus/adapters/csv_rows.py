"""The `csv` format: one row a caption; the rows of a video follow each other.

Columns, in any order: `video` and `caption`; and if there are, `lang` (or `language`), `split`, `start_s` and
`end_s` (the captioned moment), `clip_start_s` and `clip_end_s` (the clip inside its file). Times are seconds.
Further columns are ignored.
"""

import csv
import difflib
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from workflow_scripts.lib.corpus.adapters._lines import text_lines
from workflow_scripts.lib.corpus.annotations import (
    Adapter,
    AdapterOptions,
    AnnotatedVideo,
    Caption,
    Problem,
    seconds,
)
from workflow_scripts.lib.errors import UserError

REQUIRED = ("video", "caption")
OPTIONAL = ("lang", "language", "split", "start_s", "end_s", "clip_start_s", "clip_end_s")


def read_csv(path: Path, options: AdapterOptions) -> Iterator[AnnotatedVideo | Problem]:
    """Videos of the file, each with the captions of its consecutive rows, and the rows that are no such row.

    UserError when the file cannot be opened or its header lacks a column.
    """
    lines = _Lines(path)
    rows = csv.reader(lines, strict=True)
    header = _header(rows, path)
    read = (_row(number, cells, header) for number, cells in _numbered(rows, lines, header))
    for is_problem, group in groupby(read, key=lambda row: isinstance(row, Problem)):
        if is_problem:
            yield from group
        else:
            for _, same in groupby(group, key=attrgetter("path", "start_s", "end_s")):
                yield from _one_video(list(same))


def _header(rows: Iterator[list[str]], path: Path) -> list[str]:
    try:
        header = [name.strip().casefold() for name in next(rows, [])]
    except csv.Error as error:
        raise UserError(f"{path}:1: the header cannot be read as CSV: {error}") from None
    found = ", ".join(header) or "none"
    if missing := [name for name in REQUIRED if name not in header]:
        raise UserError(
            f"{path}:1: no column {' and '.join(missing)}; found the columns: {found}. The first line names the "
            f"columns, separated by commas: {', '.join(REQUIRED)} and, if you like, {', '.join(OPTIONAL)}"
        )
    if twice := {name for name in header if header.count(name) > 1 and name in REQUIRED + OPTIONAL}:
        raise UserError(f"{path}:1: column {' and '.join(sorted(twice))} is there more than once: {found}")
    for name in header:
        likely = difflib.get_close_matches(name, OPTIONAL, n=1, cutoff=0.85)
        if likely and name not in OPTIONAL:
            raise UserError(
                f"{path}:1: unknown column {name}; write {likely[0]} if that is meant, or rename it"
            )
    return header


class _Lines:
    """The lines of a file, and those that the row in hand was made of."""

    def __init__(self, path: Path):
        self.path, self.lines, self.of_row = path, text_lines(path), []

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.of_row.append(next(self.lines))
        return self.of_row[-1]


def _numbered(rows, lines: _Lines, header: list[str]) -> Iterator[tuple[int, list[str] | csv.Error]]:
    """Rows with the line that each begins on; a quoted caption may span lines. Blank lines are left out.

    UserError when a quote that is not closed, or closed rows later, has swallowed rows: nobody could say which.
    """
    while True:
        line = rows.line_num + 1
        lines.of_row.clear()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            cells = error
        unclosed = isinstance(cells, csv.Error) and len(lines.of_row) > 1
        if unclosed or any(_is_row(text, header, like=cells) for text in lines.of_row[1:]):
            raise UserError(
                f'{lines.path}:{line}: a quote (") is opened here and not closed before line {rows.line_num}, so that the '
                "rows between cannot be told apart; close it, or write a quote inside a caption twice"
            )
        if cells:
            yield line, cells


def _is_row(line: str, header: list[str], like: list[str] | csv.Error) -> bool:
    """Whether a line inside a cell is a row by itself: as many cells, and a video of the same kind as the row's own."""
    try:
        cells = next(csv.reader([line]), [])
    except csv.Error:
        return False
    video = header.index("video")
    if isinstance(like, csv.Error) or len(cells) != len(header) or len(like) <= video:
        return False
    return Path(cells[video]).suffix == Path(like[video]).suffix != ""


def _row(line: int, cells: list[str] | csv.Error, header: list[str]) -> AnnotatedVideo | Problem:
    """A row as a video with one caption."""
    if isinstance(cells, csv.Error):
        return Problem(line, "bad_row", f"not readable as CSV: {cells}")
    if len(cells) != len(header):
        return Problem(line, "bad_row", f"{len(cells)} cells, but the header names {len(header)} columns")
    row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    if not row["video"]:
        return Problem(line, "bad_row", "no video path")
    try:
        times = {name: seconds(row.get(name)) for name in OPTIONAL if name.endswith("_s")}
    except ValueError as error:
        return Problem(line, "bad_row", str(error))
    language = row.get("lang") or row.get("language") or None
    caption = Caption(row["caption"], line, language, times["start_s"], times["end_s"])
    return AnnotatedVideo(
        row["video"], line, [caption], row.get("split") or None, times["clip_start_s"], times["clip_end_s"]
    )


def _one_video(rows: list[AnnotatedVideo]) -> Iterator[AnnotatedVideo | Problem]:
    """Consecutive rows of one video as one; a row that puts it into another split is left out."""
    video = rows[0]
    for row in rows[1:]:
        video.split = video.split or row.split
        if row.split not in (None, video.split):
            yield Problem(
                row.line,
                "bad_split",
                f"split {row.split!r}, but line {video.line} puts the video into {video.split!r}",
            )
        else:
            video.captions += row.captions
    yield video


ADAPTER = Adapter("csv", read_csv)
