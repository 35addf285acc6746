"""The benchmark's own video clips: web video in size, bitrate and cost of decoding.

A textured background pans under moving objects and changing light, with film grain on top, so that every frame
differs from the one before and the decoder has motion and residuals to work on. Flat colours would decode for free.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from workflow_scripts.lib.files import whole_file

OBJECTS = 6
GRAIN = 5.0  # standard deviation, of 0..255
FORMATS = {"mp4": "mp4", "mkv": "matroska", "ts": "mpegts", "avi": "avi", "webm": "webm"}


@dataclass(frozen=True)
class Kind:
    """A clip's form; `gop` is the distance of keyframes in frames, `bitrate` in bits a second."""

    name: str
    height: int
    width: int
    seconds: float
    gop: int
    bitrate: int
    fps: int = 30
    codec: str = "libx264"
    ending: str = "mp4"


MEASURED = (
    Kind("360p 10 s, GOP 250", 360, 640, 10, 250, 700_000),
    Kind("360p 10 s, GOP 30", 360, 640, 10, 30, 700_000),
    Kind("720p 30 s, GOP 250", 720, 1280, 30, 250, 2_500_000),
    Kind("720p 30 s, GOP 30", 720, 1280, 30, 30, 2_500_000),
)
QUICK = (Kind("quick 120p 2 s, GOP 12", 120, 216, 2, 12, 100_000),)
SMALL = (
    Kind("small h264", 144, 256, 2, 12, 100_000),
    Kind("small h264 long GOP", 144, 256, 3, 250, 100_000),
    Kind("small h264 mkv", 120, 160, 2, 30, 100_000, ending="mkv"),
    Kind("small h264 ts", 120, 160, 2, 30, 100_000, ending="ts"),
    Kind("small mpeg4", 120, 160, 2, 12, 200_000, codec="mpeg4", ending="avi"),
    Kind("small vp9", 120, 160, 1, 30, 100_000, codec="libvpx-vp9", ending="webm"),
    Kind("small hevc", 120, 160, 1, 30, 100_000, codec="libx265"),
)


@dataclass(frozen=True)
class MadeClip:
    """A clip that lies at `path`."""

    kind: Kind
    path: Path

    def facts(self) -> dict:
        """What the result file says of it; the bitrate is that of the whole file."""
        return {
            **asdict(self.kind),
            "bitrate": round(self.path.stat().st_size * 8 / self.kind.seconds),
            "frames": round(self.kind.seconds * self.kind.fps),
        }


def make_clips(folder: Path, kinds: tuple[Kind, ...]) -> list[MadeClip]:
    """The clips in `folder`; those that lie there already, made with the same settings, are kept."""
    clips = []
    for kind in kinds:
        path = folder / f"{kind.name.replace(' ', '_').replace(',', '')}.{kind.ending}"
        made_as = path.with_suffix(".json")
        if not (path.exists() and made_as.exists() and made_as.read_text() == _settings(kind)):
            print(f"making {path.name}", flush=True)
            with whole_file(path) as temporary:
                _encode(temporary, kind)
            made_as.write_text(_settings(kind))
        clips.append(MadeClip(kind, path))
    return clips


def broken_clip(folder: Path, clip: MadeClip) -> Path:
    """A copy of a clip with the second half of its bytes gone."""
    path = folder / f"broken.{clip.kind.ending}"
    data = clip.path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _settings(kind: Kind) -> str:
    return repr((kind, OBJECTS, GRAIN))


def _encode(path: Path, kind: Kind) -> None:
    options = {"preset": "medium", "bf": "3", "g": str(kind.gop), "keyint_min": str(kind.gop)}
    if kind.codec == "libx264":  # no keyframes but those of the GOP; bitrate held as streaming sites do
        options |= {"sc_threshold": "0", "maxrate": str(kind.bitrate * 2), "bufsize": str(kind.bitrate * 4)}
    elif kind.codec == "libvpx-vp9":
        options = {"deadline": "realtime", "cpu-used": "8", "g": str(kind.gop)}
    elif kind.codec == "libx265":
        options |= {"preset": "ultrafast", "x265-params": "log-level=error"}
    with av.open(str(path), "w", format=FORMATS[kind.ending]) as container:
        stream = container.add_stream(kind.codec, rate=kind.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        stream.bit_rate = kind.bitrate
        for picture in _pictures(kind):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))


def _pictures(kind: Kind) -> Iterator[np.ndarray]:
    """Every frame of a clip, uint8 [height, width, 3]; the same for the same kind."""
    random = np.random.default_rng(kind.height)
    height, width, frames = kind.height, kind.width, round(kind.seconds * kind.fps)
    pan = max(1, width // 3)
    background = _texture(random, height + height // 4, width + pan)
    sizes = random.integers(height // 8, height // 3, size=(OBJECTS, 2))
    objects = [_texture(random, *size) for size in sizes]
    phase, speed = random.uniform(0, 2 * np.pi, (OBJECTS, 2)), random.uniform(0.2, 0.9, (OBJECTS, 2))
    grain = random.normal(0, GRAIN, (8, height, width, 1)).astype(np.float32)
    light = np.linspace(-20, 20, width, dtype=np.float32)[None, :, None]
    for frame in range(frames):
        seconds = frame / kind.fps
        across = round((0.5 - 0.5 * np.cos(seconds * 0.6)) * (pan - 1))
        down = round((0.5 - 0.5 * np.cos(seconds * 0.35)) * (height // 4 - 1))
        picture = background[down : down + height, across : across + width].copy()
        for thing, angle, rate in zip(objects, phase, speed, strict=True):
            place = 0.5 + 0.5 * np.sin(angle + rate * seconds)
            y = round(place[0] * (height - thing.shape[0]))
            x = round(place[1] * (width - thing.shape[1]))
            picture[y : y + thing.shape[0], x : x + thing.shape[1]] = thing
        picture += light * np.float32(np.sin(seconds))
        # The same few fields of grain, shifted: as good as new ones for an encoder, and cheap.
        picture += np.roll(grain[frame % len(grain)], (7 * frame, 13 * frame), axis=(0, 1))
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Coloured noise of several scales, coarse strong and fine weak as in nature, float32 [height, width, 3]."""
    picture = np.full((height, width, 3), random.uniform(80, 170, 3), dtype=np.float32)
    for cell, strength in ((128, 60), (48, 40), (16, 22), (6, 10)):
        coarse = random.uniform(0, 255, (-(-height // cell) + 1, -(-width // cell) + 1, 3)).astype(np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        picture += (np.asarray(smooth, dtype=np.float32) - 127.5) * (strength / 127.5)
    return picture
