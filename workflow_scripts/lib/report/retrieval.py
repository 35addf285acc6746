"""What retrieval found, as tables: both directions, by how much of its video a moment takes, and what training it cost."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from workflow_scripts.lib.report import numbers
from workflow_scripts.lib.report.curves import TRAINING_LOG, read_curve

RECALLS = ("r1", "r5", "r10", "r100")
SPLITS = {"test": "Test", "val": "Validation"}
BASELINES = {"mean_pooled": "Zero-shot, mean-pooled", "max_frame": "Zero-shot, max over frames"}
OURS = "GMMFormer"


class Column(NamedTuple):
    label: str
    form: Callable[[float | None], str]


COLUMNS = {
    **{name: Column(f"R@{name[1:]}", numbers.percent) for name in RECALLS},
    "sumr": Column("SumR", numbers.one_decimal),
    "median_rank": Column("MedR", numbers.number),
    "map": Column("mAP", numbers.percent),
}


def shown_split(retrieval: dict[str, Any]) -> str | None:
    """The split that tiles and examples are of: test, or else val; None when neither has a query."""
    return next((split for split in SPLITS if (retrieval.get(split) or {}).get("queries")), None)


def text_to_video(retrieval: dict[str, Any]) -> list[dict]:
    """A table a split, test first: rows by method and language, chance last."""
    groups = []
    for split, title in SPLITS.items():
        found = retrieval.get(split)
        if not found or not found.get("queries"):
            continue
        rows = [row for label, method in _methods(retrieval, split) for row in _method_rows(label, method)]
        rows.append(_row("Chance", "chance", _chance(found["videos"])))
        groups.append({"title": title, "queries": found["queries"], "videos": found["videos"], "rows": rows})
    return groups


def video_to_text(retrieval: dict[str, Any]) -> list[dict]:
    """The same for the other direction, a row a method; a split without it has no table. Of chance R@1 is known."""
    groups = []
    for split, title in SPLITS.items():
        rows = [
            (label, method["video_to_text"])
            for label, method in _methods(retrieval, split)
            if method.get("video_to_text")
        ]
        if rows:
            first = rows[0][1]
            shown = [_row(label, "method", row) for label, row in rows]
            shown.append(_row("Chance", "chance", {"r1": first["chance_r1"]}))
            sizes = {"queries": first["queries"], "captions": first["captions"]}
            groups.append({"title": title, **sizes, "rows": shown})
    return groups


def moment_table(retrieval: dict[str, Any]) -> dict | None:
    """R@1 of each method by the share of the video that the moment takes; None where no moment is known."""
    split = shown_split(retrieval)
    methods = [
        (label, found["moment_ratio"])
        for label, found in _methods(retrieval, split)
        if found.get("moment_ratio")
    ]
    if not methods:
        return None
    rows = [
        {
            "from": 100 * buckets[0]["from"],
            "to": 100 * buckets[0]["to"],
            "queries": buckets[0]["queries"],
            "r1": [bucket["r1"] for bucket in buckets],
        }
        for buckets in zip(*(found for _, found in methods), strict=True)
    ]
    return {
        "split": split,
        "methods": [label for label, _ in methods],
        "rows": rows,
        "unknown": retrieval[split]["queries"] - sum(row["queries"] for row in rows),
    }


def tiles(retrieval: dict[str, Any]) -> list[dict]:
    """R@1 beside that of the best baseline and chance."""
    split = shown_split(retrieval)
    if split is None:
        return []
    found, *baselines = (method for _, method in _methods(retrieval, split))
    best = max((method["r1"] for method in baselines), default=None)
    against = f"zero-shot {numbers.percent(best)}, " if best is not None else ""
    return [
        {
            "label": f"Retrieval R@1, {split}",
            "value": numbers.percent(found["r1"]),
            "bar": found["r1"],
            "tick": best,
            "note": f"{against}chance {numbers.percent(found.get('chance_r1'))}",
        }
    ]


def training_cost(results: Path) -> dict[str, float] | None:
    """Of the training log the median of `videos_per_s`, and the means of `data_wait` and `padding` in percent; None
    without a log.

    UserError when the file is no such log.
    """
    file = Path(results) / TRAINING_LOG
    if not file.is_file():
        return None
    log = read_curve(file).reindex(columns=["videos_per_s", "data_wait", "padding"])
    shares = 100 * log.mean()
    return {
        "videos_per_s": log["videos_per_s"].median(),
        "data_wait": shares["data_wait"],
        "padding": shares["padding"],
    }


def _methods(retrieval: dict[str, Any], split: str | None) -> Iterator[tuple[str, dict]]:
    """Labels and results: ours, and on the test split the baselines."""
    if split and retrieval.get(split):
        yield OURS, retrieval[split]
    if split == "test":
        for name, label in BASELINES.items():
            if found := (retrieval.get("baselines") or {}).get(name):
                yield label, found


def _method_rows(label: str, found: dict) -> list[dict]:
    by_language = found.get("by_language") or {}
    parts = by_language.items() if len(by_language) > 1 else ()
    return [_row(label, "method", found), *(_row(language, "part", part) for language, part in parts)]


def _row(label: str, kind: str, found: dict) -> dict:
    intervals = found.get("confidence") or {}
    cells = [
        {
            "text": column.form(found.get(name)),
            "interval": numbers.interval(intervals.get(name), column.form),
        }
        for name, column in COLUMNS.items()
    ]
    return {"label": label, "kind": kind, "cells": cells}


def _chance(videos: int) -> dict:
    """What a random order of the videos gives."""
    recalls = {name: min(100.0, 100 * int(name[1:]) / videos) for name in RECALLS}
    mean_precision = 100 / videos * sum(1 / rank for rank in range(1, videos + 1))
    return {
        **recalls,
        "sumr": sum(recalls.values()),
        "median_rank": (videos + 1) / 2,
        "map": mean_precision,
    }
