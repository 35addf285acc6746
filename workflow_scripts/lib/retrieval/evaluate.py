"""Ranks of the right videos, by GMMFormer and by the zero-shot baseline, in blocks of bounded memory.

The encoded videos are held: (map_size + 1) * hidden_size * 4 bytes each (50 kB at the published sizes).
Scores exist for a block of queries at a time.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workflow_scripts.lib.features.datasets import CaptionTable, take
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.retrieval.data import query_inputs, video_inputs
from workflow_scripts.lib.retrieval.metrics import best_ranks
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.pooling import unit_rows

BLOCK = 2**24  # scores in memory at a time: 64 MiB of float32
QUERIES, VIDEOS = 256, 128  # rows of a forward pass
TOP = 5


class Retrieved(NamedTuple):
    """What a search over all videos of a split found for each of its captions."""

    rank: np.ndarray
    """[Nq] int32, rank of the right video, from 1; ties count against it."""
    top_videos: np.ndarray
    """[Nq, 5] int64, corpus indices of the best videos (fewer columns in a smaller split)."""
    top_scores: np.ndarray
    """[Nq, 5] float32."""


@torch.no_grad()
def retrieve(
    model: GMMFormer, split: CaptionTable, videos: FeatureReader, texts: FeatureReader, clip_weight: float
) -> Retrieved:
    """Search every caption of the split among its videos with score clip_weight * clip + (1 - clip_weight) * frame."""
    model.eval()
    clips, frame = _encode_videos(model, split, videos)
    query = _encode_queries(model, split, texts)

    def score(rows: slice) -> Tensor:
        some = query[rows]
        scores = some.new_empty(len(some), len(frame))
        for block in _slices(len(frame), max(1, BLOCK // (len(some) * clips.shape[1]))):
            best_clip = torch.einsum("qd,bmd->qbm", some, clips[block]).amax(dim=-1)
            scores[:, block] = clip_weight * best_clip + (1 - clip_weight) * (some @ frame[block].T)
        return scores

    return _rank(score, split)


@torch.no_grad()
def retrieve_zero_shot(split: CaptionTable, videos: FeatureReader, sentences: FeatureReader) -> Retrieved:
    """The same without a temporal model: cosine of the sentence embedding and the mean of a video's unit-length
    frame embeddings. The frames are normalised before the mean, so that each counts the same."""
    means = []
    for rows in _slices(split.video_count, VIDEOS):
        frames = take(videos, split.unique_videos(rows))
        means += [unit_rows(array.astype(np.float32)).mean(axis=0) for array in frames]
    found = take(sentences, split.videos(), split.captions())
    gallery = _unit(np.stack(means))
    query = _unit(np.concatenate(found).astype(np.float32))
    return _rank(lambda rows: query[rows] @ gallery.T, split)


def _encode_videos(model: GMMFormer, split: CaptionTable, videos: FeatureReader) -> tuple[Tensor, Tensor]:
    """Unit-length clip embeddings [Nv, M, D] and frame embeddings [Nv, D]."""
    config, device = model.config, next(model.parameters()).device
    clips = torch.empty(split.video_count, config.map_size, config.hidden_size, device=device)
    frame = torch.empty(split.video_count, config.hidden_size, device=device)
    for rows in _slices(split.video_count, VIDEOS):
        features = take(videos, split.unique_videos(rows), width=config.visual_input_size)
        inputs = video_inputs(features, config)
        clip_part, frame_part = model.encode_video(*(part.to(device) for part in inputs))
        clips[rows], frame[rows] = F.normalize(clip_part, dim=-1), F.normalize(frame_part, dim=-1)
    return clips, frame


def _encode_queries(model: GMMFormer, split: CaptionTable, texts: FeatureReader) -> Tensor:
    """Unit-length embeddings of the captions [Nq, D]."""
    config, device = model.config, next(model.parameters()).device
    query = torch.empty(len(split), config.hidden_size, device=device)
    for rows in _slices(len(split), QUERIES):
        features = take(texts, split.videos(rows), split.captions(rows), width=config.query_input_size)
        inputs = query_inputs(features, config)
        query[rows] = F.normalize(model.encode_query(*(part.to(device) for part in inputs)), dim=-1)
    return query


def _rank(score: Callable[[slice], Tensor], split: CaptionTable) -> Retrieved:
    """Ranks and best videos, given the scores [rows, Nv] of some queries at a time."""
    videos = split.video_count
    ranks, positions, values = [], [], []
    for rows in _slices(len(split), min(QUERIES, max(1, BLOCK // videos))):
        scores = score(rows)
        ranks.append(best_ranks(scores, torch.from_numpy(split.owner(rows)).to(scores.device)).cpu().numpy())
        top = scores.topk(min(TOP, videos))
        positions.append(top.indices.cpu().numpy())
        values.append(top.values.cpu().numpy())
    return Retrieved(
        rank=np.concatenate(ranks).astype(np.int32),
        top_videos=split.unique_videos(np.concatenate(positions)),
        top_scores=np.concatenate(values).astype(np.float32),
    )


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def _unit(rows: np.ndarray) -> Tensor:
    return F.normalize(torch.from_numpy(rows), dim=-1)
