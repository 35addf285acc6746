"""How the reference reads: the original's BigFile and HDF5 file, and padded batches of them."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from benchmarks.features_bigfile import OriginalWay
from benchmarks.retrieval_data import TEXTS
from benchmarks.retrieval_reference import QueryBatch, VideoBatch
from workflow_scripts.lib.keys import caption_key, video_key
from workflow_scripts.lib.retrieval.model import GMMFormerConfig


class TrainingBatch(NamedTuple):
    videos: VideoBatch
    queries: QueryBatch
    labels: list[int]
    """The video of each query; those of a video one after the other."""
    order: list[int]
    """Which of the videos asked for each one is: the longest comes first."""

    def to(self, device: torch.device) -> "TrainingBatch":
        return TrainingBatch(
            VideoBatch(*(part.to(device) for part in self.videos)),
            QueryBatch(*(part.to(device) for part in self.queries)),
            self.labels,
            self.order,
        )


class Files:
    """The features of a corpus, as the original keeps them."""

    def __init__(self, folder: Path, config: GMMFormerConfig, captions: int):
        self.config, self.captions = config, captions
        self.frames = OriginalWay(folder)
        self.texts = h5py.File(folder / TEXTS)

    def video(self, video: int) -> tuple[Tensor, Tensor]:
        """Clips [M, Dv] and frames [n, Dv]."""
        rows = self.frames.rows(video_key(video))
        clips = segment_means(np.array(rows), self.config.map_size)
        frames = np.array(rows)
        if len(frames) > self.config.max_ctx_l:
            frames = segment_means(frames, self.config.max_ctx_l)
        return torch.from_numpy(unit_rows(clips)), torch.from_numpy(unit_rows(frames))

    def caption(self, name: str) -> Tensor:
        """[words, Dq]"""
        return torch.from_numpy(unit_rows(self.texts[name][...])[: self.config.max_desc_l])

    def names(self, video: int) -> list[str]:
        return [caption_key(video, caption) for caption in range(self.captions)]

    def training_batch(self, videos: Sequence[int]) -> TrainingBatch:
        """Some videos with all their captions."""
        items = [(self.video(video), [self.caption(name) for name in self.names(video)]) for video in videos]
        order = sorted(range(len(items)), key=lambda place: len(items[place][0][1]), reverse=True)
        items = [items[place] for place in order]
        words = [its_words for _, captions in items for its_words in captions]
        labels = [label for label, (_, captions) in enumerate(items) for _ in captions]
        return TrainingBatch(
            video_batch([video for video, _ in items]), QueryBatch(*pad(words)), labels, order
        )


def video_batch(videos: Sequence[tuple[Tensor, Tensor]]) -> VideoBatch:
    clips, frames = zip(*videos, strict=True)
    return VideoBatch(torch.stack(clips).float(), *pad(frames))


def pad(items: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[N, longest, D] float32 and the mask [N, longest]."""
    longest = max(len(item) for item in items)
    padded = torch.zeros(len(items), longest, items[0].shape[-1])
    mask = torch.zeros(len(items), longest)
    for place, item in enumerate(items):
        padded[place, : len(item)] = item
        mask[place, : len(item)] = 1
    return padded, mask


def segment_means(rows: np.ndarray, segments: int) -> np.ndarray:
    """[n, D] -> [segments, D]; an empty segment is the row that it begins with."""
    bounds = np.round(np.arange(segments + 1) / segments * len(rows)).astype(np.int64)
    bounds = np.minimum(bounds, len(rows) - 1)
    means = []
    for start, end in pairwise(bounds):
        means.append(rows[start:end].mean(axis=0) if start < end else rows[start])
    return np.array(means)


def unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5)
