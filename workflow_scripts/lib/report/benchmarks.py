"""What every rule cost, from Snakemake's benchmark files and the ends of logs."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts.lib.command import CPU_TIME

COLUMNS = {"s": "seconds", "cpu_time": "cpu_seconds", "max_rss": "peak_mib"}


@dataclass(frozen=True)
class RuleCost:
    """A rule's jobs together; None where Snakemake measured nothing (jobs shorter than its sampling)."""

    rule: str
    jobs: int
    seconds: float | None
    """Wall time, summed over the jobs."""
    cpu_seconds: float | None
    """Processor time of all processes of a job, summed over the jobs."""
    peak_mib: float | None
    """Resident memory of the largest job, in MiB."""


def rule_costs(folder: Path, rules: Collection[str], shards: int) -> list[RuleCost]:
    """One entry a rule, the costliest first.

    Only of these rules, and of shards 0 to shards-1: files of stages that are off now, or of a
    former, larger number of shards, are passed over. Reads `<folder>/<rule>.tsv` and everything below
    `<folder>/<rule>/`. A file that a killed job left empty is said on stdout and left out; a folder that is
    not there has no rules.
    """
    files = [
        file
        for file in sorted(Path(folder).rglob("*.tsv"))
        if _rule_of(file, folder) in rules and not (file.stem.isdigit() and int(file.stem) >= shards)
    ]
    jobs = [{"rule": _rule_of(file, folder), **row} for file in files for row in benchmark_rows(file, folder)]
    if not jobs:
        return []
    costs = []
    for rule, rows in pd.DataFrame(jobs).groupby("rule"):
        seconds, cpu = (rows[name].sum(min_count=1) for name in ("seconds", "cpu_seconds"))
        costs.append(RuleCost(rule, len(rows), _known(seconds), _known(cpu), _known(rows["peak_mib"].max())))
    return sorted(costs, key=lambda cost: (-(cost.seconds or 0), cost.rule))


def seconds_spent(files: Iterable[Path]) -> float | None:
    """Wall time of the jobs whose benchmark files are there, summed; None when none is, or nothing was measured."""
    times = [row["seconds"] for file in files if file.is_file() for row in benchmark_rows(file)]
    return _known(pd.Series(times, dtype=float).sum(min_count=1))


def _rule_of(file: Path, folder: Path) -> str:
    return file.relative_to(folder).parts[0].removesuffix(".tsv")


def benchmark_rows(file: Path, run: Path | None = None) -> list[dict]:
    """`seconds`, `cpu_seconds` and `peak_mib` of every time that a job was measured; NaN for what was not.

    With `run`, the folder of the run's benchmark files, CPU time is what the job's processes tell at the end of its log, in
    `logs/<run>` beside `benchmarks-out/<run>`: Snakemake's samples miss the last half minute of a job, and processes on
    other nodes.
    """
    try:
        table = pd.read_csv(file, sep="\t")
    except pd.errors.EmptyDataError:
        print(f"{file}: empty, left out", flush=True)
        return []
    # `-` and `NA` stand for what was not measured.
    numbers = (
        table.reindex(columns=list(COLUMNS)).apply(pd.to_numeric, errors="coerce").rename(columns=COLUMNS)
    )
    rows = numbers.astype(float).to_dict("records")
    if run is not None and len(rows) == 1:
        rows[0]["cpu_seconds"] = _cpu_time(file, run, otherwise=rows[0]["cpu_seconds"])
    return rows


def log_of(file: Path, run: Path) -> Path:
    """Of the job that left this benchmark file in that folder of its run."""
    run = Path(run).absolute()
    return run.parents[1] / "logs" / run.name / file.absolute().relative_to(run).with_suffix(".log")


def _cpu_time(file: Path, run: Path, otherwise: float) -> float:
    try:
        told = CPU_TIME.findall(log_of(file, run).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        told = []
    return sum(map(float, told)) if told else otherwise


def _known(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
