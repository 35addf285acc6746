"""Which frames of a shard go with which captions, for training and validation."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.frames.moments import frames_in_moment, positions_in_moment
from workflow_scripts.lib.frames.shard import FrameShard

COLUMNS = ["video", "caption", "split", "language", "text", "start_s", "end_s"]
BLOCK = 256  # videos whose pairs are shuffled together


class Pair(NamedTuple):
    """One frame and a caption of the moment that it shows."""

    video: int
    caption: int
    frame: int
    text: str

    @property
    def name(self) -> str:
        """Unique, and without a dot: WebDataset takes what is behind the first one for the ending."""
        return f"vid_{self.video:09d}_cap_{self.caption:04d}_f{self.frame:04d}"


@dataclass(frozen=True)
class ShardPairs:
    """The pairs of one split in a shard, kept small: positions of captions and frames, and no picture."""

    captions: pa.Table
    videos: dict[int, list[tuple[int, list[int]]]]
    """By video: rows of `captions`, each with the frames that it goes with."""
    without_frames: int
    """Captions whose video has no frames."""

    @property
    def total(self) -> int:
        return sum(len(frames) for rows in self.videos.values() for _, frames in rows)

    def of(self, video: int) -> Iterator[Pair]:
        """The pairs of a video."""
        for row, frames in self.videos[video]:
            number, text = (self.captions[name][row].as_py() for name in ("caption", "text"))
            for frame in frames:
                yield Pair(video, number, frame, text)

    def shuffled(self, seed: int) -> Iterator[Pair]:
        """All pairs, in the order that `seed` gives: videos are shuffled, and pairs within blocks of them.

        So the frames of a block are read together, from wherever it lies in the shard.
        """
        rng = random.Random(seed)
        videos = list(self.videos)
        rng.shuffle(videos)
        rest = iter(videos)
        while block := list(islice(rest, BLOCK)):
            pairs = [pair for video in block for pair in self.of(video)]
            rng.shuffle(pairs)
            yield from pairs


def choose_pairs(
    captions: pa.Table, timestamps: dict[int, list[float]], split: str, data: PairsConfig, seed: int
) -> ShardPairs:
    """The pairs of a split that `data` asks for, each video's by itself: another video changes nothing of them.

    `captions` has `COLUMNS`, and `timestamps` the times, in seconds, of the frames of every video that has any.
    Validation takes the middle frame of a moment: a loss needs no more.
    """
    wanted = pc.equal(captions["split"], split)
    if data.languages:
        wanted = pc.and_(wanted, pc.is_in(captions["language"], value_set=pa.array(data.languages)))
    captions = captions.filter(wanted).combine_chunks()
    rows_of: dict[int, list[int]] = {}
    for row, video in enumerate(captions["video"].to_pylist()):
        rows_of.setdefault(video, []).append(row)
    numbers, starts, ends = (captions[name].to_pylist() for name in ("caption", "start_s", "end_s"))
    how, count = (data.frames, data.frames_per_caption) if split == "train" else ("even", 1)
    videos: dict[int, list[tuple[int, list[int]]]] = {}
    without_frames = 0
    for video, rows in rows_of.items():
        if not (times := timestamps.get(video)):
            without_frames += len(rows)
            continue
        videos[video] = [
            (row, choose_frames(times, starts[row], ends[row], count, how, f"{seed} {video} {numbers[row]}"))
            for row in _at_most(data.captions_per_video, rows, f"{seed} {video}")
        ]
    return ShardPairs(captions, videos, without_frames)


def choose_frames(
    timestamps: Sequence[float], start_s: float | None, end_s: float | None, count: int, how: str, seed: str
) -> list[int]:
    """Positions of at most `count` frames of a moment, in order; `how` is `even`, `middle` or `random` by `seed`."""
    if how == "even":
        return frames_in_moment(timestamps, start_s, end_s, count)
    inside = positions_in_moment(timestamps, start_s, end_s)
    if how == "random":
        return sorted(_at_most(count, inside.tolist(), seed))
    times = np.asarray(timestamps)
    start = times[0] if start_s is None else start_s
    end = times[-1] if end_s is None else end_s
    nearest = np.argsort(np.abs(times[inside] - (start + end) / 2), kind="stable")
    return sorted(inside[nearest[:count]].tolist())


def _at_most(count: int | None, values: list[int], seed: str) -> list[int]:
    """All of them, or `count` that are drawn by `seed`, in order."""
    if count is None or len(values) <= count:
        return values
    return sorted(random.Random(seed).sample(values, count))


def middle_frames(captions: list[dict], status: list[dict], tars: list[Path]) -> Iterator[tuple[dict, bytes]]:
    """Every caption whose video has frames, with the JPEG from the middle of its moment.

    `captions` and `status` are in corpus order, `tars` are the frames of all shards.
    """
    times = {row["index"]: row["timestamps"] for row in status if row["outcome"] == "ok"}
    by_video: dict[int, list[dict]] = {}
    for row in captions:
        by_video.setdefault(row["video"], []).append(row)
    for tar in tars:
        with FrameShard(tar) as frames:
            for video in frames.videos:
                jpegs = frames.jpegs(video) if video in by_video else []
                for row in by_video.get(video, []):
                    [middle] = frames_in_moment(times[video], row["start_s"], row["end_s"], 1)
                    yield row, jpegs[middle]
