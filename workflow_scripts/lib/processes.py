"""The processes that share one job: one by itself, or those that torchrun started on this machine."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, distributed

from workflow_scripts.lib.errors import UserError

PATIENCE = timedelta(days=7)  # torchrun ends all when one fails; nobody else need give up
T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """This one is number `rank` of `world`."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that does what is to be done once."""
        return self.rank == 0

    def wait(self) -> None:
        """Until all of them are here."""
        if self.world > 1:
            distributed.barrier()

    def share(self, value: T) -> T:
        """What the first one has as `value`, on all of them; they wait for it."""
        if self.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0, device=torch.device("cpu"))
        return values[0]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all of them by rank, of one shape, and without gradients."""
        if self.world == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.world)]
        distributed.all_gather(found, tensor.contiguous())
        return found


ALONE = Processes()


def this_process() -> Processes:
    """This one, by the environment that torchrun sets, before or without joining the others."""
    return Processes(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


@contextlib.contextmanager
def processes(*, cuda: bool = False) -> Iterator[Processes]:
    """Those of this job, by the environment that torchrun sets.

    With `cuda` they exchange tensors on GPUs, too: each has chosen its own before. UserError out of
    whatever this one does with the others when another one has failed meanwhile.
    """
    this = this_process()
    if this.world == 1:
        yield ALONE
        return
    try:
        distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo", timeout=PATIENCE)
        yield this
    except RuntimeError as error:
        if not _another_failed(error):
            raise
        raise UserError(
            f"process {this.rank} of {this.world} ends because another one has failed, whose own error is above or below, or"
            f" is not reached: {str(error).partition(chr(10))[0]}"
        ) from None
    distributed.destroy_process_group()  # not after a failure: the others may be gone


@contextlib.contextmanager
def first_prints(job: Processes) -> Iterator[None]:
    """Of several processes that would all say the same, the first one prints."""
    with contextlib.ExitStack() as stack:
        if not job.first:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


def _another_failed(error: RuntimeError) -> bool:
    # gloo has no error class of its own
    return isinstance(error, distributed.DistError) or "gloo" in str(error)
