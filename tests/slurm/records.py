"""What SLURM has on record of its jobs, and what in it is not as it was asked for."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise

ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "COMPLETING"}


@dataclass(frozen=True)
class Asked:
    """What a job is to get, on all of its nodes together; memory in MB, as long as the job runs on one node."""

    cpus: int
    mem_mb: int
    gpus: int = 0
    nodes: int = 1


@dataclass(frozen=True)
class Job:
    """A line of `scontrol --details --oneliner show job`."""

    fields: Mapping[str, str]

    def __getattr__(self, name: str) -> str:
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None

    @property
    def step(self) -> str:
        """The rule, or the group, and its wildcards."""
        return self.Comment.removeprefix("rule_")

    @property
    def got(self) -> Asked:
        gpus = re.findall(r"gpu(?::\w+)?:(\d+)", self.fields.get("JOB_GRES", ""))
        return Asked(int(self.NumCPUs), _megabytes(self), sum(map(int, gpus)), int(self.NumNodes))


def parse(text: str) -> list[Job]:
    """The jobs of scontrol's answer, by number."""
    lines = [line for line in text.splitlines() if line.startswith("JobId=")]
    jobs = [Job(dict(re.findall(r"(?:^|\s)([A-Za-z_/:]+)=(\S*)", line))) for line in lines]
    return sorted(jobs, key=lambda job: int(job.JobId))


def complaints(jobs: Iterable[Job], asked: Mapping[str, Asked]) -> list[str]:
    """Sentences about jobs that did not get what was asked for, or whose command was started more often than once a node.

    `asked` is by the beginning of a step's name, the longest that fits.
    """
    said = []
    for job in jobs:
        name = max((name for name in asked if job.step.startswith(name)), key=len, default=None)
        if name is None:
            said.append(f"{job.step}: nobody has asked for it")
            continue
        if job.got != asked[name]:
            said.append(f"{job.step}: got {job.got}, and was to get {asked[name]}")
        if int(job.NumTasks) != asked[name].nodes:
            said.append(f"{job.step}: would start {job.NumTasks} times on {asked[name].nodes} nodes")
    return said


def second_copies(jobs: Iterable[Job]) -> list[str]:
    """Sentences about steps that ran twice at a time."""
    runs = defaultdict(list)
    for job in jobs:
        if job.StartTime != "Unknown":
            runs[job.step].append((job.StartTime, job.EndTime, job.JobId))
    said = []
    for step, times in runs.items():
        times.sort()
        for (_, end, one), (start, _, other) in pairwise(times):
            if start < end:
                said.append(f"{step}: job {other} began at {start}, and job {one} ended at {end}")
    return said


def _megabytes(job: Job) -> int:
    amount, unit = re.search(r"\bmem=([\d.]+)([MG])", job.TRES).groups()
    return round(float(amount) * {"M": 1, "G": 1024}[unit])
