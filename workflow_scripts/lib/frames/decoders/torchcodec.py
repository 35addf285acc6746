"""torchcodec: the decoder of PyTorch.

It needs the shared libraries of ffmpeg on the system. Importing it takes seconds and some 750 MB a process, so
processes that decode with it are kept, and import it before their memory is limited. Damage that ffmpeg conceals is
not told by it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders.checked import CheckedReading
from workflow_scripts.lib.frames.decoders.reading import Picture
from workflow_scripts.lib.frames.reasons import VideoError

try:
    import torch
    import torchcodec
    from torchcodec.decoders import VideoDecoder
except (ImportError, OSError, RuntimeError) as error:
    raise UserError(
        f"frames.decoder 'torchcodec' and 'nvdec' cannot be used here: {error}. Install torch and a torchcodec that "
        "belongs to it, or take another decoder"
    ) from None
if torchcodec.ffmpeg_major_version is None:
    raise UserError(
        "frames.decoder 'torchcodec' and 'nvdec' cannot be used here: torchcodec finds no shared libraries of ffmpeg "
        "(version 4 or later). Install them (apt-get install ffmpeg, or conda install -c conda-forge ffmpeg), or take "
        "another decoder"
    )

AT_ONCE = 8  # frames decoded into memory together
torch.set_num_threads(1)  # processes share the cores, not threads


class TorchcodecReading(CheckedReading):
    """See Reading."""

    NAME = "torchcodec"
    DEVICE = "cpu"

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self.decoder = VideoDecoder(
                str(path.absolute()),
                stream_index=self.stream,
                dimension_order="NHWC",
                num_ffmpeg_threads=1,
                device=self.DEVICE,
                seek_mode="exact",
            )
        except (RuntimeError, ValueError, IndexError) as error:
            raise _failure(error, "corrupt") from None
        self.check_count(self.NAME, len(self.decoder))

    def pictures(self, positions: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See Reading."""
        zero = self.decoder.metadata.begin_stream_seconds - float(self.times[0])
        for first in range(0, len(positions), AT_ONCE):
            some = list(positions[first : first + AT_ONCE])
            try:
                batch = self.decoder.get_frames_at(some)
                pictures = batch.data.cpu().numpy()
            except (RuntimeError, ValueError, IndexError) as error:
                raise _failure(error, "partial") from None
            for stamp, picture in zip(batch.pts_seconds.tolist(), pictures, strict=True):
                image = Image.fromarray(picture)
                yield Picture(stamp - zero, image, image.size)

    def close(self) -> None:
        """See Reading."""
        del self.decoder


def _failure(error: Exception, reason: str) -> VideoError:
    if isinstance(error, torch.OutOfMemoryError):
        raise MemoryError(str(error)) from None
    return VideoError(reason, (str(error).strip().splitlines() or [type(error).__name__])[-1][:300])
