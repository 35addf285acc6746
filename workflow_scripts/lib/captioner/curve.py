"""The curve of a stage: the Trainer's log as a table."""

from pathlib import Path

from workflow_scripts.lib.files import write_csv

COLUMNS = {
    "loss": "train_loss",
    "eval_loss": "val_loss",
    "learning_rate": "lr",
    "grad_norm": "grad_norm",
    "eval_cider": "val_cider",
    "eval_chrf": "val_chrf",
    "eval_diversity": "val_diversity",
}
"""The Trainer's name of what is measured, and the column's."""


def write_curve(path: Path, history: list[dict[str, float]]) -> None:
    """`step`, `epoch` and the `COLUMNS` as CSV, a row a step at which something was measured, blank where not.

    The training loss is the smoothed one where the stage smooths labels, the validation loss never is.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        measured = {COLUMNS[key]: value for key, value in entry.items() if key in COLUMNS}
        if measured:
            row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": round(entry["epoch"], 4)})
            row.update(measured)
    write_csv(path, ["step", "epoch", *COLUMNS.values()], (rows[step] for step in sorted(rows)))
