"""A corpus of random features that can be learned: each caption's tokens are made of its video's frames."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.corpus.tables import CAPTIONS
from workflow_scripts.lib.features.caption_lists import list_captions
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.keys import caption_key, video_key

WIDTH = 12


def small_config(**changes) -> RetrievalConfig:
    """A model that trains in seconds."""
    sizes = {
        "hidden_size": 16,
        "n_heads": 2,
        "map_size": 4,
        "max_ctx_l": 8,
        "max_desc_l": 6,
        "batch_size": 4,
        "epochs": 3,
    }
    return RetrievalConfig(
        **{"encoder": "clip", "lr": 1e-3, "warmup": 0.1, "hard_negative_start_epoch": 2, **sizes, **changes}
    )


def make_corpus(
    folder: Path,
    splits: dict[str, int],
    *,
    without_features: tuple[int, ...] = (),
    sentences: bool = True,
    texts: str = "features",
) -> Path:
    """Tables in folder/corpus, features and lists of captions in folder/features, in one shard; returns the folder.

    `splits` says how many videos each split has. Every video has an English and a Korean caption. Features of captions
    are in folder/`texts`: in another one than those of the videos, they are of another encoder, and twice as wide.
    """
    rng = np.random.default_rng(0)
    names = [name for name, count in splits.items() for _ in range(count)]
    rows, frames, tokens = [], {}, {}
    for video, split in enumerate(names):
        # From one frame up to more than max_ctx_l.
        frames[video_key(video)] = rng.normal(size=(1 + 5 * video % 13, WIDTH))
        for caption, (language, text) in enumerate([("en", f"video {video}"), ("ko", f"영상 {video}")]):
            key = caption_key(video, caption)
            rows.append(
                {
                    "video": video,
                    "caption": caption,
                    "key": key,
                    "split": split,
                    "language": language,
                    "text": text,
                }
            )
            noise = rng.normal(size=(2 + video % 7, WIDTH)) * 0.1
            tokens[key] = frames[video_key(video)].mean(axis=0) + noise
            if texts != "features":
                tokens[key] = np.tile(tokens[key], 2)
    (folder / "corpus").mkdir(parents=True)
    table = pa.Table.from_pylist(rows, schema=pa.schema([*CAPTIONS]))
    pq.write_table(table, folder / "corpus/captions_000.parquet")
    shown = {key: rows for key, rows in frames.items() if key not in map(video_key, without_features)}
    _write(folder / "features/FeatureData/video_shard_000.hdf5", shown)
    _write(folder / texts / "TextData/text_shard_000.hdf5", tokens)
    if sentences:
        means = {key: value.mean(axis=0, keepdims=True) for key, value in tokens.items()}
        _write(folder / texts / "SentenceData/sentence_shard_000.hdf5", means)
    list_captions(folder / "features", folder / "corpus", "tiny", shards=1)
    return folder


def _write(shard: Path, arrays: dict[str, np.ndarray]) -> None:
    encoder = {"space": {"model": shard.parents[1].name}}
    with ShardWriter(shard, encoder, dtype="float32") as writer:
        for key, array in arrays.items():
            writer.write(key, array)
