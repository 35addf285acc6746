"""Progress of one shard that survives a kill: the frames got so far, and a line for every video.

Two files in one folder: `frames.bin` holds the JPEG bytes one after another, `done.jsonl` the videos they belong to.
Bytes are written before their line, and a line counts only when it is whole and its bytes have the right checksum.

A third file, `adopted.tar`, is there when the journal was made from a finished shard whose failed videos are to be
tried again: the shard's tar itself, by a hard link where that can be. It is only read.
"""

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.lib.files import read_json, whole_folder, write_json

SYNC_EVERY = 256  # videos; what is lost when the machine, not just the process, dies
HEAD, LINES, OWN, ADOPTED = "journal.json", "done.jsonl", "frames.bin", "adopted.tar"


class Journal:
    """The journal in `folder`, begun anew when there is none for `identity` (what decides about the frames).

    `entries`: the videos that need no work any more, index -> row, a dict that JSON can hold; its `places` are (offset,
    length) of its frames in the file that `file` names. A context manager.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder, self.entries = Path(folder), {}
        self._begin(identity)
        self._lines = (self.folder / LINES).open("r+b")
        self._files = {OWN: (self.folder / OWN).open("r+b")}
        if (self.folder / ADOPTED).exists():
            self._files[ADOPTED] = (self.folder / ADOPTED).open("rb")
        self._resume()

    def _begin(self, identity: dict[str, Any]) -> None:
        head = self.folder / HEAD
        if head.exists() and read_json(head) == identity:
            return
        if head.exists():
            print(f"{self.folder}: made with other settings or other videos; beginning anew", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)  # without its head, what lies there is nobody's
        self.folder.mkdir(parents=True)
        for name in (LINES, OWN):
            (self.folder / name).touch()
        write_json(head, identity)

    def _resume(self) -> None:
        """Read the lines that count, and cut off what does not."""
        lines_end = bytes_end = 0
        for line in self._lines:
            entry = _parse(line)
            if entry is None or not self._is_whole(entry):
                break
            self.entries[entry["index"]] = entry
            lines_end += len(line)
            if entry["file"] == OWN and entry["places"]:
                bytes_end = sum(entry["places"][-1])
        self._lines.seek(lines_end)
        self._lines.truncate()
        self._files[OWN].seek(bytes_end)
        self._files[OWN].truncate()

    def _is_whole(self, entry: dict) -> bool:
        if entry["file"] not in self._files:
            return False
        jpegs = list(self._read(entry))
        lengths = [length for _, length in entry["places"]]
        return [len(jpeg) for jpeg in jpegs] == lengths and _checksum(jpegs) == entry["crc32"]

    def add(self, index: int, row: dict[str, Any], jpegs: list[bytes]) -> None:
        """Keep a video's frames and its row."""
        own = self._files[OWN]
        places, offset = [], own.seek(0, os.SEEK_END)
        for jpeg in jpegs:
            places.append((offset, len(jpeg)))
            offset += len(jpeg)
        own.write(b"".join(jpegs))
        own.flush()
        entry = _entry(index, row, OWN, places, jpegs)
        self._lines.write(_line(entry))
        self._lines.flush()
        self.entries[index] = entry
        if len(self.entries) % SYNC_EVERY == 0:
            os.fsync(own.fileno())
            os.fsync(self._lines.fileno())

    def jpegs(self, index: int) -> Iterator[bytes]:
        """The frames of a video, in order."""
        return self._read(self.entries[index])

    def _read(self, entry: dict) -> Iterator[bytes]:
        file = self._files[entry["file"]]
        for offset, length in entry["places"]:
            file.seek(offset)
            yield file.read(length)

    def remove(self) -> None:
        """Remove the journal: its shard is written."""
        self.__exit__()
        shutil.rmtree(self.folder)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        for file in (self._lines, *self._files.values()):
            file.close()


def adopt(
    folder: Path,
    identity: dict[str, Any],
    tar: Path,
    videos: Iterable[tuple[int, dict[str, Any], list[tuple[int, int]], list[bytes]]],
) -> None:
    """Make a journal from a finished shard: (index, row, frames as (offset, length) in `tar`, the same as bytes).

    The folder appears whole, in the place of one that may be there. `tar` stays as it is.
    """
    with whole_folder(folder) as temporary:
        try:
            os.link(tar, temporary / ADOPTED)
        except OSError:  # a file system without hard links
            shutil.copyfile(tar, temporary / ADOPTED)
        (temporary / OWN).touch()
        with (temporary / LINES).open("wb") as lines:
            lines.writelines(_line(_entry(index, row, ADOPTED, *frames)) for index, row, *frames in videos)
        write_json(temporary / HEAD, identity)


def _entry(
    index: int, row: dict[str, Any], file: str, places: list[tuple[int, int]], jpegs: list[bytes]
) -> dict[str, Any]:
    return {**row, "index": index, "file": file, "places": places, "crc32": _checksum(jpegs)}


def _checksum(jpegs: Iterable[bytes]) -> int:
    checksum = 0
    for jpeg in jpegs:
        checksum = zlib.crc32(jpeg, checksum)
    return checksum


def _line(entry: dict[str, Any]) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def _parse(line: bytes) -> dict | None:
    with contextlib.suppress(ValueError):
        return json.loads(line) if line.endswith(b"\n") else None
    return None
