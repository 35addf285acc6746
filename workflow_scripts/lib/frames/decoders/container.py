"""Opening a media file, and telling apart the ways in which that fails."""

import stat
from fractions import Fraction
from pathlib import Path

import av
import av.error

from workflow_scripts.lib.frames.decoders.reading import Source
from workflow_scripts.lib.frames.reasons import VideoError

# Formats that are lists of other files, or text drawn as pictures: no video of anybody's corpus.
NOT_VIDEO = {"hls", "dash", "concat", "sdp", "tty", "ffmetadata", "imf"}
PICTURES = {"image2", "ico"}  # and "jpeg_pipe", "png_pipe" ..., by their ending
# Pictures in the container of mp4, a large one as many small streams, of which one alone is a part of it.
PICTURE_BRANDS = {"avif", "heic", "heix", "mif1"}
MP4_BOXES = {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"sidx", b"moof", b"pnot"}
# A header that claims more than this is not believed (seen: 39 hours for 30 frames).
BELIEVABLE_S = 12 * 3600


def check_file(path: Path) -> None:
    """VideoError when the path is no regular file with bytes in it."""
    try:
        found = path.stat()
    except OSError as error:
        raise VideoError("missing", error.strerror or str(error)) from None
    if stat.S_ISDIR(found.st_mode):
        raise VideoError("is_directory", "a folder, not a file")
    if not stat.S_ISREG(found.st_mode):
        raise VideoError("not_media", "a pipe, socket or device, not a file")
    if found.st_size == 0:
        raise VideoError("empty", "0 bytes")


def open_video(path: Path) -> tuple[av.container.InputContainer, av.VideoStream]:
    """The container and its video stream (no cover picture). VideoError names what is wrong."""
    check_file(path)
    try:
        # "file:" and an absolute path: a name that begins with a dash or looks like an address is still a file,
        # and a playlist cannot make the decoder fetch something.
        container = av.open(f"file:{path.absolute()}", options={"protocol_whitelist": "file"})
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _open_error(path, error) from None
    if container.format.name in NOT_VIDEO:
        container.close()
        raise VideoError("not_media", f"a {container.format.name} file")
    name, brand = container.format.name, container.metadata.get("major_brand", "")
    if name in PICTURES or name.endswith("_pipe") or brand in PICTURE_BRANDS:
        container.close()
        raise VideoError("not_media", f"a picture, not a video ({brand or name})")
    # Of several, the one that players show.
    streams = [container.streams.best("video"), *container.streams.video]
    stream = next((s for s in streams if s is not None and not _is_cover(s)), None)
    if stream is None:
        container.close()
        raise VideoError("no_video_stream", f"a {container.format.name} file without video")
    if stream.codec_context is None:
        container.close()
        raise VideoError("unsupported_codec", "no decoder for this video codec")
    return container, stream


def _is_cover(stream: av.VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _open_error(path: Path, error: Exception) -> VideoError:
    what = getattr(error, "strerror", None) or str(error)
    if isinstance(error, FileNotFoundError | PermissionError):
        return VideoError("missing", what)
    boxes = _mp4_boxes(path)
    if boxes and b"moov" not in boxes:
        return VideoError("no_index", "an mp4 file without its moov box")
    head = _head(path)
    if boxes or head.startswith((b"\x1aE\xdf\xa3", b"RIFF", b"FLV", b"OggS", b"\x00\x00\x01\xba")):
        return VideoError("corrupt", what)
    return VideoError("not_media", what)


def _head(path: Path) -> bytes:
    with path.open("rb") as handle:
        return handle.read(16)


def _mp4_boxes(path: Path) -> set[bytes]:
    """Names of the top-level boxes, empty when the file does not begin with one."""
    names: set[bytes] = set()
    size = path.stat().st_size
    with path.open("rb") as handle:
        position = 0
        while position + 8 <= size and len(names) < 100:
            handle.seek(position)
            header = handle.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if not names and name not in MP4_BOXES:
                break
            names.add(name)
            if length == 1:
                length = int.from_bytes(header[8:16], "big")
            if length < 8:
                break
            position += length
    return names


def describe(container: av.container.InputContainer, stream: av.VideoStream) -> Source:
    """Codec, claimed duration and shape of pixels, as far as the headers can be believed."""
    header, tolerance = None, 0.02
    if stream.duration and stream.time_base:
        header = float(stream.duration * stream.time_base)
    elif tag := stream.metadata.get("DURATION"):
        header = _clock(tag)
    if header is None and container.duration:
        header, tolerance = (
            container.duration / av.time_base,
            0.05,
        )  # of the longest stream, which may be sound
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        # Without the index at its end, the other figures are guesses from the file's size.
        header = float(stream.frames / stream.average_rate)
    if header is not None and not 0 < header <= BELIEVABLE_S:
        header = None
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return Source(
        codec=stream.codec_context.codec.canonical_name,
        header_s=header,
        tolerance=tolerance,
        pixel_aspect=float(aspect) if Fraction(1, 10) < aspect < 10 else 1.0,
    )


def _clock(text: str) -> float | None:
    """`00:01:02.5` in seconds."""
    try:
        hours, minutes, seconds = text.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def origin(container: av.container.InputContainer, stream: av.VideoStream, first_pts: int) -> int:
    """The pts at which the file's clock shows 0: its first sound or picture."""
    if container.start_time is None:
        return first_pts
    begins = round(Fraction(container.start_time, av.time_base) / stream.time_base)
    return min(begins, first_pts)
