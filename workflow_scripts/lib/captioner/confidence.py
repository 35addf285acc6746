"""Scores of a set of moments as functions of sums over them, so that any sample of the moments has its score at once."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from workflow_scripts.lib.bootstrap import INTERVAL, resampled


class Score(NamedTuple):
    """A score of n moments."""

    parts: np.ndarray
    """[n, k] float64: what of each moment adds up."""
    of: Callable[[np.ndarray], float]
    """The score that a sum [k] of such parts gives; NaN where it says nothing."""

    @property
    def value(self) -> float | None:
        """The score of all moments; None where they say nothing of it."""
        value = float(self.of(self.parts.sum(axis=0)))
        return None if np.isnan(value) else value


def mean(values: np.ndarray) -> Score:
    """The mean of a value [n] a moment."""
    return ratio(values, np.ones(len(values)))


def ratio(right: np.ndarray, total: np.ndarray, scale: float = 1.0) -> Score:
    """`scale` times the sum of `right` [n] over that of `total` [n]."""
    parts = np.column_stack([right, total]).astype(np.float64)
    return Score(parts, lambda sums: scale * sums[0] / sums[1] if sums[1] else np.nan)


def intervals(scores: Mapping[str, Score], samples: int, seed: int) -> dict[str, list[float]] | None:
    """95 % confidence intervals [low, high] of scores of the same moments, by bootstrap over the moments; None without
    samples.

    Percentiles of the scores of so many samples of the moments with replacement: how far a score would move with other
    moments of the same kind. A score that says nothing has no interval.
    """
    if not samples or not scores:
        return None
    count = len(next(iter(scores.values())).parts)
    found: dict[str, list[float]] = {name: [] for name in scores}
    for times in resampled(count, samples, seed):
        for name, score in scores.items():
            found[name] += map(score.of, times @ score.parts)
    ends = {
        name: np.nanpercentile(values, INTERVAL)
        for name, values in found.items()
        if not np.isnan(values).all()
    }
    return {name: ends[name].tolist() for name in ends}
