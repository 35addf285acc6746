import itertools

import numpy as np
import pytest
import torch

from workflow_scripts.lib.retrieval.pooling import (
    make_unit_rows,
    pool_video,
    segment_bounds,
    segment_means,
    unit_rows,
)


def segments_in_a_loop(frames: np.ndarray, size: int) -> np.ndarray:
    """The rule, said plainly; Python's round() rounds halves to even."""
    n = len(frames)
    bounds = [min(round(i / size * n), n - 1) for i in range(size + 1)]
    pairs = itertools.pairwise(bounds)
    return np.stack([frames[a:b].mean(axis=0) if b > a else frames[a] for a, b in pairs])


@pytest.mark.parametrize("size", [1, 4, 8, 32])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 12, 16, 33, 100])
def test_segments_equal_the_loop(n, size):
    frames = np.random.default_rng(n).normal(size=(n, 3))
    np.testing.assert_allclose(segment_means(frames, size), segments_in_a_loop(frames, size), atol=1e-12)


def test_halves_are_rounded_to_even():
    assert segment_bounds(12, 8).tolist() == [0, 2, 3, 4, 6, 8, 9, 10, 11]


def test_the_last_frame_is_in_no_mean_when_there_are_more_frames_than_segments():
    frames = np.zeros((20, 2))
    frames[-1] = 1000
    assert segment_means(frames, 5).max() == 0


def test_frames_repeat_when_there_are_fewer_than_segments():
    frames = np.array([[1.0], [2.0]])
    assert segment_means(frames, 4).ravel().tolist() == [1, 1, 2, 2]
    assert segment_means(frames[:1], 3).ravel().tolist() == [1, 1, 1]


def test_rows_get_unit_length_after_pooling_and_zeros_stay():
    frames = np.concatenate([np.full((6, 4), 100.0), np.zeros((6, 4))])
    clips, kept = pool_video(frames.astype(np.float16), map_size=2, max_ctx_l=32)
    assert clips.dtype == kept.dtype == np.float32
    assert kept.shape == (12, 4)
    np.testing.assert_allclose(np.linalg.norm(clips, axis=1), [1, 0], atol=1e-6)
    assert unit_rows(np.zeros((1, 3))).tolist() == [[0, 0, 0]]


def test_long_videos_are_averaged_down_to_max_ctx_l():
    frames = np.random.default_rng(0).normal(size=(50, 4))
    _, kept = pool_video(frames, map_size=2, max_ctx_l=8)
    np.testing.assert_allclose(kept, unit_rows(segments_in_a_loop(frames, 8)), atol=1e-6)


def test_rows_of_a_batch_get_unit_length_in_place():
    rows = torch.randn(3, 4, 5)
    rows[1, 2:] = 0
    expected = unit_rows(rows.numpy().copy())
    make_unit_rows(rows)
    np.testing.assert_allclose(rows, expected, atol=1e-7)
    assert (rows[1, 2:] == 0).all()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_means_are_computed_in_float64_whatever_is_stored(dtype):
    frames = (1000 + np.random.default_rng(0).normal(size=(100, 3))).astype(dtype)
    frames.flags.writeable = False
    found = segment_means(frames, 3)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, segments_in_a_loop(frames.astype(np.float64), 3), rtol=1e-14)
