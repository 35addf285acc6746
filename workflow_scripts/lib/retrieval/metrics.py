"""Ranks and the rates made of them. Rates are percent."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RECALL_AT = (1, 5, 10, 100)


def best_ranks(scores: Tensor, right: Tensor) -> Tensor:
    """Rank, from 1, of each query's best right video: scores [Nq, Nv], right [Nq] or [Nq, R] columns -> [Nq].

    With several right videos (rows padded with -1) the best one counts. By counting, not sorting. Ties are
    pessimistic: a wrong video with the same score is ahead, so a model that says the same of all gets the last rank,
    and so does one that says NaN.
    """
    right = right.view(len(scores), -1)
    given = right >= 0
    columns = right.clamp_min(0)
    best = scores.gather(1, columns).masked_fill(~given, -torch.inf).amax(dim=1, keepdim=True)
    ahead = ~(scores < best)
    # A padded entry points at column 0 like a real one would; it must not take that column out.
    # Numbers, not truth values: CUDA reduces no booleans.
    is_right = torch.zeros_like(scores).scatter_reduce_(1, columns, given.to(scores.dtype), reduce="amax") > 0
    return 1 + (ahead & ~is_right).sum(dim=1)


def recalls(ranks: Sequence[int] | np.ndarray, videos: int) -> dict[str, float | int]:
    """R@1, 5, 10, 100, their sum, the median rank, and what chance gives at R@1, of ranks from 1 (not empty)."""
    ranks = np.asarray(ranks)
    found: dict[str, float | int] = {f"r{k}": float(100 * np.mean(ranks <= k)) for k in RECALL_AT}
    found["sumr"] = sum(found.values())
    found["median_rank"] = float(np.median(ranks))
    found["queries"] = len(ranks)
    found["videos"] = videos
    found["chance_r1"] = 100 / videos
    return found


def recalls_by_language(
    ranks: np.ndarray, languages: np.ndarray, names: Sequence[str], videos: int
) -> dict[str, float | int | dict[str, dict[str, float | int]]]:
    """`recalls` of all queries, and of each language's under "by_language"; `languages` are positions in `names`."""
    codes = sorted(np.unique(languages).tolist(), key=lambda code: names[code])
    by_language = {names[code]: recalls(ranks[languages == code], videos) for code in codes}
    return {**recalls(ranks, videos), "by_language": by_language}
