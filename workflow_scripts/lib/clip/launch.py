"""Call `open_clip_train` in this process, with the mends that it needs; nothing of it is edited.

What is mended, for open_clip_torch 3.3.0:
- it reports several errors by returning -1, which ends the process with success;
- WebDataset's sample shuffle is seeded by the clock, and the augmentation of a resumed run is not
  that of an uninterrupted one: both are seeded here by seed, epoch, rank and worker;
- DistributedDataParallel refuses `device_ids` for a module on the CPU.
Losses go, besides its own log, to a journal of JSON lines that `curve.py` reads.
"""

import contextlib
import json
from collections.abc import Iterator
from multiprocessing import Value
from pathlib import Path
from unittest import mock

import numpy as np
import open_clip_train.main as program
import torch
import webdataset
from open_clip.model import get_model_preprocess_cfg
from open_clip_train.distributed import world_info_from_env
from torch.utils.data import get_worker_info

from workflow_scripts.lib.compute import seed_all
from workflow_scripts.lib.errors import UserError


def run_open_clip_train(arguments: list[str], seed: int, journal: Path) -> dict:
    """Run `open_clip_train.main.main(arguments)`; returns the model's preprocessing configuration.

    Losses are appended to `journal` by the first process. UserError when it reports an error.
    """
    found: dict = {}
    with _mended(seed, Journal(journal), found):
        result = program.main(arguments)
    if result == -1:
        raise UserError("open_clip_train stopped with an error; the lines above say which")
    return found


@contextlib.contextmanager
def _mended(seed: int, journal: "Journal", found: dict) -> Iterator[None]:
    epoch_now = Value("i", 0)
    rank = world_info_from_env()[1]
    create, train, evaluate = program.create_model_and_transforms, program.train_one_epoch, program.evaluate
    parallel = torch.nn.parallel.DistributedDataParallel

    def create_model(*args, **kwargs):
        created = create(*args, **kwargs)
        found.update(get_model_preprocess_cfg(created[0]))
        return created

    def train_one_epoch(model, data, loss, epoch, *args, **kwargs):
        epoch_now.value = epoch
        seed_everything(seed, epoch, rank)
        journal.steps_per_epoch = data["train"].dataloader.num_batches
        return train(model, data, loss, epoch, *args, **{**kwargs, "tb_writer": journal})

    def evaluate_model(model, data, epoch, args, **kwargs):
        return evaluate(model, data, epoch, args, **{**kwargs, "tb_writer": journal})

    def distributed(module, device_ids=None, **kwargs):
        on_cpu = next(module.parameters()).device.type == "cpu"
        return parallel(module, device_ids=None if on_cpu else device_ids, **kwargs)

    def shuffle(bufsize, initial):
        return SeededShuffle(bufsize, initial, seed, rank, epoch_now)

    with (
        mock.patch.object(program, "create_model_and_transforms", create_model),
        mock.patch.object(program, "train_one_epoch", train_one_epoch),
        mock.patch.object(program, "evaluate", evaluate_model),
        mock.patch.object(torch.nn.parallel, "DistributedDataParallel", distributed),
        mock.patch.object(webdataset, "shuffle", shuffle),
    ):
        yield


def seed_everything(*parts: int) -> int:
    """Seed torch, numpy and random by all the numbers together; returns the seed."""
    seed = int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1
    seed_all(seed)
    return seed


class SeededShuffle(webdataset.PipelineStage):
    """A sample shuffle whose order depends on seed, epoch, rank and worker only.

    It runs where the samples are decoded, so it also seeds the random crops that follow.
    """

    def __init__(self, bufsize: int, initial: int, seed: int, rank: int, epoch):
        self.bufsize, self.initial = bufsize, initial
        self.seed, self.rank, self.epoch = seed, rank, epoch

    def run(self, src):
        worker = get_worker_info()
        seed = seed_everything(self.seed, self.epoch.value, self.rank, worker.id if worker else 0)
        return webdataset.detshuffle(self.bufsize, self.initial, seed=seed).run(src)


class Journal:
    """Takes the place of a tensorboard writer: a JSON line a value."""

    def __init__(self, path: Path):
        self.path = path
        self.steps_per_epoch = 1

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """`step` counts optimizer steps for `train/...`, epochs for `val/...`, as open_clip_train has it."""
        line = {"name": name, "value": float(value), "step": step, "steps_per_epoch": self.steps_per_epoch}
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
