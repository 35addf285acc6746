"""A video opened by PyAV: its packets, its decoder with what goes wrong in it, and pictures of its frames."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from workflow_scripts.lib.frames.decoders.container import describe, open_video
from workflow_scripts.lib.frames.decoders.index import Clock
from workflow_scripts.lib.frames.decoders.reading import Picture
from workflow_scripts.lib.frames.reasons import VideoError


def quarter_turns(frame: av.VideoFrame) -> int:
    """How often the picture is to be turned by 90 degrees, counter-clockwise, as its display matrix says."""
    turn = frame.rotation % 360 if abs(frame.rotation) <= 360 else 0
    return turn // 90 if turn % 90 == 0 else 0


def _rgb(frame: av.VideoFrame, reformatter: VideoReformatter, **scaled) -> np.ndarray:
    """uint8 [height, width, 3]; `scaled` is a height and a width. By far faster than PyAV's `to_image`."""
    return reformatter.reformat(frame, format="rgb24", threads=1, **scaled).to_ndarray()


def _share(frame: av.VideoFrame, cover: tuple[float, float]) -> float:
    """How small the frame can become, a factor, and still cover that height and width once it is upright."""
    height, width = cover[::-1] if quarter_turns(frame) % 2 else cover
    return min(1.0, max(height / frame.height, width / frame.width))


class PyavFile:
    """An open video with its description, and decoding that counts what goes wrong."""

    OPTIONS: ClassVar[dict[str, str]] = {}  # of the codec
    SKIP = "DEFAULT"  # frames that the codec leaves out

    def __init__(self, path: Path):
        self.path = path
        self._open()
        try:
            self.source = describe(self.container, self.stream)
            self._learn()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        self.container, self.stream = open_video(self.path)
        self.codec = self.stream.codec_context
        self.codec.thread_count = 1  # processes share the cores, not threads
        self.codec.skip_frame = self.SKIP
        self.codec.options = {**self.codec.options, **self.OPTIONS}
        self.bad_packets = 0
        self.demux_error: str | None = None

    def _learn(self) -> None:
        """Find out when frames are shown."""
        raise NotImplementedError

    def _frames(self, positions: Sequence[int]) -> Iterator[tuple[float, av.VideoFrame]]:
        """The frames at these positions, each with its time."""
        raise NotImplementedError

    def cheapest(self, positions: Sequence[int]) -> list[int]:
        """Positions of the frames to take for these, each itself or beside it, where that saves decoding (`fast`)."""
        return list(positions)

    def close(self) -> None:
        self.container.close()

    def reopen(self) -> None:
        self.close()
        self._open()

    def show(self, clock: Clock, keyframes: np.ndarray | None) -> None:
        """Offer these times, see Reading."""
        self.clock, self.keyframes = clock, keyframes
        self.times, self.end_s, self.fps = clock.times, clock.end_s, clock.fps

    def pictures(self, positions: Sequence[int], size: tuple[int, int] | None = None) -> Iterator[Picture]:
        """See Reading."""
        reformatter = VideoReformatter()
        for time_s, frame in self._frames(positions):
            share = _share(frame, self._cover(size)) if size else 1.0
            scaled = {}
            if share < 1.0:
                height, width = max(1, round(frame.height * share)), max(1, round(frame.width * share))
                scaled = {"height": height, "width": width, "interpolation": "AREA"}
            image, shown = Image.fromarray(_rgb(frame, reformatter, **scaled)), (frame.width, frame.height)
            if turns := quarter_turns(frame):
                image = image.transpose(Image.Transpose[f"ROTATE_{90 * turns}"])
            yield Picture(time_s, image, shown[::-1] if turns % 2 else shown)

    def _cover(self, size: tuple[int, int]) -> tuple[float, float]:
        """Height and width that pictures which become `size` may be scaled down to cover."""
        return math.inf, math.inf

    def thumbnails(self, positions: Sequence[int], size: tuple[int, int]) -> Iterator[np.ndarray]:
        """See Reading."""
        reformatter = VideoReformatter()
        for _, frame in self._frames(positions):
            turns = quarter_turns(frame)
            height, width = size[::-1] if turns % 2 else size
            small = _rgb(frame, reformatter, height=height, width=width, interpolation="AREA")
            yield np.ascontiguousarray(np.rot90(small, turns))

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the video stream in file order; a file that breaks off ends there."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
        except IndexError:
            return  # behind the last packet PyAV may trip over streams that came up on the way (mpeg ps and ts)
        except (av.error.FFmpegError, OSError) as error:
            if isinstance(error, MemoryError):
                raise
            self.demux_error = str(error)

    def damage(self) -> str | None:
        """What went wrong while reading and decoding; None when nothing did."""
        parts = [f"{self.bad_packets} packets not decoded"] if self.bad_packets else []
        return "; ".join([*parts, *([self.demux_error] if self.demux_error else [])]) or None

    def decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        """Frames that the decoder gives for a packet, or what it still holds for None."""
        if packet is not None and packet.is_corrupt:
            self.bad_packets += 1
        try:
            return self.codec.decode(packet)
        except av.error.EOFError:
            return []
        except MemoryError:
            raise
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, av.error.DecoderNotFoundError | av.error.PatchWelcomeError):
                raise VideoError("unsupported_codec", str(error)) from None
            self.bad_packets += 1
            return []
