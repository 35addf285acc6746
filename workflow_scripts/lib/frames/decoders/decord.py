"""decord 0.6: kept for those who rely on it.

Its ffmpeg is old, and it seeks to wrong frames without an error in many files: mpeg-ts, asf, avi, open groups of
pictures, edit lists, streams that begin before a keyframe. It is refused for all but what it is right in.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders.checked import CheckedReading
from workflow_scripts.lib.frames.decoders.reading import Picture, Unsure
from workflow_scripts.lib.frames.reasons import VideoError

try:
    import decord
except (ImportError, OSError) as error:
    raise UserError(
        f"frames.decoder 'decord' cannot be used here: {error}. Install it (pip install decord; there are wheels for "
        "x86-64 Linux, Windows and macOS alone), or take another decoder"
    ) from None


SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}


class DecordReading(CheckedReading):
    """See Reading."""

    def __init__(self, path: Path):
        super().__init__(path)
        if self.format not in SEEKABLE or not self.index.closed():
            raise Unsure("decord seeks to wrong frames in files of this kind", "seek_mismatch")
        try:
            self.reader = decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
            shown = self.reader.get_frame_timestamp(range(len(self.reader)))
            keys = sorted(self.reader.get_key_indices())
        except (decord.DECORDError, RuntimeError) as error:
            raise VideoError("corrupt", _first_line(error)) from None
        if not len(shown):
            raise VideoError("corrupt", "no frame could be decoded")
        begins = shown[:, 0].astype(float)
        self.order = np.argsort(begins, kind="stable")
        self.begins = begins[self.order] - begins.min()
        self.check_times("decord", self.begins)
        if keys != self.index.keyframes.tolist():
            raise Unsure("decord takes other frames for keyframes than the file does", "seek_mismatch")

    def pictures(self, positions: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See Reading."""
        for position in positions:
            try:
                picture = self.reader[int(self.order[position])].asnumpy()
            except (decord.DECORDError, RuntimeError) as error:
                raise VideoError("partial", _first_line(error)) from None
            if picture.shape[2] != 3:  # it takes the padding of narrow rows for further channels
                raise Unsure(f"decord misreads frames {picture.shape[1]} pixels wide")
            image = Image.fromarray(picture)
            yield Picture(float(self.times[0] + self.begins[position]), image, image.size)

    def close(self) -> None:
        """See Reading. Left open, decord goes on decoding into memory."""
        del self.reader


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
