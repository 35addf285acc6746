"""Generated captions on the disk: a journal while they are made, then JSON lines and the same as a table."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.checkpoints import differences, told
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, whole_file, write_json

HEAD, LINES = "made_by.json", "journal.jsonl"
TABLE = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("video", pa.int64(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        # the moment, in seconds from the start of the clip; null: all of it
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        # that the captioner saw, as positions among the video's sampled frames
        pa.field("frames", pa.list_(pa.int32()), nullable=False),
        pa.field("reference", pa.string(), nullable=False),
        pa.field("generated", pa.string(), nullable=False),
        # whether the caption reached the greatest number of tokens before its end
        pa.field("cut", pa.bool_(), nullable=False),
        # words that a right caption holds, by kind
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


class Generated(NamedTuple):
    """A caption as it was generated."""

    text: str
    cut: bool
    """Whether it reached the greatest number of tokens before its end."""


class Journal:
    """The captions of a list of moments as far as they are made, in its order, in a folder that survives a kill.

    `done` are those of whole batches, of `batch_size`; the last one may be smaller, where `total` are done. A journal that
    something else than `made_by` has made is moved to `<folder>.previous`, and a line that a kill has torn, with the
    rest of its batch, is cut off.
    """

    def __init__(self, folder: Path, made_by: Mapping[str, Any], batch_size: int, total: int):
        self.folder = Path(folder)
        self._begin(dict(made_by))
        self._lines = (self.folder / LINES).open("r+b")
        self.done: list[Generated] = []
        ends = [0]
        for line in self._lines:
            if (caption := _parse(line)) is None or len(self.done) == total:
                break
            self.done.append(caption)
            ends.append(ends[-1] + len(line))
        if len(self.done) < total:
            del self.done[len(self.done) // batch_size * batch_size :]
        self._lines.seek(ends[len(self.done)])
        self._lines.truncate()

    def _begin(self, made_by: dict[str, Any]) -> None:
        head = self.folder / HEAD
        if head.exists():
            if not (changed := differences(read_json(head), made_by)):
                return
            previous = self.folder.with_name(self.folder.name + ".previous")
            print(f"{self.folder}: captions made otherwise; moved to {previous}{told(changed)}", flush=True)
            shutil.rmtree(previous, ignore_errors=True)
            self.folder.rename(previous)
        shutil.rmtree(self.folder, ignore_errors=True)  # without its head, what lies there is nobody's
        self.folder.mkdir(parents=True)
        (self.folder / LINES).touch()
        write_json(head, made_by)

    def add(self, batch: Sequence[Generated]) -> None:
        """Keep the captions of a batch, on the disk before this returns."""
        self._lines.writelines(json.dumps(caption).encode() + b"\n" for caption in batch)
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self.done += batch

    def remove(self) -> None:
        """Remove the journal: its captions are written."""
        self._lines.close()
        shutil.rmtree(self.folder)


def _parse(line: bytes) -> Generated | None:
    try:
        return Generated(*json.loads(line)) if line.endswith(b"\n") else None
    except (ValueError, TypeError):
        return None


def write_captions(rows: Sequence[Mapping[str, Any]], lines: Path, table: Path) -> None:
    """Rows of `generation.row` as JSON lines and as a parquet table, each whole or not at all."""
    with whole_file(lines) as temporary, temporary.open("w", encoding="utf-8") as handle:
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    pairs = [{**row, "attributes": list(row["attributes"].items())} for row in rows]
    with whole_file(table) as temporary:
        pq.write_table(pa.Table.from_pylist(pairs, TABLE), temporary)


def read_captions(path: Path) -> list[dict[str, Any]]:
    """The rows of captions_<split>.jsonl; UserError names a line that is none."""
    rows = []
    with Path(path).open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                missing = {"video", "language", "start_s", "end_s", "reference", "generated"} - row.keys()
            except (ValueError, AttributeError) as error:
                raise UserError(
                    f"{path}, line {number}: no JSON object ({error}); run generate_captions again"
                ) from None
            if missing:
                raise UserError(
                    f"{path}, line {number}: without {', '.join(sorted(missing))}; run generate_captions again"
                )
            rows.append(row)
    return rows
