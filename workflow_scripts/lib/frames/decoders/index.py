"""What the packets of a video tell without being decoded: when each frame is shown, and from where to decode it."""

from collections.abc import Iterable

import av
import numpy as np

from workflow_scripts.lib.frames.decoders.container import origin
from workflow_scripts.lib.frames.decoders.reading import Unsure, rate

SKIP_WORTH = 8  # packets; decoding on through fewer is cheaper than emptying the decoder


class Clock:
    """Seconds of the file's own clock, from the presentation stamps of its frames (ascending).

    `times`: float [N], `end_s`: when the last frame ends, `fps`: frames a second or None.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.VideoStream,
        stamps: np.ndarray,
        last_duration: int,
    ):
        self.base = stream.time_base
        self.zero = origin(container, stream, int(stamps[0]))
        self.times = (stamps - self.zero).astype(float) * float(self.base)
        # The last frame lasts as long as it says, or as the others do.
        usual = float(np.median(np.diff(self.times))) if len(stamps) > 1 else 0.04
        self.end_s = float(self.times[-1]) + (float(last_duration * self.base) or usual)
        self.fps = rate(self.times)

    def at(self, stamp: int) -> float:
        """The time of one stamp, in seconds."""
        return float((stamp - self.zero) * self.base)


class Index:
    """Packets in file order and the frames that they hold in the order in which they are shown.

    `stamps`: int64 [packets]; `order`: int64 [frames], the packet of each frame; `from_key`: int64 [packets], the
    packet from which on to decode. Unsure when the packets do not tell.
    """

    def __init__(
        self, container: av.container.InputContainer, stream: av.VideoStream, packets: Iterable[av.Packet]
    ):
        stamps, durations, keys, shown = [], [], [], []
        for packet in packets:
            if packet.pts is None:
                raise Unsure("packets without time stamps")
            stamps.append(packet.pts)
            durations.append(packet.duration or 0)
            keys.append(packet.is_keyframe)
            shown.append(not packet.is_discard)
        if not stamps:
            raise Unsure("the file holds no picture data")
        self.stamps, self.keys = np.array(stamps, dtype=np.int64), np.array(keys)
        self.from_key = _keys_before(self.stamps, self.keys)
        usable = np.flatnonzero(np.array(shown) & (self.from_key >= 0))
        if usable.size == 0:
            raise Unsure("no keyframe")
        self.order = usable[np.argsort(self.stamps[usable], kind="stable")]
        if (np.diff(self.stamps[self.order]) == 0).any():
            raise Unsure("two frames at one time")
        self.clock = Clock(container, stream, self.stamps[self.order], durations[self.order[-1]])
        self.keyframes = np.flatnonzero(self.keys[self.order])

    def closed(self) -> bool:
        """Whether no frame that follows a keyframe in the file is shown before it, and none is left out."""
        return len(self.order) == len(self.stamps) and (self.order[self.keyframes] == self.keyframes).all()

    def stretches(self, packets: list[int]) -> list[tuple[int, int]]:
        """Ranges to decode for these packets, in file order; ranges with a short gap between are one."""
        stretches: list[tuple[int, int]] = []
        for packet in sorted(packets):
            first = int(self.from_key[packet])
            if stretches and first <= stretches[-1][1] + SKIP_WORTH:
                stretches[-1] = (stretches[-1][0], packet)
            else:
                stretches.append((first, packet))
        return stretches


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
