"""Training curves as small figures."""

import base64
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.fonts import plot_families

TRAINING_LOG = "retrieval/log/training.csv"
"""Every few optimizer steps a row, where the curve has one an epoch."""
FILES = {
    "clip": {"CLIP": ("clip/curve.csv",)},
    "retrieval": {"GMMFormer": ("retrieval/curve.csv", TRAINING_LOG)},
    "captioner": {
        "Captioner, stage 1": ("captioner/stage1_curve.csv",),
        "Captioner, stage 2": ("captioner/stage2_curve.csv",),
    },
}
NAMES = {"loss": "train_loss"}
"""Columns of the training log that are others of the curve."""
TERMS = ("clip_nce", "clip_triplet", "frame_nce", "frame_triplet", "query_diverse")
OF_CAPTIONS = ("val_cider", "val_chrf", "val_diversity")
UNDRAWN = ("step", "epoch", "videos_per_s", "data_wait", "padding", "skipped")
MOST_POINTS = 400
WIDE = 30  # where one line is so many times higher than another, the scale is logarithmic
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

    A curve file that is not there (a stage of a former version) or holds no measurement gives none. Of a column that two
    files have, the one with more measurements is drawn.
    """
    figures = []
    for stage in stages:
        for title, names in FILES.get(stage, {}).items():
            files = [file for name in names if (file := Path(results) / name).is_file()]
            figures += _panels(title, [read_curve(file).rename(columns=NAMES) for file in files])
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


def _panels(title: str, tables: list[pd.DataFrame]) -> list[Figure]:
    lines: dict[str, pd.Series] = {}
    for table in tables:
        for name in table.columns.difference(UNDRAWN, sort=False):
            line = table.set_index("step")[name].dropna()
            if len(line) > len(lines.get(name, ())):
                lines[name] = line
    groups: dict[str, dict[str, pd.Series]] = {}
    for name, line in lines.items():
        groups.setdefault(_group(name), {})[name] = line
    return [_panel(title, group, some) for group, some in groups.items()]


def _group(name: str) -> str:
    """The panel that a column belongs to: metrics of one panel share a scale."""
    if name in ("loss", "train_loss", "val_loss"):
        return "loss"
    if "loss" in name or name in TERMS:
        return "parts of the loss"
    if "sumr" in name:
        return "SumR"
    if name in OF_CAPTIONS:  # percent of different things
        return _label(name)
    return "validation" if name.startswith("val") else _label(name)


def plot_style(text: str) -> dict[str, Any]:
    """Settings of matplotlib that suit the page, with fonts for `text`."""
    return {
        "font.family": plot_families(text),
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


def as_image(canvas: Any) -> str:
    """A figure of matplotlib as the data URI of an SVG."""
    data = io.BytesIO()
    canvas.savefig(data, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(data.getvalue()).decode()


def _panel(training: str, group: str, lines: dict[str, pd.Series]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure as Canvas

    with mpl.rc_context(plot_style(" ".join(lines))):
        canvas = Canvas(figsize=(3.6, 2.3), layout="constrained")
        axes = canvas.add_subplot()
        for (name, line), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
            points = thin(line)
            marker = {"marker": "o", "markersize": 3} if len(points) < 30 else {}
            axes.plot(points.index, points.values, label=_label(name), color=colour, linewidth=1.5, **marker)
        axes.set_xlabel("optimizer step")
        if group == "parts of the loss" and _wide(lines):
            axes.set_yscale("log", nonpositive="mask")
        else:
            axes.ticklabel_format(axis="y", scilimits=(-3, 4))
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(5, integer=True))
        if len(lines) > 2:  # no corner is free of so many
            canvas.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        elif len(lines) > 1:
            axes.legend(frameon=False)
        image = as_image(canvas)
    ends = "; ".join(
        f"{_label(name)} from {line.iloc[0]:.4g} to {line.iloc[-1]:.4g}" for name, line in lines.items()
    )
    title = f"{training}: {_label(next(iter(lines))) if len(lines) == 1 else group}"
    main = group == "parts of the loss" or any(name.startswith("val") or "loss" in name for name in lines)
    return Figure(title, image, f"{title}: {ends}", main)


def _wide(lines: dict[str, pd.Series]) -> bool:
    """Whether on one scale from zero the lowest line would lie flat on the ground."""
    heights = [height for line in lines.values() if (height := line.abs().max()) > 0]
    return bool(heights) and max(heights) > WIDE * min(heights)


def _label(name: str) -> str:
    """`train_loss` -> training loss, `val_r1` -> validation R@1."""
    words = {
        "train": "training",
        "val": "validation",
        "lr": "learning rate",
        "grad": "gradient",
        "sumr": "SumR",
        "nce": "NCE",
        "cider": "CIDEr",
        "chrf": "chrF++",
    }
    return " ".join(words.get(word, re.sub(r"^r(\d+)$", r"R@\1", word)) for word in name.split("_"))
