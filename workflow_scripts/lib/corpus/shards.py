"""One shard of the corpus tables: a contiguous range of video indices."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.files import whole_file


def write_shard(
    all_videos: Path, all_captions: Path, shard: int, videos_per_shard: int, videos: Path, captions: Path
) -> None:
    """Write the rows of videos shard*videos_per_shard to (shard+1)*videos_per_shard-1; none beyond the last.

    Row groups of other shards are skipped by their statistics, not read.
    """
    first = shard * videos_per_shard
    for source, column, schema, target in (
        (all_videos, "index", VIDEOS, videos),
        (all_captions, "video", CAPTIONS, captions),
    ):
        rows = _rows_between(source, column, first, first + videos_per_shard, schema)
        with whole_file(target) as temporary:
            pq.write_table(rows, temporary)
        print(f"{target}: {rows.num_rows} rows", flush=True)


def _rows_between(file: Path, column: str, first: int, end: int, schema: pa.Schema) -> pa.Table:
    return pq.read_table(file, schema=schema, filters=[(column, ">=", first), (column, "<", end)])
