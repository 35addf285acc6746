import json
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.frames.shard import STATUS
from workflow_scripts.lib.report.metrics import collect


@pytest.fixture
def run(tmp_path):
    """A run with every stage off and no videos: the least that there can be."""
    for name, schema in (("videos", VIDEOS), ("captions", CAPTIONS), ("status", STATUS)):
        pq.write_table(schema.empty_table(), tmp_path / f"{name}_000.parquet")
    problems = tmp_path / "problems.jsonl"
    problems.touch()
    metrics = collect(
        stages={}, corpus=tmp_path, frames=tmp_path, problems=problems, features=[], benchmarks=tmp_path / "none",
        shards=1, seed=0,
    )  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps({"run": "least", **metrics}), encoding="utf-8")
    (tmp_path / "report.yaml").write_text("title: 가장 작은 것\nexamples: 2\n", encoding="utf-8")
    (tmp_path / "frames.yaml").write_text("count: 4\n", encoding="utf-8")
    return tmp_path


def build(run, **more):
    files = {"--config": run / "report.yaml", "--results": run, "--corpus": run, "--frames": run}
    files |= {"--root": run, "--frames-config": run / "frames.yaml"}
    files |= {
        "--shards": 1,
        "--benchmarks": run / "none",
        "--rules": "train_clip",
        "--report": run / "report" / "index.html",
    } | {f"--{key}": value for key, value in more.items()}
    options = [str(part) for pair in files.items() for part in pair]
    arguments = [sys.executable, "-m", "workflow_scripts.build_report", *options]
    return subprocess.run(arguments, capture_output=True, text=True)


def test_the_page_is_written(run):
    done = build(run)
    assert done.returncode == 0, done.stderr
    page = (run / "report" / "index.html").read_text(encoding="utf-8")
    assert '<h1 dir="auto">가장 작은 것</h1>' in page and "font/woff;base64" in page


def test_a_plan_that_cannot_be_read_leaves_the_page_without_it(run):
    (run / "plan.json").write_text('{"run": "least"}', encoding="utf-8")
    done = build(run, plan=run / "plan.json")
    assert done.returncode == 0 and "plan.json: not a plan of this version" in done.stdout
    assert 'id="plan"' not in (run / "report" / "index.html").read_text(encoding="utf-8")


def test_a_broken_metrics_file_gets_a_sentence_and_leaves_the_old_page(run):
    build(run)
    before = (run / "report" / "index.html").read_bytes()
    (run / "metrics.json").write_text("{", encoding="utf-8")
    done = build(run)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "metrics.json" in done.stderr
    assert (run / "report" / "index.html").read_bytes() == before
    assert [file.name for file in (run / "report").iterdir()] == ["index.html"]
