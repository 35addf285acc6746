"""Snakemake under SLURM, by profiles/slurm, as little changed as a small machine needs."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yte

from tests.slurm.cluster import Cluster
from tests.slurm.records import Asked, Job, parse
from tests.workflow.planning import ROOT, demo_config

PROFILE = ROOT / "profiles/slurm"
# Asks how jobs fare every 3 seconds. The plugin's own pauses grow by 10 s at a time, and jobs take about as long here.
SNAKEMAKE = """
from snakemake.cli import main
from snakemake_executor_plugin_slurm import Executor
Executor.next_seconds_between_status_checks = property(lambda self: 3, lambda self, pause: None)
main()
"""
# Without slurmdbd, on a disk of this machine.
QUICK = (
    "--slurm-status-command",
    "squeue",
    "--slurm-init-seconds-before-status-checks",
    "2",
    "--latency-wait",
    "5",
)
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def profile(folder: Path = PROFILE) -> dict:
    """A profile as Snakemake reads it."""
    with (folder / "config.yaml").open(encoding="utf-8") as file:
        return yte.process_yaml(file, require_use_yte=True)


def changed_profile(folder: Path, *changes: tuple[str, str]) -> Path:
    """profiles/slurm with some of its text replaced, in a folder of its own, which is returned."""
    text = (PROFILE / "config.yaml").read_text(encoding="utf-8")
    for written, instead in changes:
        assert text.count(written) == 1
        text = text.replace(written, instead)
    folder.mkdir()
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def set_resources(table: dict[str, dict]) -> list[str]:
    """For the command line, where it takes the place of the profile's whole table."""
    entries = [f"{rule}:{key}={value}" for rule, row in table.items() for key, value in row.items()]
    return ["--set-resources", *entries]


def small_config() -> dict:
    """All of the demo's stages, with two shards and next to no training."""
    config = demo_config()
    config["corpus"] |= {"videos_per_shard": 20}
    config["corpus"]["demo"] |= {"videos": 40, "size": 64}
    config["frames"] |= {"count": 8, "size": [64, 64]}
    config["clip"] |= {"epochs": 1, "batch_size": 16, "warmup": 1}
    config["retrieval"] |= {"epochs": 2, "batch_size": 8}
    config["captioner"] |= {"validation": {"captions": 8, "generated": 2}, "evaluation": {"bootstrap": 10}}
    config["captioner"]["demo_language_model"] |= {"hidden_size": 32, "layers": 1, "epochs": 1}
    for stage in ("stage1", "stage2"):
        config["captioner"][stage] |= {"epochs": 1, "batch_size": 16}
    return config


@contextlib.contextmanager
def started(
    cluster: Cluster, folder: Path, log: str, *arguments: str, profile: Path = PROFILE
) -> Iterator[subprocess.Popen]:
    """Start snakemake in a folder that has a Snakefile; what it prints goes to a file there. At the end it is killed."""
    with_us = ("setpriv", "--pdeathsig", "KILL")  # whatever ends this process
    command = [*with_us, sys.executable, "-c", SNAKEMAKE, "--profile", profile, *QUICK, *arguments]
    with (folder / log).open("w") as output:
        run = subprocess.Popen(
            [*map(str, command), "--workflow-profile", str(ROOT / "profiles/default"), "--nocolor"],
            cwd=folder,
            env=cluster.environment | ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield run
    finally:
        run.kill()
        run.wait()


def jobs_of(cluster: Cluster, folder: Path) -> list[Job]:
    """What SLURM has on record of the jobs that were submitted in a folder."""
    jobs = parse(cluster.run("scontrol", "--details", "--oneliner", "show", "job"))
    return [job for job in jobs if job.WorkDir == str(folder)]


def wait_for(found: Callable[[], object], run: subprocess.Popen, seconds: float = 1800) -> None:
    """Until it is so; AssertionError when the run ends before, or it takes too long."""
    end = time.monotonic() + seconds
    while not found():
        assert run.poll() is None and time.monotonic() < end, "it did not happen"
        time.sleep(0.2)


def running(cluster: Cluster, folder: Path, step: str) -> Job | None:
    """The step's job that runs now."""
    jobs = jobs_of(cluster, folder)
    return next((job for job in jobs if job.step == step and job.JobState == "RUNNING"), None)


def memory(rule: str, threads: int = 1) -> int:
    """What the profile asks for at the first attempt, in MB."""
    return eval(profile()["set-resources"][rule]["mem_mb"], {"attempt": 1, "threads": threads})


def asked(threads: dict[str, int], gpus: dict[str, int], nodes: dict[str, int]) -> dict[str, Asked]:
    """What the jobs of the small run are to get: the profile's memory, and for the others what the arguments say."""
    table = {}
    for rule in profile()["set-resources"]:
        n = nodes.get(rule, 1)
        cpus = threads.get(rule, 1)
        table[rule] = Asked(n * cpus, n * memory(rule, cpus), gpus.get(rule, 0), n)
    return table
