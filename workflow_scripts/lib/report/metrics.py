"""Every number of a run in one nested dict. Rates are percent throughout."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import SPLITS, shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.provenance import provenance
from workflow_scripts.lib.report.features import feature_metrics

FIRST_PROBLEMS = 20
"""Problems that are kept in full, to be shown."""


def collect(
    *,
    stages: dict[str, Path],
    corpus: Path,
    frames: Path | None,
    problems: Path,
    features: Sequence[Path],
    benchmarks: Path,
    shards: int,
    seed: int,
) -> dict[str, Any]:
    """Corpus and frames counted from their tables, features from their meta files, and the metrics files of `stages`
    ({stage: file}).

    A stage's own provenance moves to `provenance.<stage>`, that of its training, where another command evaluates it, to
    `provenance.<stage> training`; a stage that is off is absent, and so are `frames` where
    there are no videos. Reads a shard at a time. UserError when a file is missing or not what it should be.
    """
    files = {name: _stage_file(path) for name, path in stages.items()}
    records = {name: found.pop("provenance", {}) for name, found in files.items()}
    for name, found in files.items():
        if trained := found.get("training", {}).pop("provenance", None):
            records[f"{name} training"] = trained
    inputs = [*stages.values(), problems]
    found = {"corpus": corpus_metrics(corpus, shards, problems)}
    if frames:
        outside = moments_outside(corpus, frames, shards)
        found["frames"] = {**frames_metrics(frames, shards), "moments_outside": outside}
    return {
        **found,
        "features": feature_metrics(features, benchmarks),
        **files,
        "provenance": {**provenance(inputs=inputs, seed=seed), **records},
    }


def corpus_metrics(folder: Path, shards: int, problems: Path) -> dict[str, Any]:
    """Videos and captions by split and language, and the annotations' problems by kind."""
    videos, captions = Counter(), Counter()
    for file in shard_files(folder, "videos_%03d.parquet", shards):
        videos += _counts(pq.read_table(file, columns=["split"]))
    for file in shard_files(folder, "captions_%03d.parquet", shards):
        captions += _counts(pq.read_table(file, columns=["split", "language"]))
    languages = sorted({language for _, language in captions})
    return {
        "videos": videos.total(),
        "captions": captions.total(),
        "languages": {language: sum(captions[split, language] for split in SPLITS) for language in languages},
        "splits": {
            split: {
                "videos": videos[(split,)],
                "captions": sum(captions[split, language] for language in languages),
                "languages": {language: captions[split, language] for language in languages},
            }
            for split in SPLITS
        },
        "problems": problem_metrics(problems),
    }


def problem_metrics(file: Path) -> dict[str, Any]:
    """How much was left out of the corpus, by kind, and the first of it in full.

    Rows of the annotations, or what an import could not take, where a row may stand for several (`count`).
    """
    kinds, first = Counter(), []
    try:
        with Path(file).open(encoding="utf-8") as lines:
            for row in map(json.loads, filter(str.strip, lines)):
                kinds[row["kind"]] += row.get("count", 1)
                if len(first) < FIRST_PROBLEMS:
                    first.append(row)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not a list of problems ({error!r}); run the step that makes it again"
        ) from None
    return {"count": kinds.total(), "kinds": _most_common(kinds), "first": first}


def frames_metrics(folder: Path, shards: int) -> dict[str, Any]:
    """Videos with and without frames, why not, and the seconds spent on decoding (summed over workers)."""
    outcomes, reasons, decoders = Counter(), Counter(), Counter()
    frames, seconds = 0, 0.0
    columns = ["outcome", "reason", "decoder", "frames", "seconds"]
    for file in shard_files(folder, "status_%03d.parquet", shards):
        table = pq.read_table(file, columns=columns)
        outcomes += _counts(table.select(["outcome"]))
        reasons += _counts(table.select(["reason"]))
        decoders += _counts(table.select(["decoder"]))
        frames += sum(table["frames"].to_pylist())
        seconds += sum(table["seconds"].to_pylist())
    videos, ok = outcomes.total(), outcomes[("ok",)]
    return {
        "videos": videos,
        "ok": ok,
        "failed": videos - ok,
        "failed_percent": 100 * (videos - ok) / videos if videos else 0.0,
        "frames": frames,
        "reasons": _most_common(_named(reasons)),
        "decoders": _most_common(_named(decoders)),
        "decode_seconds": seconds,
    }


def moments_outside(corpus: Path, frames: Path, shards: int) -> int:
    """Captions whose moment begins after the end of what the video shows, which only decoding tells."""
    outside = 0
    captions = shard_files(corpus, "captions_%03d.parquet", shards)
    for file, status in zip(captions, shard_files(frames, "status_%03d.parquet", shards), strict=True):
        shown = pq.read_table(status, columns=["index", "duration_s"])
        both = pq.read_table(file, columns=["video", "start_s"]).join(shown, "video", "index", "inner")
        outside += pc.sum(pc.greater_equal(both["start_s"], both["duration_s"])).as_py() or 0
    return outside


def _stage_file(path: Path) -> dict[str, Any]:
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(f"{path}: a JSON object of metrics is expected, found {type(found).__name__}")
    return found


def _counts(table: pa.Table) -> Counter:
    """Rows by the tuple of their values in all columns."""
    grouped = table.group_by(table.column_names).aggregate([([], "count_all")])
    keys: Iterable[tuple] = zip(*(grouped[name].to_pylist() for name in table.column_names), strict=True)
    return Counter(dict(zip(keys, grouped["count_all"].to_pylist(), strict=True)))


def _named(counts: Counter) -> Counter:
    return Counter({key: count for (key,), count in counts.items() if key is not None})


def _most_common(counts: Counter) -> dict[str, int]:
    """The most frequent first; ties by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
