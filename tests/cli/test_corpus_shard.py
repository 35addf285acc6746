"""The command that cuts a shard out of the corpus."""

import sys
from itertools import product

from workflow_scripts import corpus_shard
from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.ingest import ingest
from workflow_scripts.lib.corpus.tables import read_rows


def test_shard_number_is_taken_as_the_rule_writes_it(tmp_path, monkeypatch):
    notes = tmp_path / "notes.jsonl"
    notes.write_text("".join(f'{{"video": "{i}.mp4", "captions": ["a", "b"]}}\n' for i in range(5)))
    config = CorpusConfig(
        name="c", adapter="jsonl", annotations=notes, videos_per_shard=2, shards=3, check_files=False
    )
    ingest(config, tmp_path / "v.parquet", tmp_path / "c.parquet", tmp_path / "p.jsonl")
    for table, shard in product(("videos", "captions"), ("000", "001", "002")):
        flags = {
            "--table": table, "--whole": tmp_path / f"{table[0]}.parquet", "--shard": shard,
            "--videos-per-shard": 2, "--rows": tmp_path / f"{table}_{shard}.parquet",
        }  # fmt: skip
        monkeypatch.setattr(
            sys, "argv", ["corpus_shard", *(str(part) for pair in flags.items() for part in pair)]
        )
        corpus_shard.main()
    assert [row["path"] for row in read_rows(tmp_path, "videos", 3)] == [f"{i}.mp4" for i in range(5)]
    assert len(list(read_rows(tmp_path, "captions", 3))) == 10
    assert len(list(read_rows(tmp_path, "videos", 2))) == 4
