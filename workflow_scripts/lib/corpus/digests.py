"""What each shard is made of, told before the DAG is built: the digest decides which shards run again.

Every process of Snakemake asks, so the answer is kept in a file, and nothing heavy is imported.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.checks import read_corpus
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import text_digest, write_json

# To be raised with every change of how rows are made of annotations, or how the demo is drawn.
VERSION = 1


def shard_digests(corpus: CorpusConfig, cache: str | Path) -> list[str]:
    """A digest of the table rows of each of `corpus.shards` shards, in order.

    Problems of the annotations are ingest_corpus's to report: rows that have one are left out here as they are
    there. The answer is kept in `cache` (JSON) and asked again only when the annotation file's size or time, or
    a setting that matters, has changed. UserError when the annotation file is missing.
    """
    if corpus.adapter == "demo":
        return [_demo_digest(corpus, shard) for shard in range(corpus.shards)]
    key = _cache_key(corpus)
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(Path(cache).read_text(encoding="utf-8"))
        if kept["key"] == key:
            return kept["digests"]
    digests = list(_row_digests(corpus))
    with contextlib.suppress(OSError):  # a checkout that cannot be written to asks anew each time
        write_json(Path(cache), {"key": key, "digests": digests})
    return digests


def _demo_digest(corpus: CorpusConfig, shard: int) -> str:
    """Of what the shard's videos are drawn from; they need not be there yet."""
    demo = corpus.demo
    first = min(shard * corpus.videos_per_shard, demo.videos)
    end = min(first + corpus.videos_per_shard, demo.videos)
    drawn_from = [VERSION, demo.seed, demo.moments, demo.size, demo.fps, first, end] if first < end else []
    return text_digest([json.dumps([*drawn_from, corpus.languages])])


def _cache_key(corpus: CorpusConfig) -> dict[str, Any]:
    try:
        stat = Path(corpus.annotations).stat()
    except OSError as error:
        raise UserError(
            f"{corpus.annotations}: the annotation file cannot be read ({error.strerror}); "
            "set corpus.annotations to one that can"
        ) from None
    settings = corpus.model_dump(mode="json", exclude={"name", "on_problem", "demo"})
    return {"version": VERSION, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, **settings}


def _row_digests(corpus: CorpusConfig) -> Iterator[str]:
    """One pass over the annotations; a shard's digest is finished when the next shard begins."""
    done, digest = 0, hashlib.sha256()
    for video, captions in read_corpus(corpus, Path(corpus.annotations), report=lambda problem: None):
        shard = video["index"] // corpus.videos_per_shard
        if shard >= corpus.shards:
            break
        if shard > done:
            yield digest.hexdigest()
            done, digest = shard, hashlib.sha256()
        digest.update(json.dumps([video, captions]).encode() + b"\n")
    for _ in range(done, corpus.shards):
        yield digest.hexdigest()
        digest = hashlib.sha256()
