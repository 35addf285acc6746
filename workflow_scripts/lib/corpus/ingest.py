"""All annotations as two tables, written by streaming, and the list of their problems."""

import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import Problem
from workflow_scripts.lib.corpus.checks import read_corpus
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_file

ROWS_PER_GROUP = 20_000
SHOWN = 10


class ProblemLog:
    """problems.jsonl, written as they are found; the first few and their number stay for the message."""

    def __init__(self, annotations: Path, counts: str, handle):
        self.annotations, self.counts, self.handle = annotations, counts, handle
        self.kinds: Counter[str] = Counter()
        self.first: list[str] = []
        self.first_of: defaultdict[str, list[str]] = defaultdict(list)

    def __call__(self, problem: Problem) -> None:
        self.kinds[problem.kind] += 1
        sentence = problem.sentence(self.annotations, self.counts)
        print(sentence)  # the log has them all, also when the step fails and its outputs go
        for first in (self.first, self.first_of[problem.kind]):
            if len(first) < SHOWN:
                first.append(sentence)
        self.handle.write(json.dumps(problem.row(self.annotations), ensure_ascii=True) + "\n")

    def summary(self) -> str:
        """`3 problems (2 empty_caption, 1 bad_row)`."""
        total, kinds = self.kinds.total(), ", ".join(f"{n} {kind}" for kind, n in self.kinds.most_common())
        return f"{total} problem{'s' if total != 1 else ''} ({kinds})" if total else "no problems"


class _RowWriter:
    """A parquet file that is fed row by row."""

    def __init__(self, path: Path, schema: pa.Schema):
        self.file = pq.ParquetWriter(path, schema)
        self.schema, self.rows = schema, []

    def add(self, rows: list[dict]) -> None:
        self.rows += rows
        if len(self.rows) >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        self.file.write_table(pa.Table.from_pylist(self.rows, self.schema))
        self.rows = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._flush()
        self.file.close()


def ingest(config: CorpusConfig, videos: Path, captions: Path, problems: Path) -> None:
    """Check the annotations and write the tables `videos` and `captions` (schemas in tables.py) and `problems`.

    The tables of all shards together, in bounded memory. UserError when a file cannot be read, the clips of a source
    video are annotated to be in two splits, there are problems and `on_problem` is "fail", no video can be used, or
    there are more than the configured shards take.
    """
    failure = None
    files = [file for file, _ in config.annotation_files()]
    with whole_file(problems) as temporary, temporary.open("w", encoding="utf-8") as handle:
        log = ProblemLog(files[0], ADAPTERS[config.adapter].counts, handle)
        try:
            _write_tables(config, videos, captions, log)
        except UserError as error:
            failure = error
    if log.kinds or not failure:
        print(f"{', '.join(map(str, files))}: {log.summary()}; {problems}", flush=True)
    if failure:
        raise failure


def _write_tables(config: CorpusConfig, videos: Path, captions: Path, log: ProblemLog) -> None:
    splits: Counter[str] = Counter()
    texts = 0
    with ExitStack() as stack:
        video_rows = stack.enter_context(_RowWriter(stack.enter_context(whole_file(videos)), VIDEOS))
        caption_rows = stack.enter_context(_RowWriter(stack.enter_context(whole_file(captions)), CAPTIONS))
        for video, its_captions in read_corpus(config, log):
            video_rows.add([video])
            caption_rows.add(its_captions)
            splits[video["split"]] += 1
            texts += len(its_captions)
        _judge(config, splits.total(), log)
    counts = ", ".join(f"{splits[split]} {split}" for split in ("train", "val", "test"))
    print(f"{splits.total()} videos ({counts}), {texts} captions", flush=True)


def _judge(config: CorpusConfig, videos: int, log: ProblemLog) -> None:
    """UserError when the corpus cannot be used as it is."""
    here = log.annotations
    if leaks := log.kinds["split_leak"]:
        raise UserError(
            f"{here}: clips of one source video are in two splits, so that what is trained on would be tested on:\n  "
            f"{_shown(log.first_of['split_leak'], leaks)}\nPut them into one split; on_problem does not help here"
        )
    if log.kinds and config.on_problem == "fail":
        raise UserError(
            f"{here}: {log.summary()}:\n  {_shown(log.first, log.kinds.total())}\n"
            "Mend them, or set corpus.on_problem to quarantine to leave them out and go on"
        )
    if videos == 0:
        raise UserError(f"{here}: no video that can be used; {log.summary()}")
    if videos > config.shards * config.videos_per_shard:
        needed = -(-videos // config.videos_per_shard)
        raise UserError(
            f"{here}: {videos} videos, but corpus.shards {config.shards} x corpus.videos_per_shard "
            f"{config.videos_per_shard} takes {config.shards * config.videos_per_shard}; set corpus.shards to {needed}"
        )


def _shown(sentences: list[str], total: int) -> str:
    more = total - len(sentences)
    return "\n  ".join(
        [*sentences, f"... and {more} more, in the log of ingest_corpus"] if more > 0 else sentences
    )
