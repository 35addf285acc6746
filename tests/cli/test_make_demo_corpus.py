"""The command that renders the synthetic corpus."""

import json
import subprocess
import sys

FLAGS = ["--moments", "1", "--size", "32", "--fps", "2", "--seed", "4", "--workers", "2"]


def make(folder, videos, flags=FLAGS):
    command = [sys.executable, "-m", "workflow_scripts.make_demo_corpus"]
    paths = ["--annotations", folder / "annotations.jsonl", "--video-folder", folder / "videos"]
    return subprocess.run(
        [*command, *map(str, paths), "--videos", str(videos), *flags],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_rerun_after_a_cut_gives_the_same_files(tmp_path):
    assert make(tmp_path, 3).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "annotations.jsonl").read_text("utf-8").splitlines()]
    assert [row["video"] for row in rows] == [f"videos/demo_{i:04d}.mp4" for i in range(3)]
    made = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "annotations.jsonl").unlink()
    (tmp_path / "videos" / "demo_0001.mp4").unlink()
    assert make(tmp_path, 3).returncode == 0
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == made


def test_impossible_corpus_is_a_sentence(tmp_path):
    done = make(tmp_path, 1, ["--moments", "500"])
    assert done.returncode == 1
    assert done.stderr.startswith("error: corpus.demo.moments: 500")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "annotations.jsonl").exists()
