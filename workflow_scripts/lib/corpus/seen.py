"""What was there before: files, source videos and ids of a corpus of ten million, in about 75 bytes a video."""

import hashlib
from array import array
from pathlib import Path

from workflow_scripts.lib.corpus.annotations import SPLITS, AnnotatedVideo, place

# The lowest bits of what is kept of a source: its split, and whether no annotation said so; whether it is also the path
# of a video that is a whole file; whether it is also an id.
SPLIT, HASHED, WHOLE, IS_ID, FLAGS = 0b00011, 0b00100, 0b01000, 0b10000, 5
CODES = {split: code for code, split in enumerate(SPLITS)}
LINE_BITS = 32  # four billion lines a file, and 67 million files: a folder may have one for every video


def hashed_split(source: str, val_share: float, test_share: float) -> str:
    """The split of a video without an annotated one: a function of its source alone, so that it stays."""
    where = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8], "big") / 2**64
    if where < val_share:
        return "val"
    return "test" if where < val_share + test_share else "train"


class HashTable:
    """Numbers below 2**63 by the 64-bit hashes of keys, at 24 to 48 bytes an entry; a dict takes 100 and more.

    Open addressing in two arrays, a power of two long and filled up to two thirds; an empty slot has the hash 0.
    Two keys of one hash are taken for the same: among ten million keys, once in some 300,000 corpora.
    """

    def __init__(self):
        self._free, self._mask = 5, 7
        self._hashes, self._values = array("q", bytes(64)), array("q", bytes(64))

    def add(self, key: object, value: int) -> int | None:
        """The value that is there under `key`; where there is none, `value` is put there, and None returned."""
        wanted = hash(key) or 1
        hashes, mask = self._hashes, self._mask
        slot = wanted & mask
        while found := hashes[slot]:
            if found == wanted:
                return self._values[slot]
            slot = (slot + 1) & mask
        hashes[slot] = wanted
        self._values[slot] = value
        self._free -= 1
        if not self._free:
            self._grow()
        return None

    def replace(self, key: object, value: int) -> None:
        """Another value for a key that is there."""
        wanted = hash(key) or 1
        slot = wanted & self._mask
        while self._hashes[slot] != wanted:
            slot = (slot + 1) & self._mask
        self._values[slot] = value

    def _grow(self) -> None:
        size = 2 * len(self._hashes)
        mask, hashes, values = size - 1, array("q", [0]) * size, array("q", [0]) * size
        for old, found in enumerate(self._hashes):
            if found:
                slot = found & mask
                while hashes[slot]:
                    slot = (slot + 1) & mask
                hashes[slot] = found
                values[slot] = self._values[old]
        self._free += size // 3
        self._mask, self._hashes, self._values = mask, hashes, values


class Seen:
    """The videos of one reading so far: which file, which source in which split, which id.

    A video's split is the annotated one; where there is none, that of an earlier clip of its source; else it is
    decided by a hash of the source. The file itself counts as a source, beside one that the annotation names.
    """

    def __init__(self, val_share: float, test_share: float, counts: str):
        """`counts` is the adapter's: what a line of an annotation file is called."""
        self._shares, self._counts = (val_share, test_share), counts
        self._file, self._files = None, []
        # Sources and files with place, split and flags; clips with their place; ids with the hash of their path.
        self._sources, self._clips, self._ids = HashTable(), HashTable(), HashTable()

    def add(
        self, video: AnnotatedVideo, path: str, source: str, annotated: str | None, file: Path
    ) -> tuple[str, tuple[str, str] | None]:
        """The video's split; and kind and words of the problem, if it is one (duplicate_id, duplicate_video).

        A `split_leak` is a clip annotated to be in another split than an earlier one of its source, annotated or
        hashed: what is added may not move what was there. `path` and `source` are composed (NFC).
        """
        here = self._place(file, video.line)
        whole = video.start_s is None and video.end_s is None
        split, hashed = annotated, 0
        if split is None:
            split, hashed = hashed_split(source, *self._shares), HASHED
        its_id = IS_ID if video.id == source else 0
        of_path = WHOLE if whole else 0
        entry = here | CODES[split] | hashed | its_id
        before = known = self._sources.add(source, entry | of_path if source == path else entry)
        if before is not None and annotated is None:
            split, hashed = SPLITS[before & SPLIT], before & HASHED
        if source != path:
            known = self._sources.add(path, here | CODES[split] | hashed | of_path)
            if known is not None and before is None and annotated is None:  # a known file, and a new source
                split = SPLITS[known & SPLIT]
                self._sources.replace(source, here | known & (SPLIT | HASHED) | its_id)
        if before is not None or known is not None:
            for earlier in (before, known):
                if earlier is not None and SPLITS[earlier & SPLIT] != split:
                    return split, ("split_leak", self._leak(source, split, earlier))
        if self._is_other_id(video.id, path, source, before, known):
            return split, ("duplicate_id", f"the id {video.id!r} was there before, with another path")
        if not whole:
            known = self._clips.add((path, video.start_s, video.end_s), here)
        elif known is not None and not known & WHOLE:  # only clips of it were there
            self._sources.replace(path, here | known & (SPLIT | HASHED | IS_ID) | WHOLE)
            known = None
        if known is None:
            return split, None
        return split, ("duplicate_video", f"{video.path!r} was there before ({self._name(known)})")

    def _is_other_id(
        self, id_: str | None, path: str, source: str, before: int | None, known: int | None
    ) -> bool:
        """Whether the id was there with another path. One that is also the source has been looked for as such."""
        if id_ is None or id_ == path:
            return False
        if id_ == source:
            if before is not None and not before & IS_ID:
                self._sources.replace(source, before | IS_ID)
            return known is None and before is not None and before & IS_ID != 0
        return self._ids.add(id_, hash(path)) not in (None, hash(path))

    def _leak(self, source: str, split: str, earlier: int) -> str:
        how = ", by the hash of its source" if earlier & HASHED else ""
        was = SPLITS[earlier & SPLIT]
        return f"a clip of {source!r} in {split!r}, and one in {was!r} ({self._name(earlier)}{how})"

    def _place(self, file: Path, line: int) -> int:
        if file is not self._file:
            self._file = file
            self._files.append(str(file))
        return (len(self._files) - 1 << LINE_BITS | line) << FLAGS

    def _name(self, entry: int) -> str:
        number = entry >> FLAGS
        return place(self._files[number >> LINE_BITS], number & (1 << LINE_BITS) - 1, self._counts)
