"""Frame-caption pairs of a shard as files that open_clip_train reads: WebDataset tars, or JPEG files and a table.

Pictures go from the shard's frames to their place one by one, so memory does not grow with the shard.
"""

import csv
import hashlib
import random
import tarfile
from contextlib import ExitStack
from pathlib import Path

from workflow_scripts.lib.clip.pairs import Pair, ShardPairs
from workflow_scripts.lib.frames.shard import FrameShard, add_member
from workflow_scripts.lib.keys import frame_name

OPEN = 256  # tars that are written at a time
PICTURE, CAPTION = "filepath", "title"
"""Columns of the tables."""
PER_FOLDER = 1000  # videos whose pictures share a folder


def write_tars(
    folder: Path, split: str, pairs: ShardPairs, frames: FrameShard, seed: int, pairs_per_tar: int
) -> tuple[list[int], str]:
    """Write `<split>_000.tar`, `<split>_001.tar` ... of `<name>.jpg` and `<name>.txt` a pair.

    There are as few tars as `pairs_per_tar` allows, and they hold equally many pairs, or one less. Each pair goes to
    a tar that is drawn by `seed`: captions of one video are neighbours in few batches, of which each other's would be
    taken for wrong ones. Returns the number of pairs in each tar, and a digest of all of them.
    """
    counts = [0] * -(-pairs.total // pairs_per_tar)
    digest = hashlib.sha256()
    for first in range(0, len(counts), OPEN):
        some = range(first, min(first + OPEN, len(counts)))
        with ExitStack() as stack:
            archives = {
                number: stack.enter_context(
                    tarfile.open(folder / f"{split}_{number:03d}.tar", "w", format=tarfile.USTAR_FORMAT)
                )
                for number in some
            }
            drawn = _drawn(pairs.total, len(counts), seed)
            for number, pair in zip(drawn, pairs.shuffled(seed), strict=True):
                if number in some:
                    jpeg = _jpeg(frames, pair)
                    add_member(archives[number], f"{pair.name}.jpg", jpeg)
                    add_member(archives[number], f"{pair.name}.txt", pair.text.encode())
                    archives[number].members.clear()  # it would remember them all
                    counts[number] += 1
                    _count_in(digest, number, pair, jpeg)
    return counts, digest.hexdigest()


def _drawn(pairs: int, tars: int, seed: int) -> list[int]:
    """A tar for every pair, as often each as the others."""
    drawn = [pair % tars for pair in range(pairs)]
    random.Random(f"{seed} tars").shuffle(drawn)
    return drawn


def write_table(
    folder: Path, split: str, pairs: ShardPairs, frames: FrameShard, seed: int
) -> tuple[list[int], str]:
    """Write `<split>.tsv` of pictures and captions, and the pictures, each once, below `images/`.

    Paths are relative to the folder. Returns the number of pairs, as a list of one, and a digest of all of them.
    """
    written = 0
    digest = hashlib.sha256()
    with (folder / f"{split}.tsv").open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle, delimiter="\t", lineterminator="\n")
        rows.writerow([PICTURE, CAPTION])
        for pair in pairs.shuffled(seed):
            jpeg = _jpeg(frames, pair)
            name = Path("images", f"{pair.video // PER_FOLDER:06d}", frame_name(pair.video, pair.frame))
            picture = folder / name
            if not picture.exists():
                picture.parent.mkdir(parents=True, exist_ok=True)
                picture.write_bytes(jpeg)
            rows.writerow([name.as_posix(), pair.text])
            written += 1
            _count_in(digest, 0, pair, jpeg)
    return [written] if written else [], digest.hexdigest()


def _jpeg(frames: FrameShard, pair: Pair) -> bytes:
    return frames.read(*frames.places(pair.video)[pair.frame])


def _count_in(digest, number: int, pair: Pair, jpeg: bytes) -> None:
    text = pair.text.encode()
    digest.update(f"{number} {pair.name} {len(text)} {len(jpeg)} ".encode() + text + jpeg)
