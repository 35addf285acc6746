"""Text files of unknown quality."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from workflow_scripts.lib.errors import UserError


def text_lines(path: Path, newline: str = "\n") -> Iterator[str]:
    """Lines of a UTF-8 file, with or without a byte order mark, their ends kept; `newline` as of `open`.

    Bytes that are no UTF-8 become lone surrogates, which the checks report with their line, so that one bad
    row does not hide the others. UserError when the file cannot be opened.
    """
    with _opened(path, newline) as handle:
        yield from handle


def whole_text(path: Path) -> str:
    """The text of a UTF-8 file, read as text_lines does."""
    with _opened(path, "\n") as handle:
        return handle.read()


@contextmanager
def _opened(path: Path, newline: str) -> Iterator[TextIO]:
    try:
        with Path(path).open(encoding="utf-8-sig", errors="surrogateescape", newline=newline) as handle:
            yield handle
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path | str, error: OSError) -> UserError:
    """What is raised for a file that cannot be opened."""
    return UserError(
        f"{path}: the annotation file cannot be read ({error.strerror}); set corpus.annotations, or the option that "
        "names it, to one that can"
    )
