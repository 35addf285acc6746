"""A corpus of very many videos with very small features, made by the code that makes real ones."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.features.caption_lists import list_captions
from workflow_scripts.lib.features.collect import collect
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.files import whole_folder
from workflow_scripts.lib.keys import caption_key, video_key

IDENTITY = {"model": "benchmark", "sentences": False}
WIDTH, FRAMES, WORDS = 8, 4, 3


def many_videos(cache: Path, train: int, val: int, per_shard: int) -> Path:
    """Folder of features [4, 8] a video and [3, 8] for its one caption, with lists of captions, made once.

    The first `train` videos are for training, the `val` ones behind them for validation.
    """
    folder = cache / f"many_{train}_{val}_by_{per_shard}"
    if folder.is_dir():
        return folder
    shards = -(-(train + val) // per_shard)
    with whole_folder(folder) as temporary:
        root, corpus = temporary / "features", temporary / "corpus"
        corpus.mkdir(parents=True)
        for shard in range(shards):
            videos = np.arange(shard * per_shard, min((shard + 1) * per_shard, train + val))
            _tables(corpus, shard, videos, np.where(videos < train, "train", "val").tolist())
            _features(root, shard, videos)
        for side in ("video", "text"):
            collect(root, side, corpus, shards, per_shard)
        list_captions(root, corpus, "many", shards)
    return folder


def _tables(corpus: Path, shard: int, videos: np.ndarray, splits: list[str]) -> None:
    ids = [str(video) for video in videos.tolist()]
    paths = [f"{name}.mp4" for name in ids]
    _write(
        corpus / f"videos_{shard:03d}.parquet",
        VIDEOS,
        index=videos,
        id=ids,
        path=paths,
        source=paths,
        split=splits,
    )
    _write(
        corpus / f"captions_{shard:03d}.parquet", CAPTIONS, video=videos, caption=np.zeros(len(videos), np.int32),
        key=[caption_key(video, 0) for video in videos.tolist()], split=splits, language=["en"] * len(ids), text=ids,
    )  # fmt: skip


def _write(file: Path, schema: pa.Schema, **columns: np.ndarray | list[str]) -> None:
    """The table; columns that are not given are null."""
    rows = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(rows, field.type)
        for field in schema
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)


def _features(root: Path, shard: int, videos: np.ndarray) -> None:
    chance = np.random.default_rng(shard)
    frames = chance.standard_normal((len(videos), FRAMES, WIDTH)).astype(np.float16)
    noise = chance.standard_normal((len(videos), WORDS, WIDTH)) * 0.1
    words = (frames.mean(axis=1, keepdims=True) + noise).astype(
        np.float16
    )  # so that there is something to learn
    with (
        ShardWriter(shard_path(root, "video", shard), IDENTITY) as of_videos,
        ShardWriter(shard_path(root, "text", shard), IDENTITY) as of_captions,
        ShardWriter(shard_path(root, "token", shard), IDENTITY),
        ShardWriter(shard_path(root, "sentence", shard), IDENTITY),
    ):
        for row, video in enumerate(videos.tolist()):
            of_videos.write(video_key(video), frames[row])
            of_captions.write(caption_key(video, 0), words[row])
