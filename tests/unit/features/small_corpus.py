"""Corpus tables and feature shards of a few videos, in any number of shards."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.features.layout import Kind, shard_path
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.keys import caption_key, video_key

PER_SHARD = 4
SPLITS = ("train", "train", "val", "test")  # of video i: i modulo 4
WIDTH = 6


def captions_of(video: int) -> list[tuple[str, str]]:
    """Language and text: one caption for an even video, three for an odd one."""
    captions = [("en", f"video {video}"), ("ko", f"영상\n {video}번"), ("en", "")]
    return captions[: 1 + 2 * (video % 2)]


def frames_of(video: int) -> np.ndarray:
    """[1 to 3, WIDTH], different in every video."""
    return np.arange((1 + video % 3) * WIDTH).reshape(-1, WIDTH) + 100.0 * video


def words_of(video: int, caption: int) -> np.ndarray:
    """[1 to 4, WIDTH], different for every caption."""
    return np.arange((1 + (video + caption) % 4) * WIDTH).reshape(-1, WIDTH) + 100.0 * video + 50 * caption


def write_tables(folder: Path, shards: int = 2, captions: Callable = captions_of) -> Path:
    """Videos and captions of shards of PER_SHARD videos."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        videos = range(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        rows = [
            {"index": i, "id": f"{i}", "path": f"{i}.mp4", "source": f"{i}", "split": SPLITS[i % 4]}
            for i in videos
        ]
        pq.write_table(pa.Table.from_pylist(rows, VIDEOS), folder / f"videos_{shard:03d}.parquet")
        rows = [
            {
                "video": i, "caption": j, "key": caption_key(i, j), "split": SPLITS[i % 4], "language": language,
                "text": text, "attributes": [],
            }
            for i in videos
            for j, (language, text) in enumerate(captions(i))
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), folder / f"captions_{shard:03d}.parquet")
    return folder


def change_table(file: Path, change: Callable[[list[dict]], list[dict]]) -> None:
    """Write a table with other rows."""
    table = pq.read_table(file)
    pq.write_table(pa.Table.from_pylist(change(table.to_pylist()), table.schema), file)


def write_shard(
    root: Path,
    kind: Kind,
    shard: int,
    arrays: Iterable[tuple[str, np.ndarray]],
    encoder: str = "clip",
    dtype: str = "float32",
) -> Path:
    """A shard of features by key."""
    file = shard_path(root, kind, shard)
    with ShardWriter(file, {"model": encoder}, dtype) as writer:
        for key, array in arrays:
            writer.write(key, array)
    return file


def write_features(
    root: Path,
    shards: int = 2,
    *,
    without: tuple[int, ...] = (),
    tokens: bool = False,
    captions: Callable = captions_of,
) -> Path:
    """Features of all kinds; the videos `without` have none."""
    for shard in range(shards):
        videos = range(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        shown = [i for i in videos if i not in without]
        keys = [(i, j) for i in videos for j in range(len(captions(i)))]
        write_shard(root, "video", shard, ((video_key(i), frames_of(i)) for i in shown))
        grids = ((video_key(i), np.stack([frames_of(i)] * 2, axis=1)) for i in shown)
        write_shard(root, "token", shard, grids if tokens else ())
        write_shard(root, "text", shard, ((caption_key(*key), words_of(*key)) for key in keys))
        write_shard(root, "sentence", shard, ((caption_key(*key), words_of(*key)[:1]) for key in keys))
    return root
