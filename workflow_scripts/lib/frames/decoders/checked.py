"""Decoders that are not told which frame they return: held to what the packets of the file say."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from workflow_scripts.lib.frames.decoders.index import Index
from workflow_scripts.lib.frames.decoders.pyav_file import PyavFile
from workflow_scripts.lib.frames.decoders.reading import Picture, Unsure, shrunk


class _Demuxed(PyavFile):
    """The index, and nothing decoded. PyAV also tells apart why a file cannot be opened."""

    def _learn(self) -> None:
        self.index = Index(self.container, self.stream, self.packets())
        if self.demux_error:
            raise Unsure(self.demux_error)


class CheckedReading:
    """See Reading. Times are those of the packets; a subclass decodes."""

    def __init__(self, path: Path):
        with closing(_Demuxed(path)) as file:
            self.source, self.stream = file.source, file.stream.index
            self.index, self.format = file.index, file.container.format.name
        self.clock, self.keyframes = self.index.clock, self.index.keyframes
        self.times, self.end_s, self.fps = self.clock.times, self.clock.end_s, self.clock.fps

    def check_count(self, decoder: str, frames: int) -> None:
        """Unsure when the decoder finds more or fewer frames than the packets hold."""
        if frames != len(self.times):
            what = f"{decoder} finds {frames} frames, the file has {len(self.times)} that can be shown"
            raise Unsure(what, "count_mismatch")

    def check_times(self, decoder: str, times: np.ndarray) -> None:
        """Unsure when the decoder's times (ascending, from any zero) are not those of the packets."""
        self.check_count(decoder, len(times))
        apart = float(np.abs((times - times[0]) - (self.times - self.times[0])).max())
        if len(times) > 1 and not apart <= np.median(np.diff(self.times)) / 2:
            what = f"the times of {decoder} are up to {apart:.3f} s off those in the file"
            raise Unsure(what, "seek_mismatch")

    def pictures(self, positions: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See Reading."""
        raise NotImplementedError

    def thumbnails(self, positions: Sequence[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
        """See Reading."""
        return shrunk(self.pictures(positions), size)
