"""What evaluate_retrieval writes: metrics of val, test and the zero-shot baselines, and every caption's rank."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.retrieval.baselines import BASELINES, zero_shot_features
from workflow_scripts.lib.retrieval.data import count_cut, read_splits, visual_reader
from workflow_scripts.lib.retrieval.evaluate import Retrieved, retrieve, retrieve_zero_shot
from workflow_scripts.lib.retrieval.metrics import (
    intervals,
    recalls,
    recalls_by_language,
    recalls_by_moment,
    video_to_text,
)
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.moments import CorpusTables, moment_ratios

RANKS = pa.schema(
    [
        pa.field("split", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("video", pa.int64(), nullable=False),  # the right one
        pa.field("language", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),  # from 1
        # by the mean of the frames, and by the best frame; null where frames and sentences cannot be compared
        pa.field("zero_shot_rank", pa.int32()),
        pa.field("max_frame_rank", pa.int32()),
        pa.field(
            "moment_ratio", pa.float64()
        ),  # share of the video that the caption describes; null: not known
        pa.field("top_videos", pa.list_(pa.int64()), nullable=False),  # best first
        pa.field("top_scores", pa.list_(pa.float32()), nullable=False),
    ]
)


def evaluate(
    model: GMMFormer,
    features: Path,
    text_features: Path,
    config: RetrievalConfig,
    tables: CorpusTables | None = None,
    seed: int = 0,
) -> tuple[dict[str, Any], pa.Table]:
    """Metrics under "val", "test" and "baselines" (of test), each null when it has no videos, and the table of ranks.

    Where `tables` tell moments, results are also told apart by them. Confidence intervals are drawn by `seed`.
    """
    splits = read_splits(features, ("val", "test"), config.languages)
    videos, texts = visual_reader(features, config), open_features(text_features, "text")
    zero_shot = zero_shot_features(features, text_features)
    device = next(model.parameters()).device
    metrics: dict[str, Any] = {"val": None, "test": None, "baselines": None}
    ranks = []
    for name, split in splits.items():
        if not len(split):
            print(f"{name}: no videos to search, its metrics are null", flush=True)
            continue
        ratios = moment_ratios(split, tables) if tables else np.full(len(split), np.nan)
        ours = retrieve(model, split, videos, texts, config.clip_weight, both=True)
        metrics[name] = results(ours, split, ratios, config.bootstrap, seed)
        metrics[name]["captions_cut"] = count_cut(name, split, texts, model.config.max_desc_l)
        print(f"{name}: {_sentence(metrics[name])}", flush=True)
        found = {
            baseline: retrieve_zero_shot(baseline, split, zero_shot, device, both=name == "test")
            for baseline in (BASELINES if zero_shot else ())
        }
        if found and name == "test":
            metrics["baselines"] = {
                baseline: results(its, split, ratios, config.bootstrap, seed)
                for baseline, its in found.items()
            }
            for baseline, its in metrics["baselines"].items():
                print(f"zero-shot on test, {baseline}: {_sentence(its)}", flush=True)
        ranks.append(ranks_table(name, split, ours, found, ratios))
    return metrics, pa.concat_tables(ranks) if ranks else RANKS.empty_table()


def results(
    found: Retrieved, split: CaptionTable, ratios: np.ndarray, samples: int, seed: int
) -> dict[str, Any]:
    """All numbers of a split: text to video with confidence intervals, by language and by moment, and video to text."""
    videos = split.video_count
    return {
        **recalls(found.rank, videos),
        "confidence": intervals(found.rank, samples, seed),
        "by_language": recalls_by_language(found.rank, split.languages(), split.language_names, videos),
        "video_to_text": video_to_text(found.captions_ahead, split.owner(slice(None))),
        "moment_ratio": recalls_by_moment(found.rank, ratios, videos),
    }


def ranks_table(
    name: str, split: CaptionTable, ours: Retrieved, baselines: dict[str, Retrieved], ratios: np.ndarray
) -> pa.Table:
    """A row a caption of the split; `baselines` are empty where there are none."""
    languages = pa.DictionaryArray.from_arrays(split.languages(), pa.array(split.language_names, pa.string()))
    nothing = pa.nulls(len(split), pa.int32())
    columns = {
        "split": pa.repeat(name, len(split)),
        "key": list(Keys(split.videos(), split.captions())),
        "video": split.videos(),
        "language": languages.cast(pa.string()),
        "rank": ours.rank,
        "zero_shot_rank": baselines["mean_pooled"].rank if baselines else nothing,
        "max_frame_rank": baselines["max_frame"].rank if baselines else nothing,
        "moment_ratio": pa.array(ratios, from_pandas=True),  # NaN is null
        "top_videos": _lists(ours.top_videos),
        "top_scores": _lists(ours.top_scores),
    }
    return pa.table(columns, schema=RANKS)


def write_ranks(path: Path, ranks: pa.Table) -> None:
    """Write the table of ranks, whole or not at all."""
    with whole_file(path) as temporary:
        pq.write_table(ranks, temporary)


def _lists(rows: np.ndarray) -> pa.ListArray:
    ends = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, rows.ravel())


def _sentence(found: dict[str, Any]) -> str:
    back = found["video_to_text"]
    return (
        f"R@1 {found['r1']:.1f}, R@5 {found['r5']:.1f}, R@10 {found['r10']:.1f}, median rank {found['median_rank']:g},"
        f" mAP {found['map']:.1f} ({found['queries']} captions, {found['videos']} videos; chance R@1"
        f" {found['chance_r1']:.2f}); video to text R@1 {back['r1']:.1f}"
    )
