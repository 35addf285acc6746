"""Random choices of a training that depend on seed, epoch, process and worker only, so that a resumed run repeats them.

WebDataset's sample shuffle is seeded by the clock, and the workers of open_clip_train by when they were started.
"""

import numpy as np
import webdataset
from torch.utils.data import get_worker_info

from workflow_scripts.lib.compute import seed_all


def seed_everything(*parts: int) -> int:
    """Seed torch, numpy and random by all the numbers together; returns the seed."""
    seed = combined(*parts)
    seed_all(seed)
    return seed


def combined(*parts: int) -> int:
    """One seed from several numbers, of 63 bits."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


class SeededShuffle(webdataset.PipelineStage):
    """A sample shuffle whose order depends on seed, epoch, rank and worker only.

    It runs where the samples are decoded, so it also seeds the random crops that follow.
    """

    def __init__(self, bufsize: int, initial: int, seed: int, rank: int, epoch):
        self.bufsize, self.initial = bufsize, initial
        self.seed, self.rank, self.epoch = seed, rank, epoch

    def run(self, src):
        seed = seed_everything(self.seed, self.epoch.value, self.rank, worker_number())
        return webdataset.detshuffle(self.bufsize, self.initial, seed=seed).run(src)


def worker_number() -> int:
    """Which of the processes that read for this one; 0 where it reads by itself."""
    worker = get_worker_info()
    return worker.id if worker else 0
