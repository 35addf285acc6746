"""Diaries as runs write them, made by hand."""

import json
import os
import platform
from pathlib import Path

from workflow_scripts.lib.status.record import run_file

START = 1_700_000_000.0


def rule(name: str, stage: str, jobs: int = 1, **more) -> dict:
    known = {"name": name, "stage": stage, "jobs": jobs, "to_run": jobs, "retries": 0, "at_once": 1}
    return known | {"cores": 1, "gpus": 0} | more


def start(job: int, name: str, seconds: float, shard: str | None = None, **more) -> dict:
    wildcards = {"shard": shard} if shard else {}
    event = {"event": "start", "time": START + seconds, "id": job, "rule": name, "wildcards": wildcards}
    return event | {"local": True, "log": None, "log_before": None, "benchmark": None} | more


def event(kind: str, seconds: float, job: int | None = None) -> dict:
    return {"event": kind, "time": START + seconds} | ({} if job is None else {"id": job})


def write_diary(rules: list[dict], events: list[dict], run: str = "r", **plan) -> Path:
    """Into the folder in which the test works."""
    head = {
        "event": "run", "time": START, "run": run, "command": "snakemake --cores 2", "pid": os.getpid(),
        "host": platform.node(), "local": True, "corpus": "c", "shards": 2, "epochs": {}, "rules": rules,
    } | plan  # fmt: skip
    file = run_file(run)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in [head, *events]), encoding="utf-8")
    return file


def write_benchmark(file: Path, seconds: float | str) -> str:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:01\t-\n", encoding="utf-8")
    return str(file)
