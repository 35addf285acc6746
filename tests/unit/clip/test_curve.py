"""The curve of a training, from its journal."""

import csv
import json

from workflow_scripts.lib.clip.curve import write_curve


def curve_of(folder, *entries, cut=""):
    lines = [
        json.dumps(dict(zip(("name", "value", "step", "steps_per_epoch"), entry, strict=True)))
        for entry in entries
    ]
    (folder / "journal").write_text("\n".join(lines) + "\n" + cut)
    write_curve(folder / "journal", folder / "curve.csv")
    with (folder / "curve.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_losses_rate_and_scale_by_step(tmp_path):
    first, last = curve_of(
        tmp_path, ("train/loss", 3.5, 0, 4), ("train/lr", 1e-3, 0, 4), ("train/scale", 14.3, 0, 4),
        ("train/data_time", 9, 0, 4), ("val/clip_val_loss", 2.5, 1, 4), ("val/epoch", 1, 1, 4),
        cut='{"name": "train/lo',
    )  # fmt: skip
    assert first == {
        "step": "1", "epoch": "0.25", "train_loss": "3.5", "lr": "0.001", "logit_scale": "14.3", "val_loss": "",
    }  # fmt: skip
    assert (last["step"], last["epoch"], last["val_loss"], last["train_loss"]) == ("4", "1.0", "2.5", "")


def test_columns_that_only_some_trainings_have(tmp_path):
    [row] = curve_of(
        tmp_path, ("train/caption_loss", 5.0, 0, 1), ("val/image_to_text_R@1", 0.25, 1, 1),
    )  # fmt: skip
    assert (row["caption_loss"], row["val_i2t_r1"]) == ("5.0", "25.0")
    assert "distill_loss" not in row


def test_the_contrastive_loss_stands_apart_where_it_is_a_part(tmp_path):
    alone = ("train/loss", 3.0, 0, 1), ("train/contrastive_loss", 3.0, 0, 1)
    [row] = curve_of(tmp_path, *alone)
    assert "contrastive_loss" not in row
    [row] = curve_of(tmp_path, *alone, ("train/distill_loss", 1.0, 0, 1))
    assert (row["contrastive_loss"], row["distill_loss"]) == ("3.0", "1.0")


def test_what_was_done_again_after_a_kill_counts_last(tmp_path):
    rows = curve_of(tmp_path, ("train/loss", 3.0, 0, 2), ("train/loss", 2.0, 1, 2), ("train/loss", 1.0, 0, 2))
    assert [row["train_loss"] for row in rows] == ["1.0", "2.0"]
