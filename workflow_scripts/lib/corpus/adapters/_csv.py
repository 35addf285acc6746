"""CSV annotations: a header that is checked, and rows with the line that each begins on."""

import csv
import difflib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path

from workflow_scripts.lib.corpus.adapters._lines import text_lines
from workflow_scripts.lib.corpus.annotations import Problem, readable
from workflow_scripts.lib.errors import UserError


class Table:
    """A CSV file whose first line names its columns; iterated, it gives line number and cells of every row."""

    def __init__(
        self,
        path: Path,
        required: Sequence[str],
        optional: Sequence[str] = (),
        *,
        alike: Callable[[str, str], bool],
        any_case: bool = False,
    ):
        """`alike` tells of two cells of the first required column whether both name a video.

        UserError when the file cannot be opened or its header lacks a column, or names one twice or nearly right.
        """
        self.path, self.alike = path, alike
        # The second run over the lines is for those that a quoted cell spans; both are at the same row.
        parsed, self._lines = tee(text_lines(path, newline=""))
        self._rows = csv.reader(parsed, strict=True)
        self.header = _header(self._rows, path, required, optional, any_case)
        self._key = self.header.index(required[0])
        self._width = len(self.header)

    def __iter__(self) -> Iterator[tuple[int, list[str] | Problem]]:
        """A row that is no row is a Problem in place of its cells. Blank lines are left out.

        UserError when a quote that is not closed, or closed rows later, has swallowed rows: nobody could say which.
        """
        rows, lines, width = self._rows, self._lines, self._width
        last = rows.line_num
        list(islice(lines, last))  # the header's
        while True:
            try:
                for cells in rows:
                    first, last = last + 1, rows.line_num
                    next(lines)
                    if last > first and self._has_swallowed(cells, islice(lines, last - first)):
                        raise self._unclosed(first, last)
                    if len(cells) == width:
                        yield first, cells
                    elif cells:
                        what = f"{len(cells)} cells, but the header names {width} columns"
                        yield first, Problem(first, "bad_row", what)
                return
            except csv.Error as error:
                first, last = last + 1, rows.line_num
                if last > first:
                    raise self._unclosed(first, last) from None
                next(lines)
                yield first, Problem(first, "bad_row", f"not readable as CSV: {error}")

    def _has_swallowed(self, cells: list[str], inside: Iterator[str]) -> bool:
        """Whether a line inside a row is a row by itself: as many cells, and a video of the same kind as the row's."""
        return any(self._is_row(line, cells) for line in inside)

    def _is_row(self, line: str, around: list[str]) -> bool:
        try:
            cells = next(csv.reader([line]), [])
        except csv.Error:
            return False
        if len(cells) != self._width or len(around) <= self._key:
            return False
        return self.alike(cells[self._key], around[self._key])

    def _unclosed(self, first: int, last: int) -> UserError:
        return UserError(
            f'{self.path}:{first}: a quote (") is opened here and not closed before line {last}, so that the '
            "rows between cannot be told apart; close it, or write a quote inside a caption twice"
        )


def _header(
    rows: Iterator[list[str]], path: Path, required: Sequence[str], optional: Sequence[str], any_case: bool
) -> list[str]:
    try:
        header = [name.strip() for name in next(rows, [])]
    except csv.Error as error:
        raise UserError(f"{path}:1: the header cannot be read as CSV: {error}") from None
    if any_case:
        header = [name.casefold() for name in header]
    found = ", ".join(header) or "none"
    if missing := [name for name in required if name not in header]:
        if readable(found) != found:
            raise UserError(
                f"{path}:1: the file is not UTF-8, found the columns: {readable(found)}; save it as UTF-8"
            )
        raise UserError(
            f"{path}:1: no column {' and '.join(missing)}; found the columns: {found}. The first line names the "
            f"columns, separated by commas: {', '.join(required)}" + _if_you_like(optional)
        )
    known = (*required, *optional)
    if twice := {name for name in header if header.count(name) > 1 and name in known}:
        raise UserError(f"{path}:1: column {' and '.join(sorted(twice))} is there more than once: {found}")
    for name in header:
        likely = difflib.get_close_matches(name, optional, n=1, cutoff=0.85)
        if likely and name not in known:
            raise UserError(
                f"{path}:1: unknown column {name}; write {likely[0]} if that is meant, or rename it"
            )
    return header


def _if_you_like(optional: Sequence[str]) -> str:
    return f" and, if you like, {', '.join(optional)}" if optional else ""
