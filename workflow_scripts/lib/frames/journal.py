"""Progress of one shard that survives a kill: the frames got so far, and a line for every video.

Two files in one folder: `frames.bin` holds the JPEG bytes one after another, `done.jsonl` the videos they belong to.
Bytes are written before their line, and a line counts only when it is whole and its bytes have the right checksum.
"""

import json
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.lib.files import read_json, write_json

SYNC_EVERY = 256  # videos; what is lost when the machine, not just the process, dies


class Journal:
    """The journal in `folder`, begun anew when there is none for `identity` (what decides about the frames).

    `entries`: the videos done so far, index -> row, a dict that JSON can hold. A context manager.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder, self.entries = Path(folder), {}
        self._begin(identity)
        self._lines = (self.folder / "done.jsonl").open("r+b")
        self._bytes = (self.folder / "frames.bin").open("r+b")
        self._resume()

    def _begin(self, identity: dict[str, Any]) -> None:
        head = self.folder / "journal.json"
        if head.exists() and read_json(head) == identity:
            return
        if head.exists():
            print(f"{self.folder}: made with other settings or other videos; beginning anew", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)  # without its head, what lies there is nobody's
        self.folder.mkdir(parents=True)
        for name in ("done.jsonl", "frames.bin"):
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
            bytes_end = entry["offset"] + sum(entry["lengths"])
        self._lines.seek(lines_end)
        self._lines.truncate()
        self._bytes.seek(bytes_end)
        self._bytes.truncate()

    def _is_whole(self, entry: dict) -> bool:
        self._bytes.seek(entry["offset"])
        data = self._bytes.read(sum(entry["lengths"]))
        return len(data) == sum(entry["lengths"]) and zlib.crc32(data) == entry["crc32"]

    def add(self, index: int, row: dict[str, Any], jpegs: list[bytes]) -> None:
        """Keep a video's frames and its row."""
        data = b"".join(jpegs)
        offset = self._bytes.seek(0, os.SEEK_END)
        self._bytes.write(data)
        self._bytes.flush()
        entry = {
            **row,
            "index": index,
            "offset": offset,
            "lengths": [len(jpeg) for jpeg in jpegs],
            "crc32": zlib.crc32(data),
        }
        self._lines.write(json.dumps(entry).encode() + b"\n")
        self._lines.flush()
        self.entries[index] = entry
        if len(self.entries) % SYNC_EVERY == 0:
            os.fsync(self._bytes.fileno())
            os.fsync(self._lines.fileno())

    def jpegs(self, index: int) -> Iterator[bytes]:
        """The frames of a video, in order."""
        entry = self.entries[index]
        self._bytes.seek(entry["offset"])
        for length in entry["lengths"]:
            yield self._bytes.read(length)

    def remove(self) -> None:
        """Remove the journal: its shard is written."""
        self.__exit__()
        shutil.rmtree(self.folder)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_) -> None:
        self._lines.close()
        self._bytes.close()


def _parse(line: bytes) -> dict | None:
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
