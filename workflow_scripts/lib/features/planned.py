"""A shard whose keys and shapes are known before its values: it survives a kill, and several processes may fill it.

All datasets are laid out first; then rows are written straight to their places in the file, in any order. What is done
is kept in hidden files beside the shard, which Snakemake does not know of and so leaves alone.
"""

import contextlib
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import Keys, ShardIndex
from workflow_scripts.lib.features.shards import (
    as_stored,
    checksums,
    encoder_text,
    finished_index,
    new_file,
    reserve,
    row_checksums,
    set_digest,
)
from workflow_scripts.lib.files import put_in_place, read_json, write_json

COMMIT_S = 30.0  # a kill loses at most the work of so many seconds
# `done` comes last, and no row lies across two pages: one that is half written counts as not done.
ROW = np.dtype([("checksum", "<u4"), ("done", "<u4")])


@dataclass(frozen=True)
class Plan:
    """What a shard will hold."""

    keys: Keys
    lengths: np.ndarray
    """[N] int64, rows of each key."""
    tail: tuple[int, ...]
    """The shape of a row."""
    dtype: np.dtype
    encoder: dict[str, Any]
    """Identity of the encoder."""
    source: str
    """Tells what is encoded from anything else: progress with other sources is not taken up."""

    @cached_property
    def first(self) -> np.ndarray:
        """[N + 1] int64: number of each key's first row, and that of all rows."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)

    @property
    def rows(self) -> int:
        """Rows of all keys together."""
        return int(self.first[-1])

    @property
    def row_bytes(self) -> int:
        return int(np.prod(self.tail, dtype=np.int64)) * self.dtype.itemsize

    @property
    def bytes(self) -> int:
        """Of all values together."""
        return self.rows * self.row_bytes

    def key_of(self, rows: np.ndarray) -> np.ndarray:
        """[n] int64: which key each row belongs to."""
        return np.searchsorted(self.first, rows, side="right") - 1

    def digest(self) -> str:
        """SHA-256 over all of it, in hex."""
        settings = [self.encoder, list(self.tail), self.dtype.str, self.source, len(self.keys)]
        found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for column in (self.keys.videos, self.keys.captions, self.lengths):
            if column is not None:
                found.update(np.ascontiguousarray(column))
        return found.hexdigest()


class PlannedShard:
    """Fills a shard row by row; rows are numbered through all keys, in their order.

    shard = PlannedShard(path, plan)
    shard.prepare()                     # one process; takes up the progress of a killed run
    with shard:                         # every process
        shard.write(rows, values)       # those of `shard.missing()`
    shard.seal()                        # one process, when no row is missing
    shard.publish(); shard.forget()     # a job with several shards publishes all before it forgets the first
    """

    def __init__(self, path: Path, plan: Plan):
        self.path, self.plan = Path(path), plan
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._progress = self.path.with_name(f".{self.path.name}.rows")
        self._made_of = self.path.with_name(f".{self.path.name}.json")

    # ---------------------------------------------------------------------- before and after

    def prepare(self) -> None:
        """Lay the file out, unless a killed run of the same plan has left it."""
        digest = self.plan.digest()
        left = self._file().is_file() and self._progress.is_file() and self._made_of.is_file()
        if left and read_json(self._made_of)["plan"] == digest:
            return
        self.forget()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        plan = self.plan
        with new_file(self._part, plan.encoder) as file:
            offsets = reserve(file, plan.keys, plan.lengths, plan.tail, plan.dtype)
        np.zeros(plan.rows, ROW).tofile(self._progress)
        for file in (self._part, self._progress):
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        write_json(self._made_of, {"plan": digest, "offsets": offsets})

    def seal(self) -> None:
        """Finish the hidden file, and write its index. UserError when rows are missing. May be done again."""
        with self:
            if missing := int(self.missing().sum()):
                raise UserError(f"{self.path}: {missing} of {self.plan.rows} rows were not written")
            index = self._index()
            try:
                with h5py.File(self._file(), "r+") as file:
                    set_digest(file, index.digest)
            except (OSError, KeyError) as error:  # h5py's errors are of these kinds
                raise UserError(
                    f"{self._file()}: cannot be finished ({error}); delete it and run the step again"
                ) from None
            os.fsync(self._values)
        index.save(self.path, self._file().stat().st_size)

    def publish(self) -> None:
        """Give the sealed file its name."""
        if self._part.is_file():  # else a run was killed behind this
            put_in_place(self._part, self.path)

    def forget(self) -> None:
        """Remove all progress."""
        for file in (self._made_of, self._progress, self._part):
            file.unlink(missing_ok=True)

    def _file(self) -> Path:
        """Where the values are: published already if a run was killed between `publish` and `forget`."""
        return self._part if self._part.is_file() else self.path

    # ---------------------------------------------------------------------- rows

    def __enter__(self) -> "PlannedShard":
        layout = read_json(self._made_of) if self._made_of.is_file() else {}
        if layout.get("plan") != self.plan.digest():
            raise UserError(f"{self.path}: another command is making this shard; let one end before the next")
        self._offsets = np.array(layout["offsets"], dtype=np.int64)
        with contextlib.ExitStack() as stack:
            self._values = _open(self._file(), stack)
            self._done = _open(self._progress, stack)
            self._stack = stack.pop_all()
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._committed = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        with self._stack:
            self.commit()

    def missing(self) -> np.ndarray:
        """[rows] bool: not written by this or an earlier run, as far as is committed."""
        return self._rows()["done"] == 0

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Write `values` [n, *tail] to the rows [n], ascending; UserError names a key whose values cannot be stored."""
        stored = self._stored(rows, values)
        keys = self.plan.key_of(rows)
        places = self._offsets[keys] + (rows - self.plan.first[keys]) * self.plan.row_bytes
        for run in _runs(places, self.plan.row_bytes):
            _write_all(self._values, stored[run], int(places[run.start]))
        self._waiting.append((rows, row_checksums(stored)))
        if time.monotonic() - self._committed > COMMIT_S:
            self.commit()

    def commit(self) -> None:
        """Note what was written as done, once it is on the disk."""
        # Taken out first: when fsync fails, a second one may not tell again that these rows were lost.
        waiting, self._waiting = self._waiting, []
        if waiting:
            os.fsync(self._values)
            rows = np.concatenate([rows for rows, _ in waiting])
            done = np.ones(len(rows), ROW)
            done["checksum"] = np.concatenate([found for _, found in waiting])
            for run in _runs(rows, 1):
                _write_all(self._done, done[run], int(rows[run.start]) * ROW.itemsize)
            os.fsync(self._done)
        self._committed = time.monotonic()

    def _rows(self) -> np.ndarray:
        return np.fromfile(self._progress, ROW)

    def _stored(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        if values.shape != (len(rows), *self.plan.tail):
            raise ValueError(
                f"{self.path}: rows {list(values.shape)}, planned [{len(rows)}, {self.plan.tail}]"
            )
        try:
            return as_stored(str(self.path), values, self.plan.dtype)
        except UserError:
            keys = list(self.plan.keys)
            for key, value in zip(self.plan.key_of(rows), values, strict=True):  # which one it is
                as_stored(f"{self.path}: {keys[key]}", value, self.plan.dtype)
            raise

    def _index(self) -> ShardIndex:
        plan, rows = self.plan, self._rows()["checksum"]
        return finished_index(
            plan.keys,
            self._offsets,
            plan.lengths,
            plan.tail,
            plan.dtype,
            encoder_text(plan.encoder),
            checksums(rows, plan.first),
        )


def _open(path: Path, stack: contextlib.ExitStack) -> int:
    file = os.open(path, os.O_RDWR)
    stack.callback(os.close, file)
    return file


def _runs(places: np.ndarray, size: int) -> Iterator[slice]:
    """Slices whose places follow one another without a gap."""
    borders = [0, *(np.flatnonzero(np.diff(places) != size) + 1).tolist(), len(places)]
    for start, end in itertools.pairwise(borders):
        if end > start:
            yield slice(start, end)


def _write_all(file: int, values: np.ndarray, place: int) -> None:
    """pwrite may write less than asked for: more than 2 GiB at once, or up to where a disk is full."""
    data = np.frombuffer(values, np.uint8)
    while len(data):
        written = os.pwrite(file, data, place)
        data, place = data[written:], place + written
