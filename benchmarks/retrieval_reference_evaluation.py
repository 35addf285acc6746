"""The reference's evaluation: small padded batches, clips normalised anew for every 50 queries, ranks by sorting."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.retrieval_reference import QueryBatch, Reference, clip_scores, frame_scores
from benchmarks.retrieval_reference_inputs import Files, pad, video_batch
from workflow_scripts.lib.keys import video_key

CONTEXT_BATCH, QUERY_BATCH = 100, 50


@torch.no_grad()
def evaluate(model: Reference, files: Files, videos: Sequence[int], clip_weight: float) -> np.ndarray:
    """Rank of its video, from 1, for each caption of the videos, in order."""
    scores, names, places = all_scores(model, files, videos, clip_weight)
    ranks = np.empty(len(names), np.int64)
    ranks[places] = ranks_of(scores.cpu().numpy(), names, videos)
    return ranks


@torch.no_grad()
def all_scores(
    model: Reference, files: Files, videos: Sequence[int], clip_weight: float
) -> tuple[Tensor, list[str], list[int]]:
    """Scores [Nq, Nv], the caption of each row, and its place among the captions in order."""
    model.eval()
    names = [name for video in videos for name in files.names(video)]
    clips, frame = encode_context(model, files, videos)
    scores, places = score_queries(model, files, names, clips, frame, clip_weight)
    return scores, [names[place] for place in places], places


def encode_context(model: Reference, files: Files, videos: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Clips [Nv, M, D] and frames [Nv, D]."""
    device, clips, frames = next(model.parameters()).device, [], []
    for start in range(0, len(videos), CONTEXT_BATCH):
        batch = video_batch([files.video(video) for video in videos[start : start + CONTEXT_BATCH]])
        clip, frame = model.encode_context(type(batch)(*(part.to(device) for part in batch)))
        clips.append(clip)
        frames.append(frame)
    return torch.cat(clips), torch.cat(frames)


def score_queries(
    model: Reference, files: Files, names: list[str], clips: Tensor, frame: Tensor, clip_weight: float
) -> tuple[Tensor, list[int]]:
    """Scores [Nq, Nv], a row a query as they were batched, and which of the names each row is."""
    device, scores, places = frame.device, [], []
    for start in range(0, len(names), QUERY_BATCH):
        some = range(start, min(start + QUERY_BATCH, len(names)))
        words = {place: files.caption(names[place]) for place in some}
        ordered = sorted(some, key=lambda place: len(words[place]), reverse=True)
        batch = QueryBatch(*(part.to(device) for part in pad([words[place] for place in ordered])))
        query = model.encode_query(batch)
        best_clip, whole = clip_scores(query, clips, True), frame_scores(query, frame, True)
        scores.append(clip_weight * best_clip + (1 - clip_weight) * whole)
        places += ordered
    return torch.cat(scores), places


def ranks_of(scores: np.ndarray, names: Sequence[str], videos: Sequence[int]) -> list[int]:
    """The rank of each query's video in its row of scores; whose a query is its name tells."""
    owners: list[list[int]] = [[] for _ in names]
    for place, video in enumerate(map(video_key, videos)):
        for query, name in enumerate(names):
            if name.split("#")[0] == video:
                owners[query].append(place)
    ranks = []
    for row, right in zip(scores, owners, strict=True):
        order = np.argsort(-row)
        ranks.append(min(int(np.where(order == place)[0][0]) + 1 for place in right))
    return ranks
