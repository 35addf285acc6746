"""The tables of CLIP before and after its training, as plain values that the template lays out."""

from typing import Any

from workflow_scripts.lib.report import numbers

RECALLS = ("r1", "r5", "r10")
DIRECTIONS = {
    "t2i": ("Text to image", "chance_r1", "unique_images", "pictures"),
    "i2t": ("Image to text", "i2t_chance_r1", "unique_texts", "captions"),
}
"""Title, the names of chance and of the number of what is searched, and what that is."""
LABELS = {"before": "before training", "after": "after"}


def section(clip: dict[str, Any]) -> dict[str, Any] | None:
    """Recall tables, one a direction, and the accuracies of zero-shot classification; None where nothing was measured."""
    after, before = clip.get("test") or {}, clip.get("before") or {}
    tables = [
        table
        for direction in DIRECTIONS
        if (table := _table(direction, {"before": before, "after": after}, list(after)))
    ]
    zero_shot = _zero_shot(clip.get("zero_shot") or {})
    return {"tables": tables, "zero_shot": zero_shot} if tables or zero_shot else None


def _table(direction: str, found: dict[str, dict], languages: list[str]) -> dict | None:
    """Rows of before, after and chance, by language; a run of a former version has no `before`."""
    title, chance, searched, what = DIRECTIONS[direction]
    groups = []
    for language in languages:
        rows = [
            {
                "label": LABELS[name],
                "kind": "method" if name == "after" else "part",
                "cells": _cells(direction, row),
            }
            for name in LABELS
            if (row := found[name].get(language))
        ]
        last = found["after"][language]
        if last.get(chance) is not None:
            cells = [numbers.percent(last[chance]), *[""] * (len(RECALLS) - 1)]
            rows.append({"label": "chance", "kind": "chance", "cells": cells})
        groups.append(
            {
                "language": language,
                "pairs": last.get("pairs"),
                "searched": last.get(searched),
                "what": what,
                "rows": rows,
            }
        )
    return {"title": title, "columns": ["R@1", "R@5", "R@10"], "groups": groups} if groups else None


def _cells(direction: str, row: dict) -> list[str]:
    return [numbers.percent(row.get(f"{direction}_{name}")) for name in RECALLS]


def _zero_shot(found: dict[str, dict]) -> dict | None:
    if not found:
        return None
    columns = {"top1": "top-1", "top5": "top-5", "mean_class": "mean over classes"}
    columns = {name: label for name, label in columns.items() if name in found["after"]}
    rows = [
        {"label": label, "cells": [numbers.percent(found[name][column]) for column in columns]}
        for name, label in LABELS.items()
        if name in found
    ]
    about = found["after"]
    return {
        "columns": list(columns.values()),
        "rows": rows,
        "chance": numbers.percent(about["chance_top1"]),
        "pictures": about["pictures"],
        "classes": about["classes"],
    }
