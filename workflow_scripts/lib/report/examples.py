"""Which queries and captions the page shows. By rule, so that the choice is fair and always the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow.parquet as pq

from workflow_scripts.lib.captioner.attributes import attributes_right
from workflow_scripts.lib.captioner.captions_file import read_captions
from workflow_scripts.lib.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Moment:
    """A captioned moment of a video with one caption row a language."""

    video: int
    start_s: float | None
    end_s: float | None
    captions: list[list[dict]]
    """Rows of captions_<split>.jsonl by language; several when the moment has several references."""

    @property
    def exact(self) -> bool:
        """In every language the caption equals a reference, but for spaces."""
        return all(
            rows[0]["generated"].split() in [row["reference"].split() for row in rows]
            for rows in self.captions
        )


def read_ranks(file: Path, split: str) -> list[dict]:
    """Rows of ranks.parquet of that split."""
    try:
        return pq.read_table(file, filters=[("split", "=", split)]).to_pylist()
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({error}); run evaluate_retrieval again") from None


def choose_queries(ranks: Sequence[dict], count: int) -> list[dict]:
    """At most `count` rows: of each language equally many, half with the right video first and half without.

    Hits are spread evenly over the corpus order, misses over their ranks, from the nearest to the farthest;
    a language prefers videos that none before it has shown. Where there are too few of one kind, the other
    fills up.
    """
    chosen: list[dict] = []
    languages = sorted({row["language"] for row in ranks})
    for position, language in enumerate(languages):
        share = count // len(languages) + (position < count % len(languages))
        rows = _unshown([row for row in ranks if row["language"] == language], chosen, share)
        hits = [row for row in rows if row["rank"] == 1]
        misses = sorted((row for row in rows if row["rank"] > 1), key=lambda row: row["rank"])
        chosen += _half_and_half(hits, misses, share)
    return chosen


def read_moments(file: Path) -> list[Moment]:
    """The moments of a captions_<split>.jsonl, in the order of their first captions.

    Each row also gets `right`: whether each of its attributes is, as the metrics count it.
    """
    moments: dict[tuple, dict[str, list[dict]]] = {}
    try:
        rows = read_captions(file)
        for row, marks in zip(rows, attributes_right(rows), strict=True):
            row["right"] = marks
            languages = moments.setdefault((row["video"], row["start_s"], row["end_s"]), {})
            languages.setdefault(row["language"], []).append(row)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{file}: no list of captions ({error!r}); run generate_captions again") from None
    return [Moment(*key, captions=list(languages.values())) for key, languages in moments.items()]


def choose_moments(moments: Sequence[Moment], count: int) -> list[Moment]:
    """At most `count`, in corpus order: half that are word for word right in every language and half that are not.

    Both halves are spread evenly over the corpus order; where there are too few of one kind, the other fills up.
    """
    exact = [moment for moment in moments if moment.exact]
    other = [moment for moment in moments if not moment.exact]
    chosen = {id(moment) for moment in _half_and_half(exact, other, count)}
    return [moment for moment in moments if id(moment) in chosen]


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items at even distances, the first and the last among them; all if there are no more."""
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def shown_videos(row: dict[str, Any], top: int = 5) -> list[int]:
    """Videos to draw for a query: the best `top`, and the right one when it is not among them."""
    best = list(row["top_videos"][:top])
    return best if row["video"] in best else [*best, row["video"]]


def _half_and_half(first: Sequence[Item], second: Sequence[Item], count: int) -> list[Item]:
    of_second = min(len(second), max(count // 2, count - len(first)))
    return spread(first, count - of_second) + spread(second, of_second)


def _unshown(rows: list[dict], chosen: list[dict], needed: int) -> list[dict]:
    """The rows of videos that are not among the chosen, if they are enough."""
    shown = {row["video"] for row in chosen}
    fresh = [row for row in rows if row["video"] not in shown]
    return fresh if len(fresh) >= needed else rows
