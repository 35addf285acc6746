"""The decoding benchmark runs, measures what it says, and judges by what it measured; nothing here is timed."""

import sys

import pytest

from benchmarks.clips import QUICK, MadeClip, make_clips
from benchmarks.decode_page import page
from benchmarks.errors import frame_errors
from benchmarks.machine import measure
from benchmarks.other_tools import Tool, install
from benchmarks.readers import COUNT, SIZE, bare_pyav, opencv_read, ours, ours_fast
from benchmarks.rounds import Contestant, DidNotRun, Turns, take_turns
from benchmarks.verdict import judge
from workflow_scripts.lib.files import read_json

READERS = {
    "ours, exact": ours,
    "bare PyAV loop": bare_pyav,
    "OpenCV read": opencv_read,
    "ours, fast": ours_fast,
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> MadeClip:
    [made] = make_clips(tmp_path_factory.mktemp("clips"), QUICK)
    return made


@pytest.fixture(scope="module")
def stored(clip, tmp_path_factory):
    """The frames that each reader gives, in a folder of its own."""
    folders = {name: tmp_path_factory.mktemp("frames") for name in READERS}
    for name, reader in READERS.items():
        for number, frame in enumerate(reader(clip.path, COUNT, SIZE)):
            (folders[name] / f"{number:03d}.jpg").write_bytes(frame)
    return folders


def test_clips_are_made_once(clip):
    written = clip.path.stat().st_mtime_ns
    [again] = make_clips(clip.path.parent, QUICK)
    assert again.path.stat().st_mtime_ns == written
    assert clip.facts()["frames"] == 60
    # A flat picture would need next to nothing.
    assert 0.5 < clip.facts()["bitrate"] / clip.kind.bitrate < 2


def test_every_reader_gives_the_frames_asked_for(clip, stored):
    errors = frame_errors(clip, stored)
    assert {name: error["frames"] for name, error in errors.items()} == dict.fromkeys(READERS, COUNT)
    assert errors["bare PyAV loop"]["mean_abs_difference"] == 0
    assert errors["ours, exact"]["mean_abs_difference"] == 0
    assert errors.pop("ours, fast")["frames_off"] <= 1
    assert {error["frames_off"] for error in errors.values()} == {0}


def test_a_frame_that_is_not_the_one_asked_for_is_seen(clip, stored, tmp_path):
    frames = sorted(stored["ours, exact"].iterdir())
    for number, frame in enumerate([frames[0], *frames[:-1]]):
        (tmp_path / f"{number:03d}.jpg").write_bytes(frame.read_bytes())
    error = frame_errors(clip, {"late": tmp_path})["late"]
    assert error["frames_off"] >= 3
    assert error["mean_abs_difference"] > 1


def test_turns_are_taken_and_what_does_not_run_is_told(clip, tmp_path):
    broken = MadeClip(clip.kind, tmp_path / "gone.mp4")
    turns = take_turns([Contestant("ours, exact", processes=(1, 2))], [clip], clip, 2, tmp_path / "keep")
    assert {key: len(cpu) for key, cpu in turns.cpu_s.items()} == {
        ("ours, exact", clip.kind.name, 1): 2,
        ("ours, exact", clip.kind.name, 2): 2,
    }
    assert len(list((tmp_path / "keep" / "ours, exact" / clip.kind.name).iterdir())) == COUNT
    turns = take_turns([Contestant("ours, exact")], [broken], broken, 1, tmp_path / "keep")
    assert "missing" in turns.did_not_run["ours, exact"]


def test_a_tool_that_cannot_be_installed_is_told_with_the_reason(tmp_path):
    with pytest.raises(DidNotRun, match=r"[Nn]o interpreter found|not installed") as told:
        install(Tool("video2dataset", old_python=True), tmp_path, str(tmp_path / "no_python_here"))
    assert str(tmp_path) not in str(told.value)


def _judged(clip, others=0.0, **changed):
    """The verdict on made-up figures that reach every target, but for what is `changed`: seconds a clip."""
    seconds = {"ours, exact": 1.0, "bare PyAV loop": 1.0, "OpenCV read": 2.5, "ours, fast": 0.5} | changed
    turns = Turns()
    for (reader, cost), processes in ((item, n) for item in seconds.items() for n in (1, 2)):
        turns.cpu_s[reader, clip.kind.name, processes] = [cost, 2 * cost]
        turns.wall_s[reader, clip.kind.name, processes] = [cost / processes, 2 * cost / processes]
    shards = [
        {"shard": name, "processes": n, "cpu_s": [1.0], "wall_s": [1.0 / n if others == 0 else 1.0]}
        for name in ("ours", "bare")
        for n in (1, 2)
    ]
    errors = {clip.kind.name: {"ours, fast": {"frames": 16, "mean_abs_difference": 2.0, "frames_off": 1}}}
    memory = {"mb_a_1000_videos": 0.1, "videos": 2000, "processes": 1}
    return judge(turns, [clip], shards, errors, memory, others)


def test_targets_that_are_reached_pass(clip):
    assert all(row["passed"] for row in _judged(clip))
    assert all(
        row["passed"] for row in _judged(clip, others=0.5)
    )  # wall times of a shared machine count for nothing


@pytest.mark.parametrize(
    ("reader", "seconds", "target"),
    [
        ("bare PyAV loop", 0.8, "bare loop"),
        ("OpenCV read", 0.9, "OpenCV"),
        ("ours, fast", 0.6, "fast over exact"),
    ],
)
def test_a_target_that_is_missed_fails(clip, reader, seconds, target):
    failed = [row["target"] for row in _judged(clip, **{reader: seconds}) if not row["passed"]]
    assert failed
    assert all(target in name for name in failed)


@pytest.mark.slow
def test_the_program_writes_its_results(clip, tmp_path):
    out = tmp_path / "decode.json"
    command = ["-m", "benchmarks.decode", "--quick", "--cache", str(clip.path.parent), "--out", str(out)]
    assert measure([sys.executable, *command], timeout_s=1000)["cpu_s"] > 0
    result = read_json(out)
    assert {row["reader"] for row in result["reading"]} >= set(READERS)
    assert result["memory"]["failed"] > 0
    assert out.with_suffix(".md").read_text(encoding="utf-8") == page(result)
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
