"""A decoding process: takes tasks from a connection, one at a time, and sends back what it got of them.

Started by the pool as `python -m workflow_scripts.lib.frames.worker DESCRIPTOR FUNCTION MEMORY_MB`. It may crash or
hang at any time. It ends when the pool is gone, whatever it was doing. The first message is what to call before the
memory is limited, ("module:name", *arguments), or nothing.
"""

import contextlib
import resource
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from workflow_scripts.lib.environment import end_with_parent
from workflow_scripts.lib.errors import UserError

OUT_OF_MEMORY = "out of memory"


def main() -> None:
    descriptor, function, memory_mb = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool, which ends its workers
    end_with_parent()
    connection = Connection(descriptor)
    prepare = connection.recv()
    try:
        work = _named(function)
        if prepare:
            _named(prepare[0])(*prepare[1:])
    except UserError as error:
        connection.send(error)
        return
    _limit_memory(memory_mb)
    connection.send("ready")
    at_start = _taken_mb()[1]
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answers = work(*task)
            except MemoryError:
                answers = OUT_OF_MEMORY
            except UserError as error:  # of the machine, such as a decoder that lacks its libraries
                answers = error
            connection.send((answers, _taken_mb()[1] - at_start))


def _named(function: str) -> Callable:
    """What "module:name" names."""
    module, name = function.split(":")
    return getattr(import_module(module), name)


def _taken_mb() -> tuple[float, float]:
    """MiB that this process takes now: address space, and memory that is really there. Zeros where not told."""
    if sys.platform != "linux":
        return 0.0, 0.0
    pages = Path("/proc/self/statm").read_text().split()
    space, resident = (int(count) * resource.getpagesize() / 2**20 for count in pages[:2])
    return space, resident


def _limit_memory(memory_mb: int) -> None:
    """Allow so much address space over what is taken now."""
    if sys.platform == "linux":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = int((_taken_mb()[0] + memory_mb) * 2**20)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
