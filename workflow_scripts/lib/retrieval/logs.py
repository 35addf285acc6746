"""What a training says of itself, every few steps: to the log, to training.csv, to Tensorboard, and to wandb if asked.

After a kill each of them goes on behind the checkpoint: no row twice, and none missing.
"""

import contextlib
import csv
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from torch.utils.tensorboard import SummaryWriter

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_file, write_csv
from workflow_scripts.lib.processes import ALONE, Processes
from workflow_scripts.lib.retrieval.data import Batch, padding
from workflow_scripts.lib.retrieval.state import StepSums, TrainingState

TRAINING_CSV, WANDB_RUN = "training.csv", "wandb_run.txt"
TERMS = ("clip_nce", "clip_triplet", "frame_nce", "frame_triplet", "query_diverse")
COLUMNS = (
    "step",
    "epoch",
    "loss",
    *TERMS,
    "lr",
    "grad_norm",
    "videos_per_s",
    "data_wait",
    "padding",
    "skipped",
)
"""Of training.csv: means since the row before; `data_wait` and `padding` are shares of the time and of the frames."""


class Pace(NamedTuple):
    """What this process has done, and in which time."""

    steps: int = 0
    videos: int = 0
    """Of all processes."""
    padding: float = 0.0
    """Shares of padding among the frames, summed over the steps."""
    seconds: float = 0.0
    waiting: float = 0.0
    """Seconds spent waiting for data."""

    def since(self, before: "Pace") -> dict[str, float]:
        steps, videos, padded, seconds, waiting = (now - then for now, then in zip(self, before, strict=True))
        return {
            "videos_per_s": videos / max(seconds, 1e-9),
            "data_wait": min(1.0, waiting / max(seconds, 1e-9)),
            "padding": padded / max(steps, 1),
        }


class Sink(Protocol):
    """Where numbers go to."""

    def write(self, group: str, row: dict[str, float]) -> None:
        """Numbers of the step row["step"]; the group is `train` or `epoch`."""

    def flush(self) -> None:
        """Leave nothing in memory: a checkpoint behind these numbers is about to be written."""

    def close(self) -> None: ...


class CsvSink:
    """The rows of `train` as a CSV; of what is there, rows behind `step` and half rows are thrown away."""

    def __init__(self, file: Path, step: int):
        write_csv(file, COLUMNS, _rows_up_to(file, step))
        self._handle = file.open("a", encoding="utf-8", newline="")
        self._writer = csv.DictWriter(self._handle, COLUMNS)

    def write(self, group: str, row: dict[str, float]) -> None:
        if group == "train":
            self._writer.writerow(row)
            self._handle.flush()

    def flush(self) -> None:
        self._handle.flush()
        os.fsync(self._handle.fileno())

    def close(self) -> None:
        self._handle.close()


def _rows_up_to(file: Path, step: int) -> list[dict[str, str]]:
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1].splitlines()
    rows = [row for row in csv.DictReader(whole) if tuple(row) == COLUMNS and None not in row.values()]
    return [row for row in rows if row["step"].isdecimal() and int(row["step"]) <= step]


class TensorboardSink:
    """Scalars `train/loss`, `epoch/val_sumr`, ...; events behind the step that is resumed from are taken back."""

    def __init__(self, folder: Path, step: int):
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, group: str, row: dict[str, float]) -> None:
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(f"{group}/{name}", value, row["step"])

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbSink:
    """The same in a run of Weights & Biases, which a resumed training goes on with, and one that begins anew does not:
    what is behind `step` cannot be taken back there. Offline files lie in `folder`."""

    def __init__(self, project: str, folder: Path, step: int):
        try:
            import wandb
        except ImportError:
            raise UserError(
                f"--wandb {project}: the package wandb is not installed; install it, or leave `retrieval.wandb` out:"
                " Tensorboard files are written in any case"
            ) from None
        run_id = folder / WANDB_RUN
        if step == 0 or not run_id.is_file():
            with whole_file(run_id) as temporary:
                temporary.write_text(secrets.token_hex(8), encoding="utf-8")
        try:
            self._run = wandb.init(
                project=project,
                id=run_id.read_text(encoding="utf-8"),
                resume="allow",
                dir=folder,
                settings=wandb.Settings(silent=True),
            )
        except wandb.errors.Error as error:
            raise UserError(
                f"--wandb {project}: Weights & Biases refuses ({error}); log in with `wandb login`, set WANDB_MODE=offline,"
                " or leave `retrieval.wandb` out"
            ) from None

    def write(self, group: str, row: dict[str, float]) -> None:
        self._run.log({f"{group}/{name}": value for name, value in row.items()}, step=row["step"])

    def flush(self) -> None:
        """It writes its rows itself, at once."""

    def close(self) -> None:
        self._run.finish()


class TrainingLog(contextlib.AbstractContextManager):
    """Counts what training does, and says it; only the first of several processes writes."""

    def __init__(
        self,
        folder: Path,
        state: TrainingState,
        total_steps: int,
        wandb: str | None = None,
        job: Processes = ALONE,
    ):
        self._total_steps = total_steps
        self._sinks: list[Sink] = []
        if job.first:
            folder.mkdir(parents=True, exist_ok=True)
            last_row = state.step - state.of_row.steps
            self._sinks += [CsvSink(folder / TRAINING_CSV, last_row), TensorboardSink(folder, state.step)]
            self._sinks += [WandbSink(wandb, folder, state.step)] if wandb else []
        self._began = time.perf_counter()
        self._pace = self._at_row = self._at_epoch = Pace()

    def count(self, batch: Batch, videos: int, waited: float) -> None:
        """Count a step on a batch (this process's share of `videos`), and all seconds of waiting for data so far."""
        steps, before, padded, _, _ = self._pace
        padded += padding(batch)["frames"]
        self._pace = Pace(steps + 1, before + videos, padded, time.perf_counter() - self._began, waited)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """What takes place meanwhile counts as no time of training."""
        paused = time.perf_counter()
        yield
        self._began += time.perf_counter() - paused

    def flush(self) -> None:
        """To be called before a checkpoint is written: what is behind it is not said again."""
        for sink in self._sinks:
            sink.flush()

    def write_row(self, state: TrainingState) -> None:
        """A row of training.csv and a line of the log, of the steps since the last one. UserError when training has
        diverged."""
        means = state.means(state.of_row)
        means["loss"] = means.pop("total")
        row = {
            "step": state.step,
            "epoch": state.epoch + (state.epoch_step > 0),
            **means,
            "lr": state.last_rate,
        }
        row |= self._pace.since(self._at_row)
        state.of_row, self._at_row = StepSums(), self._pace
        self._write("train", row)
        print(
            f"step {row['step']:,}/{self._total_steps:,} (epoch {row['epoch']}): loss {row['loss']:.4f},"
            f" lr {row['lr']:.2g}, {_speed(row)}",
            flush=True,
        )

    def write_epoch(self, state: TrainingState, epochs: int) -> None:
        """The last row of the curve, and a line of the log."""
        row, pace = state.curve[-1], self._pace.since(self._at_epoch)
        seconds = self._pace.seconds - self._at_epoch.seconds
        self._at_epoch = self._pace
        self._write("epoch", row)
        print(epoch_line(row, epochs, pace, seconds), flush=True)

    def __exit__(self, *error) -> None:
        for sink in self._sinks:
            sink.close()

    def _write(self, group: str, row: dict[str, float]) -> None:
        for sink in self._sinks:
            sink.write(group, row)


def epoch_line(row: dict[str, float], epochs: int, pace: dict[str, float], seconds: float) -> str:
    """What the log says of an epoch; `status` reads how far a training is from it."""
    found = f", val R@1 {row['val_r1']:.1f}, SumR {row['val_sumr']:.1f}" if "val_r1" in row else ""
    return f"epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.4f}{found}; {_speed(pace)} ({seconds:.1f} s)"


def _speed(pace: dict[str, float]) -> str:
    return f"{pace['videos_per_s']:,.1f} videos/s, {pace['data_wait']:.0%} of the time waiting for data"
