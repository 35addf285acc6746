"""What verify_features finds: one line a problem."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_file

SAID = 20
"""Problems that are printed; a list of all of them is asked for with `--problems`."""
# A shard alone would not be missed: what is asked of Snakemake are the meta files.
AGAIN = "delete it and its side's meta file (video_meta.json or text_meta.json) and run snakemake again, or import it again"
LISTS = (
    "delete video_meta.json and text_meta.json and run snakemake again: all lists are written from the shards"
)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    file: Path
    key: str | None
    """None when it is about the whole file."""
    found: str
    expected: str | None
    remedy: str

    @classmethod
    def of_error(cls, file: Path, error: UserError | str) -> "Problem":
        """What a reader said of a file, or of one below that folder."""
        error = " ".join(str(error).splitlines())
        named, colon, rest = error.partition(": ")
        if colon and Path(named).is_relative_to(file):
            file, error = Path(named), rest
        found, _, remedy = error.rpartition("; ")
        return cls(file, None, found or remedy, None, remedy if found else AGAIN)

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key is not None else str(self.file)
        expected = f", expected {self.expected}" if self.expected else ""
        return f"{where}: {self.found}{expected}; {self.remedy}"


class Problems:
    """Prints the first problems, counts all, and lists them in a file when there is one."""

    def __init__(self, listed: TextIO | None = None):
        self.count = 0
        self._listed = listed
        self._items: set[tuple[Path, str | None]] = set()

    def add(self, problem: Problem) -> None:
        """One more."""
        self.count += 1
        self._items.add((problem.file, problem.key))
        if self.count <= SAID:
            say(str(problem))
        elif self.count == SAID + 1:
            say("further problems are not printed; --problems FILE.jsonl lists all")
        if self._listed:
            row: dict[str, Any] = asdict(problem) | {"file": str(problem.file)}
            self._listed.write(json.dumps(row, ensure_ascii=False) + "\n")

    def has(self, file: Path, key: str | None = None) -> bool:
        """Was a problem of this file (and key) found already?"""
        return (file, key) in self._items


@contextmanager
def problems_listed_in(file: Path | None) -> Iterator[Problems]:
    """Problems that are listed as JSON lines in `file`, which is written whole; None: they are only printed."""
    if file is None:
        yield Problems()
        return
    with whole_file(file) as temporary, temporary.open("w", encoding="utf-8") as listed:
        yield Problems(listed)


def say(text: str) -> None:
    """Print a line without breaking a progress bar."""
    with tqdm.external_write_mode():
        print(text, flush=True)
