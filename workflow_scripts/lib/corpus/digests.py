"""What the tables of each shard are made of, told before the DAG is built: the digest decides which are made again.

Every process of Snakemake asks, so the answer is kept in a file, and nothing heavy is imported.
"""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters._folders import is_video, walk
from workflow_scripts.lib.corpus.adapters._lines import unreadable
from workflow_scripts.lib.corpus.annotations import readable
from workflow_scripts.lib.corpus.checks import read_corpus
from workflow_scripts.lib.files import text_digest, write_json

# To be raised with every change of how rows are made of annotations, or how the demo is drawn.
VERSION = 3
ROWS_PER_UPDATE = 500
SAY_EVERY, QUIET_S = 1_000_000, 5  # videos; seconds


def table_digests(corpus: CorpusConfig, state: str, cache: str | Path) -> dict[str, str]:
    """A digest of the rows of every table of every shard: `{"videos_000": ..., "captions_000": ..., "videos_001": ...}`.

    Problems of the annotations are ingest_corpus's to report: rows that have one are left out here as they are
    there. The answer is kept in `cache` (JSON) and asked again only when `state`, the `annotations_state`, or a
    setting that matters has changed. UserError when the annotations cannot be read.
    """
    if corpus.adapter == "demo":
        return _by_table((_demo_digest(corpus, shard),) * 2 for shard in range(corpus.shards))
    corpus = corpus.model_copy(update={"check_files": False})  # no row depends on it
    settings = corpus.model_dump(mode="json", exclude={"name", "on_problem", "check_files", "demo"})
    key = {"state": state, **settings}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(Path(cache).read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["tables"]
    digests = _by_table(_row_digests(corpus))
    with contextlib.suppress(OSError):  # a checkout that cannot be written to asks anew each time
        write_json(Path(cache), {"key": key, "tables": digests})
    return digests


def tables_to_make(digests: dict[str, str], folder: Path) -> list[str]:
    """Those tables (`videos_007`) in `folder` that are not there, or not made of what the digests tell."""
    return [table for table, digest in digests.items() if not _is_made(folder, table, digest)]


def _by_table(shards: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {
        f"{table}_{shard:03d}": digest
        for shard, digests in enumerate(shards)
        for table, digest in zip(("videos", "captions"), digests, strict=True)
    }


def _is_made(folder: Path, table: str, digest: str) -> bool:
    with contextlib.suppress(OSError):
        written = (folder / f".digest_{table}.txt").read_text(encoding="utf-8")
        return written == digest and (folder / f"{table}.parquet").exists()
    return False


def annotations_state(corpus: CorpusConfig) -> str:
    """A digest of name, split, size and time of every annotation file, and of the files inside of folders.

    The files that options name belong to them; the demo's are rendered, and have none. It is another one when rows are
    made in another way. UserError when a file is missing.
    """
    files = [*corpus.annotation_files(), *((file, None) for file in corpus.adapter_options().files())]
    if corpus.adapter == "demo":
        files = []
    try:
        told = (part for file, split in files for part in (str(split), *_state(file)))
        return text_digest(chain([str(VERSION)], told))
    except OSError as error:
        raise unreadable(error.filename, error) from None


def _state(path: Path) -> Iterator[str]:
    for file in _files(path):
        yield readable(str(file))
        if not is_video(file):  # of a video, being there is all that counts
            stat = file.stat()
            yield f"{stat.st_size} {stat.st_mtime_ns}"


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder in walk(path):
        yield from folder.files


def _demo_digest(corpus: CorpusConfig, shard: int) -> str:
    """Of what the shard's videos are drawn from; they need not be there yet."""
    demo = corpus.demo
    first = min(shard * corpus.videos_per_shard, demo.videos)
    end = min(first + corpus.videos_per_shard, demo.videos)
    drawn_from = [VERSION, demo.seed, demo.moments, demo.size, demo.fps, first, end] if first < end else []
    return text_digest([json.dumps([*drawn_from, corpus.languages])])


def _row_digests(corpus: CorpusConfig) -> Iterator[tuple[str, str]]:
    """Of a shard's videos and of its captions, in one pass; they are finished when the next shard begins."""
    done, videos, captions = 0, _Rows(), _Rows()
    for video, its_captions in _told(read_corpus(corpus, report=lambda problem: None)):
        shard = video["index"] // corpus.videos_per_shard
        if shard >= corpus.shards:
            break
        if shard > done:
            yield videos.digest(), captions.digest()
            done, videos, captions = shard, _Rows(), _Rows()
        videos.add([*video.values()])
        for caption in its_captions:
            captions.add([*caption.values()])
    for _ in range(done, corpus.shards):
        yield videos.digest(), captions.digest()
        videos, captions = _Rows(), _Rows()


class _Rows:
    """A digest of rows, many at a time: a call for each would take longer than reading them."""

    def __init__(self) -> None:
        self._digest, self._waiting = hashlib.sha256(), []

    def add(self, row: list) -> None:
        self._waiting.append(row)
        if len(self._waiting) == ROWS_PER_UPDATE:
            self._update()

    def digest(self) -> str:
        self._update()
        return self._digest.hexdigest()

    def _update(self) -> None:
        self._digest.update(json.dumps(self._waiting).encode())
        self._waiting.clear()


def _told(videos: Iterator[tuple[dict, list[dict]]]) -> Iterator[tuple[dict, list[dict]]]:
    """The same, and on stderr how far a long reading is, which looks like a hang otherwise."""
    began = time.monotonic()
    for number, video in enumerate(videos, start=1):
        yield video
        if number % SAY_EVERY == 0 and (seconds := time.monotonic() - began) > QUIET_S:
            print(
                f"reading the annotations, once until they change: {number:,} videos in {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
