"""The rows of the corpus tables as integers, a shard at a time: what features are checked against and listed by."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import SPLITS, shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import Side

AGAIN = "run corpus_shard (or import_features) again"


@dataclass(frozen=True)
class CorpusRows:
    """The videos or the captions of a shard of the corpus, ascending and each of them once."""

    file: Path
    table: pa.Table
    """Further columns, as asked for."""
    keys: Keys
    splits: np.ndarray
    """[N] int, position in SPLITS."""


def corpus_rows(corpus: Path, side: Side, shards: int, columns: tuple[str, ...] = ()) -> Iterator[CorpusRows]:
    """The rows of every shard, in order: videos for the video side, captions for the text side.

    UserError names the file and the first key that is there twice or out of order, is in no split, or whose video has
    captions in two splits.
    """
    pattern, *integers = {
        "video": ("videos_%03d.parquet", "index"),
        "text": ("captions_%03d.parquet", "video", "caption"),
    }[side]
    last = -1  # video of the shards before
    for file in shard_files(corpus, pattern, shards):
        try:
            table = pq.read_table(file, columns=[*integers, "split", *columns])
            videos, *captions = (table[name].to_numpy() for name in integers)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
            raise UserError(f"{file}: cannot be read as a corpus table ({error}); {AGAIN}") from None
        splits = pc.index_in(table["split"], value_set=pa.array(SPLITS)).fill_null(-1).to_numpy()
        rows = CorpusRows(file, table, Keys(videos, *captions), splits)
        _check(rows, last)
        last = int(videos[-1]) if len(videos) else last
        yield rows


def _check(rows: CorpusRows, last: int) -> None:
    videos, captions, splits = rows.keys.videos, rows.keys.captions, rows.splits
    same_video = np.diff(videos, prepend=last) == 0
    ascending = np.diff(videos, prepend=last) > 0
    if captions is not None:
        ascending |= same_video & (np.diff(captions, prepend=captions[:1]) > 0)
    if not ascending.all():
        row = int(np.argmin(ascending))
        raise UserError(
            f"{rows.file}: {rows.keys.key(row)} is there twice or out of order; tables are ascending, and no"
            f" video is in two shards: {AGAIN}"
        )
    if (splits < 0).any():
        row = int(np.argmin(splits))
        raise UserError(
            f"{rows.file}: {rows.keys.key(row)} is in the split {rows.table['split'][row].as_py()!r}; splits are"
            f" {', '.join(SPLITS)}: {AGAIN}"
        )
    if (two := same_video & (np.diff(splits, prepend=splits[:1]) != 0)).any():
        row = int(np.argmax(two))
        raise UserError(
            f"{rows.file}: {rows.keys.key(row)} is in the split {SPLITS[splits[row]]}, the caption before it, of the"
            f" same video, in {SPLITS[splits[row - 1]]}; a video is in one split: {AGAIN}"
        )
