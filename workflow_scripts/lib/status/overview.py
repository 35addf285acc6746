"""All that is told about a run, as one value that the table and the JSON are made from."""

from dataclasses import dataclass

from workflow_scripts.lib.status.estimate import Left, Pace, job_seconds_left, jobs_left, pace, rule_left
from workflow_scripts.lib.status.frames import Videos, count_videos
from workflow_scripts.lib.status.progress import error_line, last_line, progress
from workflow_scripts.lib.status.state import Job, Rule, Run


@dataclass(frozen=True)
class RuleStatus:
    """Jobs of one rule. `done` counts those that an earlier run had made already."""

    rule: str
    stage: str
    jobs: int
    done: int
    running: int
    queued: int
    failed: int
    seconds_left: float | None
    left_unknown: str | None
    left_by_earlier_run: bool


@dataclass(frozen=True)
class JobStatus:
    """A job that is at work, or that came to no end. `line`: the last that its log says, or its error.

    `seconds`: since it was started, or how long it took to fail; None when it was killed, which nobody saw.
    """

    job: str
    state: str
    seconds: float | None
    seconds_left: float | None
    progress: str | None
    log: str | None
    line: str


@dataclass(frozen=True)
class Overview:
    """A run at one moment. `state`: `running`, `done`, `failed` (it ended by itself), `killed` or `unknown`.

    `at_work` jobs are running or queued, `broken` ones failed or were cut off. Times are seconds.
    """

    run: str
    state: str
    command: str
    host: str
    pid: int
    started: float
    seconds: float
    rules: list[RuleStatus]
    seconds_left: float
    left_unknown: list[str]
    at_work: list[JobStatus]
    broken: list[JobStatus]
    videos: Videos

    @property
    def is_in_trouble(self) -> bool:
        """Something failed, or nobody is at work on what is left."""
        return bool(self.broken) or self.state in ("failed", "killed")


def overview(run: Run, now: float) -> Overview:
    """What is told about a run; `now` in seconds since the epoch."""
    paces = {rule.name: pace(run, rule.name) for rule in run.rules}
    rules = [_rule(run, rule, paces[rule.name], now) for rule in run.rules]
    at_work, broken = ([job for job in run.jobs.values() if job.state in states]
                       for states in (("running", "queued"), ("failed", "cut off")))  # fmt: skip
    is_done = not any(jobs_left(run, rule) for rule in run.rules)
    ended_as = "done" if is_done else "failed"
    return Overview(
        run=run.plan["run"],
        state=ended_as if run.state == "ended" else run.state,
        command=run.plan["command"],
        host=run.plan["host"],
        pid=run.plan["pid"],
        started=run.started,
        seconds=(now if run.goes_on else run.last) - run.started,
        rules=rules,
        seconds_left=sum(rule.seconds_left or 0.0 for rule in rules),
        left_unknown=[rule.rule for rule in rules if rule.left_unknown],
        at_work=[_job(run, job, paces[job.rule], now) for job in at_work],
        broken=[_job(run, job, paces[job.rule], now) for job in broken],
        videos=count_videos(run.plan["corpus"], run.plan["shards"]),
    )


def _rule(run: Run, rule: Rule, rule_pace: Pace | None, now: float) -> RuleStatus:
    count = {state: len(run.jobs_of(rule.name, state)) for state in ("done", "running", "queued", "failed")}
    left: Left = rule_left(run, rule, rule_pace, now)
    return RuleStatus(
        rule=rule.name,
        stage=rule.stage,
        jobs=rule.jobs,
        done=rule.jobs - rule.to_run + count["done"],
        running=count["running"],
        queued=count["queued"],
        failed=count["failed"],
        seconds_left=left.seconds,
        left_unknown=left.unknown,
        left_by_earlier_run=left.by_earlier_run,
    )


def _job(run: Run, job: Job, rule_pace: Pace | None, now: float) -> JobStatus:
    made = progress(job, run.plan["epochs"])
    line = (error_line if job.state == "failed" else last_line)(job.log) if job.log and job.has_log else ""
    end = now if job.ended is None else job.ended
    return JobStatus(
        job=job.name,
        state=job.state,
        seconds=None if job.state == "cut off" else end - job.started,
        seconds_left=job_seconds_left(run, job, rule_pace, now) if job.state == "running" else None,
        progress=f"{made.done:g} of {made.total:g} {made.unit}" if made else None,
        log=job.log,
        line=line,
    )
