"""Which videos are in which optimizer step: epochs of one shard of the corpus each, passes over all of them.

A corpus of 10.7 million videos at `train_shard_size` 1,000,000 has 11 training shards. An epoch takes one of them, so
that validations and checkpoints come in time; 11 epochs are a pass, a super-epoch, in which no video comes twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from torch.utils.data import Sampler

ALL = -1
SHARDS, VIDEOS = 0, 1  # what is shuffled; of one seed, each has its own random numbers


@dataclass(frozen=True)
class TrainingPlan:
    """Epochs, steps and samples of a training; the same on every process.

    A shard is `shard_size` videos (None: all) that are neighbours in the corpus, so that the features of an epoch lie
    together in few files; the last one has what is left. The order of the shards is another one in every pass.
    ValueError for numbers that allow no step.
    """

    videos: int
    batch_size: int
    """Videos a step, of all processes together; the last step of an epoch may have fewer."""
    shard_size: int | None
    steps_per_epoch: int
    """Steps an epoch at most; -1 for those of its shard. What is left out is another part in every pass."""
    epochs: int
    seed: int

    def __post_init__(self):
        at_least_one = {"videos": self.videos, "batch_size": self.batch_size, "epochs": self.epochs}
        if self.shard_size is not None:
            at_least_one["shard_size"] = self.shard_size
        if self.steps_per_epoch != ALL:
            at_least_one["steps_per_epoch"] = self.steps_per_epoch
        for name, number in at_least_one.items():
            if number < 1:
                raise ValueError(f"{name} is {number}, expected at least 1: there is nothing to train on")

    @property
    def shards(self) -> int:
        """Training shards: as many epochs are a pass over all videos."""
        return -(-self.videos // self._shard_size)

    def shard(self, epoch: int) -> range:
        """Positions of the videos that an epoch chooses from."""
        number = int(self._order(epoch // self.shards)[epoch % self.shards])
        start = number * self._shard_size
        return range(start, min(start + self._shard_size, self.videos))

    def steps_in(self, epoch: int) -> int:
        return self._steps(len(self.shard(epoch)))

    def samples_in(self, epoch: int) -> int:
        """Videos that an epoch trains on."""
        return self._samples(len(self.shard(epoch)))

    @property
    def total_steps(self) -> int:
        """Steps of all epochs: what the learning-rate schedule spans."""
        return self._total(self._steps)

    @property
    def total_samples(self) -> int:
        return self._total(self._samples)

    def describe(self) -> str:
        """The plan in a few lines, for the one who has to wait for it."""
        pass_steps, pass_samples = self._a_pass(self._steps), self._a_pass(self._samples)
        full = min(self._shard_size, self.videos)
        lines = [
            f"training on {self.videos:,} videos, {self.batch_size:,} a step",
            f"an epoch: {self._steps(full):,} steps, {self._samples(full):,} videos"
            + (f" of a training shard of {full:,}" if self.shards > 1 else ""),
        ]
        if self._last < full:
            lines.append(
                f"the epoch of the last shard, of {self._last:,} videos: {self._steps(self._last):,} steps,"
                f" {self._samples(self._last):,} videos"
            )
        lines.append(
            f"a pass over the corpus (super-epoch): {_epochs(self.shards)}, {pass_steps:,} steps, {pass_samples:,} videos"
        )
        if pass_samples < self.videos:
            lines.append(
                f"steps_per_epoch {self.steps_per_epoch:,} leaves {self.videos - pass_samples:,} videos out of a pass,"
                " others in the next"
            )
        elif self.steps_per_epoch != ALL:
            lines.append(f"steps_per_epoch {self.steps_per_epoch:,} leaves out none: no shard has more steps")
        lines.append(
            f"in all: {_epochs(self.epochs)}, {self.total_steps:,} steps, {self.total_samples:,} videos; the learning-rate"
            f" schedule ends with epoch {self.epochs:,} = {self.epochs / self.shards:.2f} passes"
        )
        return "\n".join(lines)

    @property
    def _shard_size(self) -> int:
        return self.videos if self.shard_size is None else self.shard_size

    @property
    def _last(self) -> int:
        """Videos of the last shard."""
        return self.videos - (self.shards - 1) * self._shard_size

    def _steps(self, videos: int) -> int:
        """Steps of an epoch whose shard has so many videos."""
        steps = -(-videos // self.batch_size)
        return steps if self.steps_per_epoch == ALL else min(steps, self.steps_per_epoch)

    def _samples(self, videos: int) -> int:
        return min(videos, self._steps(videos) * self.batch_size)

    def _a_pass(self, count: Callable[[int], int]) -> int:
        """`_steps` or `_samples` of all shards together."""
        return (self.shards - 1) * count(self._shard_size) + count(self._last)

    def _total(self, count: Callable[[int], int]) -> int:
        """`_steps` or `_samples` of all epochs together."""
        passes, rest = divmod(self.epochs, self.shards)
        begun = range(self.epochs - rest, self.epochs)
        return passes * self._a_pass(count) + sum(count(len(self.shard(epoch))) for epoch in begun)

    def _order(self, number: int) -> np.ndarray:
        """The shards of a pass, one an epoch."""
        return _shuffled_shards(self.shards, self.seed, number)


class ShardEpochBatches(Sampler[list[int]]):
    """One process's positions of every step, from a place that `set` gives to the end of the last epoch.

    It does not stop between epochs, so a loader reads ahead into the next one; `plan.steps_in` says where that begins:

        batches.set(epoch, first_step)
        stream = iter(loader)
        for epoch in range(epoch, plan.epochs):
            for batch in islice(stream, plan.steps_in(epoch) - first_step):
                ...
            first_step = 0

    Processes hold contiguous parts of a step's videos, which one behind the other are those of a single process; the
    parts of a step with fewer videos than processes may be empty. The order is that of the seed and the epoch alone.
    """

    def __init__(self, plan: TrainingPlan, rank: int = 0, world: int = 1):
        if not 0 <= rank < world:
            raise ValueError(f"rank is {rank} of {world} processes, expected 0 to {world - 1}")
        self.plan, self.rank, self.world = plan, rank, world
        self.set(0, 0)

    def set(self, epoch: int, first_step: int) -> None:
        """Begin with this step of this epoch, both from 0; ValueError when the plan has no such step.

        The one behind an epoch's last step is the first of the next epoch.
        """
        if not (0 <= epoch <= self.plan.epochs and first_step >= 0):
            raise ValueError(f"step {first_step} of epoch {epoch}: the plan has {self.plan.epochs} epochs")
        steps = self.plan.steps_in(epoch) if epoch < self.plan.epochs else 0
        if first_step > steps:
            raise ValueError(f"step {first_step} of epoch {epoch}: the plan has {steps} steps there")
        self._epoch, self._first_step = epoch, first_step

    def __len__(self) -> int:
        """Steps from the place that is set."""
        return sum(map(self.plan.steps_in, range(self._epoch, self.plan.epochs))) - self._first_step

    def __iter__(self) -> Iterator[list[int]]:
        first_step = self._first_step
        for epoch in range(self._epoch, self.plan.epochs):
            yield from self._of_epoch(epoch, first_step)
            first_step = 0

    def _of_epoch(self, epoch: int, first_step: int) -> Iterator[list[int]]:
        plan, shard = self.plan, self.plan.shard(epoch)
        order = np.arange(shard.start, shard.stop)
        _generator(plan.seed, VIDEOS, epoch).shuffle(order)
        for step in range(first_step, plan.steps_in(epoch)):
            videos = order[step * plan.batch_size : (step + 1) * plan.batch_size]
            yield np.array_split(videos, self.world)[self.rank].tolist()


@lru_cache(maxsize=2)
def _shuffled_shards(shards: int, seed: int, number: int) -> np.ndarray:
    return _generator(seed, SHARDS, number).permutation(shards)


def _epochs(number: int) -> str:
    return f"{number:,} epoch{'s' * (number != 1)}"


def _generator(seed: int, what: int, number: int) -> np.random.Generator:
    return np.random.default_rng((seed % 2**63, what, number))
