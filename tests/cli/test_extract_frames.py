"""The command that extracts the frames of a shard."""

import subprocess
import sys

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import FramesConfig, freeze
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.frames.shard import FrameShard, read_status


def film(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for level in range(0, 100, 10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def extract(folder, paths, **settings):
    rows = [
        {"index": i, "source": path, "path": path, "start_s": None, "end_s": None, "split": "train"}
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
        [*command, *(str(part) for pair in flags.items() for part in pair)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_frames_and_status(tmp_path):
    film(tmp_path / "-영상 %03d.mp4")
    done = extract(tmp_path, ["-영상 %03d.mp4", "gone.mp4"], max_bad_fraction=0.5)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 videos gave frames" in done.stdout
    assert [row["reason"] for row in read_status(tmp_path, 1)] == [None, "missing"]
    with FrameShard(tmp_path / "frames_000.tar") as shard:
        assert len(shard.jpegs(0)) == 4
    assert not (tmp_path / "journal_000").exists()


def test_too_many_failures_are_a_sentence(tmp_path):
    film(tmp_path / "a.mp4")
    done = extract(tmp_path, ["a.mp4", "gone.mp4"], max_bad_fraction=0.1)
    assert done.returncode == 1
    assert "error: 1 of 2 videos of this shard gave no frames" in done.stderr
    assert "missing: 1, such as gone.mp4" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "frames_000.tar").exists()
