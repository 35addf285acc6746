"""Ranks and the rates made of them. Rates are percent."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.bootstrap import INTERVAL, resampled

RECALL_AT = (1, 5, 10, 100)
RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Bounds of the moment-to-video ratios that are told apart; the upper one belongs to it."""
Numbers = dict[str, float | int]


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


def recalls(ranks: Sequence[int] | np.ndarray, videos: int) -> Numbers:
    """R@1, 5, 10, 100, their sum, median rank, mean average precision, and what chance gives at R@1.

    Of ranks from 1 (not empty). With one right video a query, its average precision is 1 / rank.
    """
    ranks = np.asarray(ranks)
    return {**_of_ranks(ranks, 1 / ranks), "queries": len(ranks), "videos": videos, "chance_r1": 100 / videos}


def recalls_by_language(
    ranks: np.ndarray, languages: np.ndarray, names: Sequence[str], videos: int
) -> dict[str, Numbers]:
    """`recalls` of each language's queries, by its name; `languages` are positions in `names`."""
    codes = sorted(np.unique(languages).tolist(), key=lambda code: names[code])
    return {names[code]: recalls(ranks[languages == code], videos) for code in codes}


def recalls_by_moment(ranks: np.ndarray, ratios: np.ndarray, videos: int) -> list[Numbers] | None:
    """Results of the queries whose moment takes `from` to `to` of its video; ranges without a query are left out.

    Unknown `ratios` are NaN. None where no query is known to describe a part of its video.
    """
    if not (ratios < 1).any():
        return None
    found = []
    for low, high in itertools.pairwise(RATIOS):
        some = ranks[(ratios > low) & (ratios <= high)]
        if len(some):
            found.append({"from": low, "to": high, "queries": len(some), **_of_ranks(some, 1 / some)})
    return found


def video_to_text(captions_ahead: np.ndarray, owner: np.ndarray) -> Numbers:
    """Results of searching each video among all captions, which are right if they are its own.

    `captions_ahead` [Nq]: of each caption, the others' captions ahead of it in the search by its video, `owner` [Nq]. The
    rank is that of the best own caption; the average precision is over all of them.
    """
    order = np.lexsort((captions_ahead, owner))
    first = np.flatnonzero(np.diff(owner[order], prepend=-1))  # of each video's own
    count = np.diff(first, append=len(order))
    among_own = 1 + np.arange(len(order)) - np.repeat(first, count)
    ranks = among_own + captions_ahead[order]
    precisions = np.add.reduceat(among_own / ranks, first) / count
    sizes = {"queries": len(first), "captions": len(order), "chance_r1": 100 / len(first)}
    return {**_of_ranks(ranks[first], precisions), **sizes}


def intervals(
    ranks: np.ndarray, samples: int, seed: int, *, cells: int = 2**20
) -> dict[str, list[float]] | None:
    """95 % confidence intervals [low, high] of what `recalls` gives, by bootstrap over queries; None without samples.

    Percentiles of so many samples of the queries with replacement; `cells` numbers are drawn at a time.
    """
    if not samples:
        return None
    ranks, count = np.sort(ranks), len(ranks)
    within = np.searchsorted(ranks, RECALL_AT, side="right")
    middle = np.array([(count - 1) // 2, count // 2])
    rows = []
    for times in resampled(count, samples, seed, cells):
        below = np.zeros((len(times), count + 1), dtype=np.int64)
        np.cumsum(times, axis=1, out=below[:, 1:])  # draws that are among the first i of the sorted ranks
        found = 100 * below[:, within] / count
        medians = [ranks[np.searchsorted(sample[1:], middle, side="right")].mean() for sample in below]
        rows.append(np.column_stack([found, found.sum(axis=1), medians, 100 * (times @ (1 / ranks)) / count]))
    low, high = np.percentile(np.concatenate(rows), INTERVAL, axis=0).tolist()
    names = (*(f"r{k}" for k in RECALL_AT), "sumr", "median_rank", "map")
    return {name: [*ends] for name, *ends in zip(names, low, high, strict=True)}


def _of_ranks(ranks: np.ndarray, precisions: np.ndarray) -> Numbers:
    found: Numbers = {f"r{k}": float(100 * np.mean(ranks <= k)) for k in RECALL_AT}
    found["sumr"] = sum(found.values())
    found["median_rank"] = float(np.median(ranks))
    found["map"] = float(100 * np.mean(precisions))
    return found
