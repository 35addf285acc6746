"""What each shard is made of, told before the DAG is built: the digest decides which shards run again.

Every process of Snakemake asks, so the answer is kept in a file, and nothing heavy is imported.
"""

import contextlib
import hashlib
import json
import sys
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters._folders import is_video, walk
from workflow_scripts.lib.corpus.adapters._lines import unreadable
from workflow_scripts.lib.corpus.annotations import readable
from workflow_scripts.lib.corpus.checks import read_corpus
from workflow_scripts.lib.files import text_digest, write_json

# To be raised with every change of how rows are made of annotations, or how the demo is drawn.
VERSION = 2
ROWS_PER_UPDATE = 500
SAY_EVERY, QUIET_S = 1_000_000, 5  # videos; seconds


def shard_digests(corpus: CorpusConfig, state: str, cache: str | Path) -> list[str]:
    """A digest of the table rows of each of `corpus.shards` shards, in order.

    Problems of the annotations are ingest_corpus's to report: rows that have one are left out here as they are
    there. The answer is kept in `cache` (JSON) and asked again only when `state`, the `annotations_state`, or a
    setting that matters has changed. UserError when the annotations cannot be read.
    """
    if corpus.adapter == "demo":
        return [_demo_digest(corpus, shard) for shard in range(corpus.shards)]
    corpus = corpus.model_copy(update={"check_files": False})  # no row depends on it
    settings = corpus.model_dump(mode="json", exclude={"name", "on_problem", "check_files", "demo"})
    key = {"state": state, **settings}
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(Path(cache).read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["digests"]
    digests = list(_row_digests(corpus))
    with contextlib.suppress(OSError):  # a checkout that cannot be written to asks anew each time
        write_json(Path(cache), {"key": key, "digests": digests})
    return digests


def shards_to_make(digests: list[str], folder: Path) -> list[str]:
    """Names (`007`) of the shards whose tables in `folder` are not there, or not made of what the digests tell."""
    names = [f"{shard:03d}" for shard in range(len(digests))]
    return [name for name, digest in zip(names, digests, strict=True) if not _is_made(folder, name, digest)]


def _is_made(folder: Path, shard: str, digest: str) -> bool:
    with contextlib.suppress(OSError):
        written = (folder / f".digest_{shard}.txt").read_text(encoding="utf-8")
        return written == digest and all(
            (folder / f"{table}_{shard}.parquet").exists() for table in ("videos", "captions")
        )
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


def _row_digests(corpus: CorpusConfig) -> Iterator[str]:
    """One pass over the annotations; a shard's digest is finished when the next shard begins."""
    done, digest = 0, hashlib.sha256()
    rows: list[list] = []
    for video, captions in _told(read_corpus(corpus, report=lambda problem: None)):
        shard = video["index"] // corpus.videos_per_shard
        if shard >= corpus.shards:
            break
        if shard > done or len(rows) == ROWS_PER_UPDATE:
            digest.update(json.dumps(rows).encode())
            rows.clear()
        if shard > done:
            yield digest.hexdigest()
            done, digest = shard, hashlib.sha256()
        values = [*video.values()]
        for row in captions:
            values += row.values()
        rows.append(values)
    digest.update(json.dumps(rows).encode())
    for _ in range(done, corpus.shards):
        yield digest.hexdigest()
        digest = hashlib.sha256()


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
