"""Do the shards of an encoder open, and does everything that describes them say the same?"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import NO_OFFSET, ShardIndex, read_index
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import (
    FOLDERS,
    PATTERNS,
    SIDE_OF,
    Kind,
    Side,
    index_path,
)
from workflow_scripts.lib.features.made_by import difference, parsed
from workflow_scripts.lib.features.reading.bigfile import is_bigfile
from workflow_scripts.lib.features.reading.locate import Meta, locate
from workflow_scripts.lib.features.verify.problems import AGAIN, Problem, Problems

KEYS_A_SHARD = 64
"""Keys that HDF5 is asked about, of every shard; it takes some 50 microseconds for each."""


@dataclass(frozen=True)
class Opened:
    """A shard that could be opened."""

    kind: Kind
    number: int
    file: Path
    index: ShardIndex


@dataclass(frozen=True)
class Features:
    """All of an encoder's shards that could be opened."""

    root: Path
    shards: dict[Kind, list[Opened]]
    complete: set[Kind]
    """Kinds whose shards could all be opened, so that a key that is in none of them is missing."""
    meta: dict[Side, Meta]

    def __iter__(self) -> Iterator[Opened]:
        for shards in self.shards.values():
            yield from shards

    def kinds(self, side: Side) -> list[Kind]:
        """The kinds of a side that are there, its own first."""
        return [kind for kind in self.shards if SIDE_OF[kind] == side]


def open_all(root: Path, problems: Problems) -> Features:
    """Open the shards of all kinds; UserError when there are none at all, or no shards but a BigFile."""
    features = Features(root, {}, set(), {})
    nothing: UserError | None = None
    for kind in FOLDERS:
        if kind != SIDE_OF[kind] and not (root / FOLDERS[kind]).is_dir():
            continue  # features from elsewhere have neither tokens nor sentences
        try:
            located = locate(root, kind)
            files = list(enumerate(located.files))
            if located.meta is not None:
                features.meta.setdefault(SIDE_OF[kind], located.meta)
        except UserError as error:
            files, located = _those_there(root, kind), None
            problem = Problem.of_error(root, error)
            is_told = problems.has(problem.file)  # a meta file is of two kinds
            if not is_told and (files or problem.file.is_file()):
                problems.add(problem)
            nothing = nothing or error
        if any(is_bigfile(file) for _, file in files):
            raise UserError(
                f"{files[0][1]}: a BigFile has no checksums; import it (import_features) and verify that"
            )
        if files:
            features.shards[kind] = list(_open(kind, files, problems))
            if located is not None and len(features.shards[kind]) == len(files):
                features.complete.add(kind)
        if root.is_file():
            break
    if nothing and not features.shards and not problems.count:
        raise nothing
    return features


def _those_there(root: Path, kind: Kind) -> list[tuple[int, Path]]:
    """Numbers and files of the shards that are there, whatever should be."""
    numbered = re.compile(PATTERNS[kind].replace("%03d", r"(\d+)"))
    found = ((numbered.fullmatch(file.name), file) for file in (root / FOLDERS[kind]).glob("*"))
    return sorted((int(match[1]), file) for match, file in found if match)


def check_structure(features: Features, rng: np.random.Generator, problems: Problems) -> None:
    """Everything that can be told without reading the values."""
    for side in ("video", "text"):
        _check_one_encoder(features, side, problems)
        for kind in features.kinds(side):
            _check_shapes(features, kind, problems)
            if kind != side and side in features.shards:
                _check_companions(features, kind, problems)
    for shard in features:
        _check_index(shard, _per_shard(features, shard.kind), problems)
        _check_against_hdf5(shard, rng, problems)


def _per_shard(features: Features, kind: Kind) -> int | None:
    meta = features.meta.get(SIDE_OF[kind])
    return meta and meta.per_shard


def _open(kind: Kind, files: Iterable[tuple[int, Path]], problems: Problems) -> Iterator[Opened]:
    for number, file in files:
        try:
            index = read_index(file)
        except UserError as error:
            problems.add(Problem.of_error(file, error))
            continue
        if index.digest is not None and index.checksums is None:
            found = (
                "is missing" if not index_path(file).is_file() else "is damaged, or belongs to another file"
            )
            problems.add(
                Problem(
                    file, None, f"its index {index_path(file).name} {found}", "the one made with it", AGAIN
                )
            )
        yield Opened(kind, number, file, index)


def _check_one_encoder(features: Features, side: Side, problems: Problems) -> None:
    """All shards of a side are of the encoder that the meta file names; without one, of the first shard's."""
    shards = [shard for kind in features.kinds(side) for shard in features.shards[kind]]
    if not shards:
        return
    if side in features.meta and features.meta[side].encoder:
        expected, of = features.meta[side].encoder, f"{side}_meta.json"
    else:
        expected, of = parsed(shards[0].index.encoder), shards[0].file.name
    for shard in shards:
        if (different := difference(parsed(shard.index.encoder), expected)) is not None:
            found = f"made by another encoder: {different}"
            problems.add(Problem(shard.file, None, found, f"that of {of}", AGAIN))


def _check_shapes(features: Features, kind: Kind, problems: Problems) -> None:
    """Features of a kind differ in their rows alone, and have some."""
    shards = [shard for shard in features.shards[kind] if len(shard.index)]
    for shard in shards:
        index, first = shard.index, shards[0].index
        if (index.tail, index.dtype) != (first.tail, first.dtype):
            found = f"rows {list(index.tail)} of {index.dtype}"
            expected = f"{list(first.tail)} of {first.dtype}, as in {shards[0].file.name}"
            problems.add(Problem(shard.file, None, found, expected, AGAIN))
        for row in np.flatnonzero(index.lengths == 0).tolist():
            problems.add(Problem(shard.file, index.keys.key(row), "has no rows", "one at least", AGAIN))


def _check_companions(features: Features, kind: Kind, problems: Problems) -> None:
    """Visual tokens have the keys and lengths of the videos, sentences the keys of the texts; or all shards are empty."""
    own = {shard.number: shard for shard in features.shards[SIDE_OF[kind]]}
    kept = any(len(shard.index) for shard in features.shards[kind])
    if not kept and not (kind == "sentence" and _has_sentences(own.values())):
        return
    for shard in features.shards[kind]:
        if shard.number not in own:
            continue
        theirs, ours = own[shard.number], shard.index
        rows = rows_in(theirs.index.keys, ours.keys)
        for row in np.flatnonzero(rows < 0).tolist():
            problems.add(
                Problem(shard.file, ours.keys.key(row), f"is not in {theirs.file}", "the same keys", AGAIN)
            )
        there = np.zeros(len(theirs.index), dtype=bool)
        there[rows[rows >= 0]] = True
        for row in np.flatnonzero(~there).tolist():
            problems.add(
                Problem(
                    shard.file, theirs.index.keys.key(row), "is missing", f"the keys of {theirs.file}", AGAIN
                )
            )
        expected = theirs.index.lengths[rows] if kind == "token" else np.ones(len(ours), dtype=np.int64)
        for row in np.flatnonzero((rows >= 0) & (ours.lengths != expected)).tolist():
            found = f"{ours.lengths[row]} rows"
            problems.add(Problem(shard.file, ours.keys.key(row), found, f"{expected[row]}", AGAIN))


def _has_sentences(texts: Iterable[Opened]) -> bool:
    """Of our encoders, all have; features from elsewhere say whether they do."""
    made_by = [parsed(shard.index.encoder) for shard in texts]
    return any(isinstance(encoder, dict) and encoder.get("sentences", True) for encoder in made_by)


def rows_in(keys: Keys, others: Keys) -> np.ndarray:
    """[len(others)] int64: the rows of other keys; -1 where one is not there."""
    if others.names is None:
        return keys.rows(others.videos, others.captions)
    return np.array([-1 if (row := keys.row(key)) is None else row for key in others], dtype=np.int64)


def _check_index(shard: Opened, per_shard: int | None, problems: Problems) -> None:
    """Keys ascend and are those of this shard; datasets do not overlap."""
    index, videos = shard.index, shard.index.keys.videos
    if videos is not None and len(videos):
        rising = np.diff(videos) > 0
        if index.keys.captions is not None:
            rising |= (np.diff(videos) == 0) & (np.diff(index.keys.captions) > 0)
        for row in (np.flatnonzero(~rising) + 1).tolist():
            problems.add(
                Problem(
                    shard.file, index.keys.key(row), "is out of order in its index", "ascending keys", AGAIN
                )
            )
        if isinstance(per_shard, int):
            for row in np.flatnonzero(videos // per_shard != shard.number).tolist():
                expected = (
                    f"videos {shard.number * per_shard} to {(shard.number + 1) * per_shard - 1} in this shard"
                )
                problems.add(
                    Problem(shard.file, index.keys.key(row), "belongs into another shard", expected, AGAIN)
                )
    placed = np.flatnonzero(index.offsets != NO_OFFSET)
    placed = placed[np.argsort(index.offsets[placed], kind="stable")]
    ends = index.offsets[placed] + index.lengths[placed] * index.row_bytes
    for i in np.flatnonzero(ends[:-1] > index.offsets[placed][1:]).tolist():
        found = f"lies over the bytes of {index.keys.key(int(placed[i]))}, says its index"
        problems.add(Problem(shard.file, index.keys.key(int(placed[i + 1])), found, None, AGAIN))


def _check_against_hdf5(shard: Opened, rng: np.random.Generator, problems: Problems) -> None:
    """HDF5 itself has as many keys as the index, and tells the same shapes and places of a sample of them."""
    index = shard.index
    if index.checksums is None:
        return  # HDF5 is where the index is from
    try:
        with h5py.File(shard.file) as file:
            if len(file) != len(index):
                problems.add(
                    Problem(shard.file, None, f"{len(file)} keys", f"{len(index)}, says its index", AGAIN)
                )
            for row in sorted(rng.choice(len(index), min(KEYS_A_SHARD, len(index)), replace=False).tolist()):
                key = index.keys.key(row)
                found, expected = in_hdf5(file, key), in_index(index, row)
                if found != expected:
                    problems.add(Problem(shard.file, key, found, f"{expected}, says its index", AGAIN))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        problems.add(Problem(shard.file, None, f"cannot be read as HDF5 ({error})", None, AGAIN))


def in_hdf5(file: h5py.File, key: str) -> str:
    """What HDF5 says of a key."""
    if key not in file:
        return "is not in the HDF5"
    dataset = file[key]
    offset = dataset.id.get_offset()
    return f"{list(dataset.shape)} of {dataset.dtype} at byte {'none' if offset is None else offset}"


def in_index(index: ShardIndex, row: int) -> str:
    """What the index says of a row, in the same words."""
    offset = int(index.offsets[row])
    shape = [int(index.lengths[row]), *index.tail]
    return f"{shape} of {index.dtype} at byte {'none' if offset == NO_OFFSET else offset}"
