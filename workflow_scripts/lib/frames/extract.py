"""The frames of one video: decoded, brought to size, encoded as JPEG.

This runs in the decoding processes, so it imports little: PyAV, Pillow and numpy.
"""

import io
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from workflow_scripts.lib.frames.decoders import readings
from workflow_scripts.lib.frames.decoders.reading import Reading, Unsure
from workflow_scripts.lib.frames.reasons import VideoError
from workflow_scripts.lib.frames.sampling import Sampler, uniform

if TYPE_CHECKING:
    from workflow_scripts.lib.config import FramesConfig

MISSING_S = 0.25  # seconds at the end that no header's claim is held to


@dataclass(frozen=True)
class Clip:
    """A video of the corpus, or a clip of one: `start_s` to `end_s` of its file, None is open.

    `moments` are the captioned ones that get frames of their own, seconds from the clip's start, None is open.
    """

    index: int
    path: str
    start_s: float | None = None
    end_s: float | None = None
    moments: tuple[tuple[float | None, float | None], ...] = ()


@dataclass(frozen=True)
class Settings:
    """What decides about the bytes of the frames; see the `frames` section of the configuration."""

    decoders: tuple[str, ...] = ("pyav",)
    quality: str = "exact"
    sampler: Sampler = Sampler()
    count: int = 32
    moment_frames: int = 0
    size: tuple[int, int] = (224, 224)
    fit: str = "crop"
    jpeg_quality: int = 90

    @classmethod
    def of(cls, config: "FramesConfig") -> "Settings":
        """Those of a checked configuration."""
        sampler = Sampler(**config.sampler.model_dump())
        return cls(
            decoders=tuple(config.decoders()),
            quality=config.decode_quality,
            sampler=sampler,
            count=config.count,
            moment_frames=config.moment_frames,
            size=tuple(config.size),
            fit=config.fit,
            jpeg_quality=config.jpeg_quality,
        )


@dataclass
class Extracted:
    """The frames of a clip, or why there are none (`reason` and `detail`)."""

    jpegs: list[bytes] = field(default_factory=list)
    timestamps: list[float] = field(default_factory=list)
    decoder: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    codec: str | None = None
    duration_s: float | None = None
    reason: str | None = None
    detail: str | None = None


def extract_file(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """The frames of every clip; all are of one file. Never raises but for a lack of memory."""
    return [_extract(clip, settings) for clip in clips]


def _extract(clip: Clip, settings: Settings) -> Extracted:
    path = Path(clip.path)
    try:
        for reading_class in readings(settings.decoders[0]):
            try:
                reading = reading_class(path)
                try:
                    return _from_reading(reading, clip, settings)
                finally:
                    reading.close()
            except Unsure as unsure:
                detail = str(unsure)
        raise VideoError("corrupt", detail)
    except VideoError as error:
        return Extracted(reason=error.reason, detail=error.detail)
    except MemoryError:
        raise
    except Exception as error:  # whatever a hostile file brings about is a fact about that file
        return Extracted(reason="corrupt", detail=f"{type(error).__name__}: {error}"[:300])


def _from_reading(reading: Reading, clip: Clip, settings: Settings) -> Extracted:
    start = clip.start_s or 0.0
    end = math.inf if clip.end_s is None else clip.end_s
    _check_duration(reading, start, end)
    positions = uniform(reading.times, reading.end_s, start, end, settings.count)
    if not positions:
        raise VideoError(
            "truncated", f"no picture between {start:g} and {end:g} s; the file shows {reading.end_s:.2f} s"
        )
    jpegs, size = [], (None, None)
    for image in reading.pictures(positions):
        size = image.size
        jpegs.append(_jpeg(fit(image, settings.size, settings.fit, reading.source.pixel_aspect), settings))
    if len(jpegs) != len(positions):
        raise VideoError("corrupt", f"{len(positions)} frames asked for, {len(jpegs)} came")
    return Extracted(
        jpegs=jpegs,
        timestamps=[max(0.0, round(float(reading.times[p]) - start, 6)) for p in positions],
        width=size[0],
        height=size[1],
        decoder=settings.decoders[0],
        fps=_rate(reading.times),
        codec=reading.source.codec,
        duration_s=round(min(end, reading.end_s) - start, 6),
    )


def _check_duration(reading: Reading, start: float, end: float) -> None:
    """Truncated when less is shown than the header claims, or than the clip needs."""
    shown, source = reading.end_s, reading.source
    if start >= shown:
        raise VideoError("truncated", f"the clip begins at {start:g} s, the file shows {shown:.2f} s")
    # The file's clock may begin before the first picture; a header counts from either.
    length = shown - min(float(reading.times[0]), 0.0)
    if source.header_s is not None and length < source.header_s * (1 - source.tolerance) - MISSING_S:
        raise VideoError(
            "truncated", f"the header says {source.header_s:.2f} s, the file shows {shown:.2f} s"
        )
    if math.isfinite(end) and shown < end - max(1.0, 0.05 * (end - start)):
        raise VideoError("truncated", f"the clip ends at {end:g} s, the file shows {shown:.2f} s")


def _rate(times: np.ndarray) -> float | None:
    """Frames a second as shown; headers are not to be trusted with it (seen: 1000)."""
    if len(times) < 2 or times[-1] <= times[0]:
        return None
    return round((len(times) - 1) / float(times[-1] - times[0]), 3)


def fit(image: Image.Image, size: tuple[int, int], how: str, pixel_aspect: float = 1.0) -> Image.Image:
    """The image at `size` (height, width): centre-cropped, stretched or padded with black; antialiased.

    `pixel_aspect` is the width of a source pixel over its height.
    """
    height, width = size
    shape = image.width * pixel_aspect / image.height  # as it should look, width over height
    wanted = width / height
    if how == "pad":
        inner = (
            (width, max(1, round(width / shape)))
            if shape > wanted
            else (max(1, round(height * shape)), height)
        )
        canvas = Image.new("RGB", (width, height))
        canvas.paste(_resize(image, inner), ((width - inner[0]) // 2, (height - inner[1]) // 2))
        return canvas
    box = None
    if how == "crop":
        across = image.width * min(1.0, wanted / shape)
        down = image.height * min(1.0, shape / wanted)
        left, top = (image.width - across) / 2, (image.height - down) / 2
        box = (left, top, left + across, top + down)
    return _resize(image, (width, height), box)


def _resize(image: Image.Image, size: tuple[int, int], box: tuple | None = None) -> Image.Image:
    return image.resize(size, Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _jpeg(image: Image.Image, settings: Settings) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=settings.jpeg_quality)
    return buffer.getvalue()
