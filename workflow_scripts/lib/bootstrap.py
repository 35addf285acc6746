"""Samples with replacement, for confidence intervals."""

from collections.abc import Iterator

import numpy as np

INTERVAL = (2.5, 97.5)
"""Percentiles that are the ends of a 95 % confidence interval."""


def resampled(count: int, samples: int, seed: int, cells: int = 2**20) -> Iterator[np.ndarray]:
    """How often each of `count` things (> 0) is in each of so many samples of as many: int [some samples, count].

    About `cells` numbers are drawn at a time, so that memory does not grow with the samples.
    """
    draws = np.random.default_rng(seed)
    together = max(1, cells // count)
    for start in range(0, samples, together):
        size = min(samples - start, together)
        drawn = draws.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
