"""What evaluate_retrieval writes: metrics of val, test and the zero-shot baseline, and every caption's rank."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.encoders.identity import same_space
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import FOLDERS
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.retrieval.data import read_splits, visual_reader
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
        pa.field("zero_shot_rank", pa.int32()),  # null where frames and sentences cannot be compared
        pa.field("top_videos", pa.list_(pa.int64()), nullable=False),  # best first
        pa.field("top_scores", pa.list_(pa.float32()), nullable=False),
    ]
)


def evaluate(
    model: GMMFormer, features: Path, text_features: Path, config: RetrievalConfig
) -> tuple[dict[str, Any], pa.Table]:
    """Metrics under "val", "test" and "zero_shot" (of test; each null when it has no videos), and the table of ranks."""
    splits = read_splits(features, ("val", "test"), config.languages)
    videos, texts = visual_reader(features, config), open_features(text_features, "text")
    baseline = _zero_shot_readers(features, text_features)
    metrics: dict[str, Any] = {"val": None, "test": None, "zero_shot": None}
    tables = []
    for name, split in splits.items():
        if not len(split):
            print(f"{name}: no videos to search, its metrics are null", flush=True)
            continue
        found = retrieve(model, split, videos, texts, config.clip_weight)
        metrics[name] = _metrics(found, split)
        print(f"{name}: {_sentence(metrics[name])}", flush=True)
        zero_shot = retrieve_zero_shot(split, *baseline) if baseline else None
        if zero_shot is not None and name == "test":
            metrics["zero_shot"] = _metrics(zero_shot, split)
            print(f"zero-shot on test: {_sentence(metrics['zero_shot'])}", flush=True)
        tables.append(_table(name, split, found, zero_shot))
    return metrics, pa.concat_tables(tables) if tables else RANKS.empty_table()


def _zero_shot_readers(features: Path, text_features: Path) -> tuple[FeatureReader, FeatureReader] | None:
    """Embeddings of frames and of sentences; None, and a line that says why, where they cannot be compared."""
    if not (text_features / FOLDERS["sentence"]).is_dir():
        print(
            f"{text_features / FOLDERS['sentence']}: not there, so there is no zero-shot baseline", flush=True
        )
        return None
    frames, sentences = open_features(features, "video"), open_features(text_features, "sentence")
    if not same_space(frames.encoder, sentences.encoder):
        print(
            f"{features} and {text_features}: frames and sentences are not known to be in one space, so there is no"
            " zero-shot baseline",
            flush=True,
        )
        return None
    return frames, sentences


def write_ranks(path: Path, ranks: pa.Table) -> None:
    """Write the table of ranks, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(ranks, temporary)


def _metrics(found: Retrieved, split: CaptionTable) -> dict[str, Any]:
    return recalls_by_language(found.rank, split.languages(), split.language_names, split.video_count)


def _table(name: str, split: CaptionTable, found: Retrieved, zero_shot: Retrieved | None) -> pa.Table:
    count = len(split)
    columns = {
        "split": [name] * count,
        "key": list(Keys(split.videos(), split.captions())),
        "video": split.videos(),
        "language": [split.language_names[code] for code in split.languages().tolist()],
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
