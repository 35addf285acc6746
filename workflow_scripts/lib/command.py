"""How every command of the pipeline runs."""

import errno
import os
import re
import resource
import sys
from collections.abc import Callable

from workflow_scripts.lib.environment import RUN_PID, end_with_run
from workflow_scripts.lib.errors import UserError

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where nothing more can be written."""
NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}
"""What it says where the user may not read or write."""
IN_THE_WAY = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
"""What it says where a file is in the place of a folder, or the other way round."""
CPU_TIME = re.compile(r"^CPU time: ([\d.]+) s$", re.MULTILINE)
"""The last line of a finished step's log, one of every process of a distributed one."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; a UserError, a full disk, a missing right or a wrong place ends it with a sentence and exit
    code 1."""
    end_with_run()
    is_step = RUN_PID in os.environ  # asked here: `plan` plans, which sets it
    try:
        main()
        if is_step:
            _tell_cpu_time()
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno in NOT_ALLOWED and error.filename:
            sys.exit(
                f"error: {error.filename}: {error.strerror}; check who may read and write there, or give another place"
            )
        if error.errno in IN_THE_WAY and error.filename:
            sys.exit(
                f"error: {error.filename}: {error.strerror}; give another place, or remove what is there"
            )
        if error.errno not in NO_ROOM:
            raise
        sys.exit(
            f"error: the disk is full, or a quota or a limit of file sizes is reached ({error}); "
            "make room and start again: what is done is kept"
        )


def _tell_cpu_time() -> None:
    """Of this process, from the start of Python, and of those that it has started and waited for.

    Snakemake's own figure is a sample that is up to half a minute old when a job ends: of a short job it tells little.
    """
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"CPU time: {sum(usage.ru_utime + usage.ru_stime for usage in spent):.2f} s", flush=True)
