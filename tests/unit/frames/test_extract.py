"""One video to JPEGs: sampling, size, and a named reason for every file that gives no frames."""

import io
import os
import random
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

from tests.unit.frames.numbered import number_of, write
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.decoders import readings
from workflow_scripts.lib.frames.decoders.pyav import IndexedReading
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings, extract_file, prepare
from workflow_scripts.lib.frames.picture import fit
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
    reasons = {path.stem: reason_of(path, decoders=(decoder,)) for path in tmp_path.iterdir()}
    assert reason_of(tmp_path / "no.mp4", decoders=(decoder,)) == "missing"
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


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_clips_in_the_half_that_is_there_are_whole(tmp_path, name):
    write(tmp_path / name, frames=150, options={"g": "10"}, container={"movflags": "faststart"})
    path = str(tmp_path / name)
    clips = [Clip(0, path, 0.0, 2.0), Clip(1, path, 1.0, 5.5), Clip(2, path, 1.0, None)]
    whole = extract_file(clips, SETTINGS)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 6 // 10])
    half = extract_file(clips, SETTINGS)
    assert [one.reason for one in half] == [None, "truncated", "truncated"]
    assert half[0].jpegs == whole[0].jpegs and len(half[0].jpegs) == SETTINGS.count


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


def frames_of(path, **options):
    """A clip, and the numbers of the frames that it should have, for settings with 4 frames."""
    write(path, frames=100, options={"g": "20", "bf": "2"}, **options)
    clips = (Clip(0, str(path), 0.0, 2.0), Clip(1, str(path), 1.0, 3.0), Clip(2, str(path)))
    return clips, [[6, 18, 31, 43], [31, 43, 56, 68], [12, 37, 62, 87]]


FOUR = Settings(count=4, size=(64, 128), fit="stretch", jpeg_quality=95)


@pytest.mark.parametrize("quality", ["exact", "fast", "keyframes"])
def test_several_clips_of_a_file_get_what_each_would_get_alone(tmp_path, quality):
    clips, expected = frames_of(tmp_path / "a.mp4")
    settings = replace(FOUR, quality=quality)
    together = extract_file(clips, settings)
    assert together == [extract_one(clip, settings) for clip in clips]
    if quality != "keyframes":
        found = np.array([numbers(got) for got in together])
        assert np.abs(found - expected).max() <= (quality == "fast")


def test_several_clips_open_the_file_once_and_decode_no_frame_twice(tmp_path, monkeypatch):
    clips, expected = frames_of(tmp_path / "a.mp4")
    opened, decoded = [], []
    learn, decode = IndexedReading._learn, IndexedReading.decode
    monkeypatch.setattr(IndexedReading, "_learn", lambda self: opened.append(self) or learn(self))
    monkeypatch.setattr(
        IndexedReading, "decode", lambda self, packet: decoded.append(packet) or decode(self, packet)
    )
    assert [numbers(got) for got in extract_file(clips, FOUR)] == expected
    stamps = [packet.pts for packet in decoded if packet is not None]
    assert len(opened) == 1
    assert len(stamps) == len(set(stamps))


def test_clip_outside_of_the_file_fails_alone(tmp_path):
    clips, expected = frames_of(tmp_path / "a.mp4")
    got = extract_file((clips[0], Clip(7, clips[0].path, 50.0, 60.0), clips[1]), FOUR)
    assert [one.reason for one in got] == [None, "truncated", None]
    assert [numbers(got[0]), numbers(got[2])] == expected[:2]


def test_damage_in_one_clip_leaves_the_others(tmp_path):
    path = tmp_path / "a.mkv"
    write(path, frames=100, options={"g": "20", "bf": "0", "sc_threshold": "0"})
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    where = data.index(bytes(packets[45]), packets[45].pos)
    data[where + 6 : where + packets[45].size] = bytes(packets[45].size - 6)
    path.write_bytes(data)
    clips = tuple(Clip(n, str(path), *times) for n, times in enumerate([(0.0, 1.2), (1.9, 2.2), (3.2, 4.0)]))
    got = extract_file(clips, FOUR)
    assert [one.reason for one in got] == [None, "partial", None]
    assert all(number < 30 or number >= 80 for one in got for number in numbers(one))


def test_moments_get_frames_of_their_own(tmp_path):
    write(tmp_path / "a.mp4", frames=100)
    clip = Clip(0, str(tmp_path / "a.mp4"), 1.0, 4.0, moments=((0.0, 0.4), (2.6, None)))
    got = extract_one(clip, replace(FOUR, count=2, moment_frames=2))
    assert numbers(got) == [27, 32, 43, 81, 92, 97] or numbers(got) == [27, 32, 43, 80, 92, 97]


def test_decoder_that_serves_is_recorded(tmp_path):
    both = replace(FOUR, decoders=("decord", "pyav"))
    for name, decoder in (("a.mkv", "decord"), ("a.ts", "pyav")):
        clips, expected = frames_of(tmp_path / name)
        got = extract_file(clips, both)
        assert [one.decoder for one in got] == [decoder] * 3
        assert [numbers(one) for one in got] == expected


def test_when_every_decoder_fails_pyav_tells_why(tmp_path):
    write(tmp_path / "a.ts", options={"g": "10"})
    clip = Clip(0, str(tmp_path / "a.ts"), 60.0, 70.0)
    got = extract_one(clip, replace(FOUR, decoders=("decord", "pyav")))
    assert got.reason == "truncated"
    assert "decord: seek_mismatch" in got.detail
    assert "pyav: truncated" in got.detail


class Fake(IndexedReading):
    """Gives what it is told to."""

    change = staticmethod(lambda pictures: pictures)

    def pictures(self, positions, size=None):
        """See Reading."""
        return self.change(list(super().pictures(positions, size)))


WRONG = {
    "count_mismatch": lambda pictures: pictures[:-1],
    "seek_mismatch": lambda pictures: [p._replace(time_s=p.time_s + 0.04) for p in pictures],
}


@pytest.mark.parametrize("reason", WRONG)
def test_wrong_pictures_are_no_success(tmp_path, monkeypatch, reason):
    clips, expected = frames_of(tmp_path / "a.mp4")
    monkeypatch.setattr(Fake, "change", staticmethod(WRONG[reason]))
    monkeypatch.setattr("workflow_scripts.lib.frames.extract.readings", lambda *_: [Fake])
    assert {got.reason for got in extract_file(clips[:1], FOUR)} == {reason}
    # ... and are replaced by another reading's.
    monkeypatch.setattr("workflow_scripts.lib.frames.extract.readings", lambda *_: [Fake, IndexedReading])
    assert numbers(extract_one(clips[0], FOUR)) == expected[0]


def test_certain_failures_are_not_tried_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "workflow_scripts.lib.frames.extract.readings",
        lambda decoder, quality: asked.append(decoder) or readings(decoder, quality)[:1],
    )
    opened = []
    monkeypatch.setattr(IndexedReading, "_open", lambda self: opened.append(1))
    got = extract_one(Clip(0, str(tmp_path / "no.mp4")), replace(FOUR, decoders=("decord", "pyav")))
    assert (got.reason, opened) == ("missing", [])


def test_keyframes_of_a_clip_without_any(tmp_path):
    write(tmp_path / "a.mp4", frames=100, options={"g": "50", "sc_threshold": "0"})
    settings = replace(FOUR, quality="keyframes")
    assert numbers(extract_one(Clip(0, str(tmp_path / "a.mp4")), settings)) == [0, 50]
    got = extract_one(Clip(0, str(tmp_path / "a.mp4"), 0.5, 1.5), settings)
    assert (got.reason, got.jpegs) == ("count_mismatch", [])


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_a_picture_is_no_video(tmp_path, kind):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.mp4", kind)
    assert reason_of(tmp_path / "a.mp4") == "not_media"


@pytest.mark.parametrize("brand", ["heic", "avif"])
def test_a_picture_in_the_container_of_videos_is_none(tmp_path, brand):
    write(tmp_path / "a.mp4", frames=1)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data.replace(b"ftypisom", b"ftyp" + brand.encode(), 1))
    assert reason_of(tmp_path / "a.mp4") == "not_media"


def test_times_far_beyond_the_header_are_not_believed(tmp_path):
    write(tmp_path / "a.flv", codec="flv", frames=50)
    data = bytearray((tmp_path / "a.flv").read_bytes())
    tag, video = 13, 0
    while tag + 11 < len(data):  # type, 3 bytes of size, 3 of milliseconds and their upper byte, 3 of zeros
        video += data[tag] == 9
        if video > 25:
            data[tag + 7] = 0x40
        tag += 15 + int.from_bytes(data[tag + 1 : tag + 4], "big")
    (tmp_path / "a.flv").write_bytes(data)
    assert reason_of(tmp_path / "a.flv") == "seek_mismatch"


def test_prepare_says_which_decoder_cannot_be_used():
    prepare(replace(FOUR, decoders=("pyav", "decord")))
    try:
        readings("nvdec")
    except UserError:
        with pytest.raises(UserError, match="nvdec"):
            prepare(replace(FOUR, decoders=("pyav", "nvdec")))
