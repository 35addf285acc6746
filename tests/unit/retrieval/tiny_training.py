"""Trainings of seconds that can be killed."""

import csv
from pathlib import Path

import torch

from tests.unit.retrieval.tiny_corpus import small_config
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.processes import ALONE
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.state import TrainingState

REPRODUCED = ("step", "epoch", "loss", "clip_nce", "clip_triplet", "frame_nce", "frame_triplet", "query_diverse",
              "lr", "grad_norm")  # fmt: skip
"""Columns of training.csv that are no times."""


class Killed(BaseException):
    """As good as a kill -9: nothing catches it."""


def train_tiny(
    corpus: Path, out: Path, *, seed=5, job=ALONE, val="val", device="cpu", **changes
) -> TrainingState:
    """Train in out/checkpoints and out/log; dropout is on, and every step is logged."""
    splits = read_splits(corpus / "features", ("train", "val", "test"), None)
    videos, texts = (open_features(corpus / "features", kind) for kind in ("video", "text"))
    config = small_config(**{"drop": 0.2, "log_steps": 1, "workers": 0, "length_buckets": 2, **changes})
    return training.train(
        config, videos, texts, {"train": splits["train"], "val": splits[val]}, out / "checkpoints",
        log=out / "log", seed=seed, device=torch.device(device), job=job,
    )  # fmt: skip


def logged(out: Path, columns=REPRODUCED) -> list[dict[str, str]]:
    """Rows of training.csv as they are there, so that equal means equal to the last bit."""
    with (out / "log/training.csv").open(newline="", encoding="utf-8") as handle:
        return [{name: row[name] for name in columns} for row in csv.DictReader(handle)]


def numbers(out: Path, column: str) -> list[float]:
    return [float(row[column]) for row in logged(out, [column])]


def same_weights(one, other) -> bool:
    pairs = zip(one.items(), other.items(), strict=True)
    return all(name == its_name and torch.equal(value, same) for (name, value), (its_name, same) in pairs)
