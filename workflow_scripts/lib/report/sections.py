"""The tables and tiles of the page, as plain values that the template lays out."""

from typing import Any

from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.report import captions, numbers, retrieval


def tiles(metrics: dict[str, Any], costs: list) -> list[dict]:
    """The key numbers, each with what to hold it against."""
    return [
        *_corpus_tiles(metrics["corpus"], metrics.get("frames")),
        *retrieval.tiles(metrics.get("retrieval") or {}),
        *captions.tiles((metrics.get("captioner") or {}).get("test")),
        *_cost_tiles(costs),
    ]


def failure_table(frames: dict[str, Any] | None) -> list[dict]:
    """Reasons why videos gave no frames, the most frequent first."""
    if frames is None:
        return []
    return [
        {
            "reason": reason,
            "meaning": REASONS.get(reason, ""),
            "count": count,
            "percent": 100 * count / frames["videos"],
        }
        for reason, count in frames["reasons"].items()
    ]


def provenance_table(provenance: dict[str, Any]) -> dict:
    """The run's own record, that of each stage, and the packages (those that differ by stage are marked)."""
    stages = {
        name: found
        for name, found in provenance.items()
        if name in ("clip", "retrieval", "captioner training", "captioner") and found
    }
    packages: dict[str, set[str]] = {}
    for record in (provenance, *stages.values()):
        for name, version in (record.get("packages") or {}).items():
            packages.setdefault(name, set()).add(str(version))
    inputs = {
        path: digest
        for record in stages.values()
        for path, digest in (record.get("inputs_sha256") or {}).items()
    }
    return {
        "commit": provenance.get("commit"),
        "seed": provenance.get("seed"),
        "python": provenance.get("python"),
        "stages": stages,
        "packages": {name: " and ".join(sorted(versions)) for name, versions in packages.items()},
        "inputs": inputs,
    }


def _corpus_tiles(corpus: dict, frames: dict | None) -> list[dict]:
    splits = ", ".join(
        f"{numbers.count(found['videos'])} {split}" for split, found in corpus["splits"].items()
    )
    languages = ", ".join(f"{numbers.count(count)} {name}" for name, count in corpus["languages"].items())
    counts = [
        {"label": "Videos", "value": numbers.count(corpus["videos"]), "note": splits},
        {"label": "Captions", "value": numbers.count(corpus["captions"]), "note": languages},
    ]
    if frames is None:
        return counts
    readable = 100 - frames["failed_percent"]
    return [
        *counts,
        {
            "label": "Readable videos",
            "value": numbers.percent(readable),
            "bar": readable,
            "note": f"{numbers.count(frames['failed'])} failed; {numbers.count(frames['frames'])} frames",
        },
    ]


def _cost_tiles(costs: list) -> list[dict]:
    if not costs:
        return []
    spent = sum(cost.cpu_seconds or 0 for cost in costs)
    peak = max(
        (cost for cost in costs if cost.peak_mib is not None), key=lambda cost: cost.peak_mib, default=None
    )
    note = f"largest job {numbers.memory(peak.peak_mib)} ({peak.rule})" if peak else ""
    return [{"label": "CPU time", "value": numbers.duration(spent), "note": note}]
