"""A whole shard: its files, failures, kills and reruns."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.unit.frames.numbered import number_of, write
from workflow_scripts.lib.config import FramesConfig
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.shard import STATUS, FrameShard, read_status
from workflow_scripts.lib.frames.stage import extract_shard
from workflow_scripts.lib.keys import frame_name

CONFIG = FramesConfig(count=4, size=[64, 128], jpeg_quality=95, max_bad_fraction=0.3, timeout_s=30)
VIDEOS_MADE = 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten videos with indices from 5 on, in a folder with a name of another script."""
    folder = tmp_path_factory.mktemp("말뭉치")
    for i in range(VIDEOS_MADE):
        write(folder / f"영상 {i}.mp4", frames=20 + i)
    table(folder, range(VIDEOS_MADE))
    return folder


def table(folder, videos):
    rows = [
        {
            "index": 5 + i,
            "source": "s",
            "path": f"영상 {i}.mp4",
            "start_s": None,
            "end_s": None,
            "split": "val",
        }
        for i in videos
    ]
    pq.write_table(pa.Table.from_pylist(rows, VIDEOS), folder / "videos.parquet")


def run(corpus, out, config=CONFIG, workers=2, **more):
    extract_shard(
        config, corpus / "videos.parquet", corpus, out / "journal", out / "frames_000.tar",
        out / "status_000.parquet", workers, **more,
    )  # fmt: skip


def statuses(out):
    """Status rows without the one column that differs between runs."""
    rows = read_status(out, 1)
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    """The shard made in one go."""
    out = tmp_path_factory.mktemp("straight")
    run(corpus, out)
    return out


def test_tar_and_status(corpus, straight):
    assert pq.read_schema(straight / "status_000.parquet").equals(STATUS)
    rows = statuses(straight)
    assert [row["index"] for row in rows] == list(range(5, 5 + VIDEOS_MADE))
    with tarfile.open(straight / "frames_000.tar") as tar, FrameShard(straight / "frames_000.tar") as shard:
        names = [member.name for member in tar]
        assert names == [frame_name(video, i) for video in range(5, 15) for i in range(4)] == sorted(names)
        assert shard.videos == list(range(5, 15))
        for row in rows:
            jpegs = shard.jpegs(row["index"])
            assert len(jpegs) == row["frames"] == len(row["timestamps"]) == 4
            for i, (jpeg, time_s) in enumerate(zip(jpegs, row["timestamps"], strict=True)):
                assert tar.extractfile(frame_name(row["index"], i)).read() == jpeg
                assert number_of(Image.open(io.BytesIO(jpeg))) == round(time_s * 25)
            assert (row["outcome"], row["reason"], row["decoder"], row["split"]) == (
                "ok",
                None,
                "pyav",
                "val",
            )
        with pytest.raises(UserError, match="no frames of video 99"):
            shard.jpegs(99)
    assert not (straight / "journal").exists()


@pytest.mark.slow
def test_webdataset_reads_the_tar(straight):
    wds = pytest.importorskip("webdataset")
    samples = list(wds.WebDataset(str(straight / "frames_000.tar"), shardshuffle=False))
    assert samples[0]["__key__"] == "vid_000000005"
    assert sum(key.endswith("jpg") for sample in samples for key in sample) == 4 * VIDEOS_MADE


def test_number_of_workers_changes_no_byte(corpus, straight, tmp_path):
    run(corpus, tmp_path, workers=1)
    assert (tmp_path / "frames_000.tar").read_bytes() == (straight / "frames_000.tar").read_bytes()


def test_kill_in_the_middle_and_rerun_gives_the_same_bytes(corpus, straight, tmp_path):
    code = (
        "import sys; from pathlib import Path; from tests.unit.frames.test_stage import run;"
        "run(Path(sys.argv[1]), Path(sys.argv[2]), function='tests.unit.frames.hostile:slow')"
    )
    command = [sys.executable, "-c", code, str(corpus), str(tmp_path)]
    done = tmp_path / "journal" / "done.jsonl"
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
        deadline = time.monotonic() + 60
        while not (done.exists() and len(done.read_bytes().splitlines()) >= 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    pids = {int(file.read_text()) for file in corpus.glob("*.pid")}
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "decoding processes outlive their parent"
        time.sleep(0.02)
    assert not (tmp_path / "frames_000.tar").exists()
    kept = len(done.read_bytes().splitlines())
    assert 3 <= kept < VIDEOS_MADE
    run(corpus, tmp_path)
    assert (tmp_path / "frames_000.tar").read_bytes() == (straight / "frames_000.tar").read_bytes()
    assert statuses(tmp_path) == statuses(straight)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["frames_000.tar", "status_000.parquet"]


def test_bad_videos_are_listed_and_left_out(corpus, straight, tmp_path, capsys):
    broken = shutil.copytree(corpus, tmp_path / "broken")
    (broken / "영상 2.mp4").unlink()
    (broken / "영상 7.mp4").write_bytes(b"")
    run(broken, tmp_path)
    rows = {row["index"]: row for row in statuses(tmp_path)}
    assert (rows[7]["outcome"], rows[7]["reason"], rows[7]["frames"]) == ("failed", "missing", 0)
    assert (rows[12]["outcome"], rows[12]["reason"], rows[12]["timestamps"]) == ("failed", "empty", [])
    with FrameShard(tmp_path / "frames_000.tar") as some, FrameShard(straight / "frames_000.tar") as whole:
        assert some.videos == [v for v in whole.videos if v not in (7, 12)]
        assert some.jpegs(8) == whole.jpegs(8)
    said = capsys.readouterr().out
    assert "8 of 10 videos gave frames" in said
    assert "영상 2.mp4: missing" in said


def test_too_many_bad_videos_stop_and_a_rerun_tries_only_those(corpus, straight, tmp_path, capsys):
    broken = shutil.copytree(corpus, tmp_path / "broken")
    for i in range(4):
        (broken / f"영상 {i}.mp4").write_text("not a video")
    with pytest.raises(UserError) as error:
        run(broken, tmp_path)
    for part in ("4 of 10", "max_bad_fraction 0.3", "not_media: 4", "영상 0.mp4", "plain rerun"):
        assert part in str(error.value)
    assert not (tmp_path / "frames_000.tar").exists()
    shutil.copytree(corpus, broken, dirs_exist_ok=True)
    run(broken, tmp_path)
    assert "6 of 10 videos are done already" in capsys.readouterr().out
    assert (tmp_path / "frames_000.tar").read_bytes() == (straight / "frames_000.tar").read_bytes()


def test_journal_of_other_settings_is_not_used(corpus, tmp_path, capsys):
    with pytest.raises(UserError):
        run(corpus, tmp_path, CONFIG.model_copy(update={"decoder": "nonsense", "max_bad_fraction": 0}))
    run(corpus, tmp_path, CONFIG.model_copy(update={"count": 2}))
    assert "beginning anew" in capsys.readouterr().out
    assert {row["frames"] for row in statuses(tmp_path)} == {2}


def test_shard_without_videos(tmp_path):
    table(tmp_path, [])
    run(tmp_path, tmp_path)
    assert statuses(tmp_path) == []
    with FrameShard(tmp_path / "frames_000.tar") as shard, tarfile.open(tmp_path / "frames_000.tar") as tar:
        assert shard.videos == tar.getnames() == []


def test_unreadable_tars_are_told(tmp_path):
    with pytest.raises(UserError, match=r"no\.tar"):
        FrameShard(tmp_path / "no.tar")
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(UserError, match="not a tar of frames"):
        FrameShard(tmp_path / "bad.tar")
