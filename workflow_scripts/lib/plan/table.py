"""The plan as plain text that fits 100 columns."""

from io import StringIO

from rich import box
from rich.console import Console
from rich.table import Table

from workflow_scripts.lib.plan.summary import HOUR, Plan, RulePlan
from workflow_scripts.lib.report.numbers import DASH, count, duration, size

WIDTH = 100


def as_text(plan: Plan) -> str:
    """What is planned, what it takes, and what is not known, most important first."""
    return "\n\n".join(
        filter(None, [_head(plan), _rules(plan), _disk(plan), _result(plan), "\n".join(notes(plan))])
    )


def hours(value: float | None) -> str:
    """0.001 -> 0.001, 1.234 -> 1.2, 12345 -> 12,345."""
    if value is None:
        return "?"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def title(rule: RulePlan) -> str:
    return f"{rule.rule} {rule.variant}".strip()


def _head(plan: Plan) -> str:
    pilots = ", ".join(f"{pilot['run']} ({count(pilot['videos'])} videos)" for pilot in plan.pilots)
    most = "" if plan.items_exact else "at most "
    return (
        f"Run {plan.run}: {most}{count(plan.items.all_videos)} videos, {count(plan.items.all_captions)} captions, "
        f"{count(plan.items.frames)} stored frames\nmeasured: {pilots}"
    )


def _rules(plan: Plan) -> str:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    table.add_column("step", "in all" + (", but for those with ?" if plan.unknown else ""))
    table.add_column("jobs", count(plan.sum("jobs")), justify="right")
    table.add_column("grows with")
    for name, what in (("CPU h", "cpu_h"), ("core h", "core_h"), ("GPU h", "gpu_h")):
        table.add_column(name, hours(plan.sum(what)), justify="right")
    table.add_column("longest job", justify="right")
    for rule in plan.rules:
        times = [hours(value) for value in (rule.cpu_h, rule.core_h, rule.gpu_h)]
        longest = "?" if rule.longest_h is None else duration(rule.longest_h * HOUR)
        known = [*times, longest] if rule.unit or rule.unknown else [DASH] * 4
        table.add_row(title(rule), count(rule.jobs), rule.unit or "", *known)
    return _plain(table)


def _disk(plan: Plan) -> str:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    table.add_column("on the disk", "at the peak")
    table.add_column("size", size(plan.disk_bytes), justify="right")
    table.add_column("grows with")
    for entry in [*([plan.frames] if plan.frames else []), *plan.disk]:
        table.add_row(entry.what, "?" if entry.bytes is None else size(entry.bytes), entry.unit)
    return _plain(table)


def _result(plan: Plan) -> str:
    lines = []
    if plan.wall:
        wall, least = plan.wall, "at least " if plan.unknown else ""
        lines.append(
            f"{least}{duration(wall.hours * HOUR)} on {wall.cores:,} cores and {wall.gpus:,} GPUs; jobs hold "
            f"{100 * wall.cores_busy:.0f} % of the cores meanwhile"
        )
        lines.append(f"the longest chain of jobs that wait for each other: {duration(wall.chain_h * HOUR)}")
    if plan.cost:
        parts = ", ".join(f"{name} {value:,.2f}" for name, value in plan.cost.items() if name != "total")
        lines.append(f"cost: {'at least ' if plan.unknown else ''}{plan.cost['total']:,.2f} ({parts})")
    return "\n".join(lines)


def notes(plan: Plan) -> list[str]:
    """What the figures do not tell: unknown steps first."""
    lines = [f"? {title(rule)}: {rule.unknown}" for rule in plan.rules if rule.unknown]
    lines += [f"? {entry.what}: the pilot has none" for entry in plan.disk if entry.bytes is None]
    lines += [f"{title(rule)}: {rule.note}" for rule in plan.rules if rule.note and not rule.unknown]
    return [*lines, *plan.warnings]


def _plain(table: Table) -> str:
    target = StringIO()
    Console(file=target, width=WIDTH, color_system=None, force_terminal=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in target.getvalue().strip("\n").splitlines())
