"""Find out how features below a folder are stored: by meta, by manifest, as plain shards, one HDF5, or a BigFile."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, ValidationError

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import summarize
from workflow_scripts.lib.features.layout import FOLDERS, PATTERNS, SIDE_OF, Kind
from workflow_scripts.lib.features.reading.bigfile import is_bigfile
from workflow_scripts.lib.features.reading.manifest import Manifest, arithmetic, read_manifest
from workflow_scripts.lib.files import read_json, write_json

SUFFIXES = (".hdf5", ".h5")


class Meta(BaseModel, strict=True):
    """`video_meta.json`: ours, or another writer's, which lacks what is optional here."""

    kind: str | None = None
    pattern: str = Field(pattern=r"^[^/\\%]*%(0[1-9])?d[^/\\%]*$")
    per_shard: PositiveInt
    shards: NonNegativeInt | None = None
    total: NonNegativeInt
    splits: dict[str, NonNegativeInt] | None = None
    encoder: dict[str, Any] | None = None
    manifest: dict[str, int] | None = None
    """Of an auto meta: what tells the manifest that it was made of from a later one."""


@dataclass(frozen=True)
class Located:
    """Files with features of one kind, and which of them holds a key.

    With `per_shard`, file k holds the videos k * per_shard and following; with `manifest`, it tells; with neither, the
    files themselves are asked.
    """

    root: Path
    kind: Kind
    files: tuple[Path, ...]
    """HDF5 files, or the folder of one BigFile."""
    meta_file: Path | None = None
    meta: Meta | None = None
    manifest: Manifest | None = None

    @property
    def per_shard(self) -> int | None:
        return self.meta and self.meta.per_shard


def locate(root: Path, kind: Kind) -> Located:
    """UserError: there is nothing, several things and nobody can say which, or a meta or manifest that is wrong."""
    root = Path(root)
    if root.is_file():
        return Located(root, kind, (root,))
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder or file; give the one that holds the features")
    side = SIDE_OF[kind]
    meta, auto = root / f"{side}_meta.json", root / f"{side}_meta.auto.json"
    manifest = root / f"{side}_manifest.json"
    if meta.is_file():
        return _by_meta(root, kind, meta, _read_meta(meta, kind))
    if manifest.is_file():
        return _by_manifest(root, kind, manifest, auto)
    if auto.is_file():
        return _by_meta(root, kind, auto, _read_meta(auto, kind))
    return _by_looking(root, kind)


def numbered(folder: Path, pattern: str) -> list[Path]:
    """The files of a pattern, by their numbers; UserError where one is missing between them."""
    before, after = re.split(r"%\d*d", pattern)
    fits = re.compile(rf"{re.escape(before)}(\d+){re.escape(after)}")
    found = {}
    for file in folder.iterdir() if folder.is_dir() else ():
        if (match := fits.fullmatch(file.name)) and file.name == pattern % int(match[1]):
            found[int(match[1])] = file
    for number in range(min(found, default=0), max(found, default=-1)):
        if number not in found:
            raise UserError(
                f"{folder / (pattern % number)}: this feature shard is missing, while {pattern % max(found)} is there;"
                " get or make it"
            )
    return [found[number] for number in sorted(found)]


def _by_meta(root: Path, kind: Kind, file: Path, meta: Meta) -> Located:
    folder = root / FOLDERS[kind]
    pattern = meta.pattern if kind == SIDE_OF[kind] else PATTERNS[kind]
    if meta.shards is not None:
        files = [folder / (pattern % number) for number in range(meta.shards)]
    else:
        files = numbered(folder, pattern)
        if files and files[0].name != pattern % 0:
            raise UserError(f"{folder / (pattern % 0)}: this feature shard is missing; get or make it")
        if not files and meta.total:
            raise UserError(
                f"{folder}: no files like {pattern % 0} here, which {file} tells of; get or make them"
            )
    return Located(root, kind, tuple(files), file, meta)


def _read_meta(file: Path, kind: Kind) -> Meta:
    content = read_json(file)
    try:
        meta = Meta.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UserError(
            f"{file}: `{where}`: {problem['msg']}, found {problem['input']!r}; make it again"
        ) from None
    if meta.kind not in (None, SIDE_OF[kind]):
        raise UserError(
            f"{file}: is of the kind {meta.kind!r}, but {SIDE_OF[kind]!r} is expected; make it again"
        )
    if meta.splits and sum(meta.splits.values()) != meta.total:
        found = sum(meta.splits.values())
        raise UserError(
            f"{file}: `splits` add up to {found} keys, but `total` is {meta.total}; make it again"
        )
    return meta


def _by_manifest(root: Path, kind: Kind, file: Path, auto: Path) -> Located:
    """By the meta that was made of this very manifest; that is made now, if the manifest is regular."""
    status = file.stat()
    identity = {"bytes": status.st_size, "changed_ns": status.st_mtime_ns}
    if auto.is_file():
        with contextlib.suppress(UserError):  # it is made again
            if (meta := _read_meta(auto, kind)).manifest == identity:
                return _by_meta(root, kind, auto, meta)
    manifest = read_manifest(file)
    for number, name in enumerate(manifest.files):
        if not (root / name).is_file():
            key = manifest.keys.key(int(np.argmax(manifest.numbers == number)))
            raise UserError(f"{file}: key {key} is in {name}, which is missing in {root}; get or make it")
    meta = _meta_of(root, kind, manifest, identity)
    if meta is None:
        files = tuple(root / _counterpart(file, name, kind) for name in manifest.files)
        return Located(root, kind, files, manifest=manifest if kind == SIDE_OF[kind] else None)
    with contextlib.suppress(OSError):  # a folder that cannot be written to
        own = auto.with_name(f".{auto.name}.{os.getpid()}")  # several processes may do this at once
        write_json(own, meta.model_dump(exclude_none=True))
        own.replace(auto)
    return _by_meta(root, kind, file, meta)


def _meta_of(root: Path, kind: Kind, manifest: Manifest, identity: dict[str, int]) -> Meta | None:
    """The meta that says the same as the manifest; None when there is none."""
    side = SIDE_OF[kind]
    regular = arithmetic(manifest, side)
    files = [root / file for file in manifest.files]
    if regular is None or sum(summarize(file).rows for file in files) != len(
        manifest.keys
    ):  # it leaves some out
        return None
    return Meta(
        kind=side,
        pattern=regular.pattern,
        per_shard=regular.per_shard,
        shards=regular.shards,
        total=len(manifest.keys),
        manifest=identity,
    )


def _counterpart(manifest: Path, file: str, kind: Kind) -> str:
    """The file of a kind beside the one that the manifest names: shards of a side carry the same numbers."""
    side = SIDE_OF[kind]
    if kind == side:
        return file
    before, after = PATTERNS[side].split("%03d")
    match = re.fullmatch(rf"{FOLDERS[side]}/{re.escape(before)}(\d+){re.escape(after)}", file)
    if match is None:
        raise UserError(
            f"{manifest}: names {file}, which has no counterpart in {FOLDERS[kind]}; give the {kind} features a folder"
            " of their own"
        )
    return f"{FOLDERS[kind]}/{PATTERNS[kind] % int(match[1])}"


def _by_looking(root: Path, kind: Kind) -> Located:
    """Shards that fit the pattern, one HDF5, or one BigFile; in the kind's folder, or one folder deeper."""
    folder = root / FOLDERS[kind]
    shards = numbered(folder, PATTERNS[kind])
    found = {str(folder / PATTERNS[kind].replace("%03d", "*")): shards} if shards else {}
    for place in (root, folder, *_folders(folder)):
        if kind == "video" and is_bigfile(place):
            found[str(place)] = [place]
        if place != root:
            found |= {str(file): [file] for file in _hdf5s(place) if file not in shards}
    if not found:
        raise UserError(
            f"{folder}: no {kind} features here: no {PATTERNS[kind].replace('%03d', '*')}, and no other HDF5;"
            " run the step that makes them, or give the folder or file that holds them"
        )
    if len(found) > 1:
        raise UserError(
            f"{folder}: several features, and nothing says which are meant: {', '.join(found)};"
            " give the file or folder itself, or move the others away"
        )
    [files] = found.values()
    return Located(root, kind, tuple(files))


def _folders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if place.is_dir()) if folder.is_dir() else []


def _hdf5s(folder: Path) -> list[Path]:
    """Hidden files are the progress of a job, or another system's remarks."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(file for file in files if file.suffix in SUFFIXES and not file.name.startswith("."))
