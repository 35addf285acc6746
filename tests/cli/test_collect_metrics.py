import json
import subprocess
import sys

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.frames.shard import STATUS


def command(tmp_path, *stages):
    import pyarrow.parquet as pq

    for name, schema in (("videos", VIDEOS), ("captions", CAPTIONS), ("status", STATUS)):
        pq.write_table(schema.empty_table(), tmp_path / f"{name}_000.parquet")
    (tmp_path / "problems.jsonl").touch()
    files = {
        "--corpus": tmp_path,
        "--frames": tmp_path,
        "--problems": tmp_path / "problems.jsonl",
        "--benchmarks": tmp_path / "none",
        "--shards": 1,
    }
    options = [str(part) for pair in files.items() for part in pair]
    arguments = ["-m", "workflow_scripts.collect_metrics", *stages, *options]
    target = tmp_path / "results" / "실험" / "metrics.json"
    done = subprocess.run(
        [sys.executable, *arguments, "--metrics", target, "--seed", "7"], capture_output=True, text=True
    )
    return done, target


def test_stages_given_without_a_file_are_off(tmp_path):
    stage = tmp_path / "retrieval.json"
    stage.write_text('{"test": {"r1": 5.0}, "provenance": {"device": "cpu"}}', encoding="utf-8")
    done, target = command(tmp_path, "--clip", "--retrieval", str(stage), "--captioner")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(target.read_text(encoding="utf-8"))
    assert set(metrics) == {"run", "corpus", "frames", "features", "retrieval", "provenance"}
    assert metrics["run"] == "실험"
    assert metrics["retrieval"] == {"test": {"r1": 5.0}}
    assert metrics["provenance"]["seed"] == 7


def test_a_broken_stage_file_gets_a_sentence_and_no_output(tmp_path):
    stage = tmp_path / "clip.json"
    stage.write_text("[1, 2]", encoding="utf-8")
    done, target = command(tmp_path, "--clip", str(stage), "--retrieval", "--captioner")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "clip.json" in done.stderr and "Traceback" not in done.stderr
    assert not target.exists()
