"""Videos that carry their frame number in the picture: a row of black and white blocks."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

BITS, BLOCK = 8, 16
WIDTH, HEIGHT = BITS * BLOCK, 64


def picture(number: int) -> np.ndarray:
    """The frame with that number, uint8 [HEIGHT, WIDTH, 3]; the upper third grey, so that up and down differ."""
    bits = [number >> bit & 1 for bit in range(BITS)]
    row = np.repeat(np.array(bits, dtype=np.uint8) * 235 + 10, BLOCK)
    frame = np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 3)).copy()
    frame[: HEIGHT // 3] = 128
    return frame


def number_of(image: Image.Image) -> int:
    """The number in a frame of any size; AssertionError when the picture is no such frame."""
    grey = np.asarray(image.convert("L").resize((WIDTH, HEIGHT)), dtype=float)
    assert abs(grey[2 : HEIGHT // 3 - 4].mean() - 128) < 25, "not upright, or not one of ours"
    levels = grey[HEIGHT // 2 : -2].reshape(-1, BITS, BLOCK)[:, :, 4:-4].mean(axis=(0, 2))
    assert ((levels < 90) | (levels > 165)).all(), "damaged"
    return sum(int(level > 128) << bit for bit, level in enumerate(levels))


def write(
    path: Path,
    frames: int = 60,
    *,
    fps: int = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict | None = None,
    steps: list[int] | None = None,
    container: dict | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> list[float]:
    """Encode frames 0 to frames-1 and return their times in seconds.

    `options` are the encoder's, `container` the file format's, `size` is width and height. `steps` makes the rate
    variable: how many 1/fps each frame lasts, repeated as often as needed.
    """
    times, position = [], 0
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=fps, options=options or {})
        (stream.width, stream.height), stream.pix_fmt = size, pix_fmt
        stream.codec_context.thread_count = 1
        for number in range(frames):
            image = Image.fromarray(picture(number)).resize(size, Image.Resampling.BOX)
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = position, Fraction(1, fps)
            times.append(position / fps)
            position += steps[number % len(steps)] if steps else 1
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    return times


def copy_from(source: Path, target: Path, first_packet: int) -> None:
    """Copy the stream without its first packets, as a careless cut does."""
    with av.open(str(source)) as inside, av.open(str(target), "w") as outside:
        stream = outside.add_stream_from_template(inside.streams.video[0])
        for number, packet in enumerate(inside.demux(video=0)):
            if number >= first_packet and packet.size:
                packet.stream = stream
                outside.mux(packet)


def turn(path: Path, degrees: int) -> None:
    """Write a display matrix into an mp4: players turn the picture clockwise by so much."""
    one = 1 << 16
    a, b, c, d = {90: (0, one, -one, 0), 180: (-one, 0, 0, -one), 270: (0, -one, one, 0)}[degrees]
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 44  # behind version, times, id, duration, layer and volume
    values = [a, b, 0, c, d, 0, 0, 0, 1 << 30]
    data[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)
