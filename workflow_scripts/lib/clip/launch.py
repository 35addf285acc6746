"""Call `open_clip_train` in this process, with the mends that it needs; nothing of it is edited.

What is mended, for open_clip_torch 3.3.0:
- it reports several errors by returning -1, which ends the process with success, and a failed last copy to a remote
  place by a line in the log;
- WebDataset's sample shuffle is seeded by the clock, and the augmentation and the drawing of tars of a resumed run are
  not those of an uninterrupted one: all are seeded here by seed, epoch, rank and worker;
- DistributedDataParallel refuses `device_ids` for a module on the CPU;
- a checkpoint of several processes cannot be gone on from by one, nor the other way round;
- each process is told itself what to go on from: here the first one decides, and the others are told by it;
- whether a model is a CoCa is decided by whether its name, or a folder of its path, contains "coca";
- the last layer of a CoCa from scratch is whatever was in the memory;
- the process that copies to a remote place outlives a training that fails, so that the job never ends.
Losses go, besides its own log, to a journal of JSON lines that `curve.py` reads.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from functools import partial
from multiprocessing import Value
from pathlib import Path
from typing import Any
from unittest import mock

import open_clip
import open_clip_train.data as program_data
import open_clip_train.main as program
import torch
import webdataset
from open_clip.model import get_model_preprocess_cfg
from open_clip.transformer import MultimodalTransformer
from open_clip_train.distributed import world_info_from_env

from workflow_scripts.lib.clip.journal import Journal
from workflow_scripts.lib.clip.models import Model
from workflow_scripts.lib.clip.seeding import SeededShuffle, combined, seed_everything, worker_number
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.processes import PATIENCE

WRAPPED = "module."
"""What DistributedDataParallel puts before the names of weights."""


def run_open_clip_train(arguments: list[str], seed: int, journal: Path, model: Model) -> dict:
    """Run `open_clip_train.main.main(arguments)`; returns the model's preprocessing configuration.

    Losses are appended to `journal` by the first process. UserError when it reports an error.
    """
    # Weights & Biases writes into the run's folder, and a resumed run goes on there; the package forgets to say so.
    defaults = {"WANDB_DIR": str(journal.parent), "WANDB_RESUME": "allow"}
    if (
        "WORLD_SIZE" not in os.environ
    ):  # within an allocation of SLURM, it takes a single process for one of many
        defaults |= {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}
    with mock.patch.dict(os.environ, defaults | os.environ):
        run = _Run(seed, Journal(journal), model)
        with run.mended():
            result = program.main(arguments)
    run.journal.flush()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    if result == -1:
        raise UserError("open_clip_train stopped with an error; the lines above say which")
    if not run.copied:
        raise UserError(
            "clip.remote_sync: the last copy failed, the lines above say why; run again, which only copies"
        )
    return run.preprocessing


class _Run:
    """What stands in for functions of open_clip_train while it runs, and what they have seen."""

    def __init__(self, seed: int, journal: Journal, model: Model):
        self.seed, self.journal, self.model = seed, journal, model
        self.rank = world_info_from_env()[1]
        self.epoch = Value("i", 0)  # shared with the processes that read pairs
        self.preprocessing: dict[str, Any] = {}
        self.copied = True

    @contextlib.contextmanager
    def mended(self) -> Iterator[None]:
        stand_ins = {
            "init_distributed_device": self._initialise,
            "create_model_and_transforms": self._create_model,
            "create_loss": self._create_loss,
            "pt_load": self._load_checkpoint,
            "train_one_epoch": self._train_one_epoch,
            "evaluate": self._evaluate,
            "remote_sync": self._copy,
            "start_sync_process": self._start_copying,
        }
        with contextlib.ExitStack() as stack:
            for name, stand_in in stand_ins.items():
                stand_in = _with_real(stand_in, getattr(program, name))
                stack.enter_context(mock.patch.object(program, name, stand_in))
            parallel = torch.nn.parallel
            meet = partial(torch.distributed.init_process_group, timeout=PATIENCE)
            stack.enter_context(mock.patch.object(torch.distributed, "init_process_group", meet))
            distributed = _with_real(_distributed, parallel.DistributedDataParallel)
            stack.enter_context(mock.patch.object(parallel, "DistributedDataParallel", distributed))
            stack.enter_context(mock.patch.object(webdataset, "shuffle", self._shuffle))
            stack.enter_context(mock.patch.object(program_data, "pytorch_worker_seed", self._worker_seed))
            made = _with_real(_initialised, MultimodalTransformer.__init__)
            stack.enter_context(mock.patch.object(MultimodalTransformer, "__init__", made))
            yield

    def _initialise(self, real, args):
        device = real(args)
        if args.distributed:
            args.resume = program.broadcast_object(args, args.resume)
        return device

    def _create_model(self, real, *args, **kwargs):
        created = real(*args, **kwargs)
        if not self.preprocessing:  # the teacher comes second
            self.preprocessing.update(get_model_preprocess_cfg(created[0]))
            if self.model.weights:
                open_clip.load_checkpoint(created[0], str(self.model.weights))
        return created

    def _create_loss(self, real, args):
        name = "coca" if self.model.coca else "no other kind"
        return real(argparse.Namespace(**{**vars(args), "model": name}))

    def _load_checkpoint(self, real, *args, **kwargs):
        checkpoint = real(*args, **kwargs)
        wrapped = torch.distributed.is_initialized()
        weights = checkpoint["state_dict"]
        bare = {name.removeprefix(WRAPPED): tensor for name, tensor in weights.items()}
        checkpoint["state_dict"] = {WRAPPED * wrapped + name: tensor for name, tensor in bare.items()}
        return checkpoint

    def _train_one_epoch(self, real, model, data, loss, epoch, *args, tb_writer=None):
        self.epoch.value = epoch
        seed_everything(self.seed, epoch, self.rank)
        loader = data["train"].dataloader
        self.journal.steps_per_epoch = max(1, loader.num_batches // args[-1].accum_freq)
        self.journal.tensorboard = tb_writer
        return real(model, data, loss, epoch, *args, tb_writer=self.journal)

    def _evaluate(self, real, *args, tb_writer=None, **kwargs):
        return real(*args, tb_writer=self.journal, **kwargs)

    def _copy(self, real, *args):
        self.copied = real(*args)
        return self.copied

    def _start_copying(self, real, *args):
        process = real(*args)
        process.daemon = True
        return process

    def _shuffle(self, bufsize, initial):
        return SeededShuffle(bufsize, initial, self.seed, self.rank, self.epoch)

    def _worker_seed(self, increment: int = 0) -> int:
        return combined(self.seed, self.rank, worker_number()) + increment


def _with_real(stand_in, real):
    def called(*args, **kwargs):
        return stand_in(real, *args, **kwargs)

    return called


def _initialised(real, decoder, *args, **kwargs):
    real(decoder, *args, **kwargs)
    torch.nn.init.normal_(decoder.text_projection, std=decoder.text_projection.shape[0] ** -0.5)


def _distributed(real, module, device_ids=None, **kwargs):
    on_cpu = next(module.parameters()).device.type == "cpu"
    return real(module, device_ids=None if on_cpu else device_ids, **kwargs)
