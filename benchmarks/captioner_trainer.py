"""An epoch of the captioner by the Trainer, against the same steps in a bare loop."""

import shutil
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback, get_cosine_schedule_with_warmup

from benchmarks.captioner_data import SEED, TINY, Setting, open_cache, open_captions
from benchmarks.captioner_training import LR, Contestant, in_batches
from benchmarks.machine import cpu_seconds
from benchmarks.turns import Costs, speed
from workflow_scripts.lib.captioner.sampler import CaptionSampler
from workflow_scripts.lib.captioner.training import train_stage
from workflow_scripts.lib.config import CaptionerConfig, Stage

TRAINER, BARE = "the Trainer", "a bare loop"
WARMUP = 0.03


def overhead(folder: Path, setting: Setting, rounds: int) -> dict:
    """Costs of an epoch of the stage as it is trained, and of the same steps in a bare loop.

    AssertionError when both do not end with the same weights.
    """
    ends: dict[str, torch.Tensor] = {}
    costs = {TRAINER: Costs(), BARE: Costs()}
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        runs = {
            TRAINER: partial(_by_trainer, folder, setting, Path(scratch, "checkpoints")),
            BARE: partial(_by_hand, folder, setting),
        }
        for number in range(rounds):
            for name in list(runs)[:: -1 if number % 2 else 1]:
                cpu, wall, ends[name] = runs[name]()
                costs[name].cpu_s.append(cpu)
                costs[name].wall_s.append(wall)
    off = float((ends[TRAINER] - ends[BARE]).abs().max())
    assert off < 1e-6, f"the weights differ by {off}"
    return {
        "steps": setting.captions // setting.batch,
        "weights_off": off,
        "costs": {name: cost.facts() for name, cost in costs.items()},
        "ratio": {clock: speed(costs, BARE, TRAINER, clock) for clock in ("cpu_s", "wall_s")},
    }


def _by_trainer(folder: Path, setting: Setting, checkpoints: Path) -> tuple[float, float, torch.Tensor]:
    contestant = Contestant(folder, setting, TINY)
    config, stage = _stage(setting)
    train = contestant.dataset(open_captions(folder, setting), open_cache(folder))
    none = contestant.dataset(train.examples.take(np.arange(0)), train.features)
    clock = EpochClock()
    train_stage(
        contestant.model, config, stage, train, none, contestant.collator,
        checkpoints=checkpoints, made_by={}, seed=SEED, callbacks=[clock],
    )  # fmt: skip
    shutil.rmtree(checkpoints)
    return clock.cpu_s, clock.wall_s, _weights(contestant)


class EpochClock(TrainerCallback):
    """CPU and wall seconds of an epoch, without what is before and after it."""

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.cpu_s, self.wall_s = -cpu_seconds(), -time.perf_counter()

    def on_epoch_end(self, args, state, control, **kwargs):
        self.cpu_s += cpu_seconds()
        self.wall_s += time.perf_counter()


def _by_hand(folder: Path, setting: Setting) -> tuple[float, float, torch.Tensor]:
    contestant = Contestant(folder, setting, TINY)
    _, stage = _stage(setting)
    train = contestant.dataset(open_captions(folder, setting), open_cache(folder))
    order = CaptionSampler(train.lengths(), setting.batch, SEED).order(0)
    steps = len(order) // setting.batch
    schedule = get_cosine_schedule_with_warmup(
        contestant.optimizer, int(np.ceil(stage.warmup * steps)), steps
    )
    cpu, wall = cpu_seconds(), time.perf_counter()
    contestant.epoch(train, in_batches(order, setting.batch), schedule)
    return cpu_seconds() - cpu, time.perf_counter() - wall, _weights(contestant)


def _stage(setting: Setting) -> tuple[CaptionerConfig, Stage]:
    config = CaptionerConfig(
        preset="cpu",
        language_model="local",
        frames=setting.frames,
        validation={"generated": 0},
        running={"per_device_batch_size": setting.batch, "gradient_checkpointing": False, "workers": 0},
        stage2={"epochs": 1, "lr": LR, "warmup": WARMUP, "batch_size": setting.batch, "weight_decay": 0.0},
    )
    return config, config.stage2


def _weights(contestant: Contestant) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in contestant.trained])
