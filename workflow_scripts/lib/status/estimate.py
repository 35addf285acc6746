"""How long the jobs of a rule still take, by those that are finished; nothing is said where none is."""

import csv
import heapq
import statistics
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from workflow_scripts.lib.status.progress import progress
from workflow_scripts.lib.status.state import Job, Rule, Run

SAMPLE = 50  # jobs; their mean stands for the others


@dataclass(frozen=True)
class Pace:
    """Seconds that a job of a rule takes, and whether that is known from this run or from an earlier one."""

    seconds: float
    of_this_run: bool


def pace(run: Run, rule: str) -> Pace | None:
    """By the last finished jobs of this run, otherwise by the benchmark files of earlier ones; None without either."""
    done = sorted(run.jobs_of(rule, "done"), key=lambda job: job.ended)[-SAMPLE:]
    if done:
        return Pace(statistics.mean(map(_took, done)), True)
    folder = Path("benchmarks-out") / run.plan["run"]
    files = [folder / f"{rule}.tsv", *islice((folder / rule).rglob("*.tsv"), SAMPLE)]
    earlier = [seconds for file in files if (seconds := _benchmark(file)) is not None]
    return Pace(statistics.mean(earlier), False) if earlier else None


def _took(job: Job) -> float:
    """Without the time in the queue of a cluster, which the benchmark file does not count."""
    measured = _benchmark(Path(job.benchmark)) if job.benchmark else None
    return job.ended - job.started if measured is None else measured


def _benchmark(file: Path) -> float | None:
    """The wall time in a benchmark file of Snakemake; None when it is not there or broken off."""
    try:
        with file.open(encoding="utf-8", newline="") as handle:
            seconds = [float(row["s"]) for row in csv.DictReader(handle, delimiter="\t")]
        return statistics.mean(seconds)
    except (OSError, KeyError, ValueError, TypeError):
        return None


def job_seconds_left(run: Run, job: Job, rule_pace: Pace | None, now: float) -> float | None:
    """Of a running job: by its own progress, otherwise by its rule's pace. None: nothing to go by, or overdue."""
    made = progress(job, run.plan["epochs"])
    if made:
        written = Path(job.log).stat().st_mtime
        by_log = made.seconds_left(max(written - job.started, 0.0))
        if by_log is not None:
            return max(by_log - max(now - written, 0.0), 0.0)
    if rule_pace is None or now - job.started > rule_pace.seconds:
        return None
    return rule_pace.seconds - (now - job.started)


@dataclass(frozen=True)
class Left:
    """How long a rule still takes; where `seconds` is None, `unknown` says why.

    `by_earlier_run`: the jobs that tell are of an earlier run, whose configuration may have been another.
    """

    seconds: float | None
    unknown: str | None = None
    by_earlier_run: bool = False


def rule_left(run: Run, rule: Rule, rule_pace: Pace | None, now: float) -> Left:
    """Of all its jobs that are not finished, as many side by side as so far in this run; on a cluster, as many as now."""
    active = run.jobs_of(rule.name, "running")
    waiting = jobs_left(run, rule) - len(active)
    if not active and run.jobs_of(rule.name, "queued"):
        return Left(None, "in the cluster's queue")
    running = [job_seconds_left(run, job, rule_pace, now) for job in active]
    if rule_pace is None and (waiting or None in running):
        return Left(None, "no finished job to go by")
    if None in running and not waiting:
        return Left(None, "longer than others took")
    at_once = run.most_at_once[rule.name] or len(active) or rule.at_once
    seconds = _makespan([left or 0.0 for left in running], waiting, rule_pace, at_once)
    return Left(seconds, by_earlier_run=bool(waiting) and not rule_pace.of_this_run)


def jobs_left(run: Run, rule: Rule) -> int:
    """Jobs that are not finished; failed ones count only when a next run is to do them."""
    over = ("done", "failed") if run.goes_on else ("done",)
    return rule.to_run - len(run.jobs_of(rule.name, *over))


def _makespan(running: list[float], waiting: int, each: Pace | None, at_once: int) -> float:
    """When the last job ends, if a waiting one starts wherever the next place becomes free."""
    places = running + [0.0] * min(waiting, at_once - len(running))
    heapq.heapify(places)
    for _ in range(waiting):
        heapq.heapreplace(places, places[0] + each.seconds)
    return max(places, default=0.0)
