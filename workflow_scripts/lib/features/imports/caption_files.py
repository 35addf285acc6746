"""Caption files of the original GMMFormer layout: `<collection>{train,val,test}.caption.txt`, `<caption id> <text>` a line.

What stands before the first `#` of a caption's id is the id of its video.
"""

import re
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports.videos import ImportedCaption, NotTaken
from workflow_scripts.lib.features.layout import parse_key

FILE = re.compile(r"(.*)(train|val|test)\.caption\.txt")

# The videos in the order of their first captions, split after split.
IN_ORDER = """
    SELECT split, video, id, text, NULL, NULL
    FROM captions JOIN (SELECT split, video, min(row) AS first FROM captions GROUP BY split, video) USING (split, video)
    ORDER BY first, row
"""
BY_NUMBER = "SELECT split, video, id, text, i, j FROM captions ORDER BY i, j"


def caption_files(folder: Path) -> dict[str, Path]:
    """The caption file of each split below `folder`; UserError when there is none, or of several collections."""
    collections: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob("*.caption.txt")):
        if found := FILE.fullmatch(file.name):
            collections.setdefault(found[1], {})[found[2]] = file
    if len(collections) != 1:
        found = f"those of {', '.join(collections)}" if collections else "none"
        raise UserError(
            f"{folder}: <collection>{{train,val,test}}.caption.txt of one collection are expected; found {found}"
        )
    [files] = collections.values()
    return {split: files[split] for split in SPLITS if split in files}


def read_captions(file: Path, not_taken: NotTaken | None = None) -> Iterator[tuple[str, str]]:
    """Ids and texts, with single spaces; a text may be empty.

    A line that is no such pair in UTF-8 is told to `not_taken`; without it, UserError.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                id_, *text = line.decode("utf-8-sig").split(maxsplit=1)
            except UnicodeDecodeError:
                problem = "not UTF-8"
            except ValueError:
                problem = "an empty line"
            else:
                yield id_, " ".join(text[0].split()) if text else ""
                continue
            if not_taken is None:
                raise UserError(f"{file}: line {number} is {problem}; expected `<caption id> <text>`")
            not_taken("bad_line", file, f"line {number}", problem)


def video_of(caption: str) -> str:
    """Id of the video that a caption is of."""
    return caption.partition("#")[0]


class CaptionsByVideo:
    """The captions of all splits, grouped by their videos, in a temporary database: millions of rows take no memory."""

    def __init__(self, files: dict[str, Path]):
        """`files`: a caption file a split."""
        self.files = files
        self._table = sqlite3.connect("")  # on disk, and gone when it is closed
        self._table.execute(
            "CREATE TABLE captions (row INTEGER PRIMARY KEY, split INTEGER, video TEXT, id TEXT, text TEXT, i INTEGER,"
            " j INTEGER, UNIQUE (id, split))"
        )

    def read(self, not_taken: NotTaken) -> None:
        """Read all files; an id that comes back in its split is not taken."""
        insert = "INSERT OR IGNORE INTO captions (split, video, id, text, i, j) VALUES (?, ?, ?, ?, ?, ?)"
        for split, file in self.files.items():
            for id_, text in read_captions(file, not_taken):
                i, j = parse_key(id_) or (None, None)
                row = (SPLITS.index(split), video_of(id_), id_, text, i, j)
                if not self._table.execute(insert, row).rowcount:
                    not_taken("bad_id", file, id_, "a caption of this id was there before")
        self._table.execute("CREATE INDEX by_video ON captions (video)")

    def numbered(self) -> bool:
        """Whether all ids are the pipeline's own, `vid_{i}#cap_{j}`, and no video is in two splits."""
        strange = "SELECT 1 FROM captions WHERE j IS NULL"
        twice = "SELECT 1 FROM captions GROUP BY i HAVING min(split) < max(split)"
        return not any(self._table.execute(f"{query} LIMIT 1").fetchone() for query in (strange, twice))

    def videos(self) -> Iterator[tuple[str, str, int | None, list[ImportedCaption]]]:
        """Split, id, number and captions, without features, of every video.

        Numbered ones ascend; the others are in the order of their first captions, split after split.
        """
        rows = self._table.execute(BY_NUMBER if self.numbered() else IN_ORDER)
        for (split, video, i), its_rows in groupby(rows, key=lambda row: (row[0], row[1], row[4])):
            yield (
                SPLITS[split],
                video,
                i,
                [ImportedCaption(id_, None, text, j) for *_, id_, text, _, j in its_rows],
            )

    def has_video(self, id_: str) -> bool:
        return self._has("video", id_)

    def has_caption(self, id_: str) -> bool:
        return self._has("id", id_)

    def close(self) -> None:
        self._table.close()

    def _has(self, column: str, value: str) -> bool:
        query = f"SELECT 1 FROM captions WHERE {column} = ? LIMIT 1"
        return self._table.execute(query, (value,)).fetchone() is not None
