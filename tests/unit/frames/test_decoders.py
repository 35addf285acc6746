"""The frames that are asked for are the ones that come, on every kind of file that can be made here."""

from pathlib import Path

import numpy as np
import pytest

from tests.unit.frames.numbered import copy_from, number_of, turn, write
from workflow_scripts.lib.frames.decoders import readings
from workflow_scripts.lib.frames.decoders.pyav import IndexedReading, SequentialReading

SHORT_GOP = {"g": "10", "bf": "0", "sc_threshold": "0"}
LONG_GOP = {"g": "250", "bf": "0"}
B_FRAMES = {"g": "25", "bf": "3", "b-pyramid": "normal"}
OPEN_GOP = {"g": "12", "bf": "2", "x264-params": "open-gop=1"}
UNEVEN = [1, 3, 1, 1, 7, 2]
DECORD = readings("decord")[0]

FILES = {
    "short_gop.mp4": {"options": SHORT_GOP},
    "long_gop.mp4": {"options": LONG_GOP},
    "b_frames.mp4": {"options": B_FRAMES},
    "b_frames.mkv": {"options": B_FRAMES},
    "b_frames.ts": {"options": B_FRAMES},
    "open_gop.mp4": {"options": OPEN_GOP},
    "open_gop.ts": {"options": OPEN_GOP},
    "variable.mp4": {"options": B_FRAMES, "steps": UNEVEN},
    "variable.mkv": {"options": SHORT_GOP, "steps": UNEVEN},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "ten_bits.mkv": {"options": B_FRAMES, "pix_fmt": "yuv420p10le"},
    "intra.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
}


def check(reading, times, positions):
    assert reading.times == pytest.approx(times, abs=2e-3)
    assert [number_of(image) for image in reading.pictures(positions)] == positions
    reading.close()


WANTED = ([0], [59], [5, 6, 7, 34], [3, 17, 29, 30, 58], list(range(60)))


@pytest.mark.parametrize("name", FILES)
def test_pyav_returns_the_frames_asked_for(tmp_path, name):
    times = write(tmp_path / name, **FILES[name])
    for reading in (IndexedReading, SequentialReading):
        for positions in WANTED:
            opened = reading(tmp_path / name)
            first = opened.times[0]  # avi counts from the decoder's delay, the others from the first picture
            assert first < 0.1
            assert opened.end_s == pytest.approx(
                times[-1] + first + 0.04, abs=0.3 if "variable" in name else 0.01
            )
            check(opened, [time + first for time in times], positions)


@pytest.mark.parametrize("name", ["short_gop.mp4", "b_frames.mp4", "b_frames.mkv", "mpeg4.avi"])
def test_decord_is_right_where_it_is_known_to_be(tmp_path, name):
    times = write(tmp_path / name, **FILES[name])
    check(DECORD(tmp_path / name), times, [0, 7, 31, 59])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts"])
def test_cut_before_a_keyframe_gives_real_frames_only(tmp_path, name):
    write(tmp_path / "whole.mkv", options={"g": "20", "bf": "0", "sc_threshold": "0"})
    copy_from(tmp_path / "whole.mkv", tmp_path / name, first_packet=13)
    reading = IndexedReading(tmp_path / name)
    numbers = [number_of(image) for image in reading.pictures(list(range(len(reading.times))))]
    assert numbers == list(range(20, 60))
    assert np.diff(reading.times) == pytest.approx([0.04] * 39, abs=2e-3)


def test_only_what_is_needed_is_decoded(tmp_path):
    write(tmp_path / "a.mp4", frames=200, options=SHORT_GOP)
    reading = IndexedReading(tmp_path / "a.mp4")
    decoded, decode = [], reading.decode
    reading.decode = lambda packet: decoded.append(packet) or decode(packet)
    assert [number_of(image) for image in reading.pictures([12, 155])] == [12, 155]
    assert len(decoded) == 3 + 6 + 2  # from the keyframes 10 and 150, and emptying the decoder twice


def test_large_files_are_read_twice_instead_of_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow_scripts.lib.frames.decoders.pyav.KEEP_BYTES", 100)
    times = write(tmp_path / "a.mp4", options=B_FRAMES)
    reading = IndexedReading(tmp_path / "a.mp4")
    assert reading.kept is None
    check(reading, times, [4, 44])


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_display_matrix_is_applied_as_decord_applies_it(tmp_path: Path, degrees):
    path = tmp_path / "a.mp4"
    write(path, frames=8, options=SHORT_GOP)
    turn(path, degrees)
    (ours,) = IndexedReading(path).pictures([5])
    (theirs,) = DECORD(path).pictures([5])
    assert ours.size == theirs.size == ((128, 64) if degrees == 180 else (64, 128))
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs)).mean() < 2
    assert number_of(ours.rotate(degrees, expand=True)) == 5
