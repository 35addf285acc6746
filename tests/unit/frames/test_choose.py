"""Samplers on encoded videos whose cuts, motion and keyframes are known."""

import subprocess
import sys
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.choose import choose
from workflow_scripts.lib.frames.decoders import readings
from workflow_scripts.lib.frames.decoders.reading import Unsure
from workflow_scripts.lib.frames.sampling import Sampler, uniform

FPS, LENGTH = 25, 200
CUTS = [40, 90, 150]  # the first frame of every scene but the first
SIGNAL = LENGTH * 8 // FPS


def scene_video(path, **options):
    """Scenes in colours of their own; a bar moves through all of them, fast from frame 100 on. Returns frame times."""
    random = np.random.default_rng(0)
    colours = [(150, 40, 40), (40, 150, 60), (50, 60, 160), (150, 140, 50)]
    texture = random.integers(0, 60, (96, 128, 1))
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=FPS, options={"g": "30", "sc_threshold": "0", **options})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.thread_count = 1
        for number in range(LENGTH):
            picture = texture + np.array(colours[sum(number >= cut for cut in CUTS)])
            left = number // 20 if number < 100 else 5 + (number - 100) * 3 % 110
            picture[20:70, left : left + 16] = 230
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "장면.mp4"
    scene_video(path)
    return path


@pytest.fixture(params=["pyav", "decord"])
def reading(request, video):
    opened = readings(request.param)[0](video)
    yield opened
    opened.close()


def first_compared(cut, begin=0):
    """The first frame at or after a cut of those that a signal of 8 frames a second looks at."""
    ticks = [-(-k * FPS // 8) + begin for k in range(SIGNAL + 1)]
    return next(tick for tick in ticks if tick >= cut)


def test_scene_changes_are_found_where_they_are(reading):
    got = choose(reading, Sampler("scene_change"), 0.0, np.inf, 3)
    assert got == [first_compared(cut) for cut in CUTS]
    more = choose(reading, Sampler("scene_change"), 0.0, np.inf, 10)
    assert set(got) <= set(more)
    assert len(more) == 10
    exact = Sampler("scene_change", signal_fps=float(FPS))
    assert choose(reading, exact, 0.0, np.inf, 3) == CUTS


def test_scene_changes_of_a_clip_are_those_inside(reading):
    begin, end = 60 / FPS, 120 / FPS
    got = choose(reading, Sampler("scene_change", signal_fps=float(FPS)), begin, end, 4)
    assert 90 in got
    assert len(got) == 4
    assert 60 <= min(got) <= max(got) < 120
    high = choose(reading, Sampler("scene_change", threshold=1.0), begin, end, 4)
    assert high == uniform(reading.times, reading.end_s, begin, end, 4)


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_more_frames_where_the_motion_is(reading, flow):
    got = choose(reading, Sampler("optical_flow", flow=flow), 0.0, np.inf, 20)
    assert len(got) == 20
    slow, fast = sum(p < 100 for p in got), sum(p >= 100 for p in got)
    assert fast >= 2 * slow
    assert slow >= 4
    assert choose(reading, Sampler("optical_flow", flow=flow), 0.0, np.inf, 20) == got


def test_keyframes_are_the_container_s(reading, video):
    with av.open(str(video)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    keys = sorted(round(float(p.pts * p.time_base) * FPS) for p in packets if p.is_keyframe)
    assert len(keys) == 7
    assert choose(reading, Sampler("keyframes"), 0.0, np.inf, 32) == keys
    assert choose(reading, Sampler("keyframes"), 1.0, 4.0, 32) == [30, 60, 90]


def test_rate(reading):
    assert choose(reading, Sampler("fps", fps=1.0), 0.0, np.inf, 32) == list(range(12, LENGTH, 25))


class Counted:
    """A reading of which only the times are known; says when more is asked for."""

    source = SimpleNamespace()
    keyframes = None

    def __init__(self, frames):
        self.times, self.end_s = np.arange(frames) / FPS, frames / FPS

    def thumbnails(self, positions, size):
        raise AssertionError("thumbnails were asked for")


def test_nothing_is_decoded_that_cannot_matter():
    for kind in ("uniform", "scene_change", "optical_flow"):
        assert choose(Counted(7), Sampler(kind), 0.0, np.inf, 8) == list(range(7))
        assert choose(Counted(50), Sampler(kind), 9.0, 12.0, 8) == []
    assert len(choose(Counted(50), Sampler(), 0.0, np.inf, 8)) == 8
    with pytest.raises(AssertionError, match="thumbnails"):
        choose(Counted(50), Sampler("scene_change"), 0.0, np.inf, 8)


def test_keyframes_that_are_not_known_are_not_made_up():
    with pytest.raises(Unsure, match="keyframes"):
        choose(Counted(50), Sampler("keyframes"), 0.0, np.inf, 8)


def test_opencv_is_loaded_by_those_who_need_it():
    code = "import sys; import workflow_scripts.lib.frames.choose; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_missing_opencv_is_no_fault_of_the_video(monkeypatch):
    monkeypatch.delitem(sys.modules, "workflow_scripts.lib.frames.signals", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(UserError, match="opencv-python-headless"):
        choose(Counted(50), Sampler("optical_flow"), 0.0, np.inf, 8)
