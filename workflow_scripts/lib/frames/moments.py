"""Which of a video's sampled frames show a captioned moment."""

from collections.abc import Sequence

import numpy as np

from workflow_scripts.lib.frames.sampling import spread


def frames_in_moment(
    timestamps: Sequence[float], start_s: float | None, end_s: float | None, count: int
) -> list[int]:
    """Positions of at most `count` frames inside [start_s, end_s], spread evenly and in order.

    `timestamps` are the frames' times in seconds, ascending. No start or end means that of the video.
    A moment that falls between two frames gives the frame nearest to its middle, so never nothing.
    """
    return spread(positions_in_moment(timestamps, start_s, end_s), count).tolist()


def positions_in_moment(
    timestamps: Sequence[float], start_s: float | None, end_s: float | None
) -> np.ndarray:
    """Positions of all of them; int [N], N > 0."""
    times = np.asarray(timestamps, dtype=float)
    if times.size == 0:
        raise ValueError("a video without frames shows no moment")
    start = times[0] if start_s is None else start_s
    end = times[-1] if end_s is None else end_s
    inside = np.flatnonzero((times >= start) & (times <= end))
    return inside if inside.size else np.abs(times - (start + end) / 2).argmin(keepdims=True)
