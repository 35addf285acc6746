"""One shard of a corpus table: the rows of a contiguous range of video indices."""

from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.files import whole_file

TABLES = {"videos": ("index", VIDEOS), "captions": ("video", CAPTIONS)}
"""Column of the video's index, and schema."""


def write_shard(table: str, whole: Path, shard: int, videos_per_shard: int, target: Path) -> None:
    """Write the rows of videos shard*videos_per_shard to (shard+1)*videos_per_shard-1; none beyond the last.

    `table` is videos or captions, `whole` the file of all its rows. Row groups of other shards are skipped by their
    statistics, not read.
    """
    column, schema = TABLES[table]
    first = shard * videos_per_shard
    its_own = [(column, ">=", first), (column, "<", first + videos_per_shard)]
    rows = pq.read_table(whole, schema=schema, filters=its_own)
    with whole_file(target) as temporary:
        pq.write_table(rows, temporary)
    print(f"{target}: {rows.num_rows} rows", flush=True)
