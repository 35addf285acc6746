"""What a killed run leaves in SLURM's queue."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from workflow_scripts.lib.errors import UserError

RUN_NAME = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""The name that Snakemake's plugin gives to the jobs of a run."""
ALIVE = "PENDING,CONFIGURING,RUNNING,STOPPED,SUSPENDED,COMPLETING"
SENT = Path(".snakemake/slurm.sent")
"""Tells in a folder that runs in it have sent jobs to SLURM."""
FAILED = (OSError, subprocess.SubprocessError)
PATIENCE_S = 600
"""How long SLURM may take to end jobs: its KillWait, and what the cluster does after each job."""


def end_left_jobs(folder: Path, *, local: bool, patience_s: float = PATIENCE_S) -> None:
    """Cancel the jobs that an earlier run in `folder` has in SLURM's queue, and wait until none of them runs.

    A kill -9 of Snakemake ends none of them, and the next run starts anew what it does not find finished: two jobs would
    write the same files. For the one who holds the folder's run lock. Nobody is asked without SLURM, nor for a `local` run
    where none before it was another; where SLURM does not answer, a warning says so on stderr. UserError when jobs do not
    end in `patience_s` seconds.
    """
    sent = folder / SENT
    if shutil.which("squeue") is None or (local and not sent.exists()):
        return
    sent.parent.mkdir(parents=True, exist_ok=True)
    sent.touch()
    try:
        left = _jobs_in(folder)
        if not left:
            return
    except FAILED as error:
        print(
            f"warning: SLURM does not say whether an earlier run has left jobs in its queue ({_said(error)})",
            file=sys.stderr,
        )
        return
    print(f"cancelling what a killed run has left in SLURM's queue: jobs {' '.join(left)}", file=sys.stderr)
    with contextlib.suppress(*FAILED):  # some may have ended by now; whether all do is seen below
        _ask("scancel", *left)
    end = time.monotonic() + patience_s
    while left := _still_in(folder, left):
        if time.monotonic() > end:
            raise UserError(
                f"SLURM jobs {' '.join(left)} of an earlier run in this folder were cancelled and do not end; "
                "see `squeue --me`, and start again when they are gone"
            )
        time.sleep(1)


def _still_in(folder: Path, left: list[str]) -> list[str]:
    """Those of `left` where SLURM does not answer: a busy controller is no sign that they are gone."""
    try:
        return _jobs_in(folder)
    except FAILED:
        return left


def _jobs_in(folder: Path) -> list[str]:
    """Numbers of this user's jobs, waiting or running, that a Snakemake in `folder` has submitted."""
    lines = _ask(
        "squeue", f"--user={os.getuid()}", "--noheader", f"--states={ALIVE}", "--format=%A\t%j\t%Z"
    ).splitlines()
    jobs = [line.split("\t", 2) for line in lines]
    place = folder.resolve()
    return sorted({job for job, name, at in jobs if RUN_NAME.fullmatch(name) and Path(at).resolve() == place})


def _said(error: Exception) -> str:
    return (getattr(error, "stderr", "") or str(error)).strip()


def _ask(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
