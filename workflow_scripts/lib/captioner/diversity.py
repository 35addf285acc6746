"""How much captions differ from each other. A captioner that says one sentence of everything scores well on little else."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

AT_MOST = 5000
"""Captions that are compared with each other; of more, so many are drawn, always the same."""


def variety(texts: Sequence[str], tokens: Sequence[Sequence[str]], near: float) -> dict[str, float | None]:
    """Of captions (not none), as texts and as tokens, in percent:

    diversity: different captions a caption
    distinct_1, distinct_2: different tokens a token, pairs a pair (Li et al., NAACL 2016); None where there are none
    near_duplicates: captions that another one is like, see `near_duplicates`
    most_frequent_share: that the most frequent caption has
    """
    return {
        "diversity": diversity(texts),
        "distinct_1": _distinct(token for caption in tokens for token in caption),
        "distinct_2": _distinct(pair for caption in tokens for pair in pairwise(caption)),
        "near_duplicates": near_duplicates(texts, near),
        "most_frequent_share": 100 * most_frequent(texts)[1] / len(texts),
    }


def diversity(texts: Sequence[str]) -> float:
    """Different texts a text, in percent. References repeat themselves too: compare with theirs."""
    return 100 * len(set(texts)) / len(texts)


def most_frequent(texts: Sequence[str]) -> tuple[str, int]:
    """The text that is there most often, and how often."""
    return Counter(texts).most_common(1)[0]


def near_duplicates(texts: Sequence[str], least: float) -> float:
    """Percent of the texts that are like another one: 1 less the edits between them over the longer's characters
    (Levenshtein) is at least `least`.

    The more texts, the more find their like; so of more than AT_MOST, so many are drawn, always the same.
    """
    from rapidfuzz.distance import Levenshtein
    from rapidfuzz.process import cdist

    if len(texts) > AT_MOST:
        chosen = np.random.default_rng(0).choice(len(texts), AT_MOST, replace=False)
        texts = [texts[place] for place in chosen]
    times = Counter(texts)
    different = list(times)  # given as both sides, each pair is compared once
    similarity = cdist(different, different, scorer=Levenshtein.normalized_similarity, score_cutoff=least)
    others = (similarity >= least).sum(axis=1) > 1  # itself is one
    like_another = sum(count for count, near in zip(times.values(), others, strict=True) if near or count > 1)
    return 100 * like_another / len(texts)


def _distinct(things: Iterable) -> float | None:
    counts = Counter(things)
    return 100 * len(counts) / counts.total() if counts else None
