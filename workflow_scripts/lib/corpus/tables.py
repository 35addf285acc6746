"""The two tables that every later stage reads: videos and captions, a parquet file a shard."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.annotations import SPLITS as SPLITS  # train, val, test: from here, too
from workflow_scripts.lib.errors import UserError

VIDEOS = pa.schema(
    [
        # position in the corpus, from 0; the key is vid_{index}
        pa.field("index", pa.int64(), nullable=False),
        # the annotation's own name of the video; its path where it has no other
        pa.field("id", pa.string(), nullable=False),
        # relative to the corpus root; one that ends in .* is the file of that name with whatever ending it has
        pa.field("path", pa.string(), nullable=False),
        # the longer video that it was cut from; its path where the annotation names none
        pa.field("source", pa.string(), nullable=False),
        # the clip inside its file; null: from the beginning, to the end
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        # train, val or test
        pa.field("split", pa.string(), nullable=False),
        # of the clip, as annotated; null: not told
        pa.field("duration_s", pa.float64()),
    ]
)
CAPTIONS = pa.schema(
    [
        pa.field("video", pa.int64(), nullable=False),
        # position among the video's captions, from 0
        pa.field("caption", pa.int32(), nullable=False),
        # vid_{video}#cap_{caption}
        pa.field("key", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        # the moment, in seconds from the start of the clip; null: all of it
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        # words that a right caption holds, by kind
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
    ]
)


def shard_files(folder: Path, pattern: str, shards: int) -> list[Path]:
    """The files of shards 0 to shards-1; UserError names the first that is missing.

    Counting, not listing the folder: files of a former, larger number of shards are not picked up.
    """
    files = [Path(folder) / (pattern % shard) for shard in range(shards)]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: missing; {shards} shards are expected here")
    return files


def read_shards(folder: Path, table: str, shards: int, columns: list[str] | None = None) -> pa.Table:
    """All rows of `table` ("videos" or "captions") in corpus order."""
    files = shard_files(folder, f"{table}_%03d.parquet", shards)
    return pa.concat_tables(pq.read_table(file, columns=columns) for file in files)


def read_columns(file: Path, columns: list[str], step: str) -> pa.Table:
    """Columns of a table that `step` makes; UserError names one that is missing, damaged, or without these columns."""
    try:
        return pq.read_table(file, columns=columns)
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{file}: cannot be read as a table with {', '.join(columns)} ({reason}); run {step} again"
        ) from None


def read_rows(folder: Path, table: str, shards: int) -> Iterator[dict]:
    """The same, a dict a row; `attributes` as a dict."""
    for row in read_shards(folder, table, shards).to_pylist():
        if "attributes" in row:
            row["attributes"] = dict(row["attributes"] or [])
        yield row
