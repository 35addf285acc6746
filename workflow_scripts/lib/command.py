"""How every command of the pipeline runs."""

import errno
import os
import platform
import re
import resource
import sys
from collections.abc import Callable
from datetime import datetime

from workflow_scripts.lib.environment import RUN_PID, end_with_parent, end_with_run
from workflow_scripts.lib.errors import UserError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where nothing more can be written."""
NOT_WRITTEN = re.compile(r"unexpected pos \d+ vs \d+|PytorchStreamWriter failed writing")
"""What torch says of the same, where it writes a file by its name."""
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
"""What it says where the user may not read or write."""
IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
"""What it says where a file is in the place of a folder, or the other way round."""
BEGUN = re.compile(r"^begun (\S+) on ", re.MULTILINE)
"""The first line of a step's log: when it was, in ISO 8601, and where. A cluster may have let the job wait before."""
CPU_TIME = re.compile(r"^CPU time: ([\d.]+) s$", re.MULTILINE)
"""The last line of a finished step's log, one of every process of a distributed one."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; a UserError, a full disk, a missing right or a wrong place ends it with a sentence and exit
    code 1."""
    end_with_run()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # else the processes of a torchrun that was killed would go on
        end_with_parent()
    is_step = RUN_PID in os.environ  # asked here: `plan` plans, which sets it
    if is_step:
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        print(f"begun {now} on {platform.node()}", flush=True)
    try:
        main()
        if is_step:
            _tell_cpu_time()
    except UserError as error:
        told = str(error)
        if told.startswith("Caught UserError in "):  # of a reader process, with its traceback, by torch
            told = told.rpartition("UserError: ")[2].strip()
        sys.exit(f"error: {told}")
    except OSError as error:
        if error.errno in NOT_ALLOWED and error.filename:
            sys.exit(
                f"error: {error.filename}: {error.strerror}; check who may read and write there, or give another place"
            )
        if error.errno in IN_THE_WAY and error.filename:
            sys.exit(
                f"error: {error.filename}: {error.strerror}; give another place, or remove what is there"
            )
        _end(error)
    except Exception as error:
        _end(error)


def _end(error: Exception) -> None:
    """With a sentence, where no room is left on the disk or the GPU; otherwise the error goes on."""
    if _has_no_room(error):
        sys.exit(
            f"error: the disk is full, or a quota or a limit of file sizes is reached ({error}); "
            "make room and start again: what is done is kept"
        )
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which is not imported for this
        sys.exit(
            f"error: the memory of the GPU is not enough ({error}); have less computed at a time, by a smaller `batch_size`"
            " (of clip with a larger `accum_freq`), or captioner.running.per_device_batch_size"
        )
    raise error


def _has_no_room(error: BaseException | None) -> bool:
    """Whether a full disk is the reason of it, or of what it was raised from, in the words of Python, torch or Rust."""
    if error is None:
        return False
    by_rust = re.search(r"\(os error (\d+)\)", str(error))
    return (
        (isinstance(error, OSError) and error.errno in NO_ROOM)
        or (by_rust is not None and int(by_rust[1]) in NO_ROOM)
        or NOT_WRITTEN.search(str(error)) is not None
        or _has_no_room(error.__cause__ or error.__context__)
    )


def _tell_cpu_time() -> None:
    """Of this process, from the start of Python, and of those that it has started and waited for.

    Snakemake's own figure is a sample that is up to half a minute old when a job ends: of a short job it tells little.
    """
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(usage.ru_utime + usage.ru_stime for usage in spent)
    print(f"CPU time: {cpu_s:.2f} s", file=sys.__stdout__, flush=True)  # also of those that else say nothing
