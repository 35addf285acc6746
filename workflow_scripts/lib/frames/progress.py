"""How far a shard is: a bar on a terminal, a line every so often in a log."""

import sys
import time

from tqdm import tqdm

FIRST_S, LONGEST_S, SLOWER = 10.0, 60.0, 1.5  # between two lines: each time longer, so that logs stay short


class Progress:
    """Counts clips, or what else `unit` says: `total` in all, `done` of them before it begins. A context manager."""

    def __init__(self, total: int, done: int, unit: str = "clip"):
        self.total, self.before, self.unit = total, done, unit
        self.done = self.failed = 0
        self.began = self._said = time.monotonic()
        self._pause_s = FIRST_S
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(total=total, initial=done, unit=unit, smoothing=0.05, dynamic_ncols=True)

    def count(self, failed: bool = False, more: int = 1) -> None:
        """One more clip is done, or several."""
        self.done += more
        self.failed += failed
        if self._bar is not None:
            if self.unit == "clip":
                self._bar.set_postfix(failed=self.failed, refresh=False)
            self._bar.update(more)
        elif time.monotonic() - self._said >= self._pause_s or self.before + self.done == self.total:
            print(self.line(), flush=True)
            self._said, self._pause_s = time.monotonic(), min(LONGEST_S, self._pause_s * SLOWER)

    def line(self) -> str:
        """Units done, clips that failed, units a second, and the time that the rest will take at this rate."""
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        speed = f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"
        done = self.before + self.done
        left = f", {_duration((self.total - done) / rate)} left" if done < self.total and rate else ""
        things = f"videos, {self.failed} failed" if self.unit == "clip" else f"{self.unit}s"
        return f"{done} of {self.total} {things}, {speed} {self.unit}s/s{left}"

    def say(self, text: str) -> None:
        """Print a line without breaking the bar."""
        with tqdm.external_write_mode(file=sys.stdout):
            print(text, flush=True)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {seconds:02d} s"
