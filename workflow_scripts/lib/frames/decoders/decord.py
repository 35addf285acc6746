"""decord 0.6: kept for those who rely on it. Its ffmpeg is old, and it is wrong on mpeg-ts and on cut streams."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import decord
import numpy as np
from PIL import Image

from workflow_scripts.lib.frames.decoders.container import describe, open_video
from workflow_scripts.lib.frames.reasons import VideoError


class DecordReading:
    """See Reading. The headers are read by PyAV, which tells apart why a file cannot be opened."""

    def __init__(self, path: Path):
        container, stream = open_video(path)
        with container:
            self.source = describe(container, stream)
        try:
            self.reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
            shown = self.reader.get_frame_timestamp(range(len(self.reader)))
        except (decord.DECORDError, RuntimeError) as error:
            raise VideoError("corrupt", _first_line(error)) from None
        if not len(shown):
            raise VideoError("corrupt", "no frame could be decoded")
        if not np.isfinite(shown).all() or (len(shown) > 1 and shown[0, 0] == shown[-1, 0]):
            shown = _by_rate(len(shown), self.reader.get_avg_fps())  # avi has no time stamps
        self.order = np.argsort(shown[:, 0], kind="stable")
        shown = shown[self.order].astype(float)
        # Its clock begins with the first frame.
        self.times = shown[:, 0] - shown[0, 0]
        self.end_s = float(max(shown[-1, 1] - shown[0, 0], self.times[-1]))

    def pictures(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """See Reading."""
        for position in positions:
            try:
                picture = self.reader[int(self.order[position])].asnumpy()
            except (decord.DECORDError, RuntimeError) as error:
                raise VideoError("partial", _first_line(error)) from None
            if picture.shape[2] != 3:  # it takes the padding of narrow rows for further channels
                raise VideoError(
                    "corrupt", f"decord misreads frames {picture.shape[1]} pixels wide; pyav does not"
                )
            yield Image.fromarray(picture)

    def close(self) -> None:
        del self.reader


def _by_rate(frames: int, fps: float) -> np.ndarray:
    """Begin and end of every frame at a constant rate, float [frames, 2]."""
    begins = np.arange(frames) / fps
    return np.stack([begins, begins + 1 / fps], axis=1)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
