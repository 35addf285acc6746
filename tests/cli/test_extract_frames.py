"""The command that extracts the frames of a shard."""

import resource
import subprocess
import sys

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import FramesConfig, freeze
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.frames.shard import FrameShard, read_status


def film(path, size=32, frames=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = size
        for number in range(frames):
            level = 10 * number % 100
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def extract(folder, paths, *more, limit=None, **settings):
    rows = [
        {"index": i, "id": path, "path": path, "source": path, "split": "train"}
        for i, path in enumerate(paths)
    ]
    pq.write_table(pa.Table.from_pylist(rows, VIDEOS), folder / "videos.parquet")
    (folder / "frames.yaml").write_text(freeze(FramesConfig(count=4, size=[24, 40], **settings)))
    flags = {
        "--config": folder / "frames.yaml", "--videos": folder / "videos.parquet", "--root": folder,
        "--journal": folder / "journal_000", "--tar": folder / "frames_000.tar",
        "--status": folder / "status_000.parquet", "--workers": 2,
    }  # fmt: skip
    command = [sys.executable, "-m", "workflow_scripts.extract_frames"]
    return subprocess.run(
        [*command, *(str(part) for pair in flags.items() for part in pair), *more],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )


def test_frames_and_status(tmp_path):
    film(tmp_path / "-영상 %03d.mp4")
    done = extract(tmp_path, ["-영상 %03d.mp4", "gone.mp4"], "--captions", "--max-bad-fraction", "0.5")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 videos gave frames" in done.stdout
    assert [row["reason"] for row in read_status(tmp_path, 1)] == [None, "missing"]
    with FrameShard(tmp_path / "frames_000.tar") as shard:
        assert len(shard.jpegs(0)) == 4
    assert not (tmp_path / "journal_000").exists()


def test_a_full_disk_is_a_sentence_and_leaves_no_half_file(tmp_path):
    film(tmp_path / "a.mp4")
    there = {file.name for file in tmp_path.iterdir()} | {"videos.parquet", "frames.yaml", "journal_000"}
    limit = (4000, 4000)  # bytes a file; the frames alone are more
    full = extract(tmp_path, ["a.mp4"] * 9, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    assert full.returncode == 1
    assert full.stderr.startswith("error: the disk is full") and "Traceback" not in full.stderr
    assert {file.name for file in tmp_path.iterdir()} == there
    done = extract(tmp_path, ["a.mp4"] * 9)
    assert done.returncode == 0 and "9 of 9 videos gave frames" in done.stdout


def test_too_many_failures_are_a_sentence(tmp_path):
    film(tmp_path / "a.mp4")
    done = extract(tmp_path, ["a.mp4", "gone.mp4"], "--max-bad-fraction", "0.1")
    assert done.returncode == 1
    assert "error: 1 of 2 videos of this shard gave no frames" in done.stderr
    assert "missing: 1, such as gone.mp4" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "frames_000.tar").exists()


def test_limits_come_by_flags(tmp_path):
    film(
        tmp_path / "a.mp4", size=512, frames=200
    )  # an answer that is there when one looks counts, however late
    limits = ["--timeout-s", "0.001", "--memory-mb", "900", "--max-bad-fraction", "1"]
    done = extract(tmp_path, ["a.mp4"], *limits)
    assert done.returncode == 0, done.stderr
    [row] = read_status(tmp_path, 1)
    assert (row["reason"], row["detail"]) == ("timeout", "no answer after 0.001 s")


def test_what_is_written_and_will_be_removed_is_told(tmp_path):
    film(tmp_path / "a.mp4")
    done = extract(tmp_path, ["a.mp4"], "--no-keep")
    assert "will be removed" in done.stdout
    assert "saves 10.2 kB" in done.stdout
    assert (tmp_path / "frames_000.tar").stat().st_size == 10240


def test_frames_of_moments_need_the_captions(tmp_path):
    done = extract(tmp_path, [], moment_frames=2)
    assert done.returncode == 1
    assert "moment_frames 2 needs the captions" in done.stderr


def test_a_ray_cluster_that_is_not_there_is_a_sentence(tmp_path):
    film(tmp_path / "a.mp4")
    done = extract(tmp_path, ["a.mp4"], "--executor", "ray", "--ray-address", "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Ray cluster at '127.0.0.1:1'")
    assert "Traceback" not in done.stderr
