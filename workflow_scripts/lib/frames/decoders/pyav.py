"""PyAV: the frames asked for, on every file tried.

Indexed reading demuxes the file once without decoding, which tells when each frame is shown and which ones can be
decoded on their own. Then it decodes only the stretches from a keyframe to a wanted frame. Packets between are
skipped, not sought: seeking by time is wrong in some containers, and skipping costs reading alone. Where packets
and frames turn out not to agree, sequential reading decodes everything.

`FastReading` and `KeyframeReading` are indexed readings that decode less (`decode_quality`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import ClassVar

import av
import numpy as np

from workflow_scripts.lib.frames.decoders.index import Index
from workflow_scripts.lib.frames.decoders.pyav_file import PyavFile
from workflow_scripts.lib.frames.decoders.reading import Unsure
from workflow_scripts.lib.frames.reasons import VideoError

KEEP_BYTES = 32 * 2**20  # packets of a smaller file stay in memory between the two passes


class IndexedReading(PyavFile):
    """Decodes from keyframes, by an index made of the packets."""

    def _learn(self) -> None:
        self.kept: list[av.Packet] | None = []
        try:
            self.index = Index(self.container, self.stream, self._keeping())
        except Unsure:
            if self.kept == []:
                reason = "truncated" if self.source.header_s else "corrupt"
                raise VideoError(reason, self.demux_error or "the file holds no picture data") from None
            raise
        self.show(self.index.clock, self.index.keyframes)
        self.packet_of = self.index.order

    def _keeping(self) -> Iterator[av.Packet]:
        kept_bytes = 0
        for packet in self.packets():
            kept_bytes += packet.size
            if self.kept is not None:
                self.kept.append(packet)
                if kept_bytes > KEEP_BYTES:
                    self.kept = None
            yield packet

    def _again(self) -> Iterator[av.Packet]:
        if self.kept is not None:
            return iter(self.kept)
        self.reopen()
        return self.packets()

    def _frames(self, positions: Sequence[int]) -> Iterator[tuple[float, av.VideoFrame]]:
        """Unsure when a frame does not come, comes damaged or out of order."""
        packets = [int(self.packet_of[position]) for position in positions]
        wanted = {
            int(self.index.stamps[packet]): position
            for packet, position in zip(packets, positions, strict=True)
        }
        yield from self._match(self._decode_for(packets), wanted)

    def _match(
        self, frames: Iterable[av.VideoFrame], wanted: dict[int, int]
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        """Those that are wanted (stamps in ascending order, to positions)."""
        coming = deque(wanted)
        for frame in frames:
            if frame.pts in wanted:
                if not coming or frame.pts != coming.popleft():
                    raise Unsure("frames out of order", "seek_mismatch")
                yield self.clock.at(frame.pts), frame
        if coming:
            raise Unsure("a frame did not come", "count_mismatch")

    def _decode_for(self, wanted: list[int]) -> Iterator[av.VideoFrame]:
        """Frames of the stretches that hold the wanted packets.

        Unsure at a damaged one, wanted or not: the frames that build on it are damaged too, and not marked.
        """
        if self.demux_error:
            raise Unsure(self.demux_error)
        self.bad_packets = 0  # those of an earlier call lie in other stretches
        packets = enumerate(self._again())
        for first, last in self._stretches(wanted):
            if self.codec.is_open:
                self.codec.flush_buffers()
            before = None
            for frame in self._decode_stretch(packets, first, last, set(wanted)):
                if self.bad_packets or frame.is_corrupt:
                    raise Unsure(self.damage() or "a damaged frame")
                if frame.pts is None or frame.pts < self.index.stamps[first]:
                    continue  # belongs to the pictures before the keyframe, which were not decoded
                if before is not None and frame.pts <= before:
                    raise Unsure("frames out of order", "seek_mismatch")
                yield frame
                before = frame.pts
            if self.damage():
                raise Unsure(self.damage())

    def _stretches(self, wanted: list[int]) -> list[tuple[int, int]]:
        return self.index.stretches(wanted)

    def _decode_stretch(
        self, packets: Iterator[tuple[int, av.Packet]], first: int, last: int, wanted: set[int]
    ) -> Iterator[av.VideoFrame]:
        for position, packet in packets:
            if position >= first:
                yield from self._decode_one(packet, position in wanted)
            if position == last:
                break
        yield from self.decode(None)

    def _decode_one(self, packet: av.Packet, wanted: bool) -> list[av.VideoFrame]:
        return self.decode(packet)


class _Cheaper(IndexedReading):
    """Frames are scaled by the decoder's own library to little more than is needed: much cheaper than later."""

    def _cover(self, size: tuple[int, int]) -> tuple[float, float]:
        oblong = max(self.source.pixel_aspect, 1 / self.source.pixel_aspect)
        return size[0] * oblong, size[1] * oblong


class FastReading(_Cheaper):
    """`fast`: no loop filter, and no frame that is neither wanted nor referred to by others."""

    OPTIONS: ClassVar = {"skip_loop_filter": "all"}
    SKIP = "NONREF"

    def cheapest(self, positions: Sequence[int]) -> list[int]:
        """See PyavFile: of each frame and the two beside it the one with the fewest packets from its keyframe on.

        Distinct and ascending. The first and the last one stay: beside them the clip may be at its end.
        """
        packets = self.index.order
        cost = packets - self.index.from_key[packets]
        chosen = list(positions)
        for place in range(1, len(positions) - 1):
            # Not the frame that stands for the one before, nor the one that is asked for next.
            first = max(positions[place] - 1, chosen[place - 1] + 1)
            last = min(positions[place] + 1, positions[place + 1] - 1)
            chosen[place] = first + int(np.argmin(cost[first : last + 1]))
        return chosen

    def _decode_one(self, packet: av.Packet, wanted: bool) -> list[av.VideoFrame]:
        self.codec.skip_frame = "DEFAULT" if wanted else self.SKIP
        return self.decode(packet)

    def _match(
        self, frames: Iterable[av.VideoFrame], wanted: dict[int, int]
    ) -> Iterator[tuple[float, av.VideoFrame]]:
        """The wanted ones or a neighbour each: some codecs (AV1) leave out wanted frames too."""
        stamps = self.index.stamps[self.index.order]
        waiting, before, given = deque(wanted.values()), None, -1
        for now in chain(((int(np.searchsorted(stamps, frame.pts)), frame) for frame in frames), [None]):
            while waiting and (now is None or waiting[0] <= now[0]):
                asked = waiting.popleft()
                position, frame = min(
                    (found for found in (before, now) if found),
                    key=lambda found, asked=asked: abs(found[0] - asked),
                    default=(-2, None),
                )
                if abs(position - asked) > 1 or position <= given:
                    raise Unsure("a frame and its neighbours did not come", "seek_mismatch")
                yield self.clock.at(frame.pts), frame
                given = position
            before = now


class KeyframeReading(_Cheaper):
    """`keyframes`: knows of no other frames, and decodes each on its own."""

    def _learn(self) -> None:
        super()._learn()
        self.packet_of = self.index.order[self.index.keyframes]
        self.times = self.clock.times[self.index.keyframes]
        self.keyframes = np.arange(len(self.times))

    def _stretches(self, wanted: list[int]) -> list[tuple[int, int]]:
        return [(packet, packet) for packet in sorted(wanted)]
