"""The frames of the clips of one video file: decoded, brought to size, encoded as JPEG.

This runs in the decoding processes, so it imports little: PyAV, Pillow, OpenCV and numpy, and the decoder in use.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.choose import choose
from workflow_scripts.lib.frames.decoders import readings
from workflow_scripts.lib.frames.decoders.reading import Reading, Unsure
from workflow_scripts.lib.frames.picture import fit, jpeg
from workflow_scripts.lib.frames.reasons import CERTAIN, VideoError
from workflow_scripts.lib.frames.sampling import Sampler, with_moments

if TYPE_CHECKING:
    from workflow_scripts.lib.config import FramesConfig

MISSING_S = 0.25  # seconds at the end that no header's claim is held to
# Headers are too short where a file was still being written; times far beyond that are damaged ones.
LATE, BELIEVABLE_GAP_S = 10, 600.0


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


class _Frame(NamedTuple):
    time_s: float
    jpeg: bytes
    shown: tuple[int, int]  # width and height in the file


def prepare(settings: Settings) -> None:
    """Import the decoders. UserError when one of them cannot be used here.

    For decoding processes, before their memory is limited: torch alone takes hundreds of megabytes.
    """
    for decoder in settings.decoders:
        readings(decoder, settings.quality)


def extract_file(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """The frames of every clip; all are of one file, which is opened once by each decoder that is needed.

    The decoders are tried in their order, each for the clips that those before it gave no frames of. What a clip gets
    does not depend on the other clips. Raises nothing but MemoryError, and UserError for a decoder that cannot be used.
    """
    done: dict[int, Extracted] = {}
    failed: list[dict[str, VideoError]] = [{} for _ in clips]
    for decoder in settings.decoders:
        left = [n for n in range(len(clips)) if n not in done and not _certain(failed[n])]
        for open_reading in readings(decoder, settings.quality):
            if not left:
                break
            results = _read(open_reading, [clips[n] for n in left], settings)
            for n, result in zip(left, results, strict=True):
                if isinstance(result, VideoError):
                    failed[n][decoder] = result
                else:
                    result.decoder, done[n] = decoder, result
            left = [n for n, result in zip(left, results, strict=True) if isinstance(result, Unsure)]
    return [done.get(n) or _failure(failed[n]) for n in range(len(clips))]


def _certain(failed: dict[str, VideoError]) -> bool:
    return any(error.reason in CERTAIN for error in failed.values())


def _failure(failed: dict[str, VideoError]) -> Extracted:
    """Of several reasons PyAV's tells most, then that of the decoder tried first."""
    telling = failed.get("pyav") or next(iter(failed.values()))
    if len(failed) == 1:
        return Extracted(reason=telling.reason, detail=telling.detail)
    details = (f"{decoder}: {error.reason}: {error.detail}" for decoder, error in failed.items())
    return Extracted(reason=telling.reason, detail="; ".join(details))


def _guarded(work: Callable, *arguments):
    """What `work` gives, or the VideoError; whatever else a hostile file brings about is a fact about that file."""
    try:
        return work(*arguments)
    except VideoError as error:
        return error
    except (MemoryError, UserError):
        raise
    except Exception as error:
        return Unsure(f"{type(error).__name__}: {error}"[:300])


def _read(
    open_reading: Callable[[Path], Reading], clips: list[Clip], settings: Settings
) -> list[Extracted | VideoError]:
    """What one way of reading the file gives for each clip."""
    reading = _guarded(open_reading, Path(clips[0].path))
    if isinstance(reading, VideoError):
        return [reading] * len(clips)
    with closing(reading):
        plans = [_guarded(_plan, reading, clip, settings) for clip in clips]
        planned = [plan for plan in plans if not isinstance(plan, VideoError)]
        # Frames that clips share are decoded once.
        frames, error = _decode(reading, sorted(set().union(*planned)), settings)
        results: list[Extracted | VideoError] = []
        for clip, plan in zip(clips, plans, strict=True):
            if isinstance(plan, VideoError):
                results.append(plan)
                continue
            own, why = frames, error
            if not own.keys() >= set(plan) and len(planned) > 1:  # what went wrong may lie in another clip
                own, why = _decode(reading, plan, settings)
            complete = own.keys() >= set(plan)
            results.append(_extracted(reading, clip, plan, own) if complete else why)
        return results


def _plan(reading: Reading, clip: Clip, settings: Settings) -> list[int]:
    """Positions of the clip's frames. VideoError when it has none."""
    start, end = _bounds(clip)
    _check_duration(reading, start, end)
    positions = choose(reading, settings.sampler, start, end, settings.count)
    if positions:
        shown = (reading.times, reading.end_s, start, end)
        positions = with_moments(positions, *shown, clip.moments, settings.moment_frames)
        if settings.quality == "fast":
            positions = reading.cheapest(positions)
    if not positions:
        raise VideoError(
            "truncated", f"no picture between {start:g} and {end:g} s; the file shows {reading.end_s:.2f} s"
        )
    if settings.quality == "keyframes" and reading.times[positions[-1]] < start:
        raise VideoError(
            "count_mismatch",
            f"no keyframe between {start:g} and {end:g} s; with decode_quality exact the clip has frames",
        )
    return positions


def _bounds(clip: Clip) -> tuple[float, float]:
    return clip.start_s or 0.0, math.inf if clip.end_s is None else clip.end_s


def _decode(
    reading: Reading, positions: list[int], settings: Settings
) -> tuple[dict[int, _Frame], VideoError | None]:
    """Frames by position, and why there are no more where some are missing."""
    frames: dict[int, _Frame] = {}

    def work() -> None:
        pictures = reading.pictures(positions, settings.size)
        for position, (time_s, image, shown) in zip(positions, pictures, strict=False):
            _check_time(reading, position, time_s, settings)
            fitted = fit(image, settings.size, settings.fit, reading.source.pixel_aspect)
            frames[position] = _Frame(time_s, jpeg(fitted, settings.jpeg_quality), shown)
        if len(frames) < len(positions):
            raise Unsure(f"{len(positions)} frames asked for, {len(frames)} came", "count_mismatch")

    return frames, _guarded(work) if positions else None


def _check_time(reading: Reading, position: int, time_s: float, settings: Settings) -> None:
    """Unsure when the picture is not the one asked for, or with `fast` not it or its neighbour."""
    around = reading.times[max(0, position - 1) : position + 2].tolist()
    around = [*around, reading.end_s] if position + 1 == len(reading.times) else around
    gaps = [later - earlier for earlier, later in pairwise(around)]
    allowed = max(gaps) * 1.01 if settings.quality == "fast" else min(gaps) / 2
    asked = float(reading.times[position])
    if abs(time_s - asked) > allowed:
        raise Unsure(f"asked for the frame at {asked:.3f} s, got that at {time_s:.3f} s", "seek_mismatch")


def _extracted(reading: Reading, clip: Clip, plan: list[int], frames: dict[int, _Frame]) -> Extracted:
    start, end = _bounds(clip)
    width, height = frames[plan[0]].shown
    return Extracted(
        jpegs=[frames[position].jpeg for position in plan],
        timestamps=[max(0.0, round(frames[position].time_s - start, 6)) for position in plan],
        width=width,
        height=height,
        fps=reading.fps,
        codec=reading.source.codec,
        duration_s=round(min(end, reading.end_s) - start, 6),
    )


def _check_duration(reading: Reading, start: float, end: float) -> None:
    """Truncated when less is shown than the clip needs, which may be all that the header claims; Unsure when far more is."""
    shown, source = reading.end_s, reading.source
    if start >= shown:
        raise VideoError("truncated", f"the clip begins at {start:g} s, the file shows {shown:.2f} s")
    # The file's clock may begin before the first picture; a header counts from either.
    length = shown - min(float(reading.times[0]), 0.0)
    missing = source.header_s is not None and length < source.header_s * (1 - source.tolerance) - MISSING_S
    if missing and end > shown:
        raise VideoError(
            "truncated", f"the header says {source.header_s:.2f} s, the file shows {shown:.2f} s"
        )
    if source.header_s is not None and length > LATE * source.header_s + BELIEVABLE_GAP_S:
        raise Unsure(
            f"the header says {source.header_s:.2f} s, the frames' times go up to {shown:.2f} s",
            "seek_mismatch",
        )
    if math.isfinite(end) and shown < end - max(1.0, 0.05 * (end - start)):
        raise VideoError("truncated", f"the clip ends at {end:g} s, the file shows {shown:.2f} s")
