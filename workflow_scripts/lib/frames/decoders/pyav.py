"""PyAV: the frames asked for, on every file tried.

Indexed reading demuxes the file once without decoding, which tells when each frame is shown and which ones can be
decoded on their own. Then it decodes only the stretches from a keyframe to a wanted frame. Packets between are
skipped, not sought: seeking by time is wrong in some containers, and skipping costs reading alone. Where packets
and frames turn out not to agree, sequential reading decodes everything.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import av
import av.error
import numpy as np
from PIL import Image

from workflow_scripts.lib.frames.decoders.container import describe, open_video, origin
from workflow_scripts.lib.frames.decoders.reading import Unsure
from workflow_scripts.lib.frames.reasons import VideoError

KEEP_BYTES = 32 * 2**20  # packets of a smaller file stay in memory between the two passes
SKIP_WORTH = 8  # packets; decoding on through fewer is cheaper than emptying the decoder
TURN = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}


def upright(frame: av.VideoFrame) -> Image.Image:
    """The frame as RGB, turned as its display matrix says."""
    image = frame.to_image()
    turn = frame.rotation % 360 if abs(frame.rotation) <= 360 else 0
    return image.transpose(TURN[turn]) if turn in TURN else image


class _File:
    """An open video with its description, and decoding that counts what goes wrong."""

    def __init__(self, path: Path):
        self.path = path
        self.container, self.stream = open_video(path)
        self.source = describe(self.container, self.stream)
        self.codec = self.stream.codec_context
        self.codec.thread_count = 1  # processes share the cores, not threads
        self.bad_packets = 0
        self.demux_error: str | None = None

    def close(self) -> None:
        self.container.close()

    def reopen(self) -> None:
        self.close()
        self.container, self.stream = open_video(self.path)
        self.codec = self.stream.codec_context
        self.codec.thread_count = 1

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the video stream in file order; a file that breaks off ends there."""
        try:
            for packet in self.container.demux(self.stream):
                if packet.size:
                    yield packet
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

    def set_times(self, pts: np.ndarray, last_duration: int) -> None:
        """Times from presentation stamps; the last frame lasts as long as it says, or as the others do."""
        base = self.stream.time_base
        zero = origin(self.container, self.stream, int(pts[0]))
        self.times = (pts - zero).astype(float) * float(base)
        usual = float(np.median(np.diff(self.times))) if len(pts) > 1 else 0.04
        self.end_s = float(self.times[-1]) + (float(last_duration * base) or usual)


class IndexedReading(_File):
    """Decodes from keyframes, by an index made of the packets."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._make_index()
        except BaseException:
            self.close()
            raise

    def _make_index(self) -> None:
        stamps, durations, keys, shown = [], [], [], []
        self.kept: list[av.Packet] | None = []
        kept_bytes = 0
        for packet in self.packets():
            if packet.pts is None:
                raise Unsure("packets without time stamps")
            stamps.append(packet.pts)
            durations.append(packet.duration or 0)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard)
            kept_bytes += packet.size
            if self.kept is not None:
                self.kept.append(packet)
                if kept_bytes > KEEP_BYTES:
                    self.kept = None
        if not stamps:
            reason = "truncated" if self.source.header_s else "corrupt"
            raise VideoError(reason, self.demux_error or "the file holds no picture data")
        self.stamps = np.array(stamps, dtype=np.int64)
        self.from_key = _keys_before(self.stamps, np.array(keys))
        usable = np.flatnonzero(np.array(shown) & (self.from_key >= 0))
        if usable.size == 0:
            raise Unsure("no keyframe")
        self.order = usable[np.argsort(self.stamps[usable], kind="stable")]
        pts = self.stamps[self.order]
        if (np.diff(pts) == 0).any():
            raise Unsure("two frames at one time")
        self.set_times(pts, durations[self.order[-1]])

    def pictures(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """See Reading. Unsure when a frame does not come, comes damaged or out of order."""
        packets = [int(self.order[position]) for position in positions]
        wanted = [int(self.stamps[packet]) for packet in packets]
        coming = iter(wanted)
        for frame in self._decode_for(sorted(packets)):
            if frame.pts in wanted:
                if frame.pts != next(coming, None):
                    raise Unsure("frames out of order")
                yield upright(frame)
        if self.bad_packets or self.demux_error or next(coming, None) is not None:
            raise Unsure(self.damage() or "a frame did not come")

    def _decode_for(self, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """Frames of the stretches that hold the wanted packets (positions in file order).

        Unsure at a damaged one, wanted or not: the frames that build on it are damaged too, and not marked.
        """
        packets = enumerate(self._again())
        for number, (first, last) in enumerate(_stretches(wanted, self.from_key)):
            if number:
                self.codec.flush_buffers()
            for frame in self._decode_stretch(packets, first, last):
                if frame.pts is None or frame.pts < self.stamps[first]:
                    continue  # belongs to the pictures before the keyframe, which were not decoded
                if frame.is_corrupt:
                    raise Unsure("a damaged frame")
                yield frame

    def _decode_stretch(self, packets: Iterator, first: int, last: int) -> Iterator[av.VideoFrame]:
        for position, packet in packets:
            if position >= first:
                yield from self.decode(packet)
            if position == last:
                break
        yield from self.decode(None)

    def _again(self) -> Iterator[av.Packet]:
        if self.kept is not None:
            return iter(self.kept)
        self.reopen()
        return self.packets()


def _keys_before(stamps: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """For every packet the last keyframe at or before it, in file order and in time; -1 where there is none.

    In time too: a picture that follows a keyframe in the file and is shown before it needs the one before that.
    """
    found = np.full(len(stamps), -1, dtype=np.int64)
    if not keys.any():
        return found
    previous, latest = -1, -1
    for i, (stamp, key) in enumerate(zip(stamps, keys, strict=True)):
        if key:
            previous, latest = latest, i
        if latest >= 0 and stamps[latest] <= stamp:
            found[i] = latest
        elif previous >= 0 and stamps[previous] <= stamp:
            found[i] = previous
    return found


def _stretches(wanted: list[int], from_key: np.ndarray) -> list[tuple[int, int]]:
    """Ranges of packets to decode, in file order; ranges with a short gap between are one."""
    stretches: list[tuple[int, int]] = []
    for packet in wanted:
        first = int(from_key[packet])
        if stretches and first <= stretches[-1][1] + SKIP_WORTH:
            stretches[-1] = (stretches[-1][0], packet)
        else:
            stretches.append((first, packet))
    return stretches


class SequentialReading(_File):
    """Decodes the whole file, once to learn when frames are shown and once for the pictures."""

    def __init__(self, path: Path):
        super().__init__(path)
        try:
            self._learn()
        except BaseException:
            self.close()
            raise

    def _frames(self) -> Iterator[av.VideoFrame]:
        for packet in self.packets():
            yield from self.decode(packet)
        yield from self.decode(None)

    def _learn(self) -> None:
        stamps, durations, self.corrupt, whole = [], [], 0, False
        for frame in self._frames():
            stamp = frame.pts if frame.pts is not None else frame.dts
            if stamp is None:
                stamp = self._by_rate(len(stamps))
            stamps.append(stamp)
            durations.append(getattr(frame, "duration", 0) or 0)
            whole = whole or frame.key_frame  # before the first keyframe nothing can be
            self.corrupt += frame.is_corrupt and whole
        if not stamps:
            raise VideoError("corrupt", self.damage() or "no frame could be decoded")
        pts, self.first_of = np.unique(np.array(stamps, dtype=np.int64), return_index=True)
        self.set_times(pts, durations[self.first_of[-1]])

    def _by_rate(self, number: int) -> int:
        """The stamp of a frame that has none, at the rate of the header."""
        return round(number / ((self.stream.average_rate or 25) * self.stream.time_base))

    def pictures(self, positions: Sequence[int]) -> Iterator[Image.Image]:
        """See Reading. VideoError when any of the file is damaged: what follows it cannot be trusted."""
        if self.corrupt or self.damage():
            what = (
                f"{self.corrupt} of {len(self.times)} frames damaged; {self.damage() or 'all packets read'}"
            )
            raise VideoError("partial", what)
        self.reopen()
        numbers = [int(self.first_of[position]) for position in positions]
        waiting: dict[int, Image.Image] = {}  # frames that come before an earlier one, which is rare
        wanted, coming = set(numbers), 0
        for number, frame in enumerate(self._frames()):
            if number in wanted:
                waiting[number] = upright(frame)
            while coming < len(numbers) and numbers[coming] in waiting:
                yield waiting.pop(numbers[coming])
                coming += 1
