"""Is what a shard holds what the encoder gives? And if not, whose features are these?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import Kind, Side
from workflow_scripts.lib.features.verify.problems import AGAIN, SAID, Problem, Problems
from workflow_scripts.lib.features.verify.structure import Features, Opened

NEIGHBOURS = 2  # on each side of an item, when it is asked whose features it holds
CLEARLY = 4.0  # another's features must fit so many times better than an item's own
SAME = 0.03  # of the tolerance: closer ones fit alike, or a second video with the same frames would fit better by chance
OUTLIER = 8.0  # an item is looked into that fits so many times worse than the median
ROUNDING = 5e-4  # of float16, by which items may differ anyway

Encoded = dict[Kind, np.ndarray]
Encode = Callable[[Opened, list[int]], Iterator[Encoded]]
"""Encodes rows of a shard; one result a row."""


@dataclass(frozen=True)
class _Pair:
    """A stored array and a new one of the same key, as signatures."""

    shard: Opened
    own: Opened
    """The shard of the side's own kind with the same number; `row` is a row of it."""
    row: int
    rows: int
    """Of the stored array."""
    stored: np.ndarray
    new: np.ndarray
    distance: float
    """Of the worst row, relative to its length; infinite where shapes differ."""
    cosine: float

    @property
    def key(self) -> str:
        return self.own.index.keys.key(self.row)


class Comparison:
    """Compares the items of a side with what `encode` gives of them.

    An item is wrong when a row is farther than `tolerance` from the new one, or when the features of another item fit it
    clearly better than its own: that tells swapped items even where all features are much alike.
    """

    def __init__(self, features: Features, side: Side, encode: Encode, tolerance: float, problems: Problems):
        self.items = 0
        """Encoded again."""
        self.cosine = 1.0
        """The smallest of a row that fits."""
        self._encode, self._tolerance, self._problems = encode, tolerance, problems
        self._shards = {
            kind: {shard.number: shard for shard in features.shards[kind] if len(shard.index)}
            for kind in features.kinds(side)
        }
        self._known: dict[
            tuple[Kind, str], tuple[int, np.ndarray]
        ] = {}  # rows and signature of what was encoded
        self._pairs: list[_Pair] = []

    def shard(self, own: Opened, rows: list[int]) -> None:
        """Encode rows of a shard and compare; what is wrong is told by `tell`."""
        for row, kind, new in self._encoded(own, rows):
            self.items += kind == own.kind
            if (shard := self._shards.get(kind, {}).get(own.number)) is not None:
                self._compare(shard, own, row, new)

    def tell(self) -> None:
        """Add what is wrong to the problems."""
        medians = {
            kind: float(
                np.median([pair.distance for pair in self._pairs if pair.shard.kind == kind] or [0.0])
            )
            for kind in self._shards
        }
        searches = 0
        for pair in self._pairs:
            owner = self._owner(pair)
            strange = pair.distance > OUTLIER * medians[pair.shard.kind] + ROUNDING
            if owner is None and (strange or pair.distance > self._tolerance) and searches < SAID:
                owner, searches = self._owner_nearby(pair), searches + 1
            if owner is not None or pair.distance > self._tolerance:
                self._problems.add(self._problem(pair, owner))
            else:
                self.cosine = min(self.cosine, pair.cosine)

    def _encoded(self, own: Opened, rows: list[int]) -> Iterator[tuple[int, Kind, np.ndarray]]:
        try:
            for row, encoded in zip(rows, self._encode(own, rows), strict=True):
                for kind, new in encoded.items():
                    self._known[kind, own.index.keys.key(row)] = len(new), signature(new)
                    yield row, kind, new
        except UserError as error:
            found, _, remedy = str(error).rpartition("; ")
            self._problems.add(Problem(own.file, None, f"cannot be encoded again: {found}", None, remedy))

    def _compare(self, shard: Opened, own: Opened, row: int, new: np.ndarray) -> None:
        key = own.index.keys.key(row)
        stored = read(shard.file, key)
        if stored is None or self._problems.has(shard.file, key):
            return  # told already
        if stored.shape[1:] != new.shape[1:] or not stored.size:
            expected = f"{list(new.shape)}, as the encoder gives"
            self._problems.add(Problem(shard.file, key, f"is {list(stored.shape)}", expected, AGAIN))
            return
        distance, cosine = far(stored, new) if len(stored) == len(new) else (np.inf, 0.0)
        self._pairs.append(
            _Pair(shard, own, row, len(stored), signature(stored), signature(new), distance, cosine)
        )

    def _owner(self, pair: _Pair) -> str | None:
        """The key, of those that were encoded, whose features clearly fit better than its own."""
        near = [
            (far(pair.stored, new)[0], key)
            for (kind, key), (rows, new) in self._known.items()
            if kind == pair.shard.kind and key != pair.key and rows == pair.rows
        ]
        distance, key = min(near, default=(np.inf, ""))
        own = far(pair.stored, pair.new)[0] if pair.distance < np.inf else np.inf
        clearly = CLEARLY * max(distance, SAME * self._tolerance) < own
        return key if distance <= self._tolerance and clearly else None

    def _owner_nearby(self, pair: _Pair) -> str | None:
        """The same, once its neighbours are encoded, and the item under whose key its own features lie."""
        last = len(pair.own.index) - 1
        around = {*range(max(0, pair.row - NEIGHBOURS), min(last, pair.row + NEIGHBOURS) + 1)}
        around.add(self._place_of(pair))
        for _ in self._encoded(pair.own, sorted(around - {pair.row})):
            pass
        return self._owner(pair)

    def _place_of(self, pair: _Pair) -> int:
        """The row of the shard that holds what is most like the encoder's features of this item."""
        length = self._known[pair.shard.kind, pair.key][0]
        best, place = np.inf, pair.row
        for row in np.flatnonzero(pair.own.index.lengths == length).tolist():
            stored = read(pair.shard.file, pair.own.index.keys.key(row))
            if stored is not None and (distance := far(signature(stored), pair.new)[0]) < best:
                best, place = distance, row
        return place

    def _problem(self, pair: _Pair, owner: str | None) -> Problem:
        rows = self._known[pair.shard.kind, pair.key][0]
        expected = f"the {rows} rows that the encoder gives of it"
        if owner is not None:
            found = f"holds the features of {owner}"
        elif pair.distance == np.inf:
            found = f"holds {pair.rows} rows"
        else:
            found = f"a row has the cosine {pair.cosine:.4f} and the relative distance {pair.distance:.2g}"
            expected += f", within {self._tolerance}"
        return Problem(pair.shard.file, pair.key, found, expected, AGAIN)


def read(file: Path, key: str) -> np.ndarray | None:
    """[rows, ...] float32, by plain HDF5; None where it cannot be read."""
    try:
        with h5py.File(file) as shard:
            return shard[key][()].astype(np.float32)
    except (OSError, RuntimeError, KeyError, ValueError):  # h5py's errors are of these kinds
        return None


def signature(array: np.ndarray) -> np.ndarray:
    """[1, D]: the mean over an item's rows, small enough to be kept of all that was encoded."""
    return array.reshape(-1, array.shape[-1]).mean(axis=0, keepdims=True, dtype=np.float64)


def far(stored: np.ndarray, new: np.ndarray) -> tuple[float, float]:
    """Of the worst row: the distance relative to its length, and the cosine."""
    a, b = (array.reshape(-1, array.shape[-1]).astype(np.float64) for array in (stored, new))
    lengths = np.maximum(np.linalg.norm(b, axis=1), 1e-12)
    distances = np.linalg.norm(a - b, axis=1) / lengths
    cosines = (a * b).sum(axis=1) / (np.maximum(np.linalg.norm(a, axis=1), 1e-12) * lengths)
    return float(distances.max(initial=0.0)), float(cosines.min(initial=1.0))
