"""Where every key of a shard lies: byte offsets, so that features are read by memory map and not through HDF5.

The index is a sidecar (an Arrow file, itself memory-mapped) that the shard's writer makes. It is only a shortcut: without
it, or when it is damaged or belongs to another file, the HDF5 itself is asked.
"""

import contextlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
from h5py import h5d, h5l, h5o

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import index_path
from workflow_scripts.lib.files import whole_file

NO_OFFSET = -1  # an empty dataset, or one that is chunked and so has no single place
NOT_ASKED = -2  # of a shard without a sidecar, whose HDF5 tells it when it is needed
# What pyarrow and numpy say of bytes that are no index.
DAMAGED = (OSError, ValueError, KeyError, TypeError, NotImplementedError, pa.ArrowException)
COLUMNS = {"video": "<i8", "caption": "<i4", "length": "<i8", "offset": "<i8", "checksum": "<u4"}
ABOUT, ABOUT_CRC = b"vidloom", b"vidloom_crc32"


@dataclass(frozen=True)
class ShardIndex:
    """All about a shard but its values."""

    keys: Keys
    offsets: np.ndarray
    """[N] int64, bytes from the beginning of the file; NO_OFFSET where the HDF5 must be asked."""
    lengths: np.ndarray
    """[N] int64, the first dimension of each dataset."""
    tail: tuple[int, ...]
    """The other dimensions, the same for all."""
    dtype: np.dtype
    encoder: str | None
    """Identity of the encoder, as JSON text; None for shards that were written elsewhere."""
    digest: str | None
    """SHA-256 over keys, shapes and checksums; None for shards that were written elsewhere."""
    checksums: np.ndarray | None
    """[N] uint32, see `shards.checksum`; None without the sidecar."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def row_bytes(self) -> int:
        """Of one row of a dataset."""
        return int(np.prod(self.tail, dtype=np.int64)) * self.dtype.itemsize

    def fits(self, size: int) -> bool:
        """Whether all datasets lie inside a file of so many bytes."""
        placed = self.offsets >= 0
        offsets, lengths = self.offsets[placed], self.lengths[placed]
        room = (size - offsets) // max(1, self.row_bytes)  # a product might overflow
        return bool((self.lengths >= 0).all() and (offsets <= size).all() and (lengths <= room).all())

    def save(self, shard: Path, size: int) -> None:
        """Write the sidecar of `shard`, which has, or will have, `size` bytes."""
        columns = {
            "video": pa.array(self.keys.videos, pa.int64()),
            "length": pa.array(self.lengths, pa.int64()),
            "offset": pa.array(self.offsets, pa.int64()),
            "checksum": pa.array(self.checksums, pa.uint32()),
        }
        if self.keys.captions is not None:
            columns["caption"] = pa.array(self.keys.captions, pa.int32())
        table = pa.table(columns)
        about = {
            "rows": len(table),
            "size": size,
            "tail": list(self.tail),
            "dtype": self.dtype.str,
            "encoder": self.encoder,
            "digest": self.digest,
            "columns_crc32": _crc32(_columns(table)),
        }
        text = json.dumps(about, ensure_ascii=False).encode()
        table = table.replace_schema_metadata({ABOUT: text, ABOUT_CRC: str(zlib.crc32(text))})
        with (
            whole_file(index_path(shard)) as temporary,
            pa.ipc.new_file(str(temporary), table.schema) as writer,
        ):
            writer.write_table(table, max_chunksize=max(1, len(table)))

    def ask(self, shard: Path, file: h5py.File, row: int) -> None:
        """Let the HDF5 tell where a row lies; UserError when it is unlike the others."""
        key = self.keys.key(row)
        shape, dtype, self.offsets[row] = _place(shard, file, key)
        if shape[1:] != self.tail or dtype != self.dtype:
            first = f"[{', '.join(map(str, ('rows', *self.tail)))}] of {self.dtype}"
            raise UserError(
                f"{shard}: key {key} is {list(shape)} of {dtype}, unlike {self.keys.key(0)}, which is {first};"
                " features of one file differ in their rows alone, so make it again"
            )
        self.lengths[row] = shape[0]


@dataclass(frozen=True)
class ShardSummary:
    """What can be told of a shard at once, however many keys it has."""

    rows: int
    """Number of keys."""
    encoder: str | None
    digest: str | None


def summarize(shard: Path) -> ShardSummary:
    """Number of keys, encoder and digest of a shard; UserError names one that is missing or truncated."""
    with _opened(shard) as file:
        about = _summary(file)
        with contextlib.suppress(_NotOurs):
            return ShardSummary(_sidecar(Path(shard), about.digest)[1]["rows"], about.encoder, about.digest)
        return about


def read_index(shard: Path, lazily: bool = False) -> ShardIndex:
    """The index of a shard: from its sidecar if that belongs to it, else from the HDF5 itself.

    `lazily`: without the sidecar, `offsets` are NOT_ASKED until `ShardIndex.ask`, as asking for 50,000 takes seconds.
    UserError names a shard that is missing, no HDF5, or shorter than its index says, and the first key whose shape or
    number format is unlike the others'.
    """
    shard = Path(shard)
    with _opened(shard) as file:
        about = _summary(file)
        with contextlib.suppress(_NotOurs):
            return _of_sidecar(shard, about)
        index = _of_file(shard, file, about)
        for row in range(min(1, len(index)) if lazily else len(index)):
            index.ask(shard, file, row)
    if not index.fits(size := shard.stat().st_size):
        raise UserError(f"{shard}: truncated: datasets lie behind its {size} bytes; get or make it again")
    return index


def memory_map(file: Path) -> pa.Buffer:
    """A read-only map of a file's bytes; it needs no open file, however many maps there are."""
    with pa.memory_map(str(file)) as source:
        return source.read_buffer()


@contextlib.contextmanager
def _opened(shard: Path) -> Iterator[h5py.File]:
    """The HDF5 of a shard; UserError for all that is wrong with the file."""
    if not Path(shard).is_file():
        raise UserError(f"{shard}: this feature shard is missing; run the step that makes it")
    try:
        with h5py.File(shard, "r") as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's errors are of these kinds
        raise UserError(f"{shard}: cannot be read as HDF5 ({error}); get or make it again") from None


def _summary(file: h5py.File) -> ShardSummary:
    """Of the HDF5 alone."""
    return ShardSummary(len(file), *(_text(file.attrs.get(name)) for name in ("encoder", "digest")))


def _text(attribute: object) -> str | None:
    """h5py gives texts of a fixed length as bytes; what is no text is another writer's, and says nothing."""
    if isinstance(attribute, bytes):
        return attribute.decode(errors="replace")
    return attribute if isinstance(attribute, str) else None


class _NotOurs(Exception):
    """There is no sidecar, or none that can be used."""


def _sidecar(shard: Path, digest: str | None) -> tuple[pa.RecordBatchFileReader, dict[str, Any]]:
    """The saved index, and what it says of itself; _NotOurs when it was made for another file, or is damaged."""
    try:
        reader = pa.ipc.open_file(memory_map(index_path(shard)))
        text = reader.schema.metadata[ABOUT]
        if int(reader.schema.metadata[ABOUT_CRC]) != zlib.crc32(text):
            raise _NotOurs
        about = json.loads(text)
        if digest is None or about["digest"] != digest or about["size"] != shard.stat().st_size:
            raise _NotOurs
        return reader, about
    except DAMAGED:
        raise _NotOurs from None


def _of_sidecar(shard: Path, summary: ShardSummary) -> ShardIndex:
    reader, about = _sidecar(shard, summary.digest)
    try:
        table = reader.read_all()
        table.validate()
        columns = _columns(table)
        if _crc32(columns) != about["columns_crc32"]:
            raise _NotOurs
        if any(column.dtype != COLUMNS[name] for name, column in columns.items()):  # which no CRC covers
            raise _NotOurs
        index = ShardIndex(
            keys=Keys(columns["video"], columns.get("caption")),
            offsets=columns["offset"],
            lengths=columns["length"],
            tail=tuple(about["tail"]),
            dtype=np.dtype(about["dtype"]),
            encoder=summary.encoder,
            digest=summary.digest,
            checksums=columns["checksum"],
        )
        if not index.fits(about["size"]):
            raise _NotOurs
        return index
    except DAMAGED:
        raise _NotOurs from None


def _columns(table: pa.Table) -> dict[str, np.ndarray]:
    """The columns, without copying."""
    return {
        name: np.from_dlpack(column.chunks[0])  # to_numpy() would load pandas
        if column.chunks
        else np.empty(0, column.type.to_pandas_dtype())
        for name, column in zip(table.column_names, table.columns, strict=True)
    }


def _crc32(columns: dict[str, np.ndarray]) -> int:
    found = 0
    for name in sorted(columns):
        found = zlib.crc32(columns[name], found)
    return found


def _of_file(shard: Path, file: h5py.File, about: ShardSummary) -> ShardIndex:
    """Ask HDF5 for its keys, and for the shape of the first of them."""
    names = list(file)
    if strange := [name for name in names if isinstance(name, bytes)]:
        raise UserError(f"{shard}: the key {strange[0]!r} is not UTF-8; give it another name")
    keys, _ = Keys.of(names)
    shape, dtype, _ = _place(shard, file, keys.key(0)) if len(keys) else ((0,), np.dtype("<f2"), NO_OFFSET)
    return ShardIndex(
        keys=keys,
        offsets=np.full(len(keys), NOT_ASKED, dtype=np.int64),
        lengths=np.zeros(len(keys), dtype=np.int64),
        tail=shape[1:],
        dtype=dtype,
        encoder=about.encoder,
        digest=about.digest,
        checksums=None,
    )


def _place(shard: Path, file: h5py.File, key: str) -> tuple[tuple[int, ...], np.dtype, int]:
    """Shape, number format and byte offset of a dataset; UserError when it holds no rows of floating-point numbers."""
    wanted = "features are floating-point arrays [rows, width]"
    name = key.encode()
    if file.id.links.get_info(name).type == h5l.TYPE_EXTERNAL:  # which would name a place in that other file
        raise UserError(f"{shard}: key {key} is a link into another file; {wanted} in the file itself")
    dataset = h5o.open(file.id, name)
    if not isinstance(dataset, h5d.DatasetID):
        raise UserError(f"{shard}: key {key} is a group; {wanted}")
    if dataset.rank < 2 or dataset.dtype.kind != "f":
        raise UserError(f"{shard}: key {key} is {list(dataset.shape)} of {dataset.dtype}; {wanted}")
    offset = dataset.get_offset()
    return dataset.shape, dataset.dtype, NO_OFFSET if offset is None else offset
