"""Which share of its video each caption describes: the moment-to-video ratio."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from workflow_scripts.lib.corpus.tables import read_columns, shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.corpus_rows import CorpusRows, corpus_rows
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.keys import caption_key


class CorpusTables(NamedTuple):
    """Where moments and lengths of videos are told."""

    corpus: Path
    """Folder of the tables of videos and captions."""
    frames: Path | None
    """Folder of the status tables of frames; None where there are no videos."""
    shards: int


def moment_ratios(split: CaptionTable, tables: CorpusTables) -> np.ndarray:
    """[Nq], seconds of a caption's moment over seconds of its clip; 1 of a caption of all of it, NaN where not known.

    Lengths are those that decoding found, or else the annotated ones. A moment is known as far as it lies inside its clip.
    A shard of tables is held at a time. UserError names a caption that the tables lack.
    """
    videos, captions = split.videos(), split.captions()
    ratios, found = np.full(len(split), np.nan), np.zeros(len(split), dtype=bool)
    for rows, clips, lengths in _shards(tables):
        if not len(rows.keys):
            continue
        its = slice(*np.searchsorted(videos, [rows.keys.videos[0], rows.keys.videos[-1] + 1]))
        row = rows.keys.rows(videos[its], captions[its])
        place = clips.rows(videos[its])
        known = (row >= 0) & (place >= 0)
        start, end = (_numbers(rows.table, name)[row[known]] for name in ("start_s", "end_s"))
        found[its] = row >= 0
        ratios[np.arange(len(split))[its][known]] = _ratios(start, end, lengths[place[known]])
    if not found.all():
        row = int(np.argmin(found))
        raise UserError(
            f"{tables.corpus}: no caption {caption_key(int(videos[row]), int(captions[row]))}, which {split.file} lists;"
            " was the corpus changed? Make the features and their lists of captions again"
        )
    return ratios


def _ratios(start: np.ndarray, end: np.ndarray, length: np.ndarray) -> np.ndarray:
    whole = np.isnan(start) & np.isnan(end)
    inside = np.fmin(end, length) - np.nan_to_num(start)
    ratios = inside / np.where(length > 0, length, np.nan)
    return np.where(whole, 1.0, np.where(ratios > 0, np.minimum(ratios, 1), np.nan))


def _shards(tables: CorpusTables) -> Iterator[tuple[CorpusRows, Keys, np.ndarray]]:
    """Of each shard the captions, and the videos with their lengths in seconds, NaN where not known."""
    corpus, frames, shards = tables
    captions = corpus_rows(corpus, "text", shards, ("start_s", "end_s"))
    videos = corpus_rows(corpus, "video", shards, ("start_s", "end_s", "duration_s"))
    statuses = shard_files(frames, "status_%03d.parquet", shards) if frames else [None] * shards
    for rows, clips, status in zip(captions, videos, statuses, strict=True):
        lengths = _annotated(clips.table)
        if status:
            shown = read_columns(status, ["index", "duration_s"], "extract_frames")
            place = clips.keys.rows(shown["index"].to_numpy())
            decoded = _numbers(shown, "duration_s")
            told = (place >= 0) & (decoded > 0)
            lengths[place[told]] = decoded[told]
        yield rows, clips.keys, lengths


def _annotated(videos: pa.Table) -> np.ndarray:
    """Length of the clips as annotated; formats of whole seconds write 0 for very short ones, which tells nothing."""
    start, end, length = (_numbers(videos, name) for name in ("start_s", "end_s", "duration_s"))
    return np.where(length > 0, length, end - np.nan_to_num(start))


def _numbers(table: pa.Table, column: str) -> np.ndarray:
    """float64, NaN for null."""
    return np.array(table[column].to_numpy(zero_copy_only=False), dtype=np.float64)
