"""PyAV without trust in packets: decodes the whole file, once to learn when frames are shown, then for pictures."""

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import chain

import av
import numpy as np

from workflow_scripts.lib.frames.decoders.index import Clock
from workflow_scripts.lib.frames.decoders.pyav_file import PyavFile
from workflow_scripts.lib.frames.decoders.reading import Unsure
from workflow_scripts.lib.frames.reasons import VideoError

# Formats without presentation stamps: those that are told belong to packets in the order of decoding.
NO_STAMPS = {"avi", "asf"}
JUMP_S = 1.0  # further back than any decoder puts frames in order


class SequentialReading(PyavFile):
    """All frames of the file; none when any of it is damaged, since what follows damage cannot be trusted."""

    def _learn(self) -> None:
        self.marks, durations, keys, self.corrupt, whole = [], [], [], 0, False
        for frame in self._all_frames():
            self.marks.append((frame.pts, frame.dts))
            durations.append(getattr(frame, "duration", 0) or 0)
            keys.append(frame.key_frame)
            whole = whole or frame.key_frame  # before the first keyframe nothing can be
            self.corrupt += frame.is_corrupt and whole
        if not self.marks:
            raise VideoError("corrupt", self.damage() or "no frame could be decoded")
        stamps, self.number_of = np.unique(self._stamps(), return_index=True)
        keyframes = np.flatnonzero(np.array(keys)[self.number_of])
        self.show(Clock(self.container, self.stream, stamps, durations[self.number_of[-1]]), keyframes)
        self.found_damage = self.damage()

    def _all_frames(self) -> Iterator[av.VideoFrame]:
        """Every frame, as it comes from the decoder."""
        for packet in chain(self.packets(), [None]):
            yield from self.decode(packet)

    def _stamps(self) -> np.ndarray:
        """When each frame is shown, int64 [frames], in the order in which they come from the decoder."""
        tick = float(1 / ((self.stream.average_rate or 25) * self.stream.time_base))
        numbers = np.arange(len(self.marks))
        known = np.array([pts is not None for pts, _ in self.marks])
        if not known.any():
            return np.round(numbers * tick).astype(np.int64)
        first = int(np.flatnonzero(known)[0])
        pts = np.array([pts for pts, _ in self.marks if pts is not None], dtype=np.int64)
        if self.container.format.name in NO_STAMPS:
            pts = np.sort(pts)
        elif len(np.unique(pts)) < len(pts) or (np.diff(pts) * float(self.stream.time_base) < -JUMP_S).any():
            # Begins anew, as joined files do: only the order is certain.
            steps = np.diff(pts)
            usual = int(np.median(steps[steps > 0])) if (steps > 0).any() else max(1, round(tick))
            pts = pts[0] + np.cumsum([0, *np.where(steps > 0, steps, usual)])
        if known.all():
            return pts
        # Those without a stamp of their own lie between their neighbours.
        before = np.minimum(numbers - first, 0) * tick
        after = np.maximum(numbers - np.flatnonzero(known)[-1], 0) * tick
        return np.round(np.interp(numbers, np.flatnonzero(known), pts) + before + after).astype(np.int64)

    def _frames(self, positions: Sequence[int]) -> Iterator[tuple[float, av.VideoFrame]]:
        if self.corrupt or self.found_damage:
            damage = self.found_damage or "all packets read"
            raise VideoError("partial", f"{self.corrupt} of {len(self.marks)} frames damaged; {damage}")
        self.reopen()
        wanted = {int(self.number_of[position]): position for position in positions}
        coming = deque(positions)
        waiting: dict[int, av.VideoFrame] = {}  # frames that come before an earlier one, which is rare
        for number, frame in enumerate(self._all_frames()):
            if number in wanted:
                if (frame.pts, frame.dts) != self.marks[number]:
                    raise Unsure("decoded again, the file gives other frames", "seek_mismatch")
                waiting[wanted[number]] = frame
            while coming and coming[0] in waiting:
                yield float(self.times[coming[0]]), waiting.pop(coming.popleft())
            if not coming:
                return
        raise Unsure(f"{len(coming)} frames did not come", "count_mismatch")


class SequentialKeyframeReading(SequentialReading):
    """`keyframes`: knows of no other frames."""

    def _learn(self) -> None:
        super()._learn()
        self.number_of = self.number_of[self.keyframes]
        self.times = self.times[self.keyframes]
        if not len(self.times):
            raise VideoError("corrupt", "no keyframe")
        self.keyframes = np.arange(len(self.times))
