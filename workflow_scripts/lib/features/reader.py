"""Read features by key, as read-only memory maps of HDF5 shards."""

import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.shards import (
    FOLDERS,
    NO_OFFSET,
    PATTERNS,
    Kind,
    ShardIndex,
    read_index,
    refuse_mixture,
)
from workflow_scripts.lib.files import read_json

MANIFEST_OF: dict[Kind, Kind] = {"video": "video", "token": "video", "text": "text", "sentence": "text"}


class FeatureReader(Mapping[str, np.ndarray]):
    """The features of one kind below `root`: `reader["vid_0"]` is an array that cannot be written to.

    Shapes: video [T, D], text [L, D], sentence [1, D], token [T, P, D]. Nothing is opened before the
    first use, and a pickled reader (DataLoader workers) opens its files anew. The arrays are views of
    the file: copy what must outlive the reader's process or be changed in place.
    UserError: no shards, a truncated shard, shards of different encoders, a key that is not there.
    """

    def __init__(self, root: Path, kind: Kind):
        self.root = Path(root)
        self.kind = kind
        self._indices: list[ShardIndex] | None = None
        self._place: dict[str, tuple[int, int]] = {}
        self._maps: dict[int, mmap.mmap] = {}

    def __getitem__(self, key: str) -> np.ndarray:
        indices = self._open()
        try:
            shard, row = self._place[key]
        except KeyError:
            raise UserError(
                f"{self.root / FOLDERS[self.kind]}: no {self.kind} feature with the key {key!r} in"
                f" {len(indices)} shards; was the corpus changed after extract_features?"
            ) from None
        index = indices[shard]
        shape = tuple(index.shapes[row].tolist())
        offset = int(index.offsets[row])
        if offset == NO_OFFSET:
            return self._without_offset(shard, key)
        return np.ndarray(shape, index.dtype, buffer=self._map(shard), offset=offset)

    def __contains__(self, key: object) -> bool:
        self._open()
        return key in self._place

    def __len__(self) -> int:
        self._open()
        return len(self._place)

    def __iter__(self) -> Iterator[str]:
        """Keys, shard after shard."""
        self._open()
        return iter(self._place)

    def __getstate__(self) -> dict:
        return {"root": self.root, "kind": self.kind}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)

    @property
    def encoder(self) -> str | None:
        """Identity of the encoder, as JSON text; None for shards that were written elsewhere."""
        indices = self._open()
        return indices[0].encoder

    def _open(self) -> list[ShardIndex]:
        if self._indices is None:
            self.files = find_shards(self.root, self.kind)
            indices = [read_index(file) for file in self.files]
            refuse_mixture(self.files, indices)
            for shard, index in enumerate(indices):
                self._place.update((key, (shard, row)) for row, key in enumerate(index.keys))
            if len(self._place) < sum(len(index.keys) for index in indices):
                raise UserError(f"{self.files[0].parent}: the same key is in two shards")
            self._indices = indices
        return self._indices

    def _map(self, shard: int) -> mmap.mmap:
        if shard not in self._maps:
            with self.files[shard].open("rb") as handle:
                self._maps[shard] = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[shard]

    def _without_offset(self, shard: int, key: str) -> np.ndarray:
        """An empty dataset, or a chunked one of a shard that was written elsewhere."""
        with h5py.File(self.files[shard], "r") as file:
            array = file[key][()]
        array.flags.writeable = False
        return array


def find_shards(root: Path, kind: Kind) -> list[Path]:
    """The shard files of a kind: those that meta or manifest name, else all that fit the pattern.

    Sentence and token shards carry the numbers of the text and video shards. Asking the meta file
    first keeps shards of a former, larger corpus out.
    """
    folder = Path(root) / FOLDERS[kind]
    owner = MANIFEST_OF[kind]
    meta, manifest = Path(root) / f"{owner}_meta.json", Path(root) / f"{owner}_manifest.json"
    if meta.is_file() and "shards" in (content := read_json(meta)):
        return [folder / (PATTERNS[kind] % shard) for shard in range(content["shards"])]
    if manifest.is_file() and (names := sorted(set(read_json(manifest).values()))):
        names = [name.replace(FOLDERS[owner], FOLDERS[kind]) for name in names]
        return [Path(root) / name.replace(f"{owner}_shard", f"{kind}_shard") for name in names]
    files = sorted(folder.glob(PATTERNS[kind].replace("%03d", "*")))
    if not files:
        raise UserError(
            f"{folder}: no {PATTERNS[kind].replace('%03d', '*')} here; run extract_features first"
        )
    return files
