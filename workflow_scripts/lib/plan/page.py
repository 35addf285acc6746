"""The plan as one HTML page that opens offline, in the looks of the report."""

from pathlib import Path

import numpy as np

from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.plan.summary import HOUR, Plan
from workflow_scripts.lib.plan.table import hours, notes, title
from workflow_scripts.lib.report.curves import COLOURS, Figure, as_image, plot_style
from workflow_scripts.lib.report.numbers import duration
from workflow_scripts.lib.report.page import render

MOMENTS = 300  # that the timeline is drawn by
OTHERS = "all others"


def write_page(file: Path, plan: Plan) -> None:
    """What `table.as_text` tells, and, where machines are given, what runs when."""
    context = {
        "plan": plan,
        "title": f"Plan of {plan.run}",
        "hours": hours,
        "name": title,
        "notes": notes(plan),
        "timeline": timeline(plan) if plan.timeline else None,
    }
    with whole_file(file) as temporary:
        temporary.write_text(render(context, "plan.html.j2"), encoding="utf-8")


def timeline(plan: Plan) -> Figure:
    """Cores that jobs hold over time, those of the costliest steps apart."""
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    edges = np.linspace(0, plan.wall.hours, MOMENTS + 1)
    steps = cores_held(plan.timeline, edges)
    with mpl.rc_context(plot_style("")):
        canvas = Canvas(figsize=(9, 3), layout="constrained")
        axes = canvas.add_subplot()
        middles = (edges[1:] + edges[:-1]) / 2
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


def cores_held(jobs: list[tuple[str, float, float, int]], edges: np.ndarray) -> dict[str, np.ndarray]:
    """Between each two edges, the mean number of cores that jobs hold, by step; the costliest first, the rest together.

    `jobs` are (step, start, end, cores), in the unit of `edges`.
    """
    held: dict[str, np.ndarray] = {}
    for step, start, end, cores in jobs:
        until = cores * np.clip(edges - start, 0, end - start)
        held[step] = held.get(step, 0) + np.diff(until) / np.diff(edges)
    order = sorted(held, key=lambda step: -held[step].sum())
    shown = order if len(order) <= len(COLOURS) else order[: len(COLOURS) - 1]
    rest = [held[step] for step in order[len(shown) :]]
    return {step: held[step] for step in shown} | ({OTHERS: sum(rest)} if rest else {})
