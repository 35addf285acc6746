"""The processes that share one job: one by itself, or those that torchrun started on this machine."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from torch import distributed

from workflow_scripts.lib.errors import UserError

PATIENCE = timedelta(days=7)  # torchrun ends all when one fails; nobody else need give up


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
        """Until all of them are here; UserError when another one has failed."""
        if self.world > 1:
            try:
                distributed.barrier()
            except RuntimeError:
                raise UserError(
                    f"process {self.rank} of {self.world} ends because another one has failed; its own error is"
                    " above or below"
                ) from None


ALONE = Processes()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Those of this job, by the environment that torchrun sets."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ALONE
        return
    distributed.init_process_group("gloo", timeout=PATIENCE)
    yield Processes(distributed.get_rank(), world)
    distributed.destroy_process_group()  # not after a failure: the others may be gone
