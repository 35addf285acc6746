"""The pairs that a CLIP model is evaluated on: of the corpus's test split, or of one's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from workflow_scripts.lib.clip.own_pairs import read_own
from workflow_scripts.lib.clip.pairs import middle_frames
from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.corpus.tables import shard_files

TEST = [("split", "=", "test")]
CAPTION_COLUMNS = ["key", "video", "language", "text", "start_s", "end_s"]
STATUS_COLUMNS = ["index", "outcome", "timestamps"]
ANY_LANGUAGE = "all"
"""Stands for the language of pairs that do not tell theirs."""


class Example(NamedTuple):
    """A picture, as the bytes of its file, and a text that it goes with."""

    name: str
    picture: bytes
    text: str
    language: str


def find_examples(
    data: PairsConfig, corpus: Path | None, frames: Path | None, shards: int
) -> Iterator[Example]:
    """One's own pairs (`data.test`), else the corpus's; none, and told so, where there is neither."""
    if data.own("test"):
        for pair in read_own(data, "test"):
            yield Example(pair.name, pair.picture, pair.text, ANY_LANGUAGE)
    elif data.of_corpus("test") and corpus and frames:
        yield from corpus_examples(corpus, frames, shards)
    else:
        print(
            "no recall: clip.data.test names no pairs, and there are no frames of the corpus to make them of",
            flush=True,
        )


def corpus_examples(corpus: Path, frames: Path, shards: int) -> Iterator[Example]:
    """The middle frame of every moment of the test split, with its captions; a shard after the other."""
    captions, status, tars = (
        shard_files(folder, pattern, shards)
        for folder, pattern in (
            (corpus, "captions_%03d.parquet"),
            (frames, "status_%03d.parquet"),
            (frames, "frames_%03d.tar"),
        )
    )
    for captions_file, status_file, tar in zip(captions, status, tars, strict=True):
        rows = pq.read_table(captions_file, columns=CAPTION_COLUMNS, filters=TEST).to_pylist()
        if not rows:
            continue
        found = pq.read_table(status_file, columns=STATUS_COLUMNS).to_pylist()
        for row, jpeg in middle_frames(rows, found, [tar]):
            yield Example(row["key"], jpeg, row["text"], row["language"])
