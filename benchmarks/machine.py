"""The machine that a benchmark ran on, and what a command costs there."""

import os
import platform
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workflow_scripts.lib.provenance import git_commit

KIB_PER_MB = 1024


def machine_facts() -> dict[str, Any]:
    """What a reader needs to judge figures by; no host names, no paths."""
    return {
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "commit": git_commit(),
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
    }


def result_head(packages: Sequence[str], sharing: "Sharing") -> dict[str, Any]:
    """What a file of results begins with: the machine, versions of the packages that are installed, and what else ran.

    `sharing` is that of the block that was measured.
    """
    return {
        "machine": machine_facts(),
        "packages": {name: found for name in packages if (found := _version(name))},
        "others_share_of_processors": round(sharing.others, 3),
        "load_average_at_end": round(os.getloadavg()[0], 1),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    """The processor's name as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), None)


def cpu_seconds() -> float:
    """CPU seconds, user and system, of this process and of its children that have ended."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def measure(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout_s: float | None = None
) -> dict[str, float]:
    """Run a command to its end: `wall_s`, `cpu_s` and `peak_rss_mb`, its waited-for children included.

    `peak_rss_mb` is that of the largest single process. subprocess.CalledProcessError, with the standard error in
    it, when the command fails; subprocess.TimeoutExpired after `timeout_s`.
    """
    began = time.perf_counter()
    # wait4 alone tells the usage of one child apart from that of all earlier ones.
    process = subprocess.Popen(list(command), env=env, stderr=subprocess.PIPE)
    late = threading.Event()

    def end_it() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(timeout_s, end_it) if timeout_s else None
    if timer:
        timer.start()
    try:
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
    finally:
        if timer:
            timer.cancel()
        process.stderr.close()
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if late.is_set():
        raise subprocess.TimeoutExpired(process.args, timeout_s, stderr=errors)
    if process.returncode:
        sys.stderr.write(errors.decode(errors="replace"))
        raise subprocess.CalledProcessError(process.returncode, process.args, stderr=errors)
    return {
        "wall_s": round(wall_s, 3),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
        "peak_rss_mb": round(usage.ru_maxrss / KIB_PER_MB, 1),
    }


class Sharing:
    """How much of the machine's processors others use while a block runs (Linux); a context manager.

    `others`: their share of all processor time, 0 to 1, once the block has ended.
    """

    def __enter__(self) -> "Sharing":
        self._busy, self._all, self._own = *_processor_s(), cpu_seconds()
        return self

    def __exit__(self, *_) -> None:
        busy, everything = _processor_s()
        own = cpu_seconds() - self._own
        self.others = min(1.0, max(0.0, busy - self._busy - own) / max(everything - self._all, 1e-9))


def _processor_s() -> tuple[float, float]:
    """Seconds that the processors were busy, and busy or idle, since the machine started."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    seconds = [int(field) / os.sysconf("SC_CLK_TCK") for field in fields]
    idle, waiting = seconds[3], seconds[4]
    return sum(seconds) - idle - waiting, sum(seconds)
