"""Search every caption of a split among its videos, by GMMFormer and by zero-shot baselines.

Memory is bounded however many there are: features are read in blocks, vectors that do not fit lie in a file, and scores
exist for a block of captions and videos at a time. Of a caption, a few numbers are kept.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.retrieval.baselines import Baseline, ZeroShot, frame_gallery, sentence_vectors
from workflow_scripts.lib.retrieval.encode import Block, encode_queries, encode_videos
from workflow_scripts.lib.retrieval.gallery import Gallery, stored
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.ranking import Queries, rank


class Retrieved(NamedTuple):
    """What a search over all videos of a split found for each of its captions."""

    rank: np.ndarray
    """[Nq] int32, rank of the right video, from 1; ties count against it."""
    top_videos: np.ndarray
    """[Nq, 5] int64, corpus indices of the best videos (fewer columns in a smaller split)."""
    top_scores: np.ndarray
    """[Nq, 5] float32."""
    captions_ahead: np.ndarray | None
    """[Nq] int64, captions of other videos that score as high or higher with this one's video; None: not asked for."""


def retrieve(
    model: GMMFormer,
    split: CaptionTable,
    videos: FeatureReader,
    texts: FeatureReader,
    clip_weight: float,
    *,
    both: bool = False,
) -> Retrieved:
    """Search every caption of the split among its videos with score clip_weight * clip + (1 - clip_weight) * frame.

    `both`: and every video among the captions. Runs where the model is, which is in evaluation mode afterwards.
    """
    device = next(model.parameters()).device
    numbers = split.unique_videos()
    gallery = stored(encode_videos(model, videos, numbers, clip_weight), len(numbers), device)
    queries = encode_queries(model, texts, split.videos(), split.captions())
    return _search(gallery, queries, split, device, both)


def retrieve_zero_shot(
    baseline: Baseline, split: CaptionTable, features: ZeroShot, device: torch.device, *, both: bool = False
) -> Retrieved:
    """The same by a baseline."""
    gallery = frame_gallery(baseline, features.frames, split.unique_videos(), device)
    queries = sentence_vectors(features.sentences, split.videos(), split.captions())
    return _search(gallery, queries, split, device, both)


def _search(
    gallery: Gallery, encoded: Iterable[Block], split: CaptionTable, device: torch.device, both: bool
) -> Retrieved:
    found = rank(gallery, Queries(encoded, split.owner(slice(None)), gallery, device), both=both)
    return Retrieved(
        rank=found.rank.astype(np.int32),
        top_videos=split.unique_videos(gallery.order[found.top_places]),
        top_scores=found.top_scores,
        captions_ahead=found.captions_ahead,
    )
