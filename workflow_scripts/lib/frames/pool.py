"""Processes that survive what hostile videos do to them.

Every task has a time limit and every process a memory limit. A process that dies, hangs or runs out of memory is
replaced, and its task is done once more at the end, alone in a fresh process; the second time it counts as failed.
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


@dataclass(frozen=True)
class Failure:
    """A task that gave no answer; `reason` is timeout, crash or out_of_memory."""

    reason: str
    detail: str


class _Worker:
    """One process and the task it is at."""

    def __init__(self, function: str, memory_mb: int):
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
        self.ready = False
        self.task: tuple | None = None
        self.began = time.monotonic()

    def give(self, task: tuple) -> None:
        self.task, self.began = task, time.monotonic()
        with contextlib.suppress(OSError):  # it died meanwhile: listening to it will tell
            self.connection.send(task)

    def end(self) -> int:
        """Kill the process; its exit code, negative for a signal."""
        self.process.kill()
        code = self.process.wait()
        self.connection.close()
        return code


class Pool:
    """`workers` processes that call `function` ("module:name", which must import little) on tasks.

    A context manager; leaving it ends all processes. UserError when the processes cannot start.
    """

    def __init__(self, function: str, workers: int, *, timeout_s: float, memory_mb: int):
        self.function, self.size = function, workers
        self.timeout_s, self.memory_mb = timeout_s, memory_mb
        self.workers: list[_Worker] = []

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers:
            worker.end()
        self.workers = []

    def run(self, tasks: Iterable[tuple]) -> Iterator[tuple[tuple, Any, float]]:
        """Yield (task, answer or Failure, seconds) in the order in which they are finished.

        `tasks` are tuples of arguments.
        """
        again: list[tuple] = []
        for task, answer, seconds in self._pass(deque(tasks), self.size):
            if isinstance(answer, Failure):
                again.append(task)
            else:
                yield task, answer, seconds
        for task in again:
            self.__exit__()  # alone, and in a process that has seen nothing else
            yield from self._pass(deque([task]), 1)

    def _pass(self, waiting: deque[tuple], size: int) -> Iterator[tuple[tuple, Any, float]]:
        while waiting or any(worker.task for worker in self.workers):
            while len(self.workers) < min(size, len(waiting) + sum(1 for w in self.workers if w.task)):
                self.workers.append(_Worker(self.function, self.memory_mb))
            busy = {w.connection: w for w in self.workers if w.task or not w.ready}
            for connection in wait(list(busy), timeout=self._patience()):
                yield from self._hear(busy[connection])
            for worker in list(self.workers):
                if self._left(worker) <= 0 and not worker.connection.poll():
                    yield from self._late(worker)
            for worker in self.workers:
                if worker.ready and not worker.task and waiting:
                    worker.give(waiting.popleft())

    def _left(self, worker: _Worker) -> float:
        """Seconds that the worker still has for what it is at."""
        if worker.ready and not worker.task:
            return float("inf")
        return worker.began + (self.timeout_s if worker.ready else START_S) - time.monotonic()

    def _patience(self) -> float:
        return max(0.0, min([1.0, *map(self._left, self.workers)]))

    def _hear(self, worker: _Worker) -> Iterator[tuple[tuple, Any, float]]:
        try:
            answer = worker.connection.recv()
        except (EOFError, OSError):
            answer = Failure("crash", self._bury(worker))
        if not worker.ready:
            if isinstance(answer, Failure):
                raise UserError(
                    f"a decoding process did not start ({answer.detail}); "
                    "its message stands above. If memory is short, use fewer workers"
                )
            worker.ready = True
            return
        if answer == OUT_OF_MEMORY:
            self._end(worker)
            answer = Failure("out_of_memory", f"more than {self.memory_mb} MiB")
        task, worker.task = worker.task, None
        yield task, answer, time.monotonic() - worker.began

    def _late(self, worker: _Worker) -> Iterator[tuple[tuple, Any, float]]:
        self._end(worker)
        if not worker.ready:
            raise UserError(f"a decoding process was not ready after {START_S} s; use fewer workers")
        yield worker.task, Failure("timeout", f"no answer after {self.timeout_s:g} s"), self.timeout_s

    def _end(self, worker: _Worker) -> int:
        self.workers.remove(worker)
        return worker.end()

    def _bury(self, worker: _Worker) -> str:
        """End a worker that hung up; by what it died, in words."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(timeout=1)
        code = self._end(worker)
        return f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
