"""A whole shard: its files, failures, kills and reruns."""

import io
import json
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
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.clips import TOGETHER, read_clips
from workflow_scripts.lib.frames.clips import group as group_clips
from workflow_scripts.lib.frames.extract import Clip
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.shard import STATUS, FrameShard, read_status
from workflow_scripts.lib.frames.stage import EXTRACT, Executor, ShardFiles, extract_shard
from workflow_scripts.lib.keys import frame_name

CONFIG = FramesConfig(count=4, size=[64, 128], jpeg_quality=95)
LIMITS = Limits(timeout_s=30, max_bad_fraction=0.3)
VIDEOS_MADE = 10


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten videos with indices from 5 on, in a folder with a name of another script."""
    folder = tmp_path_factory.mktemp("말뭉치")
    for i in range(VIDEOS_MADE):
        write(folder / f"영상 {i}.mp4", frames=20 + i)
    table(folder, range(VIDEOS_MADE))
    return folder


def table(folder, videos, clips=()):
    """Whole videos, and clips of them: (video, start_s, end_s)."""
    rows = [
        {
            "index": 5 + index,
            "id": str(i),
            "path": f"영상 {i}.mp4",
            "source": "s",
            "start_s": start,
            "end_s": end,
            "split": "val",
        }
        for index, (i, start, end) in enumerate([*((i, None, None) for i in videos), *clips])
    ]
    pq.write_table(pa.Table.from_pylist(rows, VIDEOS), folder / "videos.parquet")


def files_in(corpus, out):
    return ShardFiles(
        corpus / "videos.parquet", corpus / "captions.parquet", corpus, out / "journal", out / "frames_000.tar",
        out / "status_000.parquet",
    )  # fmt: skip


def run(corpus, out, config=CONFIG, workers=2, function=EXTRACT, limits=LIMITS):
    extract_shard(config, limits, files_in(corpus, out), Executor(workers, function=function))


def statuses(out):
    """Status rows without the one column that differs between runs."""
    rows = read_status(out, 1)
    assert all(row.pop("seconds") >= 0 for row in rows)
    return rows


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
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
            assert row["bytes"] == sum(map(len, jpegs))
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


@pytest.fixture(scope="module")
def clips(corpus, tmp_path_factory):
    """The videos, and clips of one of them that are not beside each other in the table."""
    folder = shutil.copytree(corpus, tmp_path_factory.mktemp("clips") / "말뭉치")
    table(
        folder, range(3, 9), [(9, 0.0, 0.5), (8, 0.5, None), (9, 0.4, 1.0), (9, None, 0.6), (9, None, None)]
    )
    return folder


def test_clips_of_one_file_are_one_task(clips, tmp_path):
    run(clips, tmp_path, function="tests.unit.frames.hostile:noted")
    tasks = sorted(json.loads(line) for line in (clips / "tasks.jsonl").read_text().splitlines())
    assert tasks == [[5], [6], [7], [8], [9], [10, 12], [11, 13, 14, 15]]
    with FrameShard(tmp_path / "frames_000.tar") as shard, tarfile.open(tmp_path / "frames_000.tar") as tar:
        assert tar.getnames() == sorted(tar.getnames())
        for row in statuses(tmp_path):
            start = {12: 0.5, 13: 0.4}.get(row["index"], 0.0)
            assert len(shard.jpegs(row["index"])) == 4
            for jpeg, time_s in zip(shard.jpegs(row["index"]), row["timestamps"], strict=True):
                assert number_of(Image.open(io.BytesIO(jpeg))) == round((start + time_s) * 25)


def test_a_clip_does_not_condemn_the_others_of_its_file(clips, tmp_path, capsys):
    limits = Limits(timeout_s=30, max_bad_fraction=0.1)
    run(clips, tmp_path, function="tests.unit.frames.hostile:crash_at_13", limits=limits)
    assert "말뭉치/영상 9.mp4: crash: ended by SIGSEGV" in capsys.readouterr().out
    assert [row["index"] for row in statuses(tmp_path) if row["reason"]] == [13]


def test_a_decoder_that_crashes_is_followed_by_the_next(corpus, straight, tmp_path):
    config = CONFIG.model_copy(update={"decoder": ["decord", "pyav"]})
    run(corpus, tmp_path, config, function="tests.unit.frames.hostile:crash_in_decord")
    expected = ["pyav" if row["index"] == 5 + 7 else "decord" for row in statuses(straight)]
    assert [row["decoder"] for row in statuses(tmp_path)] == expected


def test_what_takes_longest_comes_first(tmp_path):
    sizes = {"a": 10, "b": 30, "c": 20}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(b"x" * size)
    clips = [Clip(i, str(tmp_path / name)) for i, name in enumerate("abcab")]
    lengths = {0: 9.0, 1: 1.0, 2: 8.0, 3: 9.0, 4: 1.0}
    names = [Path(group[0].path).name for group in group_clips(clips, lengths)]
    assert names == ["a", "c", "b"]  # 18, 8 and 2 s
    names = [Path(group[0].path).name for group in group_clips(clips, lengths | {1: None})]
    assert names == ["b", "c", "a"]  # by size
    many = [Clip(i, "long.mp4") for i in range(TOGETHER * 2 + 1)]
    groups = group_clips(many, dict.fromkeys(range(len(many)), 1.0))
    assert [len(group) for group in groups] == [TOGETHER, TOGETHER, 1]
    assert sum(groups, ()) == tuple(many)


def test_captioned_moments_get_frames_of_their_own(corpus, straight, tmp_path):
    some = shutil.copytree(corpus, tmp_path / "some")
    moments = [(0.0, 0.4), (None, None), (0.0, 0.4), (0.4, None)]
    rows = [
        {"video": 6, "caption": j, "key": f"vid_6#cap_{j}", "split": "val", "language": "ko", "text": "말",
         "start_s": start, "end_s": end, "attributes": []}
        for j, (start, end) in enumerate(moments)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), some / "captions.parquet")
    clips = read_clips(some / "videos.parquet", some / "captions.parquet")
    assert {clip.index: clip.moments for clip in clips if clip.moments} == {6: ((0.0, 0.4), (0.4, None))}
    run(some, tmp_path, CONFIG.model_copy(update={"moment_frames": 3}))
    rows, before = statuses(tmp_path), statuses(straight)
    assert [row for row in rows if row["index"] != 6] == [row for row in before if row["index"] != 6]
    times = rows[1]["timestamps"]
    assert set(before[1]["timestamps"]) < set(times)
    assert sum(time_s < 0.4 for time_s in times) >= 3 <= sum(time_s >= 0.4 for time_s in times)


def test_kill_in_the_middle_and_rerun_gives_the_same_bytes(clips, tmp_path):
    straight = tmp_path / "straight"
    run(clips, straight)
    code = (
        "import sys; from pathlib import Path; from tests.unit.frames.test_stage import run;"
        "run(Path(sys.argv[1]), Path(sys.argv[2]), function='tests.unit.frames.hostile:slow')"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, str(clips), str(out)]
    done = out / "journal" / "done.jsonl"
    with subprocess.Popen(command, cwd=Path(__file__).parents[3]) as process:
        deadline = time.monotonic() + 240
        while not (done.exists() and len(done.read_bytes().splitlines()) >= 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    pids = {int(text) for file in clips.glob("*.pid") if (text := file.read_text())}
    while any(map(is_running, pids)):
        assert time.monotonic() < deadline, "decoding processes outlive their parent"
        time.sleep(0.02)
    assert not (out / "frames_000.tar").exists()
    kept = len(done.read_bytes().splitlines())
    assert 3 <= kept < 11
    run(clips, out)
    assert (out / "frames_000.tar").read_bytes() == (straight / "frames_000.tar").read_bytes()
    assert statuses(out) == statuses(straight)
    assert sorted(path.name for path in out.iterdir()) == ["frames_000.tar", "status_000.parquet"]


def test_limits_are_no_reason_to_begin_anew(corpus, straight, tmp_path, capsys):
    broken = shutil.copytree(corpus, tmp_path / "broken")
    (broken / "영상 0.mp4").unlink()
    with pytest.raises(UserError, match="max_bad_fraction 0 allows"):
        run(broken, tmp_path, limits=Limits(max_bad_fraction=0))
    run(broken, tmp_path, limits=Limits(timeout_s=77, memory_mb=3000, max_bad_fraction=0.1))
    assert "9 of 10 videos are done already" in capsys.readouterr().out


def test_a_path_that_leads_out_of_the_root_is_not_opened(corpus, tmp_path):
    inside = shutil.copytree(corpus, tmp_path / "inside")
    (inside / "영상 0.mp4").rename(tmp_path / "영상 0.mp4")
    (inside / "영상 0.mp4").symlink_to(tmp_path / "영상 0.mp4")
    (inside / "영상 1.mp4").unlink()
    (inside / "영상 1.mp4").mkdir()
    run(inside, tmp_path)
    assert [row["reason"] for row in statuses(tmp_path)] == ["missing", "is_directory", *[None] * 8]


def test_a_disk_without_room_is_told_before(corpus, straight, tmp_path, monkeypatch):
    used = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: used._replace(free=20_000))
    with pytest.raises(UserError, match=r"by a rule of thumb.*20 kB free"):
        run(corpus, tmp_path)
    shard = (straight / "frames_000.tar").stat().st_size
    monkeypatch.setattr("shutil.disk_usage", lambda path: used._replace(free=shard))
    shutil.copy(straight / "status_000.parquet", tmp_path / "status_001.parquet")  # a neighbour that is done
    with pytest.raises(UserError, match="as in the shards that are there"):
        run(corpus, tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: used._replace(free=2 * shard))
    run(corpus, tmp_path)  # journal and tar find room


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
        run(corpus, tmp_path, CONFIG.model_copy(update={"count": 3}), limits=Limits(max_bad_fraction=-1))
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
