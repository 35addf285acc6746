"""The whole plan of a configuration: what its run takes on given machines, by what a pilot took."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.plan.disk import Disk, disk, frame_bytes, frames_at_peak, is_tar
from workflow_scripts.lib.plan.estimate import Costs, Job, PlannedJob, estimate
from workflow_scripts.lib.plan.items import Items, planned_items
from workflow_scripts.lib.plan.pilot import Pilot, differences
from workflow_scripts.lib.plan.scaling import SCALING, Name
from workflow_scripts.lib.plan.schedule import Schedule, Task, schedule
from workflow_scripts.lib.plan.summary import HOUR, Plan, Prices, RulePlan, Wall
from workflow_scripts.lib.plan.timeline import cores_held

MONTH_H = 365.25 * 24 / 12
GB = 1e9


def make_plan(
    planned: Sequence[PlannedJob],
    config: Config,
    resources: Path,
    pilots: Sequence[Pilot],
    *,
    cores: int | None = None,
    gpus: int = 0,
    prices: Prices | None = None,
) -> Plan:
    """UserError where a job needs more than the machines have, or a price needs a time that is not asked for."""
    largest = max(pilots, key=lambda pilot: pilot.items.all_videos)
    items, exact = planned_items(config, resources, largest.items)
    jobs, costs = estimate(planned, config, items, pilots)
    rules = [_rule(kind, some, costs.get(kind)) for kind, some in _by_kind(jobs).items()]
    rules.sort(key=lambda rule: rule.unit is None and rule.unknown is None)  # lines of configuration last
    made = schedule(_tasks(planned, jobs), cores, gpus) if cores else None
    wall = _wall(jobs, made, cores, gpus) if made else None
    disks, frames = disk(config, items, largest), _frames(planned, jobs, config, items, largest, made)
    plan = Plan(
        run=config.run,
        pilots=[
            {"run": p.run, "videos": p.items.all_videos, "captions": p.items.all_captions} for p in pilots
        ],
        items=items,
        items_exact=exact,
        rules=rules,
        disk=disks,
        frames=frames,
        wall=wall,
        cost=None,
        warnings=[*dict.fromkeys(_warnings(rules, pilots, config))],  # a rule's variants say the same
        timeline=_timeline(jobs, made) if made else {},
    )
    return replace(plan, cost=_cost(plan, prices) if prices else None)


def _by_kind(jobs: Sequence[Job]) -> dict[Name, list[Job]]:
    found: dict[Name, list[Job]] = {}
    for job in jobs:
        found.setdefault(Name(job.name.rule, job.name.variant), []).append(job)
    return found


def _rule(kind: Name, jobs: list[Job], costs: Costs | None) -> RulePlan:
    scaling = SCALING.get(kind.rule)
    unknown = costs.unknown if costs else None
    hours = [job.wall_s / HOUR for job in jobs if job.wall_s is not None]
    cpu = [job.cpu_s / HOUR for job in jobs if job.cpu_s is not None]
    line = costs.wall if costs else None
    return RulePlan(
        rule=kind.rule,
        variant=kind.variant if costs else "",
        jobs=len(jobs),
        unit=scaling.unit if scaling and costs else None,
        amount=sum(job.amount for job in jobs),
        cores=jobs[0].cores,
        gpus=jobs[0].gpus,
        cpu_h=sum(cpu) if len(cpu) == len(jobs) else None,
        core_h=None if unknown else sum(hours) * jobs[0].cores,
        gpu_h=None if unknown else sum(hours) * jobs[0].gpus,
        longest_h=None if unknown else max(hours),
        fixed_s=line.fixed if line else None,
        per_item_s=line.per_item if line else None,
        unknown=unknown,
        note=scaling.note if scaling else None,
    )


def _tasks(planned: Sequence[PlannedJob], jobs: Sequence[Job]) -> list[Task]:
    """Jobs without a known time take none here: the time told is then one without them."""
    makers = _makers(planned)
    return [
        Task(
            job.name.rule,
            job.wall_s or 0.0,
            job.cores,
            job.gpus,
            tuple({makers[file] for file in one.inputs if file in makers}),
            one.priority,
        )
        for one, job in zip(planned, jobs, strict=True)
    ]


def _makers(planned: Sequence[PlannedJob]) -> dict[str, int]:
    """By file, the position of the job that makes it."""
    return {file: position for position, job in enumerate(planned) for file in job.outputs}


def _wall(jobs: Sequence[Job], made: Schedule, cores: int, gpus: int) -> Wall:
    held = sum((job.wall_s or 0.0) * job.cores for job in jobs)
    busy = held / (made.seconds * cores) if made.seconds else 0.0
    return Wall(cores, gpus, made.seconds / HOUR, made.chain / HOUR, busy)


def _frames(
    planned: Sequence[PlannedJob],
    jobs: Sequence[Job],
    config: Config,
    items: Items,
    pilot: Pilot,
    made: Schedule | None,
) -> Disk | None:
    """All of them where they stay or nothing tells how long; otherwise those that are there at the same time."""
    if config.corpus.is_imported:
        return None
    a_video = frame_bytes(pilot)
    if a_video is None:
        return Disk("frames", None, "videos")
    if config.frames.keep or made is None or not _tars_are_timed(planned, jobs):
        what = "frames" if config.frames.keep else "frames (at most: removed after their use)"
        return Disk(what, items.all_videos * a_video, "videos")
    amounts = [job.amount for job in jobs]
    what = "frames at the peak"
    if any(job.wall_s is None for job in jobs):
        what += " (if the unknown steps took no time)"
    return Disk(what, frames_at_peak(planned, amounts, made, a_video), "jobs at a time")


def _tars_are_timed(planned: Sequence[PlannedJob], jobs: Sequence[Job]) -> bool:
    """Whether the time is known of every job that makes or uses a tar of frames, and of all that these wait for."""
    makers = _makers(planned)
    waiting = [
        position
        for position, job in enumerate(planned)
        if any(is_tar(file) for file in (*job.inputs, *job.outputs))
    ]
    seen = set(waiting)
    while waiting:
        position = waiting.pop()
        if jobs[position].wall_s is None:
            return False
        before = {makers[file] for file in planned[position].inputs if file in makers} - seen
        seen |= before
        waiting += before
    return True


def _cost(plan: Plan, prices: Prices) -> dict[str, float] | None:
    cost = {}
    if prices.cpu_hour is not None:
        cost["cores"] = plan.sum("core_h") * prices.cpu_hour
    if prices.gpu_hour is not None:
        cost["gpus"] = plan.sum("gpu_h") * prices.gpu_hour
    if prices.gb_month is not None:
        if plan.wall is None:
            raise UserError("--price-gb-month: how long the disk is needed is not known; give --cores, too")
        cost["disk"] = plan.disk_bytes / GB * plan.wall.hours / MONTH_H * prices.gb_month
    return {**cost, "total": sum(cost.values())} if cost else None


def _warnings(rules: list[RulePlan], pilots: Sequence[Pilot], config: Config) -> Iterator[str]:
    if len(pilots) == 1:
        yield (
            "one pilot: the start of each job is counted as per item, which is too much for jobs that are larger than "
            "the pilot's; a second pilot of another size tells them apart"
        )
    for pilot in pilots:
        yield from differences(pilot, config)
        if "ray" in (pilot.diary["executor"], config.frames.executor):
            yield (
                "extract_frames: with `frames.executor: ray` a job only waits for Ray's machines, in the pilot "
                f"{pilot.run} or here; its cores, CPU time and cost are not those of the decoding"
            )
        for rule in pilot.taken_up:
            yield (
                f"{rule} went on from a checkpoint in the pilot {pilot.run}: its time there is of a part of it, and is left"
                " out; a pilot in one go measures it"
            )
        for rule, count in pilot.failures.items():
            yield (
                f"{rule} failed {count}x in the pilot {pilot.run}: a job that was tried again is measured by its last "
                "attempt alone"
            )
    for rule in rules:
        held = {pilot.held[rule.rule] for pilot in pilots if rule.rule in pilot.held}
        if len(held) > 1:
            yield (
                f"{rule.rule} held other cores or GPUs in one pilot than in another; its times are taken together, and "
                f"count for {rule.cores} cores and {rule.gpus} GPUs a job"
            )
        if rule.unit and not rule.unknown and not held:
            yield (
                f"{rule.rule}: the pilot's last call of snakemake did not plan it, so the cores that it held are not "
                "known; taken for one"
            )


def _timeline(jobs: Sequence[Job], made: Schedule) -> dict[str, list[float]]:
    timed = zip(jobs, made.starts, made.ends, strict=True)
    return cores_held(
        [(job.name.rule, start, end, job.cores) for job, start, end in timed if job.wall_s], made.seconds
    )
