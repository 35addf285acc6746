"""Drawing and encoding of the synthetic videos."""

import json
import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from workflow_scripts.lib.corpus.demo.scenes import Moment, Scene, annotation, scene
from workflow_scripts.lib.environment import end_with_parent
from workflow_scripts.lib.files import whole_file

COLOURS = {
    "red": (215, 25, 25),
    "orange": (255, 135, 0),
    "yellow": (250, 235, 40),
    "green": (20, 160, 45),
    "cyan": (30, 220, 220),
    "blue": (35, 60, 235),
    "purple": (130, 25, 170),
    "pink": (255, 140, 200),
}
WAY = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
OVERSAMPLING = 4  # shapes are drawn so much larger and averaged down: smooth edges, sub-pixel motion


def background(scene: Scene, size: int) -> np.ndarray:
    """The still background, uint8 [size, size, 3]."""
    y, x = np.mgrid[:size, :size] / (size * scene.period)
    if scene.background == "striped":
        wave = np.sin(np.pi * (x + y))
    elif scene.background == "checked":
        wave = np.sin(np.pi * x) * np.sin(np.pi * y)
    elif scene.background == "dotted":
        wave = 0.3 - np.hypot(x % 1 - 0.5, y % 1 - 0.5)
    else:
        wave = np.zeros_like(x)
    texture = np.clip(wave * 8, -1, 1) * scene.contrast
    return np.clip(np.array(scene.shade) + texture[..., None], 0, 255).astype(np.uint8)


def _outline(shape: str, x: float, y: float, r: float) -> list[tuple[float, float]]:
    """Corners of a polygon around (x, y)."""
    if shape == "square":
        h = 0.85 * r
        return [(x - h, y - h), (x + h, y - h), (x + h, y + h), (x - h, y + h)]
    if shape == "cross":
        w = 0.33 * r
        across = [(-r, -w), (-w, -w), (-w, -r), (w, -r), (w, -w), (r, -w)]
        return [(x + dx, y + dy) for dx, dy in across] + [(x - dx, y - dy) for dx, dy in across]
    points, inner = {"triangle": (3, None), "star": (5, 0.42)}[shape]
    corners = []
    for k in range(points * 2):
        if k % 2 and inner is None:
            continue
        reach = 1.1 * r * (inner if k % 2 else 1)
        angle = math.pi * (k / points - 0.5)
        corners.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    return corners


def _mask(shape: str, x: float, y: float, r: float, tile: int) -> Image.Image:
    """Coverage of the shape in a square tile, 0 to 255."""
    k = OVERSAMPLING
    mask = Image.new("L", (tile * k, tile * k))
    draw, x, y, r = ImageDraw.Draw(mask), x * k, y * k, r * k
    if shape in ("circle", "ring"):
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
        if shape == "ring":
            hole = 0.55 * r
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        draw.polygon(_outline(shape, x, y, r), fill=255)
    return mask.reduce(k)


def draw_moment(frame: Image.Image, moment: Moment, time: float) -> None:
    """Draw the moment's shape where it is at that time (seconds), on the way straight through the middle."""
    size = frame.width
    done = (time - moment.start_s) / (moment.end_s - moment.start_s) - 0.5
    dx, dy = WAY[moment.direction]
    along = done * moment.travel
    x = (0.5 + dx * along + abs(dy) * moment.aside) * size
    y = (0.5 + dy * along + abs(dx) * moment.aside) * size
    r = moment.radius * size
    reach = math.ceil(1.1 * r) + 1
    left, top = math.floor(x) - reach, math.floor(y) - reach
    mask = _mask(moment.shape, x - left, y - top, r, 2 * reach + 1)
    frame.paste(COLOURS[moment.colour], (left, top), mask)


def draw(scene: Scene, size: int, time: float, still: Image.Image) -> Image.Image:
    """The frame at that time: the background, and the shape of the moment that is on."""
    frame = still.copy()
    for moment in scene.moments:
        if moment.start_s <= time <= moment.end_s:
            draw_moment(frame, moment, time)
    return frame


def render(scene: Scene, path: Path, size: int, fps: int) -> None:
    """Encode the scene as H.264 in mp4; the same scene gives the same bytes."""
    edge = size + size % 2  # yuv420p needs an even size
    still = Image.fromarray(background(scene, edge))
    with whole_file(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        # Without the last, a video's bytes are others now and then, and on other processors.
        options = {"preset": "veryfast", "crf": "20", "x264-params": "cpu-independent=1"}
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = edge, edge, "yuv420p"
        stream.codec_context.thread_count = 1  # the number of threads would change the bytes
        for number in range(math.ceil(scene.duration_s * fps)):
            frame = av.VideoFrame.from_image(draw(scene, edge, number / fps, still))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _make(video: int, *, folder: Path, base: Path, seed: int, moments: int, size: int, fps: int) -> str:
    """Render one video; its line of the annotation file."""
    path = folder / f"demo_{video:04d}.mp4"
    what = scene(seed, video, moments)
    render(what, path, size, fps)
    relative = Path(os.path.relpath(path, base)).as_posix()
    return json.dumps(annotation(what, video, relative), ensure_ascii=False)


def make_corpus(
    annotations: Path,
    folder: Path,
    *,
    videos: int,
    moments: int,
    size: int,
    fps: int,
    seed: int,
    workers: int,
) -> None:
    """Render the videos into `folder`, and then their annotation file, which is there only when all of them are.

    A video depends on the seed and its index alone: more of them leave the earlier ones as they are.
    """
    scene(seed, 0, moments)  # a wrong number of moments is told here, not by every worker
    folder.mkdir(parents=True, exist_ok=True)
    make = partial(
        _make, folder=folder, base=annotations.parent, seed=seed, moments=moments, size=size, fps=fps
    )
    workers = max(1, min(workers, videos))
    with (
        whole_file(annotations) as temporary,
        temporary.open("w", encoding="utf-8") as lines,
        ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("fork"), initializer=end_with_parent
        ) as pool,
    ):
        for video, line in enumerate(pool.map(make, range(videos), chunksize=8), start=1):
            lines.write(line + "\n")
            if video % 100 == 0 or video == videos:
                print(f"{video} of {videos} videos rendered", flush=True)
