"""What ties the processes of a run together: where they find this package, and that none outlives the run."""

import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import sys
import threading
from pathlib import Path
from typing import IO

from workflow_scripts.lib.errors import UserError

RUN_PID = "VIDLOOM_RUN_PID"
"""Environment variable with the process that runs the workflow, and its machine: `host:1234`."""


def use_this_checkout() -> None:
    """Let child processes find this package from any folder, run the Python that runs now, and end with it."""
    checkout = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
    os.environ["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    )
    os.environ[RUN_PID] = f"{platform.node()}:{os.getpid()}"


_held: list[IO[str]] = []  # closing the file would give the lock up
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What a file system without locks says."""


def hold_run_lock(file: Path) -> None:
    """Lock `file` until this process ends, however it ends; UserError when another process holds it.

    Snakemake's own lock stays behind after a kill -9 and wants `--unlock`; this one does not. On a file system
    without locks a warning says so on stderr, and the run goes on.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = file.open("a")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"another snakemake is running in this folder (it holds {file}); wait for it"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        print(
            f"warning: this file system has no locks ({file}: {error.strerror}): "
            "nothing stops a second snakemake in this folder; see to it that there is none",
            file=sys.stderr,
            flush=True,
        )
    _held.append(handle)


def end_with_run() -> None:
    """When the process that runs the workflow dies, end this one: a rerun must not meet a second copy of a step.

    Does nothing for a command that is run by hand, nor on another machine than the run's, where `srun` has started it and
    ends it, nor where the system has no pidfd (Linux has, from 5.3).
    """
    host, _, pid = os.environ.get(RUN_PID, "").rpartition(":")
    if host != platform.node() or not hasattr(os, "pidfd_open"):
        return
    try:
        run = os.pidfd_open(int(pid))
    except ProcessLookupError:
        sys.exit("the process that ran the workflow is gone: ending")
    except OSError:  # a kernel without it
        return
    threading.Thread(target=_end_when_readable, args=(run,), daemon=True).start()


def _end_when_readable(pidfd: int) -> None:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.poll()
    print("the process that ran the workflow is gone: ending", flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies, even if it hangs in a decoder (Linux)."""
    if sys.platform == "linux":
        set_parent_death_signal = 1
        ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGKILL)
