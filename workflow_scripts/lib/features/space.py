"""The disk that features take: told before they are made, and refused when it cannot fit."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.features.planned import Plan
from workflow_scripts.lib.frames.space import free_bytes, readable

KEY_BYTES = 512  # that a key takes besides its values, about: its dataset's header, and its row of the index
BLOCK = 512  # unit of st_blocks


@dataclass(frozen=True)
class Need:
    """Bytes of one kind of features."""

    kind: Kind
    folder: Path
    shard: int
    """Of this shard."""
    shard_left: int
    """Of it, what is not on the disk yet."""
    corpus: int
    """Of all shards of the corpus, as far as the shards that are there tell."""
    corpus_there: int
    """Of it, what is on the disk, unfinished shards included."""


def need(kind: Kind, file: Path, plan: Plan, shards: int) -> Need:
    """What the features of a plan take in `file`, which is one of `shards`."""
    size = plan.bytes + len(plan.keys) * KEY_BYTES
    others = (_stat(other) for other in file.parent.glob("*.hdf5") if other != file)
    done = [found.st_size for found in others if found]
    there = sum(_taken(other) for other in file.parent.glob("*.hdf5"))
    there += sum(_taken(other) for other in file.parent.glob(".*.hdf5.part"))
    mean = (size + sum(done)) / (1 + len(done))
    own = _taken(file.with_name(f".{file.name}.part"))
    return Need(kind, file.parent, size, max(0, size - own), round(shards * mean), there)


def require_space(needs: list[Need], shards: int, whole_corpus: bool) -> None:
    """Print what the features will take; UserError when the disk has no room for this shard, or for the whole corpus."""
    print("features of this shard: " + _listed({n.kind: n.shard for n in needs}), flush=True)
    if shards > 1:
        of_all = _listed({n.kind: n.corpus for n in needs})
        print(
            f"of all {shards} shards, about: {of_all}; there: {readable(sum(n.corpus_there for n in needs))}"
        )
    for disk in _by_disk(needs):
        folder = disk[0].folder
        free = free_bytes(folder)
        print(f"free on the disk of {folder}: {readable(free)}", flush=True)
        this = sum(n.shard_left for n in disk)
        if this > free:
            raise UserError(
                f"{folder}: the features of this shard take {readable(this)} ({_listed({n.kind: n.shard for n in disk})}"
                f" in all), and the disk has {readable(free)} free; {_remedy(disk)}"
            )
        left = sum(max(0, n.corpus - n.corpus_there) for n in disk)
        if whole_corpus and left > free:
            raise UserError(
                f"{folder}: the features of the {shards} shards still need about {readable(left)}"
                f" ({_listed({n.kind: n.corpus for n in disk})} in all), and the disk has {readable(free)} free;"
                f" {_remedy(disk)}; or, if finished shards are moved away in time, set the encoder's `space: shard`"
            )


def _remedy(needs: list[Need]) -> str:
    largest = max(needs, key=lambda n: n.shard).kind
    less = {
        "video": "`dtype: float16`, fewer frames (frames.count)",
        "token": "a coarser token_grid, `dtype: float16`, fewer frames (frames.count)",
        "text": "`text: sentence`, `dtype: float16`",
        "sentence": "`dtype: float16`",
    }[largest]
    return f"make room, put the folder on another disk, or store less: {less}"


def _by_disk(needs: list[Need]) -> list[list[Need]]:
    """The kinds that share a disk; a folder may be a link to another one."""
    disks: dict[int, list[Need]] = {}
    for one in needs:
        folder = one.folder.absolute()
        while not folder.exists():
            folder = folder.parent
        disks.setdefault(folder.stat().st_dev, []).append(one)
    return list(disks.values())


def _listed(sizes: Mapping[Kind, int]) -> str:
    return ", ".join(f"{kind} {readable(size)}" for kind, size in sizes.items())


def _taken(file: Path) -> int:
    """Bytes on the disk; a file that is laid out and not filled takes few."""
    return found.st_blocks * BLOCK if (found := _stat(file)) else 0


def _stat(file: Path) -> os.stat_result | None:
    """None where it is not there: other jobs rename and remove theirs while this one looks."""
    try:
        return file.stat()
    except FileNotFoundError:
        return None
