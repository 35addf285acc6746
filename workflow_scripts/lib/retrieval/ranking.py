"""Ranks in both directions, in one pass over blocks of scores that are never held together."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.retrieval.encode import Block, slices
from workflow_scripts.lib.retrieval.gallery import Gallery, room_for

QUERIES = {"cpu": 512, "cuda": 2048}  # that are multiplied at a time
TOGETHER = 128  # such blocks that the gallery is gone through for once: it may be a file
CAPTIONS = 2048  # whose ranks among all captions are counted at a time
TOP = 5


class Ranked(NamedTuple):
    """What a search over all Nv videos of a split found for each of its Nq captions."""

    rank: np.ndarray
    """[Nq] int64, rank of the right video, from 1; ties count against it."""
    top_places: np.ndarray
    """[Nq, 5] int64, places in the gallery of the best videos (fewer columns in a smaller split)."""
    top_scores: np.ndarray
    """[Nq, 5] float32."""
    captions_ahead: np.ndarray | None
    """[Nq] int64, captions of other videos that score as high or higher with this one's video; None: not asked for."""


class Queries:
    """The captions on their way through a gallery: in its order, so that those of a block of videos are neighbours."""

    def __init__(self, encoded: Iterable[Block], owner: np.ndarray, gallery: Gallery, device: torch.device):
        """`encoded` yields positions and unit vectors [b, D]; `owner` [Nq]: the position of each caption's video."""
        place = np.argsort(gallery.order)[owner]
        self.device, self.order = device, np.argsort(place, kind="stable")
        self.place = torch.from_numpy(place[self.order]).to(device)
        """[Nq], where each one's video is in the gallery; ascending."""
        self._first = np.searchsorted(place[self.order], np.arange(len(gallery.order) + 1)).tolist()
        row = np.argsort(self.order)
        self._vectors: Tensor | None = None
        for positions, block in encoded:
            if self._vectors is None:
                self._vectors = room_for((len(owner), block.shape[1]), device)
            self._vectors[row[positions]] = block.to(self._vectors.device)

    def __len__(self) -> int:
        return len(self.order)

    def vectors(self, rows: slice) -> Tensor:
        """[q, D] on the device."""
        return self._vectors[rows].to(self.device)

    def of_videos(self, videos: slice) -> slice:
        """The captions of neighbours in the gallery."""
        return slice(self._first[videos.start], self._first[videos.stop])

    def blocks(self, rows: slice) -> list[slice]:
        """The blocks of queries, always the same, that these rows are in."""
        size = QUERIES[self.device.type]
        end = min(-(-rows.stop // size) * size, len(self))
        return slices(end, size, rows.start // size * size)

    def own(self, rows: slice, videos: slice) -> tuple[slice, tuple[Tensor, Tensor]]:
        """Those of `rows` whose video is one of `videos`, and where their scores with it are in the block [b, q]."""
        its = self.of_videos(videos)
        start = max(rows.start, its.start)
        some = slice(start, max(start, min(rows.stop, its.stop)))
        column = torch.arange(some.start - rows.start, some.stop - rows.start, device=self.device)
        return some, (self.place[some] - videos.start, column)

    def as_given(self, found: Tensor) -> np.ndarray:
        """Results of the queries, in the order of the split."""
        return found.cpu().numpy()[np.argsort(self.order)]


@torch.inference_mode()
def rank(gallery: Gallery, queries: Queries, *, both: bool = False) -> Ranked:
    """Search every caption among the videos; `both`: and every video among the captions.

    Both compare with the score of the caption and its own video, which is computed first, in the same products as later:
    others of the same numbers might be rounded otherwise, and ties be lost. A score that is no number ranks last.
    """
    own = _own_scores(gallery, queries)
    ranks, captions_ahead = torch.zeros_like(queries.place), torch.zeros_like(queries.place)
    top = _Top(len(queries), min(TOP, len(gallery.order)), queries.device)
    for together in slices(len(queries), TOGETHER * QUERIES[queries.device.type]):
        for videos in gallery.blocks:
            vectors = gallery.vectors(videos)
            for rows in queries.blocks(together):
                scores = _scores(vectors, queries.vectors(rows))
                some, where = queries.own(rows, videos)
                scores[where] = own[some]
                ranks[rows] += _not_behind(scores, own[rows]).sum(dim=0)  # itself included: from 1
                top.update(rows, scores, videos.start)
                if both:
                    _count_captions(captions_ahead, scores, own, queries, videos, rows)
    return Ranked(
        rank=queries.as_given(ranks),
        top_places=queries.as_given(top.places),
        top_scores=queries.as_given(top.scores),
        captions_ahead=queries.as_given(captions_ahead) if both else None,
    )


def _scores(vectors: Tensor, queries: Tensor) -> Tensor:
    """Vectors [b, m, D] of videos and queries [q, D] -> scores [b, q]."""
    return (vectors.flatten(0, 1) @ queries.T).view(*vectors.shape[:2], -1).amax(dim=1)


def _not_behind(scores: Tensor, own: Tensor) -> Tensor:
    """Which scores are as high as a query's own score, or higher; none is behind NaN, and NaN behind none."""
    return ~(scores < own)


def _own_scores(gallery: Gallery, queries: Queries) -> Tensor:
    """[Nq], each caption's score with its own video."""
    own = torch.empty(len(queries), device=queries.device)
    for videos in gallery.blocks:
        vectors = gallery.vectors(videos)
        for rows in queries.blocks(queries.of_videos(videos)):
            some, where = queries.own(rows, videos)
            own[some] = _scores(vectors, queries.vectors(rows))[where]
    return own


def _count_captions(
    ahead: Tensor, scores: Tensor, own: Tensor, queries: Queries, videos: slice, rows: slice
) -> None:
    """Add to `ahead` [Nq], for the captions of these videos, the captions among `rows` that are ahead of them."""
    captions = queries.of_videos(videos)
    own_among_them = rows.start < captions.stop and captions.start < rows.stop
    for some in slices(captions.stop, CAPTIONS, captions.start):
        places = queries.place[some]
        not_behind = _not_behind(scores[places - videos.start], own[some, None])
        if own_among_them:  # a video's own captions do not compete
            not_behind &= places[:, None] != queries.place[None, rows]
        ahead[some] += not_behind.sum(dim=1)


class _Top:
    """The best videos so far."""

    def __init__(self, queries: int, count: int, device: torch.device):
        self.scores = torch.full((queries, count), -torch.inf, device=device)
        self.places = torch.zeros((queries, count), dtype=torch.long, device=device)

    def update(self, rows: slice, scores: Tensor, first: int) -> None:
        """With scores [b, q] of the videos from place `first` on."""
        here = torch.arange(first, first + len(scores), device=scores.device).expand(scores.shape[1], -1)
        candidates = torch.cat([self.scores[rows], scores.T], dim=1)
        places = torch.cat([self.places[rows], here], dim=1)
        self.scores[rows], best = candidates.topk(self.scores.shape[1])
        self.places[rows] = places.gather(1, best)
