"""Are the stored values those that were written? Every item is read once, at about the speed of the disk.

Files are read by blocks, not by memory map: a bad sector is then an error that can be told, and not the end of the
process.
"""

import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
from tqdm import tqdm

from workflow_scripts.lib.features.index import NO_OFFSET, ShardIndex
from workflow_scripts.lib.features.shards import checksums, finished_index, row_checksums
from workflow_scripts.lib.features.verify.problems import AGAIN, Problem, Problems
from workflow_scripts.lib.features.verify.structure import Features

BLOCK = 512 * 2**10  # read at once; larger ones leave the processor's cache
PART = 2**26  # bytes of a shard for one process at a time
H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError)
EXPONENTS = {2: np.uint16(0x7C00), 4: np.uint32(0x7F800000), 8: np.uint64(0x7FF0000000000000)}
"""By bytes a number: the bits that are all set in NaN and infinity, and in no other number."""


@dataclass(frozen=True)
class Part:
    """Some items of a shard."""

    file: Path
    rows: np.ndarray
    """[n] int64, in the shard's index."""
    index: ShardIndex
    """Of these rows alone: all that another process needs."""

    @property
    def bytes(self) -> int:
        return int(self.index.lengths.sum()) * self.index.row_bytes


@dataclass(frozen=True)
class Suspect:
    """An item that does not hold what it should."""

    row: int
    """In the index of its part."""
    size: int = 0
    """Numbers, and how many of them are NaN or infinite."""
    not_finite: int = 0
    is_zero: bool = False
    checksum: int = 0
    error: str | None = None
    """Why it could not be read at all."""


@dataclass(frozen=True)
class Read:
    """What was read."""

    items: int
    bytes: int
    without_checksums: int
    """Shards whose values nothing can be compared with."""
    seconds: float


def check_values(
    features: Features, sample: int | None, rng: np.random.Generator, processes: int, problems: Problems
) -> Read:
    """Check the values of all items, or of `sample` of each shard."""
    began = time.monotonic()
    parts: list[Part] = []
    index_of: dict[Path, ShardIndex] = {}
    for shard in features:
        _check_digest(shard.file, shard.index, problems)
        parts += _parts(shard.file, shard.index, sample, rng)
        index_of[shard.file] = shard.index
    total = sum(part.bytes for part in parts)
    with tqdm(total=total, unit="B", unit_scale=True, desc="values", disable=None, leave=False) as bar:
        for part, suspects in zip(parts, _run(parts, processes), strict=True):
            for suspect in suspects:
                problems.add(_problem(part.file, index_of[part.file], int(part.rows[suspect.row]), suspect))
            bar.update(part.bytes)
    return Read(
        items=sum(len(part.rows) for part in parts),
        bytes=total,
        without_checksums=sum(shard.index.checksums is None for shard in features),
        seconds=time.monotonic() - began,
    )


def _run(parts: list[Part], processes: int) -> Iterator[list[Suspect]]:
    if processes <= 1 or len(parts) <= 1:
        yield from map(check_part, parts)
        return
    with ProcessPoolExecutor(min(processes, len(parts))) as pool:
        yield from pool.map(check_part, parts)


def _check_digest(file: Path, index: ShardIndex, problems: Problems) -> None:
    """The digest in the file is the one over keys, shapes and checksums of its index."""
    if index.checksums is None:
        return
    again = finished_index(
        index.keys, index.offsets, index.lengths, index.tail, index.dtype, index.encoder, index.checksums
    )
    if again.digest != index.digest:
        found = f"digest {again.digest[:16]}... of the keys, shapes and checksums in its index"
        problems.add(Problem(file, None, found, f"{index.digest[:16]}..., which is its attribute", AGAIN))


def _parts(file: Path, index: ShardIndex, sample: int | None, rng: np.random.Generator) -> Iterator[Part]:
    """The rows to be read, in the order of their places, by parts of about the same size."""
    rows = np.arange(len(index))
    if sample is not None and sample < len(index):
        rows = rng.choice(len(index), sample, replace=False)
    rows = rows[np.argsort(index.offsets[rows], kind="stable")]
    sizes = np.cumsum(index.lengths[rows] * index.row_bytes)
    for some in np.split(rows, np.flatnonzero(np.diff(sizes // PART)) + 1):
        if len(some):
            sums = None if index.checksums is None else index.checksums[some]
            own = replace(
                index,
                keys=index.keys[some],
                offsets=index.offsets[some],
                lengths=index.lengths[some],
                checksums=sums,
            )
            yield Part(file, some, own)


def check_part(part: Part) -> list[Suspect]:
    """The items of a part that do not hold what they should."""
    found: list[Suspect] = []
    index = part.index
    others = np.flatnonzero(
        index.offsets == NO_OFFSET
    )  # empty, or chunked by another writer; they come first
    try:
        with part.file.open("rb") as handle:
            for rows in _blocks(index, len(others)):
                try:
                    array = _side_by_side(_read(handle, index, rows), index, rows)
                except OSError as error:
                    found += [Suspect(row, error=str(error)) for row in range(rows.start, rows.stop)]
                else:
                    found += _suspects(index, rows, array)
        if len(others):
            with h5py.File(part.file) as shard:
                for row in others.tolist():
                    try:
                        array = shard[index.keys.key(row)][()].astype(index.dtype, copy=False)
                    except H5PY_ERRORS as error:
                        found.append(Suspect(row, error=str(error)))
                    else:
                        found += _suspects(index, slice(row, row + 1), array)
    except H5PY_ERRORS as error:
        found.append(Suspect(int(others[0]) if len(others) else 0, error=str(error)))
    return found


def _blocks(index: ShardIndex, first: int) -> Iterator[slice]:
    """Rows that lie within a block, one at least, from the row `first` on."""
    starts, ends = index.offsets, index.offsets + index.lengths * index.row_bytes
    while first < len(index):
        last = max(first + 1, int(np.searchsorted(ends, starts[first] + BLOCK, side="right")))
        yield slice(first, last)
        first = last


def _read(handle: BinaryIO, index: ShardIndex, rows: slice) -> np.ndarray:
    """The bytes from the first of these rows to the end of the last; OSError when the file ends before."""
    start = int(index.offsets[rows.start])
    size = int((index.offsets[rows] + index.lengths[rows] * index.row_bytes).max()) - start
    handle.seek(start)
    data = np.fromfile(handle, np.uint8, size)
    if len(data) < size:
        raise OSError(f"the file ends {size - len(data)} bytes before the end of its data")
    return data


def _side_by_side(data: np.ndarray, index: ShardIndex, rows: slice) -> np.ndarray:
    """[sum of lengths, *tail]: the arrays of these rows without what lies between them; `data` begins with the first."""
    starts = index.offsets[rows] - index.offsets[rows.start]
    ends = starts + index.lengths[rows] * index.row_bytes
    gaps = np.flatnonzero(ends[:-1] != starts[1:])
    first, last = starts[np.append(0, gaps + 1)].tolist(), ends[np.append(gaps, len(starts) - 1)].tolist()
    packed = np.concatenate([data[start:end] for start, end in zip(first, last, strict=True)])
    return packed.view(index.dtype).reshape(-1, *index.tail)


def _suspects(index: ShardIndex, rows: slice, array: np.ndarray) -> Iterator[Suspect]:
    """Those of these rows whose arrays, in `array` [sum of lengths, *tail] one behind the other, are not right."""
    sums = row_checksums(array)
    lengths = index.lengths[rows]
    borders = np.concatenate([[0], np.cumsum(lengths)])
    of_items = checksums(sums, borders)
    zero = np.zeros(len(lengths), dtype=bool)
    if array.size:
        of_rows = sums == zlib.crc32(bytes(index.row_bytes))
        zero[lengths > 0] = np.logical_and.reduceat(of_rows, borders[:-1][lengths > 0])
    suspicious = zero.copy()
    if index.checksums is not None:
        suspicious |= of_items != index.checksums[rows]
    if not_finite(array):
        suspicious |= [not_finite(array[start:end]) > 0 for start, end in pairwise(borders)]
    for i in np.flatnonzero(suspicious).tolist():
        item = array[borders[i] : borders[i + 1]]
        yield Suspect(rows.start + i, item.size, not_finite(item), bool(zero[i]), int(of_items[i]))


def not_finite(array: np.ndarray) -> int:
    """How many numbers are NaN or infinite."""
    mask = EXPONENTS.get(array.dtype.itemsize)
    if mask is None or not array.dtype.isnative:
        return array.size - np.count_nonzero(np.isfinite(array))
    return np.count_nonzero((array.view(mask.dtype) & mask) == mask)  # twice as fast


def _problem(file: Path, index: ShardIndex, row: int, suspect: Suspect) -> Problem:
    """What an item holds instead of its values."""
    if suspect.error is not None:
        return Problem(file, index.keys.key(row), f"cannot be read ({suspect.error})", None, AGAIN)
    found, expected = [], "finite numbers, not all of them zero"
    if suspect.not_finite:
        found.append(f"{suspect.not_finite} of its {suspect.size} numbers are NaN or infinite")
    elif suspect.is_zero:
        found.append("all its numbers are zero")
    if index.checksums is not None and suspect.checksum != (then := int(index.checksums[row])):
        expected = f"the values that were written, with the checksum {then:08x}"
        same = (index.checksums == suspect.checksum) & (index.lengths == index.lengths[row])
        if same.any():
            found.append(f"holds the features of {index.keys.key(int(np.argmax(same)))}")
        else:
            found.append(f"its values have the checksum {suspect.checksum:08x}")
    return Problem(file, index.keys.key(row), ", ".join(found), expected, AGAIN)
