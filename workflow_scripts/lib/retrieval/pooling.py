"""Frames of any number to a fixed number of segments, and rows to unit length."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def segment_bounds(frames: int, segments: int) -> np.ndarray:
    """The segments + 1 bounds of GMMFormer's segments: round(i / segments * frames), at most frames - 1.

    Halves are rounded to even. The last bound is exclusive, so with more frames than segments the
    last frame is in no segment: a quirk of the original that its checkpoints were trained with.
    """
    bounds = np.round(np.arange(segments + 1) / segments * frames).astype(np.int64)
    return np.minimum(bounds, frames - 1)


def segment_means(x: np.ndarray, segments: int) -> np.ndarray:
    """Rows [frames, D] -> means over segments [segments, D] in float64; an empty segment is its first row."""
    members, starts = _members(len(x), segments)
    return F.embedding_bag(members, torch.from_numpy(_double(x)), starts, mode="mean").numpy()


def unit_rows(x: np.ndarray, dtype: np.dtype | type | None = None) -> np.ndarray:
    """x / (||x|| + 1e-5) by row, computed in x's own precision; as `dtype`, or in that too."""
    out = np.empty(x.shape, dtype or x.dtype)
    return np.divide(
        x, np.sqrt(np.vecdot(x, x))[..., None] + x.dtype.type(1e-5), out=out, casting="same_kind"
    )


def make_unit_rows(x: Tensor) -> None:
    """The same in place, of rows [..., D]; zeros stay zeros."""
    x.div_(torch.linalg.vector_norm(x, dim=-1, keepdim=True).add_(1e-5))


def pool_video(frames: np.ndarray, map_size: int, max_ctx_l: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame features [T, D] -> inputs of the clip branch [map_size, D] and the frame branch [min(T, max_ctx_l), D].

    Pooled first, then brought to unit length, in float64 as the original has it; float32.
    """
    rows = _double(frames)
    clips = segment_means(rows, map_size)
    kept = segment_means(rows, max_ctx_l) if len(rows) > max_ctx_l else rows
    return unit_rows(clips, np.float32), unit_rows(kept, np.float32)


def _double(x: np.ndarray) -> np.ndarray:
    """x in float64, as an array that PyTorch takes."""
    if x.dtype == np.float16:  # NumPy's own conversion takes five times as long
        return torch.from_numpy(x.copy()).float().double().numpy()
    return np.require(x, np.float64, "W")


@lru_cache(maxsize=1024)
def _members(frames: int, segments: int) -> tuple[Tensor, Tensor]:
    """The rows of all segments, one behind the other, and where each segment starts among them."""
    bounds = segment_bounds(frames, segments)
    counts = np.maximum(np.diff(bounds), 1)
    starts = np.cumsum(counts) - counts
    members = np.repeat(bounds[:-1] - starts, counts) + np.arange(counts.sum())
    return torch.from_numpy(members), torch.from_numpy(starts)
