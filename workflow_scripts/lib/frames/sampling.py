"""Which of a video's frames are kept: from when frames are shown, and cheap signals, to positions.

Every function takes `times`, the ascending times at which frames begin to be shown, float [N], `end_of_last`, when
the last one ends, and a clip, `start` to `end`, all in seconds; `end` may be infinite. It gives ascending, distinct
positions of `times`, all of frames of the clip, and none when the clip lies outside of what is shown.
A frame that was on before the clip begins is not of the clip, unless the clip shows no other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True)
class Sampler:
    """How frames are chosen; see `frames.sampler` of the configuration."""

    kind: str = "uniform"
    fps: float | None = None
    threshold: float | None = None
    signal_fps: float | None = None
    flow: str | None = None


def uniform(times: np.ndarray, end_of_last: float, start: float, end: float, count: int) -> list[int]:
    """The frames shown at the centres of `count` equal segments; all frames of a clip that has no more than `count`.

    Where one long frame fills several segments, frames spread over the others make up the number.
    """
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None:
        return []
    centres = clip.begins + (np.arange(count) + 0.5) * (clip.ends - clip.begins) / count
    chosen = _shown_at(times, clip, centres)
    missing = min(count, clip.last + 1 - clip.first) - len(chosen)
    if missing:
        others = np.setdiff1d(np.arange(clip.first, clip.last + 1), chosen)
        chosen = np.union1d(chosen, spread(others, missing))
    return chosen.tolist()


def at_rate(
    times: np.ndarray, end_of_last: float, start: float, end: float, count: int, fps: float
) -> list[int]:
    """The frames shown at the centres of segments of 1/`fps` seconds; of more than `count`, evenly as many.

    At least one: a clip shorter than half a segment gives the frame in its middle.
    """
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None:
        return []
    edges = np.concatenate([[clip.begins], times[clip.first + 1 : clip.last + 1], [clip.ends]])
    # Centres before each edge. Rounded: a centre on an edge belongs to the frame that begins there, whatever the
    # last bit of a float says.
    before = np.ceil(np.round((edges - clip.begins) * fps - 0.5, 6))
    chosen = clip.first + np.flatnonzero(np.diff(before) > 0)
    if chosen.size == 0:
        return uniform(times, end_of_last, start, end, 1)
    return spread(chosen, count).tolist()


def at_keyframes(
    times: np.ndarray, end_of_last: float, start: float, end: float, count: int, keyframes: np.ndarray
) -> list[int]:
    """The clip's `keyframes` (ascending positions); of more than `count`, evenly as many.

    At least one frame: a clip between two keyframes gives the one in its middle.
    """
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None:
        return []
    inside = keyframes[(keyframes >= clip.first) & (keyframes <= clip.last)]
    if inside.size == 0:
        return uniform(times, end_of_last, start, end, 1)
    return spread(inside, count).tolist()


def signal_positions(
    times: np.ndarray, end_of_last: float, start: float, end: float, fps: float
) -> np.ndarray:
    """The clip's first frame, and from there the first one of every 1/`fps` seconds that has any; int [K]."""
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None:
        return np.zeros(0, dtype=np.int64)
    since = times[clip.first : clip.last + 1] - times[clip.first]
    _, firsts = np.unique(np.floor(np.round(since * fps, 6)), return_index=True)
    return clip.first + firsts


def at_scene_changes(
    times: np.ndarray,
    end_of_last: float,
    start: float,
    end: float,
    count: int,
    positions: np.ndarray,
    distances: np.ndarray,
    threshold: float,
) -> list[int]:
    """The first frames after cuts: of `count` or more, evenly as many; fewer are filled up with uniform ones.

    `positions` are the frames compared, int [K], of the clip; `distances` those between neighbours, float [K-1].
    There is a cut from `threshold` on. `count` frames, or all of a clip that has fewer.
    """
    cuts = positions[1:][distances >= threshold]
    if len(cuts) >= count:
        return spread(cuts, count).tolist()
    return _fill_up(cuts, times, uniform(times, end_of_last, start, end, count))


def by_motion(
    times: np.ndarray,
    end_of_last: float,
    start: float,
    end: float,
    count: int,
    positions: np.ndarray,
    motion: np.ndarray,
) -> list[int]:
    """More frames where more moves: at the centres of `count` segments of equal motion, not of equal length.

    `positions` are the frames compared, int [K], of the clip; `motion` is how much moves from each to the next,
    float [K-1], at least 0. A step that is faster than both beside it counts as the faster of those: it is a cut.
    `count` frames, or all of a clip that has fewer; as `uniform` where nothing moves.
    """
    even = uniform(times, end_of_last, start, end, count)
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None or len(motion) == 0:
        return even
    edges = times[positions].astype(float)
    speed = _without_cuts(motion / np.diff(edges))
    edges[0], edges[-1] = clip.begins, clip.ends
    length = np.diff(edges)
    moved = speed * length
    if not moved.any():
        return even
    # Half of the frames go by time, half by motion: a still stretch keeps at least about half of the frames that
    # `uniform` gives it, since what stands still is captioned too.
    share = length / length.sum() + moved / moved.sum()
    until = np.concatenate([[0.0], np.cumsum(share)])
    centres = np.interp((np.arange(count) + 0.5) * until[-1] / count, until, edges)
    return _fill_up(_shown_at(times, clip, centres), times, even)


def with_moments(
    positions: Sequence[int],
    times: np.ndarray,
    end_of_last: float,
    start: float,
    end: float,
    moments: Sequence[tuple[float | None, float | None]],
    count: int,
) -> list[int]:
    """`positions` and, inside every moment, `count` uniform ones.

    Moments are seconds from the clip's start, None is that of the clip. What lies outside of the clip is ignored.
    """
    clip = _shown_part(times, end_of_last, start, end)
    if clip is None or count == 0:
        return list(positions)
    chosen = set(positions)
    for begins, ends in moments:
        first = start if begins is None else max(start, start + begins)
        last = end if ends is None else min(end, start + ends)
        # A moment shorter than a frame may show one that was on before the clip.
        inside = uniform(times, end_of_last, first, last, count)
        chosen.update(max(clip.first, position) for position in inside)
    return sorted(chosen)


def spread(items: np.ndarray, count: int) -> np.ndarray:
    """`count` of the items, evenly among them; all where there are no more."""
    if len(items) <= count:
        return items
    return items[((np.arange(count) + 0.5) * len(items) / count).astype(int)]


class _ShownPart(NamedTuple):
    """A clip as far as frames are shown: seconds, and positions of its first and last frame."""

    begins: float
    ends: float
    first: int
    last: int


def _shown_part(times: np.ndarray, end_of_last: float, start: float, end: float) -> _ShownPart | None:
    begins, ends = max(start, float(times[0])), min(end, end_of_last)
    if begins >= ends:
        return None
    first = int(np.searchsorted(times, begins, side="left"))
    last = int(np.searchsorted(times, ends, side="left")) - 1
    return _ShownPart(begins, ends, min(first, last), last)


def _shown_at(times: np.ndarray, clip: _ShownPart, moments: np.ndarray) -> np.ndarray:
    """Distinct positions of the clip's frames at these times."""
    return np.unique(np.clip(np.searchsorted(times, moments, side="right") - 1, clip.first, clip.last))


def _without_cuts(speed: np.ndarray) -> np.ndarray:
    """Flow across a cut is large and means nothing: no step counts as faster than the faster one beside it."""
    if len(speed) < 2:
        return speed
    before, after = np.append(0.0, speed[:-1]), np.append(speed[1:], 0.0)
    return np.minimum(speed, np.maximum(before, after))


def _fill_up(chosen: np.ndarray, times: np.ndarray, even: list[int]) -> list[int]:
    """`chosen` and as many of `even` as make up the number of `even`: each stands for the `even` one nearest to it."""
    if len(chosen) == 0:
        return even
    others = np.setdiff1d(even, chosen)
    # Distance in time to the nearest chosen frame: the one before or the one after.
    after = np.searchsorted(chosen, others)
    to_next = np.append(times[chosen], np.inf)[after] - times[others]
    to_previous = times[others] - np.append(-np.inf, times[chosen])[after]
    furthest_first = np.argsort(-np.minimum(to_next, to_previous), kind="stable")
    return np.union1d(chosen, others[furthest_first[: len(even) - len(chosen)]]).tolist()
