"""The videos of an index as a table, in its order: which ones they are, and when their segments begin."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import SPLITS, read_columns, shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.corpus_rows import corpus_rows
from workflow_scripts.lib.features.datasets import take
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.keys import video_key
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.pooling import segment_bounds

TABLE = pa.schema(
    [
        pa.field("video", pa.int64(), nullable=False),  # index in the corpus
        pa.field("id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("clip_start_s", pa.float64()),  # of the clip in its file; null: it is all of the file
        pa.field("frames", pa.int32(), nullable=False),
        # where the segments begin, and the end of the clip: [map_size + 1] seconds from its start; null: no frames
        pa.field("bounds_s", pa.list_(pa.float32())),
    ]
)
ROW_GROUP = 4096  # rows that are read to see one


class Span(NamedTuple):
    """A segment of a clip."""

    start_s: float | None
    """Seconds from the clip's start; None where times are not known."""
    end_s: float | None
    first_frame: int
    last_frame: int


class Place(NamedTuple):
    """A row of the table."""

    video: int
    id: str
    path: str
    split: str
    clip_start_s: float | None
    frames: int
    bounds_s: list[float] | None

    def span(self, segment: int, segments: int) -> Span:
        """One of so many segments: from its first frame to the next segment's, or to the clip's end.

        With fewer frames than segments, several of these share a frame; then it is the next one's frame.
        """
        first = segment_bounds(self.frames, segments)[:-1]
        later = np.flatnonzero(first > first[segment])
        after = int(later[0]) if len(later) else segments
        last_frame = int(first[after]) - 1 if len(later) else self.frames - 1
        start_s, end_s = (
            (None, None) if self.bounds_s is None else (self.bounds_s[segment], self.bounds_s[after])
        )
        return Span(start_s, end_s, int(first[segment]), last_frame)


def write_places(
    file: Path, tables: CorpusTables, splits: Sequence[str], reader: FeatureReader, map_size: int
) -> np.ndarray:
    """Write the table of the videos of these splits that have features; returns their indices in the corpus, [N] int64.

    A shard of the corpus is held at a time. UserError when a video has another number of frames than times.
    """
    numbers, wanted, left_out = [np.empty(0, np.int64)], [SPLITS.index(split) for split in splits], 0
    shards = corpus_rows(tables.corpus, "video", tables.shards, ("id", "path", "start_s"))
    statuses = _statuses(tables)
    with pq.ParquetWriter(file, TABLE) as writer:
        for rows, status in zip(shards, statuses, strict=True):
            chosen = np.isin(rows.splits, wanted)
            has_features = np.array(
                [video_key(video) in reader for video in rows.keys.videos.tolist()], dtype=bool
            )
            left_out += int((chosen & ~has_features).sum())
            chosen &= has_features
            videos = rows.keys.videos[chosen]
            frames = _frame_counts(reader, videos)
            bounds = _bounds(status, videos, frames, map_size) if status else [None] * len(videos)
            its = rows.table.filter(pa.array(chosen))
            columns = [its["index"], its["id"], its["path"], its["split"], its["start_s"], pa.array(frames)]
            table = pa.table([*columns, pa.array(bounds, TABLE.field("bounds_s").type)], names=TABLE.names)
            writer.write_table(table.cast(TABLE), row_group_size=ROW_GROUP)
            numbers.append(videos)
    if left_out:
        print(f"{left_out} videos without features are left out", flush=True)
    return np.concatenate(numbers)


class Places:
    """Rows of the table by number; what is around a row is read with it. UserError when it is not such a table."""

    def __init__(self, file: Path):
        self._file = file
        with _readable(file):
            self._table = table = pq.ParquetFile(file, memory_map=True)
            if not table.schema_arrow.equals(TABLE):
                raise ValueError(f"its columns are {', '.join(table.schema_arrow.names)}")
        groups = range(table.num_row_groups)
        self._ends = np.cumsum([table.metadata.row_group(group).num_rows for group in groups])

    def __len__(self) -> int:
        return self._table.metadata.num_rows

    def rows(self, numbers: Sequence[int]) -> list[Place]:
        """The places of these rows, in this order."""
        found: dict[int, Place] = {}
        for group in np.unique(np.searchsorted(self._ends, numbers, side="right")).tolist():
            with _readable(self._file):
                table = self._table.read_row_group(group)
            first = int(self._ends[group]) - len(table)
            here = [number for number in numbers if first <= number < first + len(table)]
            some = table.take(pa.array([number - first for number in here], pa.int64())).to_pylist()
            found.update((number, Place(**row)) for number, row in zip(here, some, strict=True))
        return [found[number] for number in numbers]


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's errors are of these kinds
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"{file}: cannot be read as the videos of an index ({reason}); run build_index again"
        ) from None


def _statuses(tables: CorpusTables) -> list[Path | None]:
    if tables.frames is None:
        return [None] * tables.shards
    return shard_files(tables.frames, "status_%03d.parquet", tables.shards)


def _frame_counts(reader: FeatureReader, videos: np.ndarray) -> np.ndarray:
    """[n] int32; of maps, of which nothing is read."""
    return np.array([len(take(reader, videos[[place]])[0]) for place in range(len(videos))], dtype=np.int32)


def _bounds(status: Path, videos: np.ndarray, frames: np.ndarray, map_size: int) -> list[np.ndarray]:
    """[map_size + 1] seconds of each video."""
    table = read_columns(status, ["index", "timestamps", "duration_s"], "extract_frames").combine_chunks()
    order = np.argsort(table["index"].to_numpy())
    keys = Keys(table["index"].to_numpy()[order])
    durations = np.array(table["duration_s"].to_numpy(zero_copy_only=False), dtype=float)
    row_of = keys.rows(videos)
    bounds = []
    for video, count, row in zip(videos.tolist(), frames.tolist(), row_of.tolist(), strict=True):
        times = table["timestamps"][int(order[row])].values.to_numpy() if row >= 0 else np.empty(0)
        if len(times) != count:
            raise UserError(
                f"{status}: {len(times)} frames of video {video}, whose features are of {count}; features and frames are of"
                " different runs: run extract_video_features again"
            )
        end = np.fmax(durations[order[row]], times[-1])
        bounds.append(np.append(times[segment_bounds(count, map_size)[:-1]], end).astype(np.float32))
    return bounds
