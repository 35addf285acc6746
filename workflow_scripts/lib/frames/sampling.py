"""Which of a video's frames are kept."""

from dataclasses import dataclass

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
    """Positions of the frames shown at the centres of `count` equal segments of a clip.

    `times` are the ascending times at which frames begin to be shown, float [N], `end_of_last` is when the last
    one ends, and the clip is `start` to `end`, all in seconds. Positions are ascending and distinct: a clip with
    fewer frames gives those it has. Empty when the clip lies outside of what is shown.
    """
    begins, ends = max(start, times[0]), min(end, end_of_last)
    if begins >= ends:
        return []
    centres = begins + (np.arange(count) + 0.5) * (ends - begins) / count
    shown = np.searchsorted(times, centres, side="right") - 1
    # A frame that was on before the clip begins is not of the clip, unless the clip shows no other.
    first = int(np.searchsorted(times, begins, side="left"))
    last = int(np.searchsorted(times, ends, side="left")) - 1
    if first <= last:
        shown = np.clip(shown, first, last)
    return np.unique(shown).tolist()
