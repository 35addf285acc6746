"""Manifests: JSON objects key -> HDF5 path relative to the root, of any size, read a block at a time."""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import FOLDERS, Side

BLOCK = 8 << 20  # characters
_NUMBERED = re.compile(r"([^/%]*?)(\d+)(\.[^./\d]\w*)")


@dataclass(frozen=True)
class Manifest:
    """Which file holds which key."""

    path: Path
    keys: Keys
    numbers: np.ndarray
    """[N] int32: the key's file among `files`."""
    files: list[str]
    """Relative to the root."""


@dataclass(frozen=True)
class Arithmetic:
    """Shard k holds the videos k * per_shard to k * per_shard + per_shard - 1, and all of them are numbered."""

    pattern: str
    per_shard: int
    shards: int


def read_manifest(path: Path) -> Manifest:
    """UserError names what is no JSON object of paths, a key that is there twice, and a path outside the root."""
    number_of: dict[str, int] = {}
    blocks, numbers = [], []
    for keys, files in _blocks(path):
        for file in set(files) - number_of.keys():
            number_of[file] = len(number_of)
            inside = os.path.normpath(file)
            if Path(file).is_absolute() or inside.startswith("..") or inside == ".":
                key = keys[files.index(file)]
                raise UserError(
                    f"{path}: key {key} is in {file!r}, which is no file below {path.parent}; give paths relative to it"
                )
        try:
            block, order = Keys.of(keys)
        except UnicodeEncodeError as error:
            raise UserError(f"{path}: the key {error.object!r} is no text; make the manifest again") from None
        blocks.append(block)
        numbers.append(np.array([number_of[file] for file in files], dtype=np.int32)[order])
    keys, order = Keys.joined(blocks)
    if (row := keys.duplicate()) is not None:
        raise UserError(f"{path}: key {keys.key(row)} is there twice; give each key one file")
    places = np.concatenate(numbers)[order] if numbers else np.empty(0, np.int32)
    return Manifest(path, keys, places, list(number_of))


def arithmetic(manifest: Manifest, side: Side) -> Arithmetic | None:
    """The arithmetic that gives the file of every key; None where there is none, so that the manifest must be asked."""
    found = [_NUMBERED.fullmatch(file.removeprefix(f"{FOLDERS[side]}/")) for file in manifest.files]
    if not found or None in found or manifest.keys.videos is None:
        return None
    before, _, after = found[0].groups()
    pattern = f"{before}%0{min(len(match[2]) for match in found)}d{after}"
    shards = np.array([int(match[2]) for match in found])
    names = [f"{FOLDERS[side]}/{pattern % number}" for number in shards.tolist()]
    if names != manifest.files or sorted(shards.tolist()) != list(range(len(shards))):
        return None
    videos, shard = manifest.keys.videos, shards[manifest.numbers]
    behind = shard > 0  # k * per_shard <= i < (k + 1) * per_shard
    most = int((videos[behind] // shard[behind]).min()) if behind.any() else int(videos.max()) + 1
    if most <= int((videos // (shard + 1)).max()):
        return None
    return Arithmetic(pattern, most, len(shards))


def _blocks(path: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Keys and files, about a hundred thousand at a time."""
    rest, size = "", BLOCK
    try:
        with path.open(encoding="utf-8-sig") as handle:
            while more := handle.read(size):
                rest += more
                cut = rest.rfind('",') + 1  # which may be inside a text: then this is no JSON
                if cut and (pairs := _pairs(rest[:cut] + "}")):
                    yield _unzipped(path, pairs)
                    rest, size = "{" + rest[cut + 1 :], BLOCK
                else:
                    size = len(rest)
        yield _unzipped(path, json.loads(rest, object_pairs_hook=tuple))
    except json.JSONDecodeError as error:
        found = error.doc[error.pos : error.pos + 40]
        raise UserError(
            f"{path}: is no JSON ({error.msg}{f' at {found!r}' if found else ' at its end'}); make the manifest again"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); make the manifest again") from None


def _pairs(text: str) -> tuple | None:
    try:
        return json.loads(text, object_pairs_hook=tuple)
    except json.JSONDecodeError:
        return None


def _unzipped(path: Path, content: object) -> tuple[list[str], list[str]]:
    """Keys and files of what was read with objects as tuples of pairs."""
    wrong = (
        [content] if type(content) is not tuple else [pair for pair in content if type(pair[1]) is not str]
    )
    if wrong:
        raise UserError(
            f"{path}: has {str(wrong[0])[:80]}; a manifest is a JSON object of `key: path of its HDF5`"
        )
    return [key for key, _ in content], [file for _, file in content]
