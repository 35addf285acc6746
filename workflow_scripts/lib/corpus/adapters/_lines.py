"""Lines of a text file of unknown quality."""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.errors import UserError


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a UTF-8 file, with or without a byte order mark, their ends kept.

    Bytes that are no UTF-8 become lone surrogates, which the checks report with their line, so that one bad
    row does not hide the others. UserError when the file cannot be opened.
    """
    try:
        with Path(path).open("rb") as handle:
            for number, line in enumerate(handle):
                text = line.decode("utf-8", errors="surrogateescape")
                yield text.removeprefix("\ufeff") if number == 0 else text
    except OSError as error:
        raise UserError(
            f"{path}: the annotation file cannot be read ({error.strerror}); set corpus.annotations to one that can"
        ) from None
