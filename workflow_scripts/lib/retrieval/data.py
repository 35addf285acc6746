"""From tables of captions and feature shards to batches.

Nothing but integers is held of a corpus: tables and features are memory-mapped, and features read batch by batch.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import Captioned, CaptionTable, pad
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.pooling import make_unit_rows, pool_video

COUNTED = 10_000  # captions whose lengths are looked at together
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


def count_cut(name: str, split: CaptionTable, texts: FeatureReader, max_desc_l: int) -> int:
    """Captions of the split with more tokens than are read of one; said in the log, if there are any."""
    cut = 0
    for first in range(0, len(split), COUNTED):
        some = slice(first, first + COUNTED)
        lengths = map(len, texts.take(split.videos(some), split.captions(some)))
        cut += sum(length > max_desc_l for length in lengths)
    if cut:
        print(
            f"{name}: {cut} of {len(split)} captions have more than {max_desc_l} tokens, and are read up to there"
            " (retrieval.max_desc_l)",
            flush=True,
        )
    return cut


class VideoPart(NamedTuple):
    """b videos of a batch, padded to the longest of them."""

    clips: Tensor
    """[b, map_size, Dv]"""
    frames: Tensor
    """[b, L, Dv]"""
    mask: Tensor
    """[b, L], 1 at real frames."""


class QueryPart(NamedTuple):
    """q captions of a batch, padded to the longest of them."""

    tokens: Tensor
    """[q, L, Dq]"""
    mask: Tensor
    """[q, L], 1 at real tokens."""


class Batch(NamedTuple):
    """B videos with all their captions, Nq together, in parts of similar length.

    A part is padded to its own longest, which saves most of the padding of a batch, and nothing of its randomness.
    """

    videos: list[VideoPart]
    queries: list[QueryPart]
    video_places: Tensor
    """[B], where the b-th video is in the parts, one behind the other."""
    query_places: Tensor
    """[Nq], the same of the captions, which are in the order of their videos."""
    owner: Tensor
    """[Nq], the caption's video, from 0 to B - 1; ascending."""

    def to(self, device: torch.device) -> "Batch":
        def there(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return Batch(
            [VideoPart(*map(there, part)) for part in self.videos],
            [QueryPart(*map(there, part)) for part in self.queries],
            *map(there, self[2:]),
        )


def make_batch(videos: Sequence[Captioned], config: GMMFormerConfig, parts: int = 1) -> Batch:
    """The model's inputs of some videos with all their captions, in so many parts at most (fewer of a small batch).

    No videos (a process's share of a last batch that is smaller than the number of processes) are one empty part.
    """
    counts = torch.tensor([len(video.words) for video in videos], dtype=torch.long)
    words = [its_words for video in videos for its_words in video.words]
    video_parts, video_places = by_length([video.frames for video in videos], parts)
    query_parts, query_places = by_length(words, parts)
    return Batch(
        [VideoPart(*video_inputs([videos[place].frames for place in part], config)) for part in video_parts],
        [QueryPart(*query_inputs([words[place] for place in part], config)) for part in query_parts],
        video_places,
        query_places,
        torch.repeat_interleave(torch.arange(len(videos)), counts),
    )


def by_length(features: Sequence[np.ndarray], parts: int) -> tuple[list[np.ndarray], Tensor]:
    """Positions in parts of about the same size, from the longest features to the shortest, and where each one went."""
    order = np.argsort([-len(rows) for rows in features], kind="stable")
    return np.array_split(order, max(1, min(parts, len(order)))), torch.from_numpy(np.argsort(order))


def padding(batch: Batch) -> dict[str, float]:
    """Share of a batch's rows that is padding, 0 to 1: of its `frames` and `words`; and `frames_in_one_part` and
    `words_in_one_part`, what it would be if all were padded to the longest of the batch.

    For a batch on the CPU: on a GPU it would wait for it.
    """
    found = {}
    for name, parts in (("frames", batch.videos), ("words", batch.queries)):
        real = sum(int(part.mask.sum()) for part in parts)
        longest = max(part.mask.shape[1] for part in parts)
        found[name] = _rest(real, sum(part.mask.numel() for part in parts))
        found[f"{name}_in_one_part"] = _rest(real, longest * sum(len(part.mask) for part in parts))
    return found


def _rest(real: int, rows: int) -> float:
    return 1 - real / rows if rows else 0.0


def video_inputs(features: Sequence[np.ndarray], config: GMMFormerConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Clip features [B, map_size, Dv], frame features [B, L, Dv] and their mask [B, L].

    Visual tokens of a frame lie side by side in its row.
    """
    if not len(features):
        return (
            torch.zeros(0, config.map_size, config.visual_input_size),
            torch.zeros(0, 1, config.visual_input_size),
            torch.zeros(0, 1),
        )
    pooled = [pool_video(rows.reshape(len(rows), -1), config.map_size, config.max_ctx_l) for rows in features]
    frames, mask = pad([frames for _, frames in pooled])
    return torch.from_numpy(np.stack([clips for clips, _ in pooled])), frames, mask


def query_inputs(features: Sequence[np.ndarray], config: GMMFormerConfig) -> tuple[Tensor, Tensor]:
    """Token features [Nq, Lq, Dq] at unit length, of the first max_desc_l tokens, and their mask [Nq, Lq]."""
    if not len(features):
        return torch.zeros(0, 1, config.query_input_size), torch.zeros(0, 1)
    tokens, mask = pad([rows[: config.max_desc_l] for rows in features])
    make_unit_rows(tokens)
    return tokens, mask
