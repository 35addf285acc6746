"""Own pairs are looked through before they are trained on: how many they are, and what cannot be read."""

import hashlib
import multiprocessing
import os
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.lib.clip.own_pairs import PICTURES, no_picture, table_rows, unreadable
from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.environment import end_with_parent
from workflow_scripts.lib.errors import UserError

STATS_AT_ONCE = 16  # questions to a file system, which may be far away
ROWS_AT_ONCE = 4096


class Counted(NamedTuple):
    """What is in a file: the number of pairs, and a digest that is another one when they are."""

    samples: int
    identity: str


def count_files(files: list[str], data: PairsConfig) -> Iterator[tuple[str, Counted]]:
    """Look through all of the files; several tars at a time."""
    if data.dataset_type == "csv":
        for name in files:
            yield name, check_table(Path(name), data)
        return
    workers = max(1, min(len(files), len(os.sched_getaffinity(0))))
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        yield from zip(files, pool.map(count_tar, files), strict=True)


def count_tar(name: str) -> Counted:
    """The samples of a tar that open_clip_train would take: a text and a picture under one name, side by side.

    Reads the headers of its members only, unless it is compressed.
    """
    digest = hashlib.sha256()
    samples, members = 0, 0
    key, endings = None, set()
    try:
        with tarfile.open(name) as archive:
            while member := archive.next():
                archive.members.clear()  # it would remember them all
                digest.update(f"{member.name} {member.size} {member.mtime}\n".encode(errors="replace"))
                if not member.isreg() or re.match(r"__[^/]*__($|/)", member.name):
                    continue
                match = re.match(r"^((?:.*/|)[^.]+)[.]([^/]*)$", member.name)
                if match is None:
                    continue
                members += 1
                ending = match[2].lower()
                if match[1] != key or ending in endings:
                    samples += _is_sample(endings)
                    key, endings = match[1], set()
                endings.add(ending)
    except (OSError, EOFError, tarfile.TarError) as error:
        raise UserError(unreadable(name, error)) from None
    samples += _is_sample(endings)
    if not samples:
        raise UserError(
            f"{name}: no pairs among its {members} members; for every pair, NAME.jpg (or png, webp) and NAME.txt are"
            " expected side by side, with no other dot in the name"
        )
    return Counted(samples, digest.hexdigest())


def _is_sample(endings: set[str]) -> bool:
    return "txt" in endings and not endings.isdisjoint(PICTURES)


def check_table(file: Path, data: PairsConfig) -> Counted:
    """Look through a CSV and for its pictures; UserError names the first line that cannot be trained on."""
    rows, count = table_rows(file, data), 0
    with ThreadPoolExecutor(STATS_AT_ONCE) as pool:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            there = pool.map(lambda row: Path(row[1]).is_file(), some)
            for (line, name, _), found in zip(some, there, strict=True):
                if not found:
                    raise UserError(no_picture(file, line, name))
            count += len(some)
    if not count:
        raise UserError(
            f"{file}: no rows under the header; a picture's path and a caption a line are expected"
        )
    with file.open("rb") as handle:
        return Counted(count, hashlib.file_digest(handle, "sha256").hexdigest())
