"""Manifest and meta over the shards of an encoder, once all of them are there and whole; a shard at a time."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.corpus_rows import AGAIN as TABLE_AGAIN
from workflow_scripts.lib.features.corpus_rows import CorpusRows, corpus_rows
from workflow_scripts.lib.features.index import ShardIndex, read_index
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import FOLDERS, PATTERNS, SIDE_OF, Kind, Side, shard_path
from workflow_scripts.lib.features.made_by import refuse_other_encoder
from workflow_scripts.lib.files import whole_file, write_json

AGAIN: dict[Side, str] = {
    side: f"delete the file and run extract_{side}_features (or import_features) again"
    for side in ("video", "text")
}


def collect(root: Path, side: Side, corpus: Path, shards: int, videos_per_shard: int) -> int:
    """Check all shards of a side below `root` against the corpus tables; write what readers start from.

    `<side>_manifest.json` names the file of every key, `<side>_meta.json` counts them: `total` all keys, `splits` those
    of each split. Returns the number of keys. UserError names the file, counts the keys that are wrong, and names the
    first of them.
    """
    splits = np.zeros(len(SPLITS), dtype=np.int64)
    checks = _Checks(root, side)
    with (
        whole_file(root / f"{side}_manifest.json") as temporary,
        temporary.open("w", encoding="utf-8") as manifest,
    ):
        manifest.write("{")
        for shard, rows in enumerate(corpus_rows(corpus, side, shards)):
            _check_range(rows, shard, videos_per_shard)
            keys = checks.shard(shard, rows.keys)
            _list_keys(manifest, keys, f"{FOLDERS[side]}/{PATTERNS[side] % shard}", not splits.any())
            its_splits = rows.splits[rows.keys.rows(keys.videos)] if side == "video" else rows.splits
            splits += np.bincount(its_splits, minlength=len(SPLITS))
        manifest.write("\n}\n")
    meta = {
        "kind": side,
        "pattern": PATTERNS[side],
        "per_shard": videos_per_shard,
        "shards": shards,
        "total": int(splits.sum()),
        "splits": dict(zip(SPLITS, splits.tolist(), strict=True)),
        "encoder": checks.encoder(),
    }
    write_json(root / f"{side}_meta.json", meta)
    return meta["total"]


def _list_keys(manifest: TextIO, keys: Keys, file: str, first: bool) -> None:
    name = json.dumps(file)
    lines = ",".join(f'\n  "{key}": {name}' for key in keys)
    manifest.write(lines if first or not lines else f",{lines}")


def _check_range(rows: CorpusRows, shard: int, videos_per_shard: int) -> None:
    """Readers find the shard of a video by this arithmetic."""
    outside = rows.keys.videos // videos_per_shard != shard
    if outside.any():
        first = shard * videos_per_shard
        raise UserError(
            f"{rows.file}: {rows.keys.key(int(np.argmax(outside)))} is not of shard {shard}, which with"
            f" {videos_per_shard} videos a shard holds videos {first} to {first + videos_per_shard - 1}: {TABLE_AGAIN}"
        )


class _Checks:
    """What must hold of a side's shards, each by itself and all together."""

    def __init__(self, root: Path, side: Side):
        self.root, self.side = root, side
        self.kinds: tuple[Kind, ...] = tuple(kind for kind in SIDE_OF if SIDE_OF[kind] == side)
        self._made_by: tuple[Path, str | None] | None = None
        self._first: dict[Kind, tuple[Path, ShardIndex]] = {}  # the first shard that holds a key

    def shard(self, shard: int, expected: Keys) -> Keys:
        """Check the files of a shard of the corpus that has these videos or captions; gives the keys that they hold."""
        files = {kind: shard_path(self.root, kind, shard) for kind in self.kinds}
        indices = {kind: read_index(file) for kind, file in files.items()}
        for kind, index in indices.items():
            self._check_encoder(files[kind], index)
        own = indices[self.side].keys
        # A video without frames has no features; every caption has.
        _check_keys(files[self.side], own, expected, AGAIN[self.side], all_of_them=self.side == "text")
        if self.side == "video":
            self._check_tokens(files, indices)
        else:
            # Imported features may have no embedding of a caption as a whole; their identity says so.
            sentences = own if (self.encoder() or {}).get("sentences", True) else own[:0]
            _check_keys(
                files["sentence"], indices["sentence"].keys, sentences, AGAIN["text"], all_of_them=True
            )
        for kind, index in indices.items():
            self._check_shapes(kind, files[kind], index)
        return own

    def encoder(self) -> dict | None:
        """What made all of them."""
        return json.loads(self._made_by[1]) if self._made_by and self._made_by[1] else None

    def _check_encoder(self, file: Path, index: ShardIndex) -> None:
        if self._made_by is None:
            self._made_by = file, index.encoder
        refuse_other_encoder(file, index.encoder, *self._made_by)

    def _check_tokens(self, files: Mapping[Kind, Path], indices: Mapping[Kind, ShardIndex]) -> None:
        """Visual tokens are of the same videos and frames as the embeddings, or of none at all."""
        own, tokens = indices["video"], indices["token"]
        if not len(tokens) and "token" not in self._first:
            return  # the encoder keeps none, or the shard has no video
        if "token" not in self._first and "video" in self._first:
            raise UserError(
                f"{files['token']}: has visual tokens of {len(tokens)} videos, the shards before it have none;"
                f" {AGAIN['video']}"
            )
        _check_keys(files["token"], tokens.keys, own.keys, AGAIN["video"], all_of_them=True)
        wrong = tokens.lengths != own.lengths
        _check_lengths(files["token"], tokens, wrong, "one a frame, as in FeatureData", AGAIN["video"])

    def _check_shapes(self, kind: Kind, file: Path, index: ShardIndex) -> None:
        if not len(index):
            return
        wrong, expected = (
            (index.lengths != 1, "1") if kind == "sentence" else (index.lengths == 0, "at least 1")
        )
        _check_lengths(file, index, wrong, expected, AGAIN[self.side])
        other, first = self._first.setdefault(kind, (file, index))
        if (index.tail, index.dtype) != (first.tail, first.dtype):
            raise UserError(
                f"{file}: {index.keys.key(0)} is {[int(index.lengths[0]), *index.tail]} of {index.dtype}, but"
                f" {first.keys.key(0)} in {other} is {[int(first.lengths[0]), *first.tail]} of {first.dtype};"
                f" {AGAIN[self.side]}"
            )


def _check_keys(file: Path, found: Keys, expected: Keys, again: str, *, all_of_them: bool) -> None:
    """No key that is not expected, and, if asked, all that are."""
    if found.names is not None:  # none of the form that this corpus's keys have, or not all
        strange = np.array([expected.row(name) is None for name in found], dtype=bool)
    else:
        strange = expected.rows(found.videos, found.captions) < 0
    if strange.any():
        raise UserError(
            f"{file}: {strange.sum()} keys that the corpus does not have, the first is"
            f" {found.key(int(np.argmax(strange)))!r}; was the corpus changed? {again}"
        )
    if all_of_them and len(found) < len(expected):
        missing = found.rows(expected.videos, expected.captions) < 0
        raise UserError(
            f"{file}: {missing.sum()} keys are missing, the first is {expected.key(int(np.argmax(missing)))};"
            f" was the corpus changed? {again}"
        )


def _check_lengths(file: Path, index: ShardIndex, wrong: np.ndarray, expected: str, again: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise UserError(
            f"{file}: {wrong.sum()} keys have a wrong number of rows, the first is {index.keys.key(row)} with"
            f" {index.lengths[row]}, expected {expected}; {again}"
        )
