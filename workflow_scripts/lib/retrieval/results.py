"""What evaluate_retrieval writes: metrics of val, test and the zero-shot baseline, and every caption's rank."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.features.shards import FOLDERS
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.retrieval.data import Split, read_splits, visual_reader
from workflow_scripts.lib.retrieval.evaluate import Retrieved, retrieve, retrieve_zero_shot
from workflow_scripts.lib.retrieval.metrics import recalls_by_language
from workflow_scripts.lib.retrieval.model import GMMFormer

RANKS = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("video", pa.int64(), nullable=False),  # the right one
        pa.field("language", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        pa.field("zero_shot_rank", pa.int32()),  # null where there are no sentence embeddings
        pa.field("top_videos", pa.list_(pa.int64()), nullable=False),  # best first
        pa.field("top_scores", pa.list_(pa.float32()), nullable=False),
    ]
)


def evaluate(
    model: GMMFormer, features: Path, corpus: Path, shards: int, config: RetrievalConfig
) -> tuple[dict[str, Any], pa.Table]:
    """Metrics under "val", "test" and "zero_shot" (of test; each null when it has no videos), and the table of ranks."""
    videos, texts = visual_reader(features, config), FeatureReader(features, "text")
    embeddings = FeatureReader(features, "video")
    sentences = FeatureReader(features, "sentence") if (features / FOLDERS["sentence"]).is_dir() else None
    if sentences is None:
        print(f"{features / FOLDERS['sentence']}: not there, so there is no zero-shot baseline", flush=True)
    metrics: dict[str, Any] = {"val": None, "test": None, "zero_shot": None}
    tables = []
    for name, split in read_splits(corpus, shards, ("val", "test"), config.languages, videos).items():
        if not len(split.videos):
            print(f"{name}: no videos to search, its metrics are null", flush=True)
            continue
        found = retrieve(model, split, videos, texts, config.clip_weight)
        metrics[name] = _metrics(found, split)
        print(f"{name}: {_sentence(metrics[name])}", flush=True)
        zero_shot = retrieve_zero_shot(split, embeddings, sentences) if sentences is not None else None
        if zero_shot is not None and name == "test":
            metrics["zero_shot"] = _metrics(zero_shot, split)
            print(f"zero-shot on test: {_sentence(metrics['zero_shot'])}", flush=True)
        tables.append(_table(name, split, found, zero_shot))
    return metrics, pa.concat_tables(tables) if tables else RANKS.empty_table()


def write_ranks(path: Path, ranks: pa.Table) -> None:
    """Write the table of ranks, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(ranks, temporary)


def _metrics(found: Retrieved, split: Split) -> dict[str, Any]:
    return recalls_by_language(found.rank, split.languages, len(split.videos))


def _table(name: str, split: Split, found: Retrieved, zero_shot: Retrieved | None) -> pa.Table:
    count = len(split.owner)
    columns = {
        "split": [name] * count,
        "key": split.caption_keys(),
        "video": split.videos[split.owner],
        "language": split.languages.tolist(),
        "rank": found.rank,
        "zero_shot_rank": [None] * count if zero_shot is None else zero_shot.rank,
        "top_videos": found.top_videos.tolist(),
        "top_scores": found.top_scores.tolist(),
    }
    return pa.table(columns, schema=RANKS)


def _sentence(found: dict[str, Any]) -> str:
    return (
        f"R@1 {found['r1']:.1f}, R@5 {found['r5']:.1f}, R@10 {found['r10']:.1f}, median rank {found['median_rank']:g}"
        f" ({found['queries']} captions, {found['videos']} videos; chance R@1 {found['chance_r1']:.2f})"
    )
