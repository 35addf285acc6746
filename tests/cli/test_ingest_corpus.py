"""The command that reads the annotations."""

import subprocess
import sys

import pyarrow.parquet as pq

from workflow_scripts.lib.config import CorpusConfig, freeze


def ingest(folder, text, **settings):
    notes = folder / "주석.csv"
    notes.write_text(text, encoding="utf-8")
    for name in "ab":
        (folder / f"{name}.mp4").touch()
    config = folder / "corpus.yaml"
    config.write_text(
        freeze(CorpusConfig(name="c", adapter="csv", annotations=notes, **settings)), encoding="utf-8"
    )
    flags = {
        "--config": config, "--videos": folder / "v.parquet", "--captions": folder / "c.parquet",
        "--problems": folder / "p.jsonl",
    }  # fmt: skip
    command = [sys.executable, "-m", "workflow_scripts.ingest_corpus"]
    return subprocess.run(
        [*command, *(str(part) for pair in flags.items() for part in pair)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_tables_and_counts(tmp_path):
    done = ingest(
        tmp_path,
        "video,caption,lang,split\na.mp4,원이 움직인다,ko,train\nb.mp4,b,en,val\n",
        languages=["en", "ko"],
    )
    assert done.returncode == 0, done.stderr
    assert "2 videos (1 train, 1 val, 0 test), 2 captions" in done.stdout
    assert pq.read_table(tmp_path / "c.parquet")["text"].to_pylist() == ["원이 움직인다", "b"]
    assert (tmp_path / "p.jsonl").read_text() == ""


def test_problem_is_a_sentence_with_file_and_line(tmp_path):
    done = ingest(tmp_path, "video,caption\na.mp4,x\n../b.mp4,y\n")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"{tmp_path}/주석.csv:3: the path '../b.mp4' leads out of the folder {tmp_path}" in done.stderr
    assert not (tmp_path / "v.parquet").exists()
    assert (tmp_path / "p.jsonl").read_text()
