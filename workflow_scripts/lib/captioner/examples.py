"""The captions of a split and the frames that show them, kept as columns: a million take some 0.2 GB, mostly text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import shard_files
from workflow_scripts.lib.frames.sampling import spread
from workflow_scripts.lib.keys import caption_key

COLUMNS = ["video", "caption", "language", "text", "start_s", "end_s", "attributes"]


@dataclass(frozen=True)
class Example:
    """A caption and the frames (positions among the video's sampled ones) that show it."""

    key: str
    video: int
    language: str
    start_s: float | None
    end_s: float | None
    text: str
    attributes: dict[str, str]
    frames: tuple[int, ...]

    @property
    def moment(self) -> tuple:
        """What the model sees of it: two captions of one moment in one language get the same words."""
        return self.video, self.frames, self.language


class Examples(Sequence[Example]):
    """Captions in corpus order, each an `Example` of at most `count` frames when it is asked for.

    `rows` has the `COLUMNS`; a caption's moment is the `number` [N] frames from position `first` [N] of its video.
    """

    def __init__(self, rows: pa.Table, first: np.ndarray, number: np.ndarray, count: int):
        self.rows, self.first, self.number, self.count = rows, first, number, count

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, index: int) -> Example:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        row = {name: self.rows.column(name)[index].as_py() for name in COLUMNS}
        positions = spread(np.arange(self.number[index]), self.count) + self.first[index]
        return Example(
            key=caption_key(row["video"], row["caption"]),
            video=row["video"],
            language=row["language"],
            start_s=row["start_s"],
            end_s=row["end_s"],
            text=row["text"],
            attributes=dict(row["attributes"] or []),
            frames=tuple(positions.tolist()),
        )

    def __iter__(self) -> Iterator[Example]:
        return (self[index] for index in range(len(self)))

    def take(self, indices: np.ndarray) -> "Examples":
        """Those captions, in that order."""
        return Examples(self.rows.take(indices), self.first[indices], self.number[indices], self.count)

    def with_count(self, count: int) -> "Examples":
        """The same captions with at most so many frames each."""
        return Examples(self.rows, self.first, self.number, count)

    @property
    def texts(self) -> pa.ChunkedArray:
        """The captions themselves."""
        return self.rows.column("text")

    def languages(self) -> tuple[list[str], np.ndarray]:
        """The languages, and for each caption the place of its own among them; int [N]."""
        names = sorted(pc.unique(self.rows.column("language")).to_pylist())
        codes = pc.index_in(self.rows.column("language"), pa.array(names, pa.string()))
        return names, np.asarray(codes, np.int64)

    def frame_counts(self) -> np.ndarray:
        """Frames of every caption; int [N]."""
        return np.minimum(self.number, self.count)

    def moments(self) -> np.ndarray:
        """A number for every caption, the same for captions of one moment in one language; int [N]."""
        columns = [
            self.languages()[1],
            self.number,
            self.first,
            np.asarray(self.rows.column("video"), np.int64),
        ]
        order = np.lexsort(columns)
        new = np.zeros(len(self), np.int64)
        for column in columns:
            new[1:] |= column[order][1:] != column[order][:-1]
        numbers = np.empty(len(self), np.int64)
        numbers[order] = np.cumsum(new)
        return numbers


@dataclass
class Split:
    """The captions of a split, in corpus order, and how many were left out for want of frames."""

    name: str
    examples: Examples
    without_frames: int = 0
    videos_without_frames: int = 0

    def describe(self) -> str:
        left_out = (
            f"; {self.without_frames} captions of {self.videos_without_frames} videos without frames left out"
            if self.without_frames
            else ""
        )
        return f"{self.name}: {len(self.examples)} captions{left_out}"


def read_split(
    corpus: Path, frames: Path, shards: int, split: str, *, count: int, languages: Sequence[str] | None
) -> Split:
    """Captions of a split with at most `count` frames each; `languages` None means all."""
    tables, firsts, numbers, missing, without = [], [], [], 0, 0
    captions = shard_files(corpus, "captions_%03d.parquet", shards)
    for file, status in zip(captions, shard_files(frames, "status_%03d.parquet", shards), strict=True):
        rows = pq.read_table(file, columns=[*COLUMNS, "split"])
        wanted = pc.equal(rows.column("split"), split)
        if languages is not None:
            wanted = pc.and_(wanted, pc.is_in(rows.column("language"), pa.array(languages, pa.string())))
        rows = rows.filter(wanted).drop_columns("split")
        places, times = read_times(status, np.asarray(rows.column("video"), np.int64))
        lost = rows.filter(pa.array(places < 0))
        without += len(lost)
        missing += len(pc.unique(lost.column("video")))
        rows, places = rows.filter(pa.array(places >= 0)), places[places >= 0]
        first, number = frames_of_moments(
            times[places], _seconds(rows.column("start_s")), _seconds(rows.column("end_s"))
        )
        tables.append(rows)
        firsts.append(first)
        numbers.append(number)
    found = Examples(pa.concat_tables(tables), np.concatenate(firsts), np.concatenate(numbers), count)
    return Split(split, found, without, missing)


def _seconds(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(float)  # null becomes NaN


def read_times(status: Path, videos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For videos [N], their places in the times [V, T] of a shard's frames in seconds, -1 for those without frames.

    Behind a video's last frame the times are infinite.
    """
    rows = pq.read_table(status, columns=["index", "timestamps"])
    rows = rows.filter(pc.greater(pc.list_value_length(rows.column("timestamps")), 0))
    index = np.asarray(rows.column("index"), np.int64)
    counts = np.asarray(pc.list_value_length(rows.column("timestamps")), np.int64)
    times = np.full((len(index), counts.max(initial=1)), np.inf)
    times[np.arange(times.shape[1]) < counts[:, None]] = np.asarray(
        pc.list_flatten(rows.column("timestamps")), float
    )
    order = np.argsort(index)
    if not len(index):
        return np.full(len(videos), -1), times
    places = order[np.minimum(np.searchsorted(index, videos, sorter=order), len(index) - 1)]
    return np.where(index[places] == videos, places, -1), times


def frames_of_moments(
    times: np.ndarray, starts: np.ndarray, ends: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """`positions_in_moment` for many captions at once: the first position and how many, int32 [N] each.

    `times` [N, T] are ascending and infinite behind the last frame; a start or end [N] that is NaN is the video's own.
    """
    shown = np.isfinite(times)
    last = shown.sum(axis=1, keepdims=True) - 1
    starts = np.where(np.isnan(starts)[:, None], times[:, :1], starts[:, None])
    ends = np.where(np.isnan(ends)[:, None], np.take_along_axis(times, last, axis=1), ends[:, None])
    inside = shown & (times >= starts) & (times <= ends)
    number = inside.sum(axis=1)
    nearest = np.abs(times - (starts + ends) / 2).argmin(axis=1)
    first = np.where(number > 0, inside.argmax(axis=1), nearest)
    return first.astype(np.int32), np.maximum(number, 1).astype(np.int32)
