import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len

from tests.unit.status.diary import event, rule, start, write_diary
from workflow_scripts.lib.frames.shard import STATUS

ROOT = Path(__file__).parents[2]
RULES = [rule("extract_frames", "frames", 3), rule("build_report", "report")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def status(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.status", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def broken_run(folder: Path) -> None:
    log = folder / "logs" / "영상 001.log"
    log.parent.mkdir()
    log.write_text("\x1b[31merror: 영상을 열 수 없습니다 " + "가나다라" * 40 + "\x1b[0m\n", encoding="utf-8")
    shards = [start(key, "extract_frames", key, f"{key:03d}", log=str(log)) for key in (0, 1, 2)]
    write_diary(RULES, [*shards, event("finish", 5, 0), event("fail", 9, 1)])


def test_a_reader_that_stops_early_is_no_error(folder):
    broken_run(folder)
    command = f"{sys.executable} -m workflow_scripts.status --run r | true"
    done = subprocess.run(
        ["bash", "-c", command], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True
    )
    assert done.stderr == b""


def test_a_killed_run_is_told_with_its_failures(folder):
    broken_run(folder)
    done = status("--run", "r")
    assert done.returncode == 1, done.stderr
    assert "Run r: killed" in done.stdout
    row = next(line for line in done.stdout.splitlines() if " extract_frames" in line).split()
    assert row[:7] == [
        "frames",
        "extract_frames",
        "1/3",
        "-",
        "-",
        "1",
        "5.0",
    ]  # 5 s each, side by side as before
    assert "extract_frames 001: failed" in done.stdout and "extract_frames 002: cut off" in done.stdout
    assert "error: 영상을 열 수 없습니다" in done.stdout and "\x1b" not in done.stdout
    assert "no finished job to go by" in done.stdout
    assert all(cell_len(line) <= 100 or "logs" in line for line in done.stdout.splitlines())


def test_programs_get_the_same_as_json(folder):
    broken_run(folder)
    found = json.loads(status("--run", "r", "--json").stdout)
    assert found["state"] == "killed"
    assert [found["rules"][0][name] for name in ("jobs", "done", "failed")] == [3, 1, 1]
    assert [job["job"] for job in found["broken"]] == ["extract_frames 001", "extract_frames 002"]
    assert found["left_unknown"] == ["build_report"]


def test_a_finished_run_tells_of_its_videos(folder):
    blank = dict.fromkeys(STATUS.names)
    need = {"split": "train", "frames": 0, "timestamps": [], "seconds": 0.0, "bytes": 0}
    told = [("ok", None), ("failed", "timeout"), ("failed", "crash"), ("failed", "timeout")]
    rows = [
        blank | need | {"index": index, "key": f"vid_{index}", "outcome": outcome, "reason": reason}
        for index, (outcome, reason) in enumerate(told)
    ]
    rows = [{name: row[name] for name in STATUS.names} for row in rows]
    file = folder / "resources/c/frames/status_001.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, STATUS), file)
    one = rule("build_report", "report")
    write_diary([one], [start(1, "build_report", 1), event("finish", 2, 1), event("end", 2)])
    done = status("--run", "r")
    assert done.returncode == 0 and "Run r: done" in done.stdout and "left in all: nothing" in done.stdout
    assert "Videos of 1 finished shard: 1 ok, 3 failed (timeout 2, crash 1)" in done.stdout


def test_an_unknown_run_gets_a_sentence(folder):
    done = status("--run", "demo")
    assert done.returncode == 1
    assert (
        done.stderr.startswith("error: results/demo/run.jsonl is not there")
        and "Traceback" not in done.stderr
    )
