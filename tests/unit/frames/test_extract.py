"""One video to JPEGs: sampling, size, and a named reason for every file that gives no frames."""

import io
import os
import random

import av
import numpy as np
import pytest
from PIL import Image

from tests.unit.frames.numbered import number_of, write
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings, extract_file, fit
from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.frames.sampling import uniform

SETTINGS = Settings(count=8, size=(64, 128), fit="stretch", jpeg_quality=95)


def extract_one(clip: Clip, settings: Settings) -> Extracted:
    [extracted] = extract_file((clip,), settings)
    return extracted


def numbers(extracted):
    return [number_of(Image.open(io.BytesIO(jpeg))) for jpeg in extracted.jpegs]


def test_frames_are_those_shown_at_the_segment_centres(tmp_path):
    times = write(tmp_path / "a.mp4", frames=100)
    got = extract_one(Clip(0, str(tmp_path / "a.mp4")), SETTINGS)
    centres = (np.arange(8) + 0.5) * 4.0 / 8
    assert numbers(got) == [max(i for i, t in enumerate(times) if t <= c) for c in centres]
    assert got.timestamps == pytest.approx([times[n] for n in numbers(got)], abs=1e-4)
    assert (got.width, got.height, got.codec) == (128, 64, "h264")
    assert (got.fps, got.duration_s) == (pytest.approx(25), pytest.approx(4.0, abs=0.01))


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_clip_of_a_file(tmp_path, decoder):
    write(tmp_path / "a.mp4", frames=100)
    settings = Settings(decoders=(decoder,), count=5, size=(64, 128), fit="stretch", jpeg_quality=95)
    got = extract_one(Clip(0, str(tmp_path / "a.mp4"), 1.0, 2.0), settings)
    assert got.reason is None, got.detail
    assert numbers(got) == [27, 32, 37, 42, 47]
    assert got.timestamps == pytest.approx([0.08, 0.28, 0.48, 0.68, 0.88], abs=1e-4)
    assert got.duration_s == pytest.approx(1.0)


def test_short_video_gives_the_frames_it_has(tmp_path):
    write(tmp_path / "a.mp4", frames=5)
    assert numbers(extract_one(Clip(0, str(tmp_path / "a.mp4")), SETTINGS)) == [0, 1, 2, 3, 4]


def test_uniform_is_sorted_distinct_inside_and_complete():
    source = random.Random(0)
    for _ in range(300):
        times = np.cumsum([source.choice([0.04, 0.04, 0.5, 0.001]) for _ in range(source.randint(1, 60))])
        end = times[-1] + 0.04
        start = source.uniform(0, end * 0.9)
        stop = source.choice([np.inf, source.uniform(start + 0.01, end + 1)])
        count = source.randint(1, 40)
        got = uniform(times, end, start, stop, count)
        assert got == sorted(set(got))
        assert len(got) <= count
        if max(start, times[0]) < min(stop, end):
            assert got
        inside = [i for i, t in enumerate(times) if max(start, times[0]) <= t < stop]
        assert set(got) <= set(inside or got)


def test_uniform_of_regular_frames_has_the_exact_count():
    times = np.arange(100) / 25
    assert len(uniform(times, 4.0, 0, np.inf, 100)) == 100
    assert len(uniform(times, 4.0, 0, np.inf, 33)) == 33
    assert uniform(times, 4.0, 5.0, 6.0, 3) == []


def test_fit():
    image = Image.new("RGB", (200, 100), (255, 255, 255))
    image.paste((255, 0, 0), (50, 0, 150, 100))
    assert np.asarray(fit(image, (50, 50), "crop"))[:, 1:-1].reshape(-1, 3).tolist() == [[255, 0, 0]] * 2400
    padded = np.asarray(fit(image, (50, 50), "pad"))
    assert not padded[:10].any()
    assert padded[25, 2].tolist() == [255, 255, 255]
    stretched = np.asarray(fit(image, (50, 60), "stretch"))
    assert stretched.shape == (50, 60, 3)
    assert stretched[25, 2].tolist() == [255, 255, 255]
    # pixels twice as high as wide: what is stored as 200 x 100 is square
    assert np.asarray(fit(image, (50, 50), "pad", 0.5))[2, 2].tolist() == [255, 255, 255]


def test_fit_averages_fine_patterns_away():
    pattern = np.indices((240, 240)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(pattern[..., None], 3, axis=2).astype(np.uint8))
    small = np.asarray(fit(image, (30, 30), "crop"), dtype=int)
    assert np.abs(small - 127).max() < 12


def reason_of(path, **settings):
    got = extract_one(Clip(0, str(path)), Settings(**{**vars(SETTINGS), **settings}))
    assert not got.jpegs
    assert got.reason in REASONS
    assert got.detail
    return got.reason


@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_files_that_are_no_videos(tmp_path, decoder):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "page.mp4").write_text("<!DOCTYPE html><html><body>404</body></html>" * 20)
    (tmp_path / "noise.mp4").write_bytes(random.Random(1).randbytes(10_000))
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n")
    reasons = {path.stem: reason_of(path, decoder=decoder) for path in tmp_path.iterdir()}
    assert reason_of(tmp_path / "no.mp4", decoder=decoder) == "missing"
    assert reasons == {
        "empty": "empty", "folder": "is_directory", "page": "not_media", "noise": "not_media", "list": "not_media",
    }  # fmt: skip


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert reason_of(tmp_path / "pipe.mp4") == "not_media"


def test_sound_alone(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert reason_of(tmp_path / "a.mp4") == "no_video_stream"


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("a.mp4", {}, "no_index"),
        ("a.mp4", {"movflags": "faststart"}, "truncated"),
        ("a.mkv", {}, "truncated"),
        ("a.webm", {}, "truncated"),
        ("a.avi", {}, "truncated"),
    ],
)
def test_half_a_file_is_no_success(tmp_path, name, options, reason):
    codec = {"a.webm": "libvpx", "a.avi": "mpeg4"}.get(name, "libx264")
    write(tmp_path / name, frames=150, codec=codec, options={"g": "10"}, container=options)
    assert extract_one(Clip(0, str(tmp_path / name)), SETTINGS).reason is None
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    assert reason_of(tmp_path / name) == reason


def test_clip_beyond_the_end_of_the_file(tmp_path):
    write(tmp_path / "a.mp4", frames=25)
    for times in ((5.0, 6.0), (0.5, 9.0)):
        assert extract_one(Clip(0, str(tmp_path / "a.mp4"), *times), SETTINGS).reason == "truncated"


def test_damage_is_never_a_success(tmp_path):
    """Whatever bytes are flipped: either no frames, or exactly the right ones."""
    write(tmp_path / "a.mp4", frames=100, options={"g": "20"})
    clean = numbers(extract_one(Clip(0, str(tmp_path / "a.mp4")), SETTINGS))
    data = (tmp_path / "a.mp4").read_bytes()
    begin, end = data.index(b"mdat") + 800, data.index(b"moov")
    outcomes = set()
    for seed in range(12):
        source, damaged = random.Random(seed), bytearray(data)
        for _ in range(5):
            damaged[source.randrange(begin, end)] ^= 1 << source.randrange(8)
        (tmp_path / "b.mp4").write_bytes(damaged)
        got = extract_one(Clip(0, str(tmp_path / "b.mp4")), SETTINGS)
        outcomes.add(got.reason)
        if got.reason is None:
            assert numbers(got) == clean
    assert "partial" in outcomes
