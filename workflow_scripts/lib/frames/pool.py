"""Processes that survive what hostile videos do to them.

A task is (items, *more): a process calls `function(items, *more)` and gets one answer an item. Every task has a time
limit, so much for each of its items, and every process a memory limit. A process that dies, hangs or runs out of
memory is replaced, and each item of its task is done once more at the end, alone in a fresh process: a second failure
is the item's own. A process that has grown is replaced between two tasks.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.worker import OUT_OF_MEMORY

START_S = 120  # a process that is not ready after so long never will be
GROWN = 1 / 4  # of the memory limit: a process that holds so much more than at its start is replaced


@dataclass(frozen=True)
class Failure:
    """An item that got no answer; `reason` is timeout, crash or out_of_memory."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Limits:
    """When to give up. None of it decides about the frames."""

    timeout_s: float = 120.0
    """Seconds a clip."""
    memory_mb: int = 4096
    """Address space of a decoding process over its size at the start, MiB."""
    max_bad_fraction: float = 0.05
    """Share of a shard's videos that may give no frames."""


@dataclass(frozen=True)
class _Job:
    items: tuple
    more: tuple
    alone: bool = False

    def again(self) -> "list[_Job]":
        return [_Job((item,), self.more, alone=True) for item in self.items]

    def answered(self, answers: "list | Failure", seconds: float) -> Iterator[tuple[Any, Any, float]]:
        if isinstance(answers, Failure):
            answers = [answers] * len(self.items)
        for item, answer in zip(self.items, answers, strict=True):
            yield item, answer, seconds / len(self.items)


class _Worker:
    """One process and the job it is at."""

    def __init__(self, function: str, memory_mb: int, prepare: tuple):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-m", "workflow_scripts.lib.frames.worker"]
            package_root = str(Path(__file__).parents[3])
            path = os.pathsep.join(filter(None, [package_root, os.environ.get("PYTHONPATH")]))
            self.process = subprocess.Popen(
                [*command, str(theirs.fileno()), function, str(memory_mb)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": path},
            )
            self.connection = Connection(ours.detach())
        with contextlib.suppress(OSError):
            self.connection.send(prepare)
        self.ready = self.used = False
        self.grown_mb = 0.0
        self.job: _Job | None = None
        self.began = time.monotonic()

    def give(self, job: _Job) -> None:
        self.job, self.used, self.began = job, True, time.monotonic()
        with contextlib.suppress(OSError):  # it died meanwhile: listening to it will tell
            self.connection.send((job.items, *job.more))

    def end(self) -> int:
        """Kill the process; its exit code, negative for a signal."""
        self.process.kill()
        code = self.process.wait()
        self.connection.close()
        return code


class Pool:
    """`workers` processes that call `function` ("module:name", which must import little) on tasks.

    Before the first task they call `prepare`, ("module:name", *arguments), whose memory is not limited.
    A context manager; leaving it ends all processes. UserError when the processes cannot start, or `function` raises
    one: that is not the item's fault.
    """

    def __init__(self, function: str, workers: int, limits: Limits, prepare: tuple = ()):
        self.function, self.size, self.limits, self.prepare = function, workers, limits, prepare
        self.workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers:
            worker.end()
        self.workers = []

    def run(self, tasks: Iterable[tuple]) -> Iterator[tuple[Any, Any, float]]:
        """Yield (item, answer or Failure, seconds) in the order in which they are finished.

        The items of a task share its seconds evenly.
        """
        waiting = deque(_Job(items, more) for items, *more in tasks)
        while waiting or any(worker.job for worker in self.workers):
            self._hand_out(waiting)
            busy = {w.connection: w for w in self.workers if w.job or not w.ready}
            heard = [
                self._hear(busy[connection]) for connection in wait(list(busy), timeout=self._patience())
            ]
            late = [
                self._late(w) for w in list(self.workers) if self._left(w) <= 0 and not w.connection.poll()
            ]
            for job, answers, seconds in filter(None, heard + late):
                if isinstance(answers, Failure) and not job.alone:
                    waiting.extend(job.again())
                else:
                    yield from job.answered(answers, seconds)

    def _hand_out(self, waiting: deque[_Job]) -> None:
        """Give every process that is free something to do; end those that are not fit for it, start what lacks."""
        for worker in [w for w in self.workers if w.ready and not w.job]:
            if not waiting:
                return
            if worker.grown_mb > GROWN * self.limits.memory_mb or (waiting[0].alone and worker.used):
                self._end(worker)
            else:
                worker.give(waiting.popleft())
        coming = sum(1 for worker in self.workers if not worker.ready)
        for _ in range(min(self.size - len(self.workers), len(waiting) - coming)):
            self.workers.append(_Worker(self.function, self.limits.memory_mb, self.prepare))

    def _left(self, worker: _Worker) -> float:
        """Seconds that the process still has for what it is at."""
        if not worker.ready:
            return worker.began + START_S - time.monotonic()
        return worker.began + self._allowed(worker.job) - time.monotonic() if worker.job else float("inf")

    def _allowed(self, job: _Job) -> float:
        return self.limits.timeout_s * len(job.items)

    def _patience(self) -> float:
        return max(0.0, min([1.0, *map(self._left, self.workers)]))

    def _hear(self, worker: _Worker) -> tuple[_Job, list | Failure, float] | None:
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            message = Failure("crash", self._bury(worker))
        if not worker.ready:
            if isinstance(message, UserError):
                raise message
            if isinstance(message, Failure):
                raise UserError(
                    f"a decoding process did not start ({message.detail}); "
                    "its message stands above. If memory is short, use fewer workers"
                )
            worker.ready = True
            return None
        job, worker.job = worker.job, None
        if isinstance(message, Failure):
            answers = message
        else:
            answers, worker.grown_mb = message
            if isinstance(answers, UserError):
                raise answers
        if answers == OUT_OF_MEMORY:
            self._end(worker)
            answers = Failure("out_of_memory", f"more than {self.limits.memory_mb} MiB")
        return job, answers, time.monotonic() - worker.began

    def _late(self, worker: _Worker) -> tuple[_Job, Failure, float]:
        self._end(worker)
        if not worker.ready:
            raise UserError(f"a decoding process was not ready after {START_S} s; use fewer workers")
        allowed = self._allowed(worker.job)
        return worker.job, Failure("timeout", f"no answer after {allowed:g} s"), allowed

    def _end(self, worker: _Worker) -> int:
        self.workers.remove(worker)
        return worker.end()

    def _bury(self, worker: _Worker) -> str:
        """End a process that hung up; by what it died, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=1)
        code = self._end(worker)
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
