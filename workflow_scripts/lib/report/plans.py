"""A plan of a run (`python -m workflow_scripts.plan`): what the page shows of it."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json
from workflow_scripts.lib.plan.summary import HOUR, Plan
from workflow_scripts.lib.plan.table import hours, notes, title
from workflow_scripts.lib.report.curves import COLOURS, Figure, as_image, plot_style
from workflow_scripts.lib.report.numbers import duration


def read_plan(file: Path) -> Plan:
    """UserError when it is none, or one of another version."""
    try:
        return TypeAdapter(Plan).validate_python(read_json(file))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{file}: not a plan of this version ({where}: {first['msg']}); have `python -m workflow_scripts.plan` "
            "write it anew, or remove it"
        ) from None


def section(plan: Plan) -> dict[str, Any]:
    return {
        "plan": plan,
        "hours": hours,
        "name": title,
        "notes": notes(plan),
        "timeline": draw_timeline(plan) if plan.timeline else None,
    }


def planned_seconds(plan: Plan) -> dict[str, float | None]:
    """CPU time by rule; None where some of its jobs are unknown."""
    by_rule: defaultdict[str, list[float | None]] = defaultdict(list)
    for row in plan.rules:
        by_rule[row.rule].append(row.cpu_h)
    return {rule: None if None in cpu else HOUR * sum(cpu) for rule, cpu in by_rule.items()}


def draw_timeline(plan: Plan) -> Figure:
    """Cores that jobs hold over time, those of the costliest steps apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    steps = plan.timeline
    parts = len(next(iter(steps.values())))
    middles = (np.arange(parts) + 0.5) * plan.wall.hours / parts
    with mpl.rc_context(plot_style("")):
        canvas = Canvas(figsize=(9, 3), layout="constrained")
        axes = canvas.add_subplot()
        axes.stackplot(middles, *steps.values(), labels=steps, colors=COLOURS, linewidth=0)
        axes.set_xlabel("hours")
        axes.set_ylabel("cores held")
        axes.set_xlim(0, plan.wall.hours)
        axes.set_axisbelow(True)
        axes.yaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        canvas.legend(loc="outside right upper", frameon=False, fontsize=8)
        image = as_image(canvas)
    told = "; ".join(f"{rule} {np.mean(cores):.3g} in the mean" for rule, cores in steps.items())
    return Figure(
        "What runs when", image, f"Cores held over {duration(plan.wall.hours * HOUR)}: {told}", True
    )
