"""The frames that are asked for are the ones that come, on every kind of file that can be made here."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.frames.numbered import copy_from, number_of, turn, write
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders import pyav_file, readings
from workflow_scripts.lib.frames.decoders.container import open_video
from workflow_scripts.lib.frames.decoders.pyav import FastReading, IndexedReading, KeyframeReading
from workflow_scripts.lib.frames.decoders.pyav_sequential import (
    SequentialKeyframeReading,
    SequentialReading,
)
from workflow_scripts.lib.frames.decoders.reading import Unsure

SHORT_GOP = {"g": "10", "bf": "0", "sc_threshold": "0"}
LONG_GOP = {"g": "250", "bf": "0"}
B_FRAMES = {"g": "25", "bf": "3", "b-pyramid": "normal"}
OPEN_GOP = {"g": "12", "bf": "2", "x264-params": "open-gop=1"}
UNEVEN = [1, 3, 1, 1, 7, 2]
HEVC = {"x265-params": "log-level=none:keyint=25:bframes=3:open-gop=1"}
VP9 = {"deadline": "realtime", "cpu-used": "8"}
(DECORD,) = readings("decord")

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
    "vp9.webm": {"codec": "libvpx-vp9", "options": VP9},
    "ten_bits.mkv": {"options": B_FRAMES, "pix_fmt": "yuv420p10le"},
    "intra.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "hevc.mp4": {"codec": "libx265", "options": HEVC},
    "hevc_ten_bits.mp4": {"codec": "libx265", "options": HEVC, "pix_fmt": "yuv420p10le"},
    "odd_size.mp4": {"options": B_FRAMES, "pix_fmt": "yuv444p", "size": (161, 121)},
    "odd_size.webm": {"codec": "libvpx-vp9", "options": VP9, "size": (161, 121)},
}


def numbers_of(reading, positions):
    return [number_of(picture.image) for picture in reading.pictures(positions)]


def check(reading, times, positions):
    assert reading.times == pytest.approx(times, abs=2e-3)
    pictures = list(reading.pictures(positions))
    assert [number_of(picture.image) for picture in pictures] == positions
    assert [picture.time_s for picture in pictures] == pytest.approx(
        [times[position] for position in positions], abs=2e-3
    )
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


@pytest.mark.parametrize("name", ["short_gop.mp4", "b_frames.mp4", "b_frames.mkv", "variable.mp4"])
def test_decord_is_right_where_it_is_known_to_be(tmp_path, name):
    times = write(tmp_path / name, **FILES[name])
    check(DECORD(tmp_path / name), times, [0, 7, 31, 59])


@pytest.mark.parametrize("name", ["cut.mkv", "cut.ts"])
def test_cut_before_a_keyframe_gives_real_frames_only(tmp_path, name):
    write(tmp_path / "whole.mkv", options={"g": "20", "bf": "0", "sc_threshold": "0"})
    copy_from(tmp_path / "whole.mkv", tmp_path / name, first_packet=13)
    reading = IndexedReading(tmp_path / name)
    assert numbers_of(reading, range(len(reading.times))) == list(range(20, 60))
    assert np.diff(reading.times) == pytest.approx([0.04] * 39, abs=2e-3)


def test_only_what_is_needed_is_decoded(tmp_path):
    write(tmp_path / "a.mp4", frames=200, options=SHORT_GOP)
    reading = IndexedReading(tmp_path / "a.mp4")
    decoded, decode = [], reading.decode
    reading.decode = lambda packet: decoded.append(packet) or decode(packet)
    assert numbers_of(reading, [12, 155]) == [12, 155]
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
    ((_, ours, shown),) = IndexedReading(path).pictures([5])
    ((_, theirs, _),) = DECORD(path).pictures([5])
    assert shown == ours.size
    assert ours.size == theirs.size == ((128, 64) if degrees == 180 else (64, 128))
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs)).mean() < 2
    assert number_of(ours.rotate(degrees, expand=True)) == 5


@pytest.mark.parametrize("name", FILES)
def test_fast_is_at_most_one_frame_off(tmp_path, name):
    times = write(tmp_path / name, **FILES[name])
    for positions in WANTED[:-1]:
        reading = FastReading(tmp_path / name)
        pictures = list(reading.pictures(positions, (32, 64)))
        numbers = [number_of(picture.image) for picture in pictures]
        assert len(set(numbers)) == len(positions)
        assert all(abs(number - position) <= 1 for number, position in zip(numbers, positions, strict=True))
        # Each tells its own time, and the size in the file although it is scaled down.
        first = reading.times[0]
        own = [times[number] + first for number in numbers]
        assert [picture.time_s for picture in pictures] == pytest.approx(own, abs=2e-3)
        assert {picture.shown for picture in pictures} == {FILES[name].get("size", (128, 64))}
        assert all(picture.image.size < picture.shown for picture in pictures)
        reading.close()


def test_fast_takes_a_neighbour_that_needs_less_decoding(tmp_path):
    """A keyframe every 10 frames: the frame after one and the frame before one are not worth the others."""
    write(tmp_path / "a.mp4", options=SHORT_GOP)
    cheapest = FastReading(tmp_path / "a.mp4").cheapest
    assert cheapest([9, 19, 21, 25, 31]) == [
        9,
        20,
        21,
        24,
        31,
    ]  # 21 is for 20, which stands for 19; the ends stay
    assert cheapest([4, 5, 6]) == [4, 5, 6]
    assert IndexedReading(tmp_path / "a.mp4").cheapest([9, 19, 25, 31]) == [9, 19, 25, 31]


def test_fast_leaves_out_what_nothing_refers_to(tmp_path):
    write(tmp_path / "a.mp4", frames=100, options=B_FRAMES)
    came = {}
    for kind in (IndexedReading, FastReading):
        reading, came[kind] = kind(tmp_path / "a.mp4"), 0
        decode = reading.decode

        def counting(packet, decode=decode, kind=kind):
            frames = decode(packet)
            came[kind] += len(frames)
            return frames

        reading.decode = counting
        assert numbers_of(reading, [60, 99]) == [60, 99]
    assert came[FastReading] < 0.8 * came[IndexedReading]


@pytest.mark.parametrize("kind", [KeyframeReading, SequentialKeyframeReading])
@pytest.mark.parametrize("name", ["short_gop.mp4", "open_gop.ts", "b_frames.mkv"])
def test_keyframes_are_all_that_is_known(tmp_path, name, kind):
    times = write(tmp_path / name, **FILES[name])
    step = {"short_gop.mp4": 10, "open_gop.ts": 12, "b_frames.mkv": 25}[name]
    expected = list(range(0, 60, step))
    reading = kind(tmp_path / name)
    assert reading.times == pytest.approx([times[number] for number in expected], abs=2e-3)
    assert numbers_of(reading, range(len(expected))) == expected
    assert reading.keyframes.tolist() == list(range(len(expected)))
    assert (reading.fps, reading.end_s) == (pytest.approx(25, rel=1e-3), pytest.approx(2.4, abs=2e-3))
    whole = IndexedReading(tmp_path / name)
    assert whole.keyframes.tolist() == expected


def test_keyframes_are_decoded_alone(tmp_path):
    write(tmp_path / "a.mp4", frames=100, options=SHORT_GOP)
    reading = KeyframeReading(tmp_path / "a.mp4")
    decoded, decode = [], reading.decode
    reading.decode = lambda packet: decoded.append(packet) or decode(packet)
    assert numbers_of(reading, [1, 2, 9]) == [10, 20, 90]
    assert sum(packet is not None for packet in decoded) == 3


@pytest.mark.parametrize("kind", [IndexedReading, SequentialReading, FastReading, DECORD])
def test_one_reading_serves_several_times(tmp_path, kind):
    write(tmp_path / "a.mp4", **FILES["b_frames.mp4"])
    reading = kind(tmp_path / "a.mp4")
    begun = reading.pictures([3, 4, 5])
    next(begun)  # not read to its end
    assert numbers_of(reading, [7, 40]) == [7, 40]
    small = list(reading.thumbnails([2, 33], (32, 48)))
    assert [(image.shape, image.dtype) for image in small] == [((32, 48, 3), np.uint8)] * 2
    assert [number_of(Image.fromarray(image)) for image in small] == [2, 33]
    assert numbers_of(reading, [1]) == [1]


def test_thumbnails_are_upright(tmp_path):
    write(tmp_path / "a.mp4", frames=8, options=SHORT_GOP)
    turn(tmp_path / "a.mp4", 90)
    (picture,) = IndexedReading(tmp_path / "a.mp4").pictures([5])
    (small,) = IndexedReading(tmp_path / "a.mp4").thumbnails([5], (64, 32))
    expected = np.asarray(picture.image.resize((32, 64), Image.Resampling.BOX), dtype=int)
    assert np.abs(small - expected).mean() < 3


@pytest.mark.parametrize("name", ["a.avi", "a.asf", "a.mpg", "a.h264"])
def test_formats_that_do_not_tell_when_frames_are_shown(tmp_path, name):
    times = write(tmp_path / name, options=B_FRAMES)
    with pytest.raises(Unsure):
        reading = IndexedReading(tmp_path / name)
        list(reading.pictures(list(range(60))))
    reading = SequentialReading(tmp_path / name)
    check(reading, [time + reading.times[0] for time in times], list(range(60)))


def test_a_stream_that_pyav_meets_on_the_way_does_no_harm(tmp_path, monkeypatch):
    class Trips:
        """What demuxing does at the end where a stream appeared that was not there at the beginning."""

        def __init__(self, container):
            self.container = container

        def __getattr__(self, name):
            return getattr(self.container, name)

        def demux(self, stream):
            yield from self.container.demux(stream)
            raise IndexError("list index out of range")

    def tripping(path):
        container, stream = open_video(path)
        return Trips(container), stream

    write(tmp_path / "a.ts", codec="mpeg2video")
    monkeypatch.setattr(pyav_file, "open_video", tripping)
    for reading in (IndexedReading(tmp_path / "a.ts"), SequentialReading(tmp_path / "a.ts")):
        assert numbers_of(reading, range(60)) == list(range(60))
        assert reading.damage() is None


def test_joined_files_keep_their_order(tmp_path):
    write(tmp_path / "a.mpg", frames=20, codec="mpeg2video", options={"g": "5", "bf": "0"})
    joined = tmp_path / "joined.mpg"
    joined.write_bytes((tmp_path / "a.mpg").read_bytes() * 2)
    with pytest.raises(Unsure):
        IndexedReading(joined)
    reading = SequentialReading(joined)
    assert numbers_of(reading, range(len(reading.times))) == [*range(20), *range(20)]


@pytest.mark.parametrize("name", ["b_frames.ts", "open_gop.mp4", "mpeg4.avi", "cut.mkv", "hevc.mp4"])
def test_decord_is_refused_where_it_would_return_wrong_frames(tmp_path, name):
    if name == "cut.mkv":
        write(tmp_path / "whole.mkv", options={"g": "20", "bf": "0", "sc_threshold": "0"})
        copy_from(tmp_path / "whole.mkv", tmp_path / name, first_packet=13)
    else:
        write(tmp_path / name, **FILES[name])
    with pytest.raises(Unsure):
        DECORD(tmp_path / name)


@pytest.fixture(scope="module")
def torchcodec():
    try:
        (kind,) = readings("torchcodec")
    except UserError as error:
        pytest.skip(str(error))
    return kind


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".ts")])
def test_torchcodec_returns_the_same_frames(tmp_path, torchcodec, name):
    times = write(tmp_path / name, **FILES[name])
    ours = IndexedReading(tmp_path / name)
    times = [time + ours.times[0] for time in times]
    for positions in WANTED[2:4]:
        check(torchcodec(tmp_path / name), times, positions)
    theirs = torchcodec(tmp_path / name)
    for one, other in zip(ours.pictures([9, 33]), theirs.pictures([9, 33]), strict=True):
        assert np.abs(np.asarray(one.image, dtype=int) - np.asarray(other.image)).mean() < 4
    theirs.close()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_torchcodec_turns_as_we_do(tmp_path, torchcodec, degrees):
    write(tmp_path / "a.mp4", frames=8, options=SHORT_GOP)
    turn(tmp_path / "a.mp4", degrees)
    (ours,) = IndexedReading(tmp_path / "a.mp4").pictures([5])
    (theirs,) = torchcodec(tmp_path / "a.mp4").pictures([5])
    assert np.abs(np.asarray(ours.image, dtype=int) - np.asarray(theirs.image)).mean() < 2


def test_torchcodec_without_ffmpeg_says_what_to_install(torchcodec, monkeypatch):
    monkeypatch.setattr("torchcodec.ffmpeg_major_version", None)
    monkeypatch.delitem(sys.modules, torchcodec.__module__)
    with pytest.raises(UserError, match="apt-get install ffmpeg"):
        readings("torchcodec")


def test_nvdec_without_a_gpu_says_so(torchcodec):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=r"'nvdec' cannot be used here: .*(GPU|CUDA)"):
        readings("nvdec")


def test_nvdec_decodes_as_pyav_does(tmp_path):
    try:
        (kind,) = readings("nvdec")
    except UserError as error:
        pytest.skip(str(error))
    times = write(tmp_path / "a.mp4", options=B_FRAMES, size=(256, 128))
    check(kind(tmp_path / "a.mp4"), times, [5, 6, 34])
