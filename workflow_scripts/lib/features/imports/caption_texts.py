"""Texts of captions by the id of their video, for features that come without them."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.lib.corpus.adapters.webvid import ADAPTER
from workflow_scripts.lib.corpus.annotations import Problem, is_text


class CaptionTexts:
    """`videoid` and `name` of a CSV in the `webvid` format, in a temporary database: millions of rows take no memory.

    Without a file, no text is known. UserError when the file cannot be read.
    """

    def __init__(self, file: Path | None):
        self.file = file
        self.rows = self.unreadable = self.found = 0
        self._texts = sqlite3.connect("")  # on disk, and gone when it is closed
        self._texts.execute("CREATE TABLE texts (id TEXT PRIMARY KEY, text TEXT) WITHOUT ROWID")
        if file is not None:
            self._texts.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?)", self._read(file))
            kept = self._texts.execute("SELECT count(*) FROM texts").fetchone()[0]
            print(
                f"{file}: {kept} captions; {self.rows - kept} whose id was there before and {self.unreadable} rows that "
                "cannot be read are left out",
                flush=True,
            )

    def __call__(self, id_: str) -> str:
        """The text of a video's caption; empty where none is known."""
        row = self._texts.execute("SELECT text FROM texts WHERE id = ?", (id_,)).fetchone()
        self.found += row is not None
        return row[0] if row else ""

    def close(self) -> None:
        self._texts.close()

    def _read(self, file: Path) -> Iterator[tuple[str, str]]:
        for video in ADAPTER.read(file, ADAPTER.options(video_path="{videoid}")):
            if isinstance(video, Problem) or not is_text(video.path + video.captions[0].text):
                self.unreadable += 1
            else:
                self.rows += 1
                yield video.path, " ".join(video.captions[0].text.split())
