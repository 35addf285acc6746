"""Random batches of features in padded arrays: ours by numbers and by keys, h5py, bare memory maps and safetensors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import h5py
import numpy as np
from safetensors import safe_open

from benchmarks.features_data import LONGEST, WIDTH, item_lengths, items_folder
from benchmarks.turns import in_turns, speed
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.keys import video_key

BATCH = 128
TAKE, BY_KEY = "ours, take(numbers)", "ours, by key"
PLAIN, PLAIN_OURS = "h5py, a dataset a key", "h5py, on our shards"
BARE = "memory map, slices"
FLAT, SAFETENSORS = "h5py, one flat array", "safetensors, a key"


def reading(cache: Path, items: int, shards: int, rounds: int) -> dict:
    """Items a second of every contestant: a turn is an epoch, all items in batches of 128 in an order of its own.

    Files are in the page cache, open, and have been read from before. Items are copied into one padded array that is
    used again and again; what a batch before has left behind an item is set to zero.
    """
    folder = items_folder(cache, items, shards)
    _fill_page_cache(folder)
    with ExitStack() as stack:
        readers = _readers(folder, items, -(-items // shards), stack)
        _check_that_all_agree(readers, items)
        epochs = {name: partial(next, _epochs(read, items)) for name, read in readers.items()}
        in_turns(epochs, 1)  # page tables and caches of keys
        costs = in_turns(epochs, rounds)
    return {
        "items": items,
        "shards": shards,
        "width": WIDTH,
        "bytes": (folder / "flat.npy").stat().st_size,
        "contestants": {name: cost.facts() for name, cost in costs.items()},
        "ratios": [
            {"faster": ours, "than": other, "times": speed(costs, ours, other, "cpu_s")}
            for ours in (TAKE, BY_KEY, BARE)
            for other in readers
            if other not in (TAKE, BY_KEY, ours)
        ],
    }


Read = Callable[[np.ndarray], list[np.ndarray]]


def _readers(folder: Path, items: int, per_shard: int, stack: ExitStack) -> dict[str, Read]:
    """What gives the arrays of items [n] by each way."""
    ours = open_features(folder / "ours", "video")
    names = [video_key(item) for item in range(items)]
    keys, flat = (stack.enter_context(h5py.File(folder / name)) for name in ("keys.hdf5", "flat.hdf5"))
    shards = [stack.enter_context(h5py.File(path)) for path in sorted(folder.glob("ours/*/*.hdf5"))]
    tensors = stack.enter_context(safe_open(folder / "keys.safetensors", "numpy"))
    ends = np.cumsum(item_lengths(items))
    starts = ends - item_lengths(items)
    mapped, dataset = np.asarray(np.load(folder / "flat.npy", mmap_mode="r")), flat["features"]

    def places(batch: np.ndarray) -> Iterator[tuple[int, int]]:
        return zip(starts[batch].tolist(), ends[batch].tolist(), strict=True)

    return {
        TAKE: ours.take,
        BY_KEY: lambda batch: [ours[names[item]] for item in batch.tolist()],
        PLAIN: lambda batch: [keys[names[item]][()] for item in batch.tolist()],
        PLAIN_OURS: lambda batch: [shards[item // per_shard][names[item]][()] for item in batch.tolist()],
        BARE: lambda batch: [mapped[start:end] for start, end in places(batch)],
        FLAT: lambda batch: [dataset[start:end] for start, end in places(batch)],
        SAFETENSORS: lambda batch: [tensors.get_tensor(names[item]) for item in batch.tolist()],
    }


class Padded:
    """A batch as one array [128, 128, 512], zero behind each item."""

    def __init__(self):
        self.array = np.zeros((BATCH, LONGEST, WIDTH), np.float16)
        self._lengths = [0] * BATCH

    def fill(self, items: list[np.ndarray]) -> None:
        for place, (row, item) in enumerate(zip(self.array, items, strict=False)):
            length = len(item)
            row[:length] = item
            row[length : self._lengths[place]] = 0
            self._lengths[place] = length


def _epochs(read: Read, items: int) -> Iterator[int]:
    """Read all items in random batches, again and again; gives how many."""
    rng, padded = np.random.default_rng(3), Padded()
    while True:
        order = rng.permutation(items)
        for first in range(0, items, BATCH):
            padded.fill(read(order[first : first + BATCH]))
        yield items


def _check_that_all_agree(readers: dict[str, Read], items: int) -> None:
    batch, arrays = np.random.default_rng(4).permutation(items)[:BATCH], {}
    for name, read in readers.items():
        padded = Padded()
        padded.fill(read(batch))
        arrays[name] = padded.array
    for name, array in arrays.items():
        if not np.array_equal(array, arrays[BARE]):
            raise RuntimeError(f"{name} reads other values than {BARE}")


def _fill_page_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 24):
                    pass
