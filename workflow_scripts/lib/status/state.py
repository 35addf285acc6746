"""What the diary of a run says: the state of the run, and of each of its jobs."""

import fcntl
import json
import os
import platform
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from workflow_scripts.lib.command import BEGUN
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.status.record import log_time, run_file

HEAD = 4096  # characters of a log, of which its first line is one


@dataclass
class Job:
    """One job that was started. Times are seconds since the epoch."""

    rule: str
    wildcards: dict[str, str]
    log: str | None
    log_before: int | None
    benchmark: str | None
    local: bool
    started: float
    """On a cluster: when it was submitted, as long as it has not begun its log, and then when it began."""
    state: str = "running"
    """`queued` (given to the cluster, and its log not begun), `running`, `done`, `failed`, `waiting` (failed, and
    to be tried again) or `cut off` (running when the run was killed)."""
    ended: float | None = None
    failures: int = 0

    @property
    def name(self) -> str:
        return " ".join([self.rule, *self.wildcards.values()])

    @property
    def has_log(self) -> bool:
        """Whether it has written to its log since it was started."""
        return log_time(self.log) not in (None, self.log_before)


@dataclass(frozen=True)
class Rule:
    """A rule of the run; `at_once` jobs of it have room beside each other. Each holds so many cores and GPUs."""

    name: str
    stage: str
    jobs: int
    to_run: int
    retries: int
    at_once: int
    cores: int
    gpus: int


@dataclass
class Run:
    """A run of Snakemake, by its diary. `state`: `running`, `ended`, `killed`, or `unknown` where no lock tells."""

    plan: dict[str, Any]
    rules: list[Rule]
    state: str
    started: float
    last: float
    """When the last line of the diary was written."""
    jobs: dict[int, Job] = field(default_factory=dict)
    most_at_once: Counter[str] = field(default_factory=Counter)
    """By rule: as many jobs as ran at the same time so far, of those that no cluster may have let wait."""

    @property
    def goes_on(self) -> bool:
        """Whether jobs may still be started."""
        return self.state in ("running", "unknown")

    def jobs_of(self, rule: str, *states: str) -> list[Job]:
        return [job for job in self.jobs.values() if job.rule == rule and job.state in states]


def read_run(name: str) -> Run:
    """The last run of that name in this folder; UserError when there is none, or its diary is no diary."""
    file = run_file(name)
    if not file.is_file():
        others = sorted(found.parent.name for found in file.parents[1].glob(f"*/{file.name}"))
        raise UserError(
            f"{file} is not there: no run with the name {name!r} was started in this folder"
            + (f"; there are {', '.join(others)}" if others else "")
            + ". Call this in the folder in which snakemake was started, with `run:` of the config file"
        )
    with file.open(encoding="utf-8", errors="replace") as handle:
        # Asked first: a run that ends meanwhile has written all its lines.
        alive = _is_locked(handle.fileno())
        # A line that is being written has no end yet.
        lines = [line for line in handle if line.endswith("\n")]
    try:
        plan, *events = map(json.loads, lines)
        return _replay(plan, events, alive)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file}: not what a run writes ({type(error).__name__}: {error}); remove it and start snakemake again"
        ) from None


def _is_locked(file: int) -> bool | None:
    """Whether another process holds a lock on an open file; None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    fcntl.flock(file, fcntl.LOCK_UN)
    return False


def _replay(plan: dict, events: list[dict], alive: bool | None) -> Run:
    last = events[-1] if events else plan
    rules = [Rule(**rule) for rule in plan["rules"]]
    run = Run(plan, rules, _state(plan, last, alive), plan["time"], last["time"])
    known = {rule.name for rule in rules}
    active: defaultdict[str, set[int]] = defaultdict(set)
    for event in events:
        if event["event"] == "end":
            continue
        key, time = event["id"], event["time"]
        if event["event"] == "start":
            if event["rule"] not in known:  # `all`, which does nothing
                continue
            before = run.jobs.get(key)
            fields = ("rule", "wildcards", "log", "log_before", "benchmark", "local")
            job = Job(**{name: event[name] for name in fields}, started=time)
            job.failures = before.failures if before else 0
            run.jobs[key] = job
            if job.local:
                active[job.rule].add(key)
                run.most_at_once[job.rule] = max(run.most_at_once[job.rule], len(active[job.rule]))
        elif job := run.jobs.get(key):
            active[job.rule].discard(key)
            job.ended = time
            job.state = "done" if event["event"] == "finish" else "failed"
            job.failures += event["event"] == "fail"
    _settle(run)
    return run


def _state(plan: dict, last: dict, alive: bool | None) -> str:
    if last["event"] == "end":
        return "ended"
    if alive is None and plan["host"] == platform.node():
        alive = _is_process(plan["pid"])
    return {True: "running", False: "killed", None: "unknown"}[alive]


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _settle(run: Run) -> None:
    """Tell apart what the events alone do not."""
    retries = {rule.name: rule.retries for rule in run.rules}
    for job in run.jobs.values():
        if not job.local and job.state != "done" and job.has_log:
            job.started = _begun(job.log) or job.started
        if job.state == "failed" and run.goes_on and job.failures <= retries.get(job.rule, 0):
            job.state = "waiting"
        elif job.state == "running" and not run.goes_on:
            job.state = "cut off"
        elif job.state == "running" and not job.local and not job.has_log:
            job.state = "queued"


def _begun(log: str) -> float | None:
    """When the command began that writes this log; None where it has not got so far."""
    with Path(log).open(encoding="utf-8", errors="replace") as handle:
        found = BEGUN.search(handle.read(HEAD))
    return datetime.fromisoformat(found[1]).timestamp() if found else None
