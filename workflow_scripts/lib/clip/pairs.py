"""Frame-caption pairs as WebDataset tars, the form that open_clip_train reads."""

import random
import tarfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.frames.moments import frames_in_moment
from workflow_scripts.lib.frames.shard import FrameShard, add_member

BLOCK = 256  # videos whose pairs are held and shuffled together


class Pair(NamedTuple):
    """One frame and a caption of the moment that it shows; `name` is unique and has no dot."""

    name: str
    video: int
    frame: int
    text: str


def pairs_by_video(
    captions: Iterable[dict], timestamps: dict[int, list[float]], split: str, count: int
) -> tuple[dict[int, list[Pair]], int]:
    """The pairs of a split, at most `count` frames a caption, by video.

    `timestamps` has the times, in seconds, of every video that has frames. Also returns the number of
    captions whose video has none.
    """
    pairs: dict[int, list[Pair]] = {}
    without_frames = 0
    for row in captions:
        if row["split"] != split:
            continue
        times = timestamps.get(row["video"])
        if not times:
            without_frames += 1
            continue
        for frame in frames_in_moment(times, row["start_s"], row["end_s"], count):
            name = f"vid_{row['video']:09d}_cap_{row['caption']:04d}_f{frame:04d}"
            pairs.setdefault(row["video"], []).append(Pair(name, row["video"], frame, row["text"]))
    return pairs, without_frames


def write_pairs(tar: Path, pairs: dict[int, list[Pair]], frames: FrameShard, seed: int) -> int:
    """Write `<name>.jpg` and `<name>.txt` a pair, shuffled by `seed`; returns the number of pairs.

    Videos are shuffled, and pairs within blocks of them, so that memory does not grow with the shard;
    open_clip_train shuffles again while it reads.
    """
    written = 0
    with whole_file(tar) as temporary, tarfile.open(temporary, "w") as archive:
        for pair, jpeg in _shuffled(pairs, frames, random.Random(seed)):
            add_member(archive, f"{pair.name}.jpg", jpeg)
            add_member(archive, f"{pair.name}.txt", pair.text.encode())
            written += 1
    return written


def _shuffled(
    pairs: dict[int, list[Pair]], frames: FrameShard, rng: random.Random
) -> Iterator[tuple[Pair, bytes]]:
    videos = list(pairs)
    rng.shuffle(videos)
    rest = iter(videos)
    while block := list(islice(rest, BLOCK)):
        held = []
        for video in block:
            jpegs = frames.jpegs(video)
            held += [(pair, jpegs[pair.frame]) for pair in pairs[video]]
        rng.shuffle(held)
        yield from held


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
