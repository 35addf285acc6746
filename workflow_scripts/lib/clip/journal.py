"""The values of a training as it goes: JSON lines that `curve.py` reads, and where asked, Tensorboard files."""

import json
from pathlib import Path
from typing import Any


class Journal:
    """Takes the place of the Tensorboard writer in open_clip_train: a JSON line a value."""

    def __init__(self, path: Path):
        self.path = path
        self.steps_per_epoch = 1
        self.tensorboard: Any = None
        """The package's own writer, which gets the same values."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """`step` counts optimizer steps for `train/...`, epochs for `val/...`, as open_clip_train has it."""
        line = {"name": name, "value": float(value), "step": step, "steps_per_epoch": self.steps_per_epoch}
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
        if self.tensorboard is not None:
            self.tensorboard.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write out what Tensorboard's writer holds back."""
        if self.tensorboard is not None:
            self.tensorboard.flush()
