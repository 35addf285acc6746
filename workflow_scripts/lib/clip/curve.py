"""Curves of a training run, from the journal that its process wrote."""

import json
from pathlib import Path

from workflow_scripts.lib.files import write_csv

COLUMNS = {
    "train/loss": "train_loss",
    "train/lr": "lr",
    "train/scale": "logit_scale",
    "val/clip_val_loss": "val_loss",
}
# Only some trainings have them: CoCa, distillation, validation pairs.
PART = "contrastive_loss"  # which is the whole loss where it has no other part
MORE = {
    "train/contrastive_loss": PART,
    "train/caption_loss": "caption_loss",
    "train/distill_loss": "distill_loss",
    "val/image_to_text_R@1": "val_i2t_r1",
    "val/text_to_image_R@1": "val_t2i_r1",
}
SHARES = ("val_i2t_r1", "val_t2i_r1")  # percent here


def write_curve(journal: Path, curve: Path) -> None:
    """Write `step, epoch, train_loss, lr, logit_scale, val_loss` and what else was measured; blank where it was not.

    A killed run may have written values of an epoch that was then done again: the last one counts.
    """
    rows: dict[int, dict] = {}
    found: set[str] = set()
    for line in journal.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the line that a kill cut off
        column = (COLUMNS | MORE).get(entry["name"])
        if column is None:
            continue
        of_epoch = entry["name"].startswith("val/")
        step = entry["step"] * entry["steps_per_epoch"] if of_epoch else entry["step"] + 1
        row = rows.setdefault(step, {"step": step, "epoch": round(step / entry["steps_per_epoch"], 4)})
        row[column] = round(100 * entry["value"], 4) if column in SHARES else entry["value"]
        found.add(column)
    if not found & {"caption_loss", "distill_loss"}:
        found.discard(PART)
    columns = [*COLUMNS.values(), *(column for column in MORE.values() if column in found)]
    columns = ["step", "epoch", *columns]
    write_csv(curve, columns, ({name: rows[step].get(name) for name in columns} for step in sorted(rows)))
