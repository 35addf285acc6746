"""From the captions table and feature shards to batches.

Nothing but integers is held of a corpus: features are memory-mapped and read batch by batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.corpus.tables import read_shards
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.features.shards import Kind
from workflow_scripts.lib.keys import caption_key, video_key
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.pooling import cut_tokens, pool_video

VISUAL_KINDS: dict[str, Kind] = {"embeddings": "video", "tokens": "token"}


def visual_reader(features: Path, config: RetrievalConfig) -> FeatureReader:
    """Reader of what GMMFormer sees of the videos, as `retrieval.visual` says."""
    return FeatureReader(features, VISUAL_KINDS[config.visual])


@dataclass(frozen=True)
class Split:
    """Videos of a split that have features and captions, and their captions in the order of the videos."""

    videos: np.ndarray
    """[Nv] int64, corpus indices in ascending order."""
    captions: np.ndarray
    """[Nq] int32, the number of each caption within its video."""
    owner: np.ndarray
    """[Nq] int64, ascending: position in `videos` of the caption's video."""
    languages: np.ndarray
    """[Nq] text."""

    def video_keys(self, positions: Sequence[int] | slice = slice(None)) -> list[str]:
        """Keys of the videos at these positions."""
        return [video_key(video) for video in self.videos[positions].tolist()]

    def caption_keys(self, positions: Sequence[int] | slice = slice(None)) -> list[str]:
        """Keys of the captions at these positions."""
        videos = self.videos[self.owner[positions]].tolist()
        return [caption_key(*pair) for pair in zip(videos, self.captions[positions].tolist(), strict=True)]


def read_splits(
    corpus: Path, shards: int, names: Sequence[str], languages: Sequence[str] | None, videos: FeatureReader
) -> dict[str, Split]:
    """The named splits, in the given languages (None: all). Videos without features are left out and counted."""
    table = read_shards(corpus, "captions", shards, columns=["video", "caption", "split", "language"])
    if languages is not None:
        table = table.filter(pc.is_in(table["language"], value_set=pa.array(languages, pa.string())))
    splits = {}
    for name in names:
        part = table.filter(pc.equal(table["split"], name)).sort_by(
            [("video", "ascending"), ("caption", "ascending")]
        )
        all_videos = part["video"].to_numpy()
        kept = [video for video in np.unique(all_videos).tolist() if video_key(video) in videos]
        rows = np.isin(all_videos, kept)
        splits[name] = Split(
            videos=np.asarray(kept, dtype=np.int64),
            captions=part["caption"].to_numpy()[rows],
            owner=np.searchsorted(kept, all_videos[rows]),
            languages=np.asarray(part["language"].to_pylist(), dtype=str)[rows],
        )
        left_out = len(np.unique(all_videos)) - len(kept)
        note = f"; {left_out} captioned videos have no features and are left out" if left_out else ""
        print(f"{name}: {len(kept)} videos, {int(rows.sum())} captions{note}", flush=True)
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


class TrainingSet(Dataset):
    """Indexed by a list of video positions: gives the whole batch at once."""

    def __init__(self, split: Split, videos: FeatureReader, texts: FeatureReader, config: GMMFormerConfig):
        self.split, self.videos, self.texts, self.config = split, videos, texts, config
        self.first = np.searchsorted(split.owner, np.arange(len(split.videos) + 1))

    def __len__(self) -> int:
        return len(self.split.videos)

    def __getitem__(self, positions: list[int]) -> Batch:
        clips, frames, frame_mask = load_videos(self.videos, self.split.video_keys(positions), self.config)
        ranges = [np.arange(self.first[position], self.first[position + 1]) for position in positions]
        tokens, token_mask = load_queries(
            self.texts, self.split.caption_keys(np.concatenate(ranges)), self.config
        )
        owner = torch.repeat_interleave(torch.arange(len(ranges)), torch.tensor([len(own) for own in ranges]))
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


def load_videos(
    reader: FeatureReader, keys: Sequence[str], config: GMMFormerConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Clip features [B, map_size, Dv], frame features [B, L, Dv] and their mask [B, L]."""
    width = config.visual_input_size
    pooled = [pool_video(feature(reader, key, width), config.map_size, config.max_ctx_l) for key in keys]
    frames, mask = _pad([frames for _, frames in pooled])
    return torch.from_numpy(np.stack([clips for clips, _ in pooled])), frames, mask


def load_queries(
    reader: FeatureReader, keys: Sequence[str], config: GMMFormerConfig
) -> tuple[Tensor, Tensor]:
    """Token features [Nq, Lq, Dq] and their mask [Nq, Lq]."""
    width = config.query_input_size
    return _pad([cut_tokens(feature(reader, key, width), config.max_desc_l) for key in keys])


def feature(reader: FeatureReader, key: str, width: int | None = None) -> np.ndarray:
    """Rows [L, width] of a key; the visual tokens of a frame lie side by side in its row.

    UserError naming the key when there are no rows, or they are of another width or not finite.
    """
    rows = reader[key]
    if reader.kind == "token":
        rows = rows.reshape(len(rows), math.prod(rows.shape[1:]))
    found = None
    if rows.ndim != 2 or (width is not None and rows.shape[1] != width):
        found = f"shape {list(rows.shape)}, expected [rows, {width or 'width'}]"
    elif len(rows) == 0:
        found = "no rows"
    elif not np.isfinite(rows).all():
        found = "values that are not finite"
    if found:
        raise UserError(
            f"{reader.root}: the {reader.kind} feature {key} has {found}; extract the features again"
        )
    return rows


def _pad(arrays: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    """Arrays [l, D] -> [N, max l, D] with zeros behind, and the mask [N, max l]."""
    lengths = np.array([len(array) for array in arrays])
    padded = np.zeros((len(arrays), lengths.max(), arrays[0].shape[1]), dtype=np.float32)
    for row, array in zip(padded, arrays, strict=True):
        row[: len(array)] = array
    mask = np.arange(lengths.max()) < lengths[:, None]
    return torch.from_numpy(padded), torch.from_numpy(mask.astype(np.float32))
