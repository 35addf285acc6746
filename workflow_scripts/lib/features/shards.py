"""HDF5 shards of features: one contiguous, uncompressed dataset a key, so plain h5py reads them.

`ShardWriter` takes arrays as they come; `planned.PlannedShard` knows all shapes beforehand, and goes on after a kill.
"""

import contextlib
import hashlib
import itertools
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import NO_OFFSET, Keys, ShardIndex
from workflow_scripts.lib.features.layout import parse_key
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.keys import caption_key, video_key

# Takes the place of the digest, which is as long, until all values are there.
NOT_SEALED = "this shard is not finished".ljust(hashlib.sha256().digest_size * 2, ".")
# Datasets that are reserved and written together: that many, or that many bytes of them.
TOGETHER, TOGETHER_BYTES = 1024, 4 << 20
HDF5_ERRNO = re.compile(r"errno = (\d+)")


class ShardWriter:
    """Writes a shard whole or not at all; a context manager.

    with ShardWriter(path, encoder={"model": ...}, dtype="float16") as writer:
        writer.write("vid_0", array)

    `encoder` says what made the features: a reader refuses to mix shards where it differs. Keys come in ascending
    order, and arrays differ in their first dimension alone (ValueError).
    """

    def __init__(self, path: Path, encoder: dict[str, Any], dtype: str = "float16"):
        self.path = Path(path)
        self.encoder = encoder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._parsed: list[tuple[int, int | None]] = []
        self._lengths: list[int] = []
        self._offsets: list[int] = []
        self._checksums: list[int] = []
        self._tail: tuple[int, ...] | None = None
        self._waiting: list[tuple[str, np.ndarray]] = []  # not yet in the file
        self._waiting_bytes = 0

    def __enter__(self) -> "ShardWriter":
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(whole_file(self.path))
            self._file = stack.enter_context(new_file(self._temporary, self.encoder))
            self._values = stack.enter_context(self._temporary.open("r+b"))
            self._stack = stack.pop_all()
        return self

    def write(self, key: str, array: np.ndarray) -> None:
        """Add one key; UserError when it is not finite, or too large for the shard's number format."""
        stored = as_stored(key, array, self.dtype)
        if np.may_share_memory(stored, array):
            stored = stored.copy()  # the caller's, who may change it before it is in the file
        parsed = parse_key(key)
        if parsed is None or (self._parsed and parsed <= self._parsed[-1]):
            raise ValueError(f"{self.path}: key {key} is not the next one in order")
        if stored.ndim < 2 or (self._tail is not None and stored.shape[1:] != self._tail):
            raise ValueError(
                f"{self.path}: key {key} has the shape {stored.shape}, unlike the keys before it"
            )
        self._tail = stored.shape[1:]
        self._parsed.append(parsed)
        self._lengths.append(len(stored))
        self._waiting.append((key, stored))
        self._waiting_bytes += stored.nbytes
        if self._waiting_bytes >= TOGETHER_BYTES or len(self._waiting) >= TOGETHER:
            self._write_waiting()

    def _write_waiting(self) -> None:
        """Reserve datasets for what waits, and write its values straight to their places: a third of HDF5's own time."""
        keys, arrays = [key for key, _ in self._waiting], [array for _, array in self._waiting]
        offsets = reserve(self._file, keys, map(len, arrays), self._tail or (), self.dtype)
        for offset, array in zip(offsets, arrays, strict=True):
            if offset != NO_OFFSET:
                self._values.seek(offset)
                self._values.write(array)
            self._checksums.append(checksum(row_checksums(array)))
        self._offsets += offsets
        self._waiting, self._waiting_bytes = [], 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the keys written so far."""
        names = (video_key(v) if c is None else caption_key(v, c) for v, c in self._parsed)
        return {name: (length, *self._tail) for name, length in zip(names, self._lengths, strict=True)}

    def __exit__(self, *error) -> bool | None:
        with self._stack:
            if error[0] is not None:
                return self._stack.__exit__(*error)
            self._write_waiting()
            self._values.flush()
            videos = np.array([video for video, _ in self._parsed], dtype=np.int64)
            with_captions = bool(self._parsed) and self._parsed[0][1] is not None
            captions = np.array([caption for _, caption in self._parsed], np.int32) if with_captions else None
            index = finished_index(
                Keys(videos, captions),
                np.array(self._offsets, dtype=np.int64),
                np.array(self._lengths, dtype=np.int64),
                self._tail or (),
                self.dtype,
                encoder_text(self.encoder),
                np.array(self._checksums, dtype=np.uint32),
            )
            set_digest(self._file, index.digest)
            self._file.close()
            index.save(self.path, self._temporary.stat().st_size)
        return None


@contextlib.contextmanager
def new_file(path: Path, encoder: dict[str, Any]) -> Iterator[h5py.File]:
    """An HDF5 file to be written, with the encoder's identity; the same calls give the same bytes.

    Its attributes are texts of a fixed length, which lie in a header with a checksum. Those of any length would lie in a
    heap without one, of which a single wrong byte lets HDF5 loop for ever.
    """
    try:
        with h5py.File(path, "w", libver=("v108", "v110")) as file:
            for name, text in (("encoder", encoder_text(encoder)), ("digest", NOT_SEALED)):
                data = np.bytes_(text.encode())
                file.attrs.create(name, data, dtype=h5py.string_dtype("utf-8", len(data)))
            yield file
    except RuntimeError as error:  # of a full disk, HDF5 tells in words alone
        if told := HDF5_ERRNO.search(str(error)):
            raise OSError(int(told[1]), os.strerror(int(told[1])), str(path)) from error
        raise


def encoder_text(encoder: dict[str, Any]) -> str:
    """The identity of an encoder as it is in a shard: the same text for the same identity."""
    return json.dumps(encoder, ensure_ascii=False, sort_keys=True)


def set_digest(file: h5py.File, digest: str) -> None:
    """Say that a file of `new_file` is finished; nothing but the digest's own bytes and a checksum change."""
    file.attrs.modify("digest", np.bytes_(digest))


def reserve(
    file: h5py.File,
    keys: Iterable[str],
    lengths: Iterable[int],
    tail: Sequence[int],
    dtype: np.dtype,
) -> list[int]:
    """Make a contiguous dataset [length, *tail] for every key; gives their byte offsets (NO_OFFSET where empty).

    Their space is left as it is. Five times as fast as `create_dataset`, key by key.
    """
    options = h5p.create(h5p.DATASET_CREATE)
    options.set_layout(h5d.CONTIGUOUS)
    options.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    options.set_fill_time(h5d.FILL_TIME_NEVER)
    options.set_obj_track_times(False)
    number = h5t.py_create(dtype)
    offsets = []
    for key, length in zip(keys, lengths, strict=True):
        space = h5s.create_simple((int(length), *tail))
        dataset = h5d.create(file.id, key.encode(), number, space, options)
        offset = dataset.get_offset()
        offsets.append(NO_OFFSET if offset is None else offset)
    return offsets


def finished_index(
    keys: Keys,
    offsets: np.ndarray,
    lengths: np.ndarray,
    tail: tuple[int, ...],
    dtype: np.dtype,
    encoder: str,
    checksums: np.ndarray,
) -> ShardIndex:
    """The index of a shard whose values are all there, with the digest over keys, shapes and checksums."""
    digest = hashlib.sha256(json.dumps([list(tail), dtype.str]).encode())
    for column in (keys.videos, keys.captions, lengths, checksums):
        if column is not None:
            digest.update(column.tobytes())
    return ShardIndex(keys, offsets, lengths, tail, dtype, encoder, digest.hexdigest(), checksums)


def as_stored(key: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` in the stored number format; UserError names a key with NaN, infinity or overflow."""
    array = np.ascontiguousarray(array)
    with np.errstate(over="ignore"):
        stored = array.astype(dtype, copy=False)
    if np.isfinite(stored).all():
        return stored
    if not np.isfinite(array).all():
        raise UserError(f"{key}: the encoder gave NaN or infinite values; try `precision: fp32`")
    raise UserError(
        f"{key}: a feature of {np.abs(array).max():.3g} does not fit {dtype.name}; set `dtype: float32`"
    )


def row_checksums(stored: np.ndarray) -> np.ndarray:
    """[rows] uint32: the CRC-32 of each row's bytes."""
    data, size = memoryview(np.ascontiguousarray(stored).reshape(-1).view(np.uint8)), stored[:1].nbytes
    places = range(0, len(data), size) if size else []
    return np.array([zlib.crc32(data[place : place + size]) for place in places], dtype="<u4")


def checksum(rows: np.ndarray) -> int:
    """The checksum of an array, from those of its rows: the CRC-32 of them."""
    return zlib.crc32(np.ascontiguousarray(rows, dtype="<u4"))


def checksums(rows: np.ndarray, borders: np.ndarray) -> np.ndarray:
    """[N] uint32: the same of many arrays, array i of the rows from `borders[i]` to `borders[i + 1]`."""
    data = memoryview(np.ascontiguousarray(rows, dtype="<u4").view(np.uint8))
    places = itertools.pairwise((4 * np.asarray(borders)).tolist())
    return np.array([zlib.crc32(data[start:end]) for start, end in places], dtype=np.uint32)
