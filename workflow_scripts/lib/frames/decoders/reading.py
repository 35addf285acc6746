"""What every decoder offers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image


class Unsure(Exception):
    """This way of reading the file cannot be trusted; a slower one may be."""


@dataclass(frozen=True)
class Source:
    """What is known of the file. `header_s` is the duration that it claims, None where it makes no claim."""

    codec: str | None
    header_s: float | None
    tolerance: float  # share of `header_s` that may be missing at the end
    pixel_aspect: float = 1.0  # width of a pixel over its height


class Reading(Protocol):
    """An open file.

    `times`: float [N], ascending, when each frame begins to be shown, in seconds of the file's own clock, which
    begins at 0 with its first sound or picture. `end_s`: when the last one ends.
    """

    source: Source
    times: np.ndarray
    end_s: float

    def __init__(self, path: Path): ...

    def pictures(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """The frames at these ascending positions of `times`, upright, RGB; all of them, or an error."""

    def close(self) -> None: ...
