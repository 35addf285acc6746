"""The diary of a run: what Snakemake planned, and a line for every job that it starts, finishes or loses.

`results/<run>/run.jsonl`. Its first line is the plan, made when the run starts; the others are events in the order in
which they happened. The run holds a lock on the file as long as it lives, however it ends.
"""

import contextlib
import fcntl
import json
import logging
import os
import platform
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.environment import NO_LOCKS
from workflow_scripts.lib.files import whole_file

SNAKEMAKE_LOGGER = "snakemake.logging"


def run_file(run: str) -> Path:
    """Where the diary of a run lies, from the folder in which Snakemake works."""
    return Path("results") / run / "run.jsonl"


def record_run(workflow: Any, config: Config) -> None:
    """Begin the diary of the run that Snakemake is about to start; to be called by `onstart`.

    `workflow` is Snakemake's object of that name, with its DAG built. What an earlier run wrote is replaced.
    """
    file = run_file(config.run)
    # The scheduler tells of finished jobs only when it may show progress; `--quiet` would leave them out of the
    # diary as well. What is shown on the terminal is decided by another filter.
    workflow.scheduler.print_progress = True
    with whole_file(file) as temporary:
        diary = Diary(temporary)
        diary.write("run", **_plan(workflow, config))
    logging.getLogger(SNAKEMAKE_LOGGER).addHandler(diary)


def _plan(workflow: Any, config: Config) -> dict[str, Any]:
    jobs = [job for job in workflow.dag.jobs if not job.is_norun]  # not `all`, which does nothing
    total = Counter(job.rule.name for job in jobs)
    to_run = Counter(job.rule.name for job in workflow.dag.needrun_jobs() if not job.is_norun)
    one = {job.rule.name: job for job in jobs}
    return {
        "run": config.run,
        "command": shlex.join(["snakemake", *sys.argv[1:]]),
        "pid": os.getpid(),
        "host": platform.node(),
        "local": workflow.local_exec,
        "corpus": config.corpus.name,
        "shards": config.corpus.shards,
        "epochs": _epochs(config),
        "executor": config.frames.executor,
        "rules": [
            {
                "name": rule.name,
                "stage": Path(str(rule.snakefile)).stem,
                "jobs": total[rule.name],
                "to_run": to_run[rule.name],
                "retries": rule.restart_times,
                "at_once": _at_once(one[rule.name], workflow.scheduler.global_resources),
                # of all nodes together, as `gpu` is
                "cores": one[rule.name].threads * one[rule.name].resources.get("nodes", 1),
                "gpus": one[rule.name].resources.get("gpu", 0),
            }
            for rule in workflow.rules
            if rule.name in one
        ],
    }


def _at_once(job: Any, limits: dict[str, int]) -> int:
    """How many jobs of this kind the cores, GPUs and other limits of the run have room for."""
    rooms = [limit // job.resources[name] for name, limit in limits.items() if job.resources.get(name)]
    return max(1, min(rooms, default=1))


def _epochs(config: Config) -> dict[str, int]:
    """Epochs of the rules that train."""
    captioner = config.captioner.settled
    return {
        "train_clip": config.clip.epochs,
        "train_retrieval": config.retrieval.epochs,
        "train_captioner_stage1": captioner.stage1.epochs,
        "train_captioner_stage2": captioner.stage2.epochs,
    }


class Diary(logging.Handler):
    """Writes Snakemake's events about jobs to a file, which it keeps locked until it is closed.

    The events are those that Snakemake has for logger plugins: they come whatever is shown on the terminal, and
    with every executor.
    """

    def __init__(self, file: Path):
        super().__init__()
        self._lines = Path(file).open("w", encoding="utf-8")  # noqa: SIM115 - closed by `close`
        try:
            fcntl.flock(self._lines, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise

    def write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **fields}, ensure_ascii=False)
        self._lines.write(line + "\n")
        self._lines.flush()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            match getattr(record, "event", None):
                case "job_info":
                    self.write("start", **_started(record))
                case "job_finished":
                    self.write("finish", id=record.job_id)
                case "job_error":
                    self.write("fail", id=record.jobid)
        except Exception:
            self.handleError(record)  # as logging has it: said on stderr, and the run goes on

    def close(self) -> None:
        """Snakemake closes its handlers when it ends by itself; after a kill the last line is another one."""
        if not self._lines.closed:
            with contextlib.suppress(OSError):
                self.write("end")
            self._lines.close()
        super().close()


def _started(record: logging.LogRecord) -> dict[str, Any]:
    log = record.log[0] if record.log else None
    return {
        "id": record.jobid,
        "rule": record.rule_name,
        "wildcards": dict(record.wildcards),
        "local": record.local,
        "log": log,
        "log_before": log_time(log),
        "benchmark": record.benchmark,
    }


def log_time(log: str | None) -> int | None:
    """When a log was last written to (ns); None when it is not there. What differs from before tells of a new start."""
    try:
        return Path(log).stat().st_mtime_ns if log else None
    except OSError:
        return None
