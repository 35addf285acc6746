"""Checkpoints of a training: what they are of, writing them, and taking a training up again."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from workflow_scripts.lib.checkpoints import (
    FINISHED,
    OTHER_CODE,
    differences,
    finished_by_other_code,
    set_aside,
    told,
)
from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.processes import ALONE, Processes
from workflow_scripts.lib.retrieval.state import TrainingState

LAST, BEST = "last.pt", "best.pt"
NOT_IDENTIFYING = {*RetrievalConfig.NOT_FROZEN, "enabled", "compile", "bootstrap"}
"""Keys of the configuration that change no weight."""


def identity(
    config: RetrievalConfig, seed: int, splits: dict[str, CaptionTable], readers: Sequence[FeatureReader]
) -> dict[str, Any]:
    """What determines the trained weights: configuration, seed, captions and the content of the features."""
    captions = {}
    for name, split in splits.items():
        digest = hashlib.sha256(np.ascontiguousarray(split.videos()))
        digest.update(np.ascontiguousarray(split.captions()))
        captions[name] = digest.hexdigest()
    features = {
        reader.kind: {f"file {number}": digest for number, digest in enumerate(reader.digests())}
        for reader in readers
    }
    return {
        "config": config.model_dump(mode="json", exclude=NOT_IDENTIFYING),
        "seed": seed,
        "captions": captions,
        "features": features,
    }


class Checkpoints:
    """The folder of a training's checkpoints: `last.pt`, `best.pt`, and `epoch_010.pt` of each epoch that is kept.

    Each holds everything: what it is of, the model's sizes and weights, optimizer, scaler, and how far it has come.
    """

    def __init__(self, folder: Path, who: dict[str, Any], keep_epochs: int = 0, job: Processes = ALONE):
        self.folder, self.who, self.keep_epochs, self.job = Path(folder), who, keep_epochs, job

    def resume(self, state: TrainingState, log: Path) -> None:
        """Bring `state` to where an unfinished run of the same identity stopped.

        Checkpoints of anything else are set aside with their `log`, with a line that says why. UserError where the last
        one is damaged, or the best one gone: both can be made good by hand.
        """
        if self.job.first:
            self._set_aside_others(log)
        self.job.wait()
        if (content := read_checkpoint(self.folder / LAST)) is not None:
            self._take_up(content, state)
            within = f" and {state.epoch_step} steps" if state.epoch_step else ""
            print(f"resuming behind epoch {state.epoch}{within} ({self.folder / LAST})", flush=True)
        elif self.job.first:
            self.folder.mkdir(parents=True, exist_ok=True)

    def _take_up(self, content: dict[str, Any], state: TrainingState) -> None:
        last, best = self.folder / LAST, self.folder / BEST
        try:
            state.load_state_dict(content)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # of an older version, or changed by hand
            raise _unreadable(last, error) from None
        if state.best_epoch and not best.is_file():
            raise UserError(
                f"{best}: missing, and {last} says that epoch {state.best_epoch} is the best so far; put it back, or delete"
                " the folder to train anew"
            )

    def save(self, state: TrainingState) -> None:
        """Write the checkpoint within an epoch. UserError when the training has diverged: the last one stays."""
        self._write(state, LAST)

    def save_epoch(self, state: TrainingState, *, is_best: bool) -> None:
        """Write the checkpoints of the epoch that just ended; `last.pt` last, so that all of them fit after a kill."""
        kept = self.keep_epochs and state.epoch % self.keep_epochs == 0
        self._write(state, *[BEST] * is_best, *[f"epoch_{state.epoch:03d}.pt"] * bool(kept), LAST)

    def _write(self, state: TrainingState, *names: str) -> None:
        state.means(state.of_epoch)
        if not self.job.first:
            return
        sizes = dataclasses.asdict(state.model.config)
        content = {"identity": self.who, "model_config": sizes, **state.state_dict()}
        for name in names:
            with whole_file(self.folder / name) as temporary:
                torch.save(content, temporary)

    def _set_aside_others(self, log: Path) -> None:
        content = read_checkpoint(self.folder / LAST)
        if content is None:
            if any(self.folder.glob("*.pt")):
                set_aside(self.folder, f"not whole: there is no {LAST}", log)
            else:
                (self.folder / FINISHED).unlink(missing_ok=True)  # of checkpoints that somebody has deleted
        elif changed := differences(content.get("identity"), self.who):
            reason = f"made under another configuration or other inputs:{told(changed)}"
            set_aside(self.folder, reason, log)
        elif finished_by_other_code(self.folder, "retrieval"):
            set_aside(self.folder, OTHER_CODE, log)


def read_checkpoint(file: Path) -> dict[str, Any] | None:
    """The content of a checkpoint, on the CPU; None where there is no file. UserError when it is none, or damaged."""
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except MemoryError:
        raise
    except Exception as error:  # damaged ones fail in every way
        raise _unreadable(file, error) from None
    if not isinstance(content, dict):
        raise UserError(f"{file}: no checkpoint of a training; delete its folder to train anew")
    return content


def _unreadable(file: Path, error: Exception) -> UserError:
    return UserError(
        f"{file}: the checkpoint cannot be read ({type(error).__name__}); copy another one of its folder over it to go on"
        " from there, or delete the folder to train anew"
    )
