"""The clips of a shard: read from its tables, found on the disk, and put together into tasks."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.roots import locate
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings

TOGETHER = 32  # clips of one file that are one task at most
VERSION = 3  # of what decides about frames


def read_clips(videos: Path, captions: Path | None, indices: list[int] | None = None) -> list[Clip]:
    """The clips of a shard's table, or those of `indices`, in order; their paths as the table has them.

    `captions` is the shard's table of captions where captioned moments get frames of their own, else None.
    """
    some = {} if indices is None else {"filters": [("index", "in", indices)]}
    rows = pq.read_table(videos, columns=["index", "path", "start_s", "end_s"], **some).to_pylist()
    moments: dict[int, set] = {}
    if captions is not None:
        some = {} if indices is None else {"filters": [("video", "in", indices)]}
        columns = pq.read_table(captions, columns=["video", "start_s", "end_s"], **some).to_pydict()
        for video, *moment in zip(*columns.values(), strict=True):
            if moment != [None, None]:  # that is all of the clip
                moments.setdefault(video, set()).add(tuple(moment))
    return [Clip(**row, moments=_in_order(moments.get(row["index"], ()))) for row in rows]


def _in_order(moments: Iterable[tuple[float | None, float | None]]) -> tuple:
    return tuple(sorted(moments, key=lambda moment: (moment[0] or 0.0, moment[1] is None, moment[1] or 0.0)))


def find_files(clips: Iterable[Clip], root: Path) -> tuple[list[Clip], list[tuple[Clip, Extracted]]]:
    """The clips with the paths of their files, and those without a file, with the reason."""
    found, lost = [], []
    for clip in clips:
        if file := locate(root, clip.path):
            found.append(replace(clip, path=str(file)))
        elif Path(root, clip.path).is_dir():
            lost.append((clip, Extracted(reason="is_directory", detail=f"{clip.path} is a folder")))
        else:
            lost.append((clip, Extracted(reason="missing", detail=f"there is no file {clip.path} in {root}")))
    return found, lost


def group(clips: Iterable[Clip], lengths: dict[int, float | None]) -> list[tuple[Clip, ...]]:
    """Clips of one file together, at most `TOGETHER` of them; what takes longest comes first, so that the end of a
    shard is not spent waiting for one long video.

    `lengths` are those of the clips in seconds, by index. Where one is not known, all are judged by the size of their
    files instead.
    """
    files: dict[str, list[Clip]] = {}
    for clip in clips:
        files.setdefault(clip.path, []).append(clip)
    groups = [
        tuple(some[first : first + TOGETHER])
        for some in files.values()
        for first in range(0, len(some), TOGETHER)
    ]
    if any(lengths[clip.index] is None for some in files.values() for clip in some):
        return sorted(groups, key=lambda some: _size(some[0].path), reverse=True)
    return sorted(groups, key=lambda some: sum(lengths[clip.index] for clip in some), reverse=True)


def _size(file: str) -> int:
    try:
        return Path(file).stat().st_size
    except OSError:  # gone since it was found: whoever opens it will tell
        return 0


def identity(settings: Settings, clips: list[Clip], root: Path) -> dict[str, Any]:
    """What the frames of a shard depend on, as JSON holds it; limits of time and memory are no part of it.

    `clips` have the paths of the table.
    """
    digest = hashlib.sha256()
    for clip in clips:
        digest.update(json.dumps(astuple(clip)).encode() + b"\n")
    return {
        "version": VERSION,
        "settings": as_json(settings),
        "root": str(Path(root).absolute()),
        "clips_sha256": digest.hexdigest(),
    }


def as_json(settings: Settings) -> dict[str, Any]:
    """The settings as they are read back from JSON."""
    return json.loads(json.dumps(asdict(settings)))
