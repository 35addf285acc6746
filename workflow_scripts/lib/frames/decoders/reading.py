"""What every decoder offers."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from PIL import Image

from workflow_scripts.lib.frames.reasons import VideoError


class Unsure(VideoError):
    """This way of reading the file cannot be trusted; another may be. The reason is told where none is."""

    def __init__(self, detail: str, reason: str = "corrupt"):
        super().__init__(reason, detail)


@dataclass(frozen=True)
class Source:
    """What is known of the file. `header_s` is the duration that it claims, None where it makes no claim."""

    codec: str | None
    header_s: float | None
    tolerance: float  # share of `header_s` that may be missing at the end
    pixel_aspect: float = 1.0  # width of a pixel over its height


class Picture(NamedTuple):
    """A frame, upright, RGB, with its own time; `shown` is its width and height in the file, upright."""

    time_s: float
    image: Image.Image
    shown: tuple[int, int]


class Reading(Protocol):
    """An open file; its methods can be called several times, one after another.

    `times`: float [N], ascending, when each frame begins to be shown, in seconds of the file's own clock, which
    begins at 0 with its first sound or picture. `end_s`: when the last one ends. `keyframes`: ascending positions of
    `times` that can be decoded on their own, None where that is not known. `fps`: frames a second as shown, None of a
    single frame. Frames that the reading leaves out (see `decode_quality`) are not in `times`, but count for `fps`.
    """

    source: Source
    times: np.ndarray
    end_s: float
    keyframes: np.ndarray | None
    fps: float | None

    def __init__(self, path: Path): ...

    def pictures(self, positions: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """The frames at these ascending positions of `times`.

        `size` (height, width) is what they will be brought to: a reading that trades exactness for speed may give
        them that small. Raises Unsure or VideoError when one does not come or is damaged.
        """

    def thumbnails(self, positions: Sequence[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
        """The frames at these ascending positions stretched to `size`, uint8 RGB [height, width, 3]; cheap."""

    def close(self) -> None: ...


def rate(times: np.ndarray) -> float | None:
    """Frames a second as shown; headers are not to be trusted with it (seen: 1000)."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return round((len(times) - 1) / float(times[-1] - times[0]), 3)


def shrunk(pictures: Iterable[Picture], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Thumbnails for a decoder that cannot make them itself."""
    for picture in pictures:
        yield np.asarray(picture.image.resize(size[::-1], Image.Resampling.BOX))
