"""Progress of a training that survives a kill: what it is of, saving, and taking it up again."""

import hashlib
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from workflow_scripts.lib.checkpoints import OTHER_CODE, differences, finished_by_other_code, set_aside, told
from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.files import whole_file

LAST, BEST = "last.pt", "best.safetensors"


@dataclass
class TrainingState:
    """Everything that a resumed run needs to go on as if nothing had happened."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Optimizer steps done."""
    best_sumr: float = -1.0
    """Best validation SumR so far, in percent."""
    best_epoch: int = 0
    """Epoch (from 1) whose weights are kept."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of curve.csv."""


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
        "config": config.model_dump(mode="json"),
        "seed": seed,
        "captions": captions,
        "features": features,
    }


def save(folder: Path, state: TrainingState, who: dict[str, Any], *, is_best: bool) -> None:
    """Write the checkpoint of the epoch that just ended; the best weights first, so that both fit after a kill."""
    if is_best:
        with whole_file(folder / BEST) as temporary:
            save_file(
                {name: value.contiguous() for name, value in state.model.state_dict().items()}, temporary
            )
    content = {
        "identity": who,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scheduler": state.scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "progress": {
            name: getattr(state, name) for name in ("epoch", "step", "best_sumr", "best_epoch", "curve")
        },
    }
    with whole_file(folder / LAST) as temporary:
        torch.save(content, temporary)


def resume(folder: Path, state: TrainingState, who: dict[str, Any]) -> None:
    """Bring `state` to where an unfinished run of the same identity stopped.

    Anything else that lies there is set aside, with a line that says why.
    """
    content = _read(folder / LAST)
    if content is None:
        shutil.rmtree(folder, ignore_errors=True)  # nothing whole is in it
    elif changed := differences(content["identity"], who):
        set_aside(folder, f"made under another configuration or other inputs:{told(changed)}")
    elif finished_by_other_code(folder, "retrieval"):
        set_aside(folder, OTHER_CODE)
    else:
        _restore(content, state)
        print(f"resuming behind epoch {state.epoch} ({folder / LAST})", flush=True)
        return
    folder.mkdir(parents=True)


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{file}: the checkpoint cannot be read ({type(error).__name__}); delete its folder to train anew"
        ) from None


def _restore(content: dict[str, Any], state: TrainingState) -> None:
    state.model.load_state_dict(content["model"])
    state.optimizer.load_state_dict(content["optimizer"])
    state.scheduler.load_state_dict(content["scheduler"])
    torch.set_rng_state(content["rng"])
    if content["cuda_rng"] and len(content["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(content["cuda_rng"])
    for name, value in content["progress"].items():
        setattr(state, name, value)
