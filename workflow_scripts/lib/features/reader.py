"""Read features by key, as read-only memory maps, wherever they come from: `open_features(root, kind)`."""

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import ShardSummary
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import FOLDERS, SHAPES, Kind, parse_key
from workflow_scripts.lib.features.reading.bigfile import BigFile, is_bigfile
from workflow_scripts.lib.features.reading.locate import Located, locate
from workflow_scripts.lib.features.reading.mapped import MappedShard
from workflow_scripts.lib.features.reading.survey import survey
from workflow_scripts.lib.keys import caption_key, video_key

OPEN_FILES = 8  # HDF5 files without a sidecar; those with one need none


def open_features(root: Path, kind: Kind) -> "FeatureReader":
    """The features of a kind below `root`, or in it.

    `root` is a folder with `video_meta.json` (or `text_`), `video_manifest.json`, or `video_meta.auto.json`; with shards
    alone; with one HDF5, or one BigFile of the original GMMFormer, in `FeatureData/` (or `TextData/` ...) or one folder
    deeper; such a BigFile itself; or an HDF5 file. Of a regular manifest, `video_meta.auto.json` is made where the folder
    can be written to.

    UserError: nothing there, or several things; a shard that is missing, truncated, or of another encoder; another
    number of keys than the meta says; a key in two shards.
    """
    return FeatureReader(locate(Path(root), kind))


class FeatureReader(Mapping[str, np.ndarray]):
    """The features of one kind: `reader["vid_0"]` is an array that cannot be written to.

    Shapes: video [T, D], token [T, P, D], text [L, D], sentence [1, D]. Arrays are views of the files: copy what is to
    be changed. Files are mapped when they are first read from. A pickled reader (DataLoader workers) maps its files anew.
    Features that were written elsewhere keep their number format, and their values are checked for NaN when they are read.

    UserError names the file and the key of what is not there, or wrong.
    """

    def __init__(self, located: Located):
        self.root, self.kind, self._located = located.root, located.kind, located
        self._per_shard = located.per_shard
        self._forget_files()
        self._is_bigfile = len(located.files) == 1 and is_bigfile(located.files[0])
        self._summaries = [self._bigfile_summary()] if self._is_bigfile else survey(located)
        self._table: tuple[Keys, np.ndarray] | None = None  # keys, and the number of each one's file
        if located.manifest:
            self._table = located.manifest.keys, located.manifest.numbers
        elif self._per_shard is None and len(located.files) > 1:
            self._table = self._keys_of_all()

    def __getitem__(self, key: str) -> np.ndarray:
        found = self._find_key(key)
        if found is None:
            raise self._no_such_key(key)
        part, row = found
        return part.array(row)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._find_key(key) is not None

    def __len__(self) -> int:
        return len(self._table[0]) if self._table else sum(summary.rows for summary in self._summaries)

    def __iter__(self) -> Iterator[str]:
        """Keys, ascending in each file."""
        if self._table:
            yield from self._table[0]
        else:
            for number in range(len(self._located.files)):
                yield from self._part(number).keys

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in ("_parts", "_open")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget_files()

    @property
    def encoder(self) -> str | None:
        """Identity of the encoder, as JSON text; None for features that were written elsewhere."""
        return self._summaries[0].encoder if self._summaries else None

    def take(self, videos: np.ndarray, captions: np.ndarray | None = None) -> list[np.ndarray]:
        """Many features at once, in this order: of the videos [n], or of their captions with these numbers [n]."""
        arrays = []
        for video, caption in zip(
            np.asarray(videos).tolist(),
            repeat(None) if captions is None else np.asarray(captions).tolist(),
            strict=captions is not None,
        ):
            found = self._find(video, caption)
            if found is None:
                raise self._no_such_key(video_key(video) if caption is None else caption_key(video, caption))
            part, row = found
            arrays.append(part.array(row))
        return arrays

    @property
    def files(self) -> tuple[Path, ...]:
        """HDF5 files, or the folder of one BigFile."""
        return self._located.files

    def check(self) -> None:
        """Look into every file now, not when it is first read from. UserError: keys or shapes are not as they must be."""
        for number in range(len(self.files)):
            self._part(number)

    def digests(self) -> list[str]:
        """What the features are made of, a text a file: with other ones, a training starts anew."""
        return [
            summary.digest or _state(file)
            for file, summary in zip(self._located.files, self._summaries, strict=True)
        ]

    def file_of(self, key: str) -> Path:
        """The file that a key is in."""
        found = self._find_key(key)
        if found is None:
            raise self._no_such_key(key)
        return found[0].file

    def _find_key(self, key: str) -> tuple[MappedShard | BigFile, int] | None:
        """File and row of a key."""
        if (numbers := parse_key(key)) is not None:
            return self._find(*numbers)
        if self._per_shard is not None:
            return None
        number = 0
        if self._table:
            if (place := self._table[0].row(key)) is None:
                return None
            number = self._table[1].item(place)
        part = self._part(number)
        row = part.keys.row(key)
        return None if row is None else (part, row)

    def _find(self, video: int, caption: int | None) -> tuple[MappedShard | BigFile, int] | None:
        """File and row of a video, or of a caption."""
        if self._per_shard is not None:
            number = video // self._per_shard
            if not 0 <= number < len(self._located.files):
                return None
        elif self._table:
            if (place := self._table[0].find(video, caption)) < 0:
                return None
            number = self._table[1].item(place)
        else:
            number = 0
        part = self._parts.get(number) or self._part(number)
        row = part.keys.find(video, caption)
        return None if row < 0 else (part, row)

    def _part(self, number: int) -> MappedShard | BigFile:
        """A file, mapped if it was not."""
        if number not in self._parts:
            file = self._located.files[number]
            part = BigFile(file) if self._is_bigfile else MappedShard(file, self._open)
            self._check(number, part)
            self._parts[number] = part
        return self._parts[number]

    def _check(self, number: int, part: MappedShard | BigFile) -> None:
        """UserError: another file than at the beginning, of another form than the others, or with foreign keys."""
        located, keys = self._located, part.keys
        if ShardSummary(len(keys), part.encoder, part.digest) != self._summaries[number]:
            raise UserError(f"{part.file}: has changed while it was read; start again")
        if len(keys) and len(part.tail) + 1 != SHAPES[self.kind].count(",") + 1:
            shape = f"[{', '.join(map(str, ('rows', *part.tail)))}]"
            raise UserError(
                f"{part.file}: key {keys.key(0)} is {shape}, but {self.kind} features are {SHAPES[self.kind]}"
            )
        others = list(self._parts.values())  # to which another thread may add
        other = next((other for other in others if len(other.keys)), part)
        if len(keys) and (part.tail, part.dtype) != (other.tail, other.dtype):
            raise UserError(
                f"{part.file}: key {keys.key(0)} has rows {list(part.tail)} of {part.dtype}, unlike those of"
                f" {other.file}, {list(other.tail)} of {other.dtype}; they are of different encoders"
            )
        if self._per_shard is not None and len(keys):
            first = number * self._per_shard
            outside = keys.outside(first, first + self._per_shard)
            if outside is not None:
                raise UserError(
                    f"{part.file}: key {outside} does not belong here: by `per_shard` {self._per_shard} of"
                    f" {located.meta_file}, it holds the videos {first} to {first + self._per_shard - 1}"
                )
        if located.manifest:
            listed = located.manifest.keys[np.flatnonzero(located.manifest.numbers == number)]
            if (missing := listed.first_missing(keys)) is not None:
                raise UserError(
                    f"{part.file}: has no key {missing}, which {located.manifest.path} says it has; make the manifest again"
                )

    def _keys_of_all(self) -> tuple[Keys, np.ndarray]:
        """Keys of all files, and the number of each one's file."""
        parts = [self._part(number) for number in range(len(self._located.files))]
        keys, order = Keys.joined([part.keys for part in parts])
        numbers = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.keys) for part in parts])[order]
        if (row := keys.duplicate()) is not None:
            one, other = sorted((numbers.item(row), numbers.item(row + 1)))
            raise UserError(
                f"{parts[other].file}: key {keys.key(row)} is in two shards, also in {parts[one].file};"
                " remove the one that is out of date"
            )
        return keys, numbers

    def _bigfile_summary(self) -> ShardSummary:
        self._parts[0] = part = BigFile(self._located.files[0])
        return ShardSummary(len(part.keys), None, None)

    def _forget_files(self) -> None:
        self._parts: dict[int, MappedShard | BigFile] = {}
        opened = lru_cache(OPEN_FILES)(_open_hdf5)
        self._open = lambda file: opened(file, os.getpid())

    def _no_such_key(self, key: str) -> UserError:
        files = self._located.files
        where = files[0] if len(files) == 1 else self.root / FOLDERS[self.kind]
        return UserError(
            f"{where}: no {self.kind} feature with the key {key!r} in {len(files)} files; was the corpus changed after"
            " the features were made?"
        )


def _open_hdf5(file: Path, process: int) -> h5py.File:
    """Anew in each process: HDF5 does not bear a fork."""
    return h5py.File(file, "r")


def _state(file: Path) -> str:
    """Sizes and times of change of a file that has no digest, or of a BigFile's."""
    files = sorted(part for part in file.iterdir() if part.is_file()) if file.is_dir() else [file]
    states = [part.stat() for part in files]
    return ", ".join(f"{state.st_size} bytes, changed {state.st_mtime_ns}" for state in states)
