"""Pairs as people bring them: tars and tables of pictures."""

import csv
import io
import tarfile
from pathlib import Path

from tests.unit.clip.fake_corpus import jpeg
from workflow_scripts.lib.frames.shard import add_member


def write_own_tar(tar: Path, pairs: int, first: int = 0, colour: str = "red") -> Path:
    """A tar of `pairs` pictures and texts."""
    tar.parent.mkdir(parents=True, exist_ok=True)
    members = []
    for number in range(first, first + pairs):
        name = f"{tar.stem}/{number:05d}"
        members += [
            (f"{name}.jpg", jpeg(colour, number)),
            (f"{name}.txt", f"{colour} 사각형 {number}".encode()),
        ]
    return write_members(tar, members)


def write_members(tar: Path, members: list[tuple[str, bytes]]) -> Path:
    """A tar of these members."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name, content in members:
            add_member(archive, name, content)
    tar.write_bytes(data.getvalue())
    return tar


def write_own_table(table: Path, pairs: int, separator: str = "\t", columns=("filepath", "title")) -> Path:
    """A table of `pairs` pictures, which lie beside it; their paths are absolute."""
    table.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(pairs):
        picture = table.with_name(f"{table.stem} {number}.jpg")
        picture.write_bytes(jpeg("blue", number))
        rows.append([str(picture), f"파란 사각형{separator}{number}"])
    with table.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, delimiter=separator).writerows([columns, *rows])
    return table
