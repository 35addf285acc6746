"""Which captions an epoch has, and in which order."""

from collections.abc import Iterator, Mapping

import numpy as np
from torch.utils.data import Sampler

from workflow_scripts.lib.captioner.examples import Examples
from workflow_scripts.lib.errors import UserError

MEGA = 64  # batches that are sorted by length at once


class CaptionSampler(Sampler[int]):
    """The order of an epoch, by seed and epoch alone: it is the same for every process, and after a resume.

    Every `batch_size` places are an optimizer step's captions, however many processes and forward passes share them. The
    last step's are filled up with `~index`, an item with nothing to learn, so no caption is seen twice or left out.

    `lengths` [N] are those of the items: with `bucket`, captions of a batch are of like length, the longest first.
    `moments` [N] numbers what captions are of: one caption of each is drawn an epoch (None: all are). `shares` is the
    proportion of each language, of which `examples` tell (None: as they are); a language with too few captions is
    repeated. UserError when a language has captions but no share, or a share but no captions.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_size: int,
        seed: int,
        *,
        bucket: bool = True,
        moments: np.ndarray | None = None,
        shares: Mapping[str, float] | None = None,
        examples: Examples | None = None,
    ):
        self.lengths, self.batch_size, self.seed, self.bucket = lengths, batch_size, seed, bucket
        self.moments, self.shares = moments, None
        if shares:
            names, self.codes = examples.languages()
            for name in sorted({*names, *shares}):
                if name not in shares:
                    raise UserError(f"captioner.language_shares: no share for the language '{name}'")
                if name not in names:
                    raise UserError(f"captioner.language_shares: no training captions in '{name}'")
            self.shares = np.array([shares[name] for name in names]) / sum(shares.values())
        self.epoch = 0
        self.captions = len(self._drawn(np.random.default_rng(0)))

    def set_epoch(self, epoch: int) -> None:
        """The Trainer calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.captions // self.batch_size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        return map(int, self.order(self.epoch))

    def order(self, epoch: int) -> np.ndarray:
        """The epoch's captions in order, and what fills up the last batch; int64."""
        random = np.random.default_rng((self.seed, epoch))
        order = random.permutation(self._drawn(random))
        whole = len(order) // self.batch_size * self.batch_size
        if self.bucket:
            step = MEGA * self.batch_size
            chunks = [order[start : start + step] for start in range(0, len(order), step)]
            order = np.concatenate(
                [chunk[np.argsort(-self.lengths[chunk], kind="stable")] for chunk in chunks]
            )
            batches = random.permutation(order[:whole].reshape(-1, self.batch_size))
            order = np.concatenate([batches.ravel(), order[whole:]])
        return np.concatenate([order, np.full(len(self) - len(order), ~order[-1])])

    def _drawn(self, random: np.random.Generator) -> np.ndarray:
        """Captions of an epoch; their number is always the same."""
        found = np.arange(len(self.lengths))
        if self.moments is not None:
            shuffled = random.permutation(found)
            found = shuffled[np.unique(self.moments[shuffled], return_index=True)[1]]
        if self.shares is None:
            return found
        wanted = np.diff(np.round(np.cumsum([0, *self.shares]) * len(found))).astype(int)
        return np.concatenate(
            [_repeated(found[self.codes[found] == code], count, random) for code, count in enumerate(wanted)]
        )


def _repeated(items: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """So many of the items: all of them as often as they fit in, and others of them at random."""
    times, more = divmod(count, len(items))
    return np.concatenate([np.tile(items, times), random.permutation(items)[:more]])


class LengthOrder(Sampler[int]):
    """All items, the longest first, filled up with `~index` to a multiple of `batch_size`: for validation."""

    def __init__(self, lengths: np.ndarray, batch_size: int):
        order = np.argsort(-lengths, kind="stable")
        self.order = np.concatenate([order, np.full(-len(order) % batch_size, ~order[-1])])

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return map(int, self.order)


def padding_share(order: np.ndarray, lengths: np.ndarray, batch_size: int) -> float:
    """Share of padding among the tokens of an epoch, in forward passes of `batch_size` items of the order."""
    rows = lengths[np.where(order < 0, ~order, order)].reshape(-1, batch_size)
    return 1 - float(rows.sum() / (rows.max(axis=1) * batch_size).sum())
