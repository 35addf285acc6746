"""The overview of a run as plain text that fits 100 columns."""

import platform
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from itertools import groupby

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workflow_scripts.lib.report.numbers import duration
from workflow_scripts.lib.status.overview import JobStatus, Overview, RuleStatus

WIDTH = 100
SHOWN = 20  # jobs in each list


def as_text(overview: Overview) -> str:
    """Everything that a person wants to know, most important first."""
    parts = ["\n".join(_head(overview)), _table(overview)]
    for title, jobs in (("At work", overview.at_work), ("Failed or cut off", overview.broken)):
        if jobs:
            parts.append("\n".join([title, *_jobs(jobs)]))
    if overview.videos.shards:
        parts.append(_videos(overview))
    return "\n\n".join(parts)


def _head(overview: Overview) -> Iterator[str]:
    since = datetime.fromtimestamp(overview.started).strftime("%Y-%m-%d %H:%M:%S")
    spent, where = duration(overview.seconds), f"process {overview.pid} on {overview.host}"
    here = overview.host == platform.node()
    unsure = (
        "" if here else f" (where locks of {overview.host} are not seen here, it may be alive: ask there)"
    )
    told = {
        "running": f"running for {spent} (since {since}; {where})",
        "done": f"done in {spent} (begun {since})",
        "failed": f"ended without being done, after {spent} (begun {since}); start it again to go on",
        "killed": f"killed after {spent} or later (begun {since}); start it again to go on{unsure}",
        "unknown": f"begun {since}; only its machine can tell whether it goes on ({where})",
    }
    yield f"Run {overview.run}: {told[overview.state]}"
    yield _cut(overview.command)


def _table(overview: Overview) -> str:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, show_footer=True)
    total = {name: sum(getattr(rule, name) for rule in overview.rules)
             for name in ("done", "jobs", "running", "queued", "failed")}  # fmt: skip
    table.add_column("stage", "in all")
    table.add_column("step")
    table.add_column("done", f"{total['done']}/{total['jobs']}", justify="right")
    for name in ("running", "queued", "failed"):
        table.add_column(name, _count(total[name]), justify="right")
    table.add_column("left")
    for stage, rules in groupby(overview.rules, key=lambda rule: rule.stage):
        for position, rule in enumerate(rules):
            table.add_row("" if position else stage, *_row(rule))
    return f"{_plain(table)}\nleft in all: {_left_in_all(overview)}"


def _row(rule: RuleStatus) -> Iterator[str]:
    yield rule.rule
    yield f"{rule.done}/{rule.jobs}"
    yield from map(_count, (rule.running, rule.queued, rule.failed))
    if rule.done == rule.jobs:
        yield ""
    else:
        by = " (earlier run)" if rule.left_by_earlier_run else ""
        yield rule.left_unknown or _short(rule.seconds_left) + by


def _left_in_all(overview: Overview) -> str:
    if all(rule.done == rule.jobs for rule in overview.rules):
        return "nothing"
    told = []
    if overview.seconds_left:
        told.append(f"{duration(overview.seconds_left)}, one step after another")
    if overview.left_unknown:
        told.append(f"{_counted(len(overview.left_unknown), 'step')} with nothing to go by")
    return "; ".join(told) or "nothing that this run can still do"


def _jobs(jobs: list[JobStatus]) -> Iterator[str]:
    for job in jobs[:SHOWN]:
        left = "" if job.seconds_left is None else f"{_short(job.seconds_left)} left"
        spent = "" if job.seconds is None else duration(job.seconds)
        told = [job.state, spent, job.progress, left]
        yield _cut(f"  {job.job}: {', '.join(filter(None, told))}")
        if job.log:
            yield f"    {job.log}"  # whole, to be pasted
        if job.line:
            yield _cut(f"    {job.line}")
    if len(jobs) > SHOWN:
        yield f"  and {len(jobs) - SHOWN} more (--json has all)"


def _videos(overview: Overview) -> str:
    videos = overview.videos
    reasons = ", ".join(f"{reason} {count}" for reason, count in videos.failed.most_common())
    failed = f"{videos.failed.total()} failed" + (f" ({reasons})" if reasons else "")
    return f"Videos of {_counted(videos.shards, 'finished shard')}: {videos.ok} ok, {failed}"


def _short(seconds: float) -> str:
    return duration(seconds) if seconds >= 1 else "under 1 s"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _count(number: int) -> str:
    return str(number) if number else "-"


def _cut(line: str) -> str:
    """At most WIDTH cells, wide characters counted as two, and nothing that moves the cursor."""
    shown = Text.from_ansi(line).plain.replace("\t", " ")
    shown = "".join(character for character in shown if character.isprintable())
    cut = Text(shown, no_wrap=True, end="")
    cut.truncate(WIDTH, overflow="ellipsis")
    return cut.plain


def _plain(table: Table) -> str:
    target = StringIO()
    Console(file=target, width=WIDTH, color_system=None, force_terminal=False, highlight=False).print(table)
    return "\n".join(line.rstrip() for line in target.getvalue().strip("\n").splitlines())
