"""Whether captions say the words that a right one holds, where the corpus tells them (the demo's does)."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflow_scripts.lib.captioner.confidence import Score, ratio

Row = Mapping[str, Any]


def attribute_scores(moments: Sequence[Sequence[Row]]) -> tuple[Score | None, dict[str, Score]]:
    """Percent of the attributes that are right, over the rows of moments: of all, and by kind; None and nothing where
    there are no attributes."""
    marks = iter(attributes_right([row for rows in moments for row in rows]))
    right, total = [], []
    for rows in moments:
        found = [mark for _ in rows for mark in next(marks).items()]
        right.append(Counter(kind for kind, is_right in found if is_right))
        total.append(Counter(kind for kind, _ in found))
    kinds = sorted({kind for counts in total for kind in counts})
    if not kinds:
        return None, {}

    def score(count) -> Score:
        return ratio(np.array(list(map(count, right))), np.array(list(map(count, total))), scale=100)

    return score(Counter.total), {kind: score(lambda counts, kind=kind: counts[kind]) for kind in kinds}


def attributes_right(rows: Sequence[Row]) -> list[dict[str, bool]]:
    """For every row, whether each of its attributes is right, by kind.

    An attribute is right when the text says its word, and no other word of that kind (colours, shapes ...)
    that the rows of its language know: naming every colour is not knowing one.
    """
    words = defaultdict(set)
    for row in rows:
        for kind, word in row.get("attributes", {}).items():
            words[row.get("language"), kind].add(word)
    patterns = {key: _any_of(found) for key, found in words.items()}
    return [
        {
            kind: set(patterns[row.get("language"), kind].findall(row["generated"].casefold()))
            == {word.casefold()}
            for kind, word in row.get("attributes", {}).items()
        }
        for row in rows
    ]


def _any_of(words: set[str]) -> re.Pattern[str]:
    """Finds any of the words, the longest first, so that a word inside another one is not counted for itself.

    Words in Latin letters are found as whole words. Others may be followed by anything: Korean particles are
    written without a space.
    """
    alternatives = []
    for word in sorted(words, key=lambda word: (-len(word), word)):
        pattern = re.escape(word.casefold())
        alternatives.append(rf"(?<![a-z]){pattern}(?![a-z])" if word.isascii() else pattern)
    return re.compile("|".join(alternatives))
