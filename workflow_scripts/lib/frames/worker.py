"""A decoding process: takes clips from a connection, one at a time, and sends back what it got of them.

Started by the pool as `python -m workflow_scripts.lib.frames.worker DESCRIPTOR FUNCTION MEMORY_MB`. It may crash or
hang at any time. It ends when the pool is gone, whatever it was doing.
"""

import contextlib
import resource
import signal
import sys
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path

from workflow_scripts.lib.environment import end_with_parent

OUT_OF_MEMORY = "out of memory"


def main() -> None:
    descriptor, function, memory_mb = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool, which ends its workers
    end_with_parent()
    module, name = function.split(":")
    work = getattr(import_module(module), name)
    _limit_memory(memory_mb)
    connection = Connection(descriptor)
    connection.send("ready")
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            task = connection.recv()
            try:
                answer = work(*task)
            except MemoryError:
                answer = OUT_OF_MEMORY
            connection.send(answer)


def _limit_memory(memory_mb: int) -> None:
    """Allow so much address space over what is taken now."""
    if sys.platform == "linux":
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit, hard = taken + memory_mb * 2**20, resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
