"""From tables of captions and feature shards to batches.

Nothing but integers is held of a corpus: tables and features are memory-mapped, and features read batch by batch.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Sampler

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import Captioned, CaptionTable, pad
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.pooling import cut_tokens, pool_video

VISUAL_KINDS: dict[str, Kind] = {"embeddings": "video", "tokens": "token"}


def visual_reader(features: Path, config: RetrievalConfig) -> FeatureReader:
    """Reader of what GMMFormer sees of the videos, as `retrieval.visual` says."""
    return open_features(features, VISUAL_KINDS[config.visual])


def read_splits(
    features: Path, names: Sequence[str], languages: Sequence[str] | None
) -> dict[str, CaptionTable]:
    """The captions of the named splits, in the given languages (None: all), of the videos that have features."""
    splits = {name: CaptionTable(caption_table(features, name), languages) for name in names}
    for name, split in splits.items():
        print(f"{name}: {split.video_count} videos, {len(split)} captions", flush=True)
    return splits


class Batch(NamedTuple):
    """B videos with all their captions, Nq together; padded to the longest of the batch."""

    clips: Tensor
    """[B, map_size, Dv]"""
    frames: Tensor
    """[B, L, Dv]"""
    frame_mask: Tensor
    """[B, L], 1 at real frames."""
    tokens: Tensor
    """[Nq, Lq, Dq]"""
    token_mask: Tensor
    """[Nq, Lq], 1 at real tokens."""
    owner: Tensor
    """[Nq], row of the caption's video in this batch."""

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in self))


def make_batch(videos: Sequence[Captioned], config: GMMFormerConfig) -> Batch:
    """The model's inputs of some videos with all their captions."""
    clips, frames, frame_mask = video_inputs([video.frames for video in videos], config)
    tokens, token_mask = query_inputs([words for video in videos for words in video.words], config)
    counts = torch.tensor([len(video.words) for video in videos])
    owner = torch.repeat_interleave(torch.arange(len(videos)), counts)
    return Batch(clips, frames, frame_mask, tokens, token_mask, owner)


class EpochBatches(Sampler[list[int]]):
    """Batches of positions, shuffled by seed and epoch alone, so that a resumed run sees the same order."""

    def __init__(self, videos: int, batch_size: int, seed: int):
        self.videos, self.batch_size, self.seed = videos, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-self.videos // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed % 2**63, self.epoch)).permutation(self.videos)
        for start in range(0, self.videos, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


def video_inputs(features: Sequence[np.ndarray], config: GMMFormerConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Clip features [B, map_size, Dv], frame features [B, L, Dv] and their mask [B, L].

    Visual tokens of a frame lie side by side in its row.
    """
    pooled = [pool_video(rows.reshape(len(rows), -1), config.map_size, config.max_ctx_l) for rows in features]
    frames, mask = pad([frames for _, frames in pooled])
    return torch.from_numpy(np.stack([clips for clips, _ in pooled])), frames, mask


def query_inputs(features: Sequence[np.ndarray], config: GMMFormerConfig) -> tuple[Tensor, Tensor]:
    """Token features [Nq, Lq, Dq] and their mask [Nq, Lq]."""
    return pad([cut_tokens(rows, config.max_desc_l) for rows in features])
