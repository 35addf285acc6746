"""Training curves as small figures."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.fonts import plot_families

FILES = {
    "clip": {"CLIP": "clip/curve.csv"},
    "retrieval": {"GMMFormer": "retrieval/curve.csv"},
    "captioner": {
        "Captioner, stage 1": "captioner/stage1_curve.csv",
        "Captioner, stage 2": "captioner/stage2_curve.csv",
    },
}
MOST_POINTS = 400
COLOURS = ("#2563a8", "#c2571a", "#2f7d4f", "#7a4fa0", "#a0304a", "#5b6472")


@dataclass(frozen=True)
class Figure:
    """A drawn panel."""

    title: str
    image: str
    """An SVG data URI."""
    description: str
    """What a screen reader says."""
    main: bool
    """A loss or a score; not the learning rate and the like."""


def draw_curves(results: Path, stages: list[str]) -> list[Figure]:
    """Panels of the given stages: a training's losses, its validation scores and its learning rate apart.

    A curve file that is not there (a stage of a former version) or holds no measurement gives none.
    """
    figures = []
    for stage in stages:
        for title, name in FILES.get(stage, {}).items():
            file = Path(results) / name
            if file.is_file():
                figures += _panels(title, read_curve(file))
    return figures


def read_curve(file: Path) -> pd.DataFrame:
    """Columns step, epoch and metrics as numbers; NaN where not measured. UserError when it is no such table."""
    try:
        table = pd.read_csv(file)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: no table of a training curve ({error}); run the training again") from None
    if "step" not in table:
        raise UserError(
            f"{file}: a column `step` is expected, found {', '.join(table)}; run the training again"
        )
    return table.apply(pd.to_numeric, errors="coerce").sort_values("step", kind="stable")


def thin(line: pd.Series, most: int = MOST_POINTS) -> pd.Series:
    """At most about `most` points: means over runs of neighbours, at the mean of their steps."""
    if len(line) <= most:
        return line
    group = pd.Series(range(len(line))) * most // len(line)
    steps = line.index.to_series().reset_index(drop=True).groupby(group).mean()
    return pd.Series(line.reset_index(drop=True).groupby(group).mean().to_numpy(), index=steps.to_numpy())


def _panels(title: str, table: pd.DataFrame) -> list[Figure]:
    groups: dict[str, list[str]] = {}
    for name in table.columns:
        if name not in ("step", "epoch") and table[name].notna().any():
            groups.setdefault(_group(name), []).append(name)
    return [_panel(title, group, table, names) for group, names in groups.items()]


def _group(name: str) -> str:
    """The panel that a column belongs to: metrics of one panel share a scale."""
    if name in ("loss", "train_loss", "val_loss"):
        return "loss"
    if "loss" in name:
        return "parts of the loss"
    if "sumr" in name:
        return "SumR"
    return "validation" if name.startswith("val") else _label(name)


def _panel(training: str, group: str, table: pd.DataFrame, names: list[str]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    lines = {name: table.set_index("step")[name].dropna() for name in names}
    style = {
        "font.family": plot_families(" ".join(names)),
        "font.size": 9,
        "svg.fonttype": "path",  # an SVG in an <img> sees no font of the page
        "svg.hashsalt": "vidloom",  # the same curve gives the same bytes
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": "#8a929c",
        "axes.grid": True,
        "grid.color": "#e3e6ea",
        "text.color": "#1d2733",
        "axes.labelcolor": "#4c5866",
        "xtick.color": "#4c5866",
        "ytick.color": "#4c5866",
    }
    with mpl.rc_context(style):
        canvas = Canvas(figsize=(3.6, 2.3), layout="constrained")
        axes = canvas.add_subplot()
        for (name, line), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
            points = thin(line)
            marker = {"marker": "o", "markersize": 3} if len(points) < 30 else {}
            axes.plot(points.index, points.values, label=_label(name), color=colour, linewidth=1.5, **marker)
        axes.set_xlabel("optimizer step")
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        if len(lines) > 1:
            axes.legend(frameon=False)
        data = io.BytesIO()
        canvas.savefig(data, format="svg", metadata={"Date": None})
    image = "data:image/svg+xml;base64," + base64.b64encode(data.getvalue()).decode()
    ends = "; ".join(
        f"{_label(name)} from {line.iloc[0]:.4g} to {line.iloc[-1]:.4g}" for name, line in lines.items()
    )
    title = f"{training}: {_label(names[0]) if len(names) == 1 else group}"
    main = any(name.startswith("val") or "loss" in name for name in names)
    return Figure(title, image, f"{title}: {ends}", main)


def _label(name: str) -> str:
    """`train_loss` -> training loss, `val_r1` -> validation R@1."""
    words = {
        "train": "training",
        "val": "validation",
        "lr": "learning rate",
        "grad": "gradient",
        "sumr": "SumR",
    }
    return " ".join(words.get(word, re.sub(r"^r(\d+)$", r"R@\1", word)) for word in name.split("_"))
