"""Loss curve of a training run, from the journal that its process wrote."""

import json
from pathlib import Path

from workflow_scripts.lib.files import write_csv

COLUMNS = {"train/loss": "train_loss", "train/lr": "lr", "val/clip_val_loss": "val_loss"}


def write_curve(journal: Path, curve: Path) -> None:
    """Write `step, epoch, train_loss, lr, val_loss`, blank where not measured.

    A killed run may have written values of an epoch that was then done again: the last one counts.
    """
    rows: dict[int, dict] = {}
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that a kill cut off
        column = COLUMNS.get(entry["name"])
        if column is None:
            continue
        of_epoch = entry["name"].startswith("val/")
        step = entry["step"] * entry["steps_per_epoch"] if of_epoch else entry["step"] + 1
        row = rows.setdefault(step, {"step": step, "epoch": round(step / entry["steps_per_epoch"], 4)})
        row[column] = entry["value"]
    write_csv(curve, ["step", "epoch", *COLUMNS.values()], (rows[step] for step in sorted(rows)))
