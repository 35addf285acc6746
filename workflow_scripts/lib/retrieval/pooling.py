"""Frames of any number to a fixed number of segments, and rows to unit length."""

import numpy as np


def segment_bounds(frames: int, segments: int) -> np.ndarray:
    """The segments + 1 bounds of GMMFormer's segments: round(i / segments * frames), at most frames - 1.

    Halves are rounded to even. The last bound is exclusive, so with more frames than segments the
    last frame is in no segment: a quirk of the original that its checkpoints were trained with.
    """
    bounds = np.round(np.arange(segments + 1) / segments * frames).astype(np.int64)
    return np.minimum(bounds, frames - 1)


def segment_means(x: np.ndarray, segments: int) -> np.ndarray:
    """Rows [frames, D] -> means over segments [segments, D] in float64; an empty segment is its first row."""
    bounds = segment_bounds(len(x), segments)
    # reduceat, too, gives the single row where a bound is not below the next one.
    sums = np.add.reduceat(np.asarray(x, dtype=np.float64), bounds, axis=0)[:-1]
    return sums / np.maximum(np.diff(bounds), 1)[:, None]


def unit_rows(x: np.ndarray) -> np.ndarray:
    """x / (||x|| + 1e-5) by row, in x's own precision."""
    return x / (np.linalg.norm(x, axis=-1, keepdims=True) + 1e-5)


def pool_video(frames: np.ndarray, map_size: int, max_ctx_l: int) -> tuple[np.ndarray, np.ndarray]:
    """Frame features [T, D] -> inputs of the clip branch [map_size, D] and the frame branch [min(T, max_ctx_l), D].

    Pooled first, then brought to unit length; float32.
    """
    clips = segment_means(frames, map_size)
    kept = (
        segment_means(frames, max_ctx_l) if len(frames) > max_ctx_l else np.asarray(frames, dtype=np.float64)
    )
    return unit_rows(clips).astype(np.float32), unit_rows(kept).astype(np.float32)


def cut_tokens(tokens: np.ndarray, max_desc_l: int) -> np.ndarray:
    """Token features [L, D] -> the first max_desc_l at unit length, float32."""
    return unit_rows(np.asarray(tokens[:max_desc_l], dtype=np.float32))
