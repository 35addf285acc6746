"""The corpus of the retrieval benchmark: videos and captions of noise, as our shards and as the original's files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa

from benchmarks.features_data import IDENTITY, item_lengths, write_meta
from workflow_scripts.lib.features.caption_lists import TABLE, caption_table
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.files import whole_folder
from workflow_scripts.lib.keys import caption_key, video_key

TEXTS = "query_feat.hdf5"


@dataclass(frozen=True)
class Sizes:
    """What is made: `videos` of `frames` (fewest, most) features, each with `captions` of `words` (fewest, most)."""

    videos: int = 2000
    captions: int = 5
    frames: tuple[int, int] = (60, 140)
    words: tuple[int, int] = (10, 30)
    width: int = 512
    few: int = 200
    """Videos of the small split, on which results are compared before anything is timed."""

    @property
    def name(self) -> str:
        numbers = (self.videos, self.captions, *self.frames, *self.words, self.width, self.few)
        return "retrieval_" + "_".join(map(str, numbers))


def corpus_folder(cache: Path, sizes: Sizes) -> Path:
    """The corpus in both forms, made once; 1.3 GB of the default size.

    `ours`: float16 shards of videos and texts, and the captions of "test" (all videos) and "val" (the first `few`).
    `bigfile`: the same numbers as float32 in the original's BigFile, rows of a video together; the captions in an HDF5
    file, a dataset a caption.
    """
    folder = cache / sizes.name
    if folder.is_dir():
        return folder
    frames = item_lengths(sizes.videos, *sizes.frames)
    words = item_lengths(sizes.videos * sizes.captions, *sizes.words)
    keys = [caption_key(video, caption) for video in range(sizes.videos) for caption in range(sizes.captions)]
    with whole_folder(folder) as temporary:
        ours, bigfile = temporary / "ours", temporary / "bigfile"
        bigfile.mkdir()
        with (
            ShardWriter(shard_path(ours, "video", 0), IDENTITY) as shard,
            (bigfile / "feature.bin").open("wb") as rows,
        ):
            for video, values in enumerate(_noise(0, frames, sizes.width)):
                shard.write(video_key(video), values)
                rows.write(values.astype("<f4"))
        _name_rows(bigfile, frames, sizes.width)
        with (
            ShardWriter(shard_path(ours, "text", 0), IDENTITY) as shard,
            h5py.File(bigfile / TEXTS, "w") as file,
        ):
            for key, values in zip(keys, _noise(1, words, sizes.width), strict=True):
                shard.write(key, values)
                file.create_dataset(key, data=values.astype(np.float32))
        write_meta(ours, "video", sizes.videos, 1, sizes.videos)
        write_meta(ours, "text", len(keys), 1, len(keys))
        for split, videos in {"val": sizes.few, "test": sizes.videos}.items():
            _write_captions(caption_table(ours, split), videos, sizes.captions)
    return folder


def _noise(seed: int, lengths: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """float16 rows of as many items; an item has a direction of its own, that its rows scatter around."""
    rng = np.random.default_rng((7, seed))
    for length in lengths.tolist():
        centre = rng.standard_normal(width, dtype=np.float32)
        yield (centre + rng.standard_normal((length, width), dtype=np.float32)).astype(np.float16)


def _name_rows(bigfile: Path, lengths: np.ndarray, width: int) -> None:
    names = {
        video_key(video): [f"{video_key(video)}_{frame}" for frame in range(length)]
        for video, length in enumerate(lengths.tolist())
    }
    (bigfile / "shape.txt").write_text(f"{lengths.sum()} {width}\n")
    (bigfile / "id.txt").write_text(" ".join(name for its_names in names.values() for name in its_names))
    (bigfile / "video2frames.txt").write_text(repr(names))


def _write_captions(file: Path, videos: int, captions: int) -> None:
    """The table that `list_captions` makes."""
    rows = videos * captions
    columns = [
        pa.array(np.repeat(np.arange(videos), captions)),
        pa.array(np.tile(np.arange(captions, dtype=np.int32), videos)),
        pa.DictionaryArray.from_arrays(np.zeros(rows, np.int16), pa.array(["en"])),
        pa.array(["A river winds through a misty forest."] * rows, pa.large_string()),
    ]
    with pa.ipc.new_file(str(file), TABLE) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=TABLE))
