"""HDF5 shards of features, and the index of byte offsets that lets them be memory-mapped.

A shard holds one contiguous, uncompressed dataset a key, so plain h5py reads it. Beside
`video_shard_000.hdf5` lies `video_shard_000.index.npz` with every key's byte offset and shape;
it is only a shortcut: without it, or when it belongs to another file, the HDF5 itself is asked.
"""

import contextlib
import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_file

Kind = Literal["video", "text", "sentence", "token"]
FOLDERS: dict[Kind, str] = {
    "video": "FeatureData",
    "text": "TextData",
    "sentence": "SentenceData",
    "token": "TokenData",
}
PATTERNS: dict[Kind, str] = {kind: f"{kind}_shard_%03d.hdf5" for kind in FOLDERS}
NO_OFFSET = -1  # an empty dataset, or one that is chunked and so has no single place


def index_path(shard: Path) -> Path:
    """Where the byte offsets of `video_shard_000.hdf5` lie: `video_shard_000.index.npz`."""
    return Path(shard).with_suffix(".index.npz")


class ShardWriter:
    """Writes a shard whole or not at all; a context manager.

    with ShardWriter(path, encoder={"model": ...}, dtype="float16") as writer:
        writer.write("vid_0", array)

    `encoder` says what made the features: a reader refuses to mix shards where it differs.
    All arrays of a shard have the same number of dimensions.
    """

    def __init__(self, path: Path, encoder: dict[str, Any], dtype: str = "float16"):
        self.path = Path(path)
        self.encoder = encoder
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._digest = hashlib.sha256()

    def __enter__(self) -> "ShardWriter":
        with contextlib.ExitStack() as stack:
            self._temporary = stack.enter_context(whole_file(self.path))
            self._file = stack.enter_context(h5py.File(self._temporary, "w", libver=("v108", "v110")))
            self._stack = stack.pop_all()
        return self

    def write(self, key: str, array: np.ndarray) -> None:
        """Add one key; UserError when it is not finite, or too large for the shard's number format."""
        stored = as_stored(key, array, self.dtype)
        if key in self.shapes:
            raise ValueError(f"{self.path}: key {key} is written twice")
        if self.shapes and stored.ndim != len(next(iter(self.shapes.values()))):
            raise ValueError(
                f"{self.path}: key {key} has {stored.ndim} dimensions, unlike the keys before it"
            )
        self._file.create_dataset(key, data=stored)
        self.shapes[key] = stored.shape
        self._digest.update(f"{key}{stored.shape}".encode() + stored.tobytes())

    def __exit__(self, *error) -> bool | None:
        with self._stack:
            if error[0] is not None:
                return self._stack.__exit__(*error)
            self._file.attrs["encoder"] = json.dumps(self.encoder, ensure_ascii=False, sort_keys=True)
            self._file.attrs["digest"] = self._digest.hexdigest()
            index = _index_of_file(self._file, list(self.shapes))
            self._file.close()
            index.save(index_path(self.path), self._temporary.stat().st_size)
        return None


def as_stored(key: str, array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`array` in the stored number format; UserError names a key with NaN, infinity or overflow."""
    array = np.ascontiguousarray(array)
    if not np.isfinite(array).all():
        raise UserError(f"{key}: the encoder gave NaN or infinite values; try `precision: fp32`")
    with np.errstate(over="ignore"):
        stored = array.astype(dtype)
    if not np.isfinite(stored).all():
        raise UserError(
            f"{key}: a feature of {np.abs(array).max():.3g} does not fit {dtype.name}; set `dtype: float32`"
        )
    return stored


@dataclass
class ShardIndex:
    """Where every key of a shard lies: byte offsets [N] and shapes [N, dims], a row a key."""

    keys: list[str]
    offsets: np.ndarray
    shapes: np.ndarray
    dtype: np.dtype
    encoder: str | None
    digest: str | None

    def save(self, path: Path, size: int) -> None:
        """Write the sidecar of a shard of `size` bytes."""
        with whole_file(path) as temporary, temporary.open("wb") as handle:
            np.savez(
                handle,
                keys=np.array(self.keys, dtype=np.str_),
                offsets=self.offsets,
                shapes=self.shapes,
                about=np.array([self.dtype.str, str(self.digest), str(size)]),
            )

    def end(self) -> int:
        """First byte behind the last dataset that has a place."""
        sizes = self.shapes.prod(axis=1) * self.dtype.itemsize
        return int(np.where(self.offsets == NO_OFFSET, 0, self.offsets + sizes).max(initial=0))


def read_index(shard: Path) -> ShardIndex:
    """The index of a shard: from its sidecar if that belongs to it, else from the HDF5 itself.

    UserError names a shard that is missing, no HDF5, or shorter than its index says.
    """
    shard = Path(shard)
    if not shard.is_file():
        raise UserError(f"{shard}: this feature shard is missing; run extract_features for it")
    try:
        with h5py.File(shard, "r") as file:
            index = _index_of_sidecar(file, shard) or _index_of_file(file, list(file))
    except (OSError, RuntimeError, KeyError) as error:
        raise UserError(
            f"{shard}: cannot be read as HDF5 ({error}); delete it and run its step again"
        ) from None
    if index.end() > shard.stat().st_size:
        raise UserError(
            f"{shard}: truncated: {shard.stat().st_size} bytes, its index needs {index.end()};"
            " delete it and run its step again"
        )
    return index


def _index_of_file(file: h5py.File, keys: list[str]) -> ShardIndex:
    """Ask HDF5 for every dataset's place: exact, and slow for many keys."""
    datasets = [file[key] for key in keys]
    offsets = [dataset.id.get_offset() for dataset in datasets]
    dims = datasets[0].ndim if datasets else 0
    shapes = np.array([dataset.shape for dataset in datasets], dtype=np.int64).reshape(len(keys), dims)
    return ShardIndex(
        keys=keys,
        offsets=np.array([NO_OFFSET if offset is None else offset for offset in offsets], dtype=np.int64),
        shapes=shapes,
        dtype=datasets[0].dtype if datasets else np.dtype("<f2"),
        encoder=file.attrs.get("encoder"),
        digest=file.attrs.get("digest"),
    )


def _index_of_sidecar(file: h5py.File, shard: Path) -> ShardIndex | None:
    """The saved index, or None when there is none or it was made for another file."""
    try:
        with np.load(index_path(shard), allow_pickle=False) as saved:
            dtype, digest, size = saved["about"].tolist()
            if digest != file.attrs.get("digest") or int(size) != shard.stat().st_size:
                return None
            return ShardIndex(
                keys=saved["keys"].tolist(),
                offsets=saved["offsets"],
                shapes=saved["shapes"],
                dtype=np.dtype(dtype),
                encoder=file.attrs.get("encoder"),
                digest=digest,
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def refuse_mixture(files: list[Path], indices: list[ShardIndex]) -> None:
    """UserError names the first shard that another encoder made than the first one."""
    for file, index in zip(files[1:], indices[1:], strict=True):
        if index.encoder != indices[0].encoder:
            raise UserError(
                f"{file}: made by another encoder than {files[0]}:\n  {index.encoder}\n  {indices[0].encoder}\n"
                "delete the shards that are out of date and run extract_features again"
            )


def shard_digest(file: Path) -> str:
    """The digest that the shard's writer put in; of foreign shards, size and time of change."""
    with h5py.File(file, "r") as shard:
        digest = shard.attrs.get("digest")
    status = file.stat()
    return str(digest) if digest is not None else f"{status.st_size} bytes, changed {status.st_mtime_ns}"
