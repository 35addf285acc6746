"""What every rule of a configuration takes, job by job."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.plan.fit import Line, fit
from workflow_scripts.lib.plan.items import Items, shard_share
from workflow_scripts.lib.plan.pilot import Pilot
from workflow_scripts.lib.plan.scaling import SCALING, Name, Work


@dataclass(frozen=True)
class PlannedJob:
    """A job that Snakemake plans. `measured`: whether its rule writes a benchmark file; those that write a line of
    configuration have none, and take no time worth telling. `priority`: jobs of a higher one are started first."""

    name: Name
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    measured: bool
    priority: float = 0


@dataclass(frozen=True)
class Job:
    """Seconds that a planned job takes, and what it holds meanwhile; None where no pilot tells."""

    name: Name
    amount: float
    wall_s: float | None
    cpu_s: float | None
    cores: int
    gpus: int


@dataclass(frozen=True)
class Costs:
    """The lines of a rule's jobs; `unknown` says why there are none."""

    wall: Line | None
    cpu: Line | None
    unknown: str | None = None


def estimate(
    planned: Sequence[PlannedJob], config: Config, items: Items, pilots: Sequence[Pilot]
) -> tuple[list[Job], dict[Name, Costs]]:
    """A Job for each planned one, and by rule and variant what it was reckoned by."""
    kinds = {Name(job.name.rule, job.name.variant): job for job in planned if job.measured}
    costs = {kind: _costs(kind, pilots) for kind in kinds}
    held = {rule: cores_gpus for pilot in pilots for rule, cores_gpus in pilot.held.items()}
    return [_job(job, costs, config, items, held) for job in planned], costs


def _job(job: PlannedJob, costs: dict[Name, Costs], config: Config, items: Items, held: dict) -> Job:
    cores, gpus = held.get(job.name.rule, (1, 0))
    cost = costs.get(Name(job.name.rule, job.name.variant))
    if cost is None:
        return Job(job.name, 0.0, 0.0, 0.0, 1, 0)
    if cost.wall is None:
        return Job(job.name, 0.0, None, None, cores, gpus)
    its_own = items if job.name.shard is None else items.share(shard_share(config, items, job.name.shard))
    amount = SCALING[job.name.rule].amount(Work(its_own, config, job.name.variant))
    cpu_s = cost.cpu.at(amount) if cost.cpu else None
    return Job(job.name, amount, cost.wall.at(amount), cpu_s, cores, gpus)


def _costs(kind: Name, pilots: Sequence[Pilot]) -> Costs:
    if kind.rule not in SCALING:
        return Costs(None, None, "what it grows with is not known (lib/plan/scaling.py)")
    measured = [
        [job for job in pilot.jobs if (job.name.rule, job.name.variant) == (kind.rule, kind.variant)]
        for pilot in pilots
    ]
    if not any(measured):
        return Costs(None, None, "not measured in the pilot")
    wall = fit([[(job.amount, job.wall_s) for job in jobs] for jobs in measured])
    if wall is None:
        return Costs(None, None, f"the pilot has no {SCALING[kind.rule].unit}")
    return Costs(
        wall, fit([[(job.amount, job.cpu_s) for job in jobs if not isnan(job.cpu_s)] for jobs in measured])
    )
