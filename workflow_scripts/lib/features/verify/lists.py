"""Do the meta files, manifests and lists of captions of an encoder fit its shards?"""

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np
import pyarrow as pa

from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.index import DAMAGED, memory_map
from workflow_scripts.lib.features.layout import FOLDERS, Kind, Side
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.reading.manifest import read_manifest
from workflow_scripts.lib.features.verify.problems import LISTS, Problem, Problems
from workflow_scripts.lib.features.verify.structure import Features, rows_in
from workflow_scripts.lib.keys import caption_key, video_key


def check_lists(features: Features, problems: Problems) -> None:
    """Everything beside the shards that holds keys or counts them.

    Where a shard could not be opened, its keys are not known, and nothing is called missing.
    """
    for side in ("video", "text"):
        if side in features.complete:
            _check_total(features, side, problems)
            _check_manifest(features, side, problems)
    for split in SPLITS:
        table = _check_table(features, split, problems)
        for file in sorted((features.root / FOLDERS["text"]).glob(f"*{split}.caption.txt")):
            _check_caption_file(features, file, table, problems)


def _check_total(features: Features, side: Side, problems: Problems) -> None:
    keys = sum(len(shard.index) for shard in features.shards[side])
    if side in features.meta and (total := features.meta[side].total) != keys:
        file = features.root / f"{side}_meta.json"
        problems.add(Problem(file, None, f"total {total}", f"{keys}, the keys in its shards", LISTS))


def _check_manifest(features: Features, side: Side, problems: Problems) -> None:
    """The manifest has every key, with the right file."""
    file = features.root / f"{side}_manifest.json"
    if not file.is_file():
        return
    try:
        manifest = read_manifest(file)
    except UserError as error:
        problems.add(Problem.of_error(file, error))
        return
    in_shards = np.zeros(len(manifest.keys), dtype=bool)
    for shard in features.shards[side]:
        name = shard.file.relative_to(features.root).as_posix()
        rows = rows_in(manifest.keys, shard.index.keys)
        for row in np.flatnonzero(rows < 0).tolist():
            problems.add(Problem(file, shard.index.keys.key(row), "is missing", name, LISTS))
        rows = rows[rows >= 0]
        in_shards[rows] = True
        is_right = np.array([os.path.normpath(other) == name for other in manifest.files], dtype=bool)
        for row in rows[~is_right[manifest.numbers[rows]]].tolist():
            found = f"is said to be in {manifest.files[manifest.numbers[row]]}"
            problems.add(Problem(file, manifest.keys.key(row), found, name, LISTS))
    for row in np.flatnonzero(~in_shards).tolist():
        problems.add(Problem(file, manifest.keys.key(row), "is in no shard", None, LISTS))


def _check_table(features: Features, split: str, problems: Problems) -> pa.Table | None:
    """`captions_<split>.arrow`: captions that have features, ascending; gives the table, mapped into memory."""
    file = caption_table(features.root, split)
    if not file.is_file():
        return None
    try:
        table = pa.ipc.open_file(memory_map(file)).read_all()
        table.validate(full=True)
        columns = [table["video"].to_numpy(), table["caption"].to_numpy()]
    except DAMAGED as error:
        problems.add(Problem(file, None, f"cannot be read as a table of captions ({error})", None, LISTS))
        return None
    videos, captions = columns
    falling = (np.diff(videos) < 0) | ((np.diff(videos) == 0) & (np.diff(captions) <= 0))
    for row in (np.flatnonzero(falling) + 1).tolist():
        key = caption_key(int(videos[row]), int(captions[row]))
        problems.add(Problem(file, key, "is out of order", "ascending videos and captions", LISTS))
    for kind, numbers in (("video", None), ("text", captions)):
        for row in _missing(features, kind, videos, numbers):
            _not_in_shards(file, kind, int(videos[row]), int(captions[row]), problems)
    return table


def _missing(features: Features, kind: Kind, videos: np.ndarray, captions: np.ndarray | None) -> list[int]:
    """Which of these keys are in no shard of a kind; none where that kind is not there, or not complete."""
    if kind not in features.complete:
        return []
    there = np.zeros(len(videos), dtype=bool)
    for shard in features.shards[kind]:
        theirs = shard.index.keys.videos
        if theirs is not None and len(theirs):
            near = np.flatnonzero((videos >= theirs.min()) & (videos <= theirs.max()))
            rows = shard.index.keys.rows(videos[near], None if captions is None else captions[near])
            there[near] |= rows >= 0
    return np.flatnonzero(~there).tolist()


def _not_in_shards(file: Path, kind: Kind, video: int, caption: int, problems: Problems) -> None:
    missing = f"its video {video_key(video)}" if kind == "video" else "it"
    found = f"{missing} is in no shard of {FOLDERS[kind]}"
    problems.add(Problem(file, caption_key(video, caption), found, "captions with features alone", LISTS))


def _check_caption_file(features: Features, file: Path, table: pa.Table | None, problems: Problems) -> None:
    """`<corpus><split>.caption.txt`: the captions of the table; where there is none, captions that have features."""
    try:
        with file.open(encoding="utf-8") as handle:
            found = (line.removesuffix("\n") for line in handle)
            if table is None:
                _check_keys(features, file, map(_key_of, found), problems)
                return
            for number, (line, expected) in enumerate(zip_longest(found, _lines_of(table)), 1):
                if line != expected:
                    key, its_key = (text and _key_of(text) for text in (line, expected))
                    says = f"its line {number} is of {key}" if key else f"ends before line {number}"
                    says = f"its line {number} has another text" if key == its_key else says
                    should = f"{its_key or 'its end there'}, as in the table beside it"
                    problems.add(Problem(file, its_key, says, should, LISTS))
                    return
    except (OSError, ValueError) as error:
        problems.add(Problem(file, None, f"cannot be read as UTF-8 text ({error})", None, LISTS))


def _key_of(line: str) -> str:
    return line.split(" ", 1)[0].strip()


def _lines_of(table: pa.Table) -> Iterator[str]:
    for batch in table.select(["video", "caption", "text"]).to_batches(max_chunksize=65536):
        columns = (column.to_pylist() for column in batch.columns)
        for video, caption, text in zip(*columns, strict=True):
            yield f"{caption_key(video, caption)} {' '.join(text.split())}"


def _check_keys(features: Features, file: Path, keys: Iterator[str], problems: Problems) -> None:
    if "text" not in features.complete:
        return
    texts = open_features(features.root, "text")
    for key in keys:
        if key not in texts:
            problems.add(
                Problem(
                    file, key, f"is in no shard of {FOLDERS['text']}", "captions with features alone", LISTS
                )
            )
