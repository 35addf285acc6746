"""A corpus of a few videos with frames, in the form that the clip and features stages read."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from workflow_scripts.lib.config import ClipConfig, DemoClipModel, freeze
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.frames.shard import write_status, write_tar
from workflow_scripts.lib.keys import caption_key, video_key

COLOURS = {"red": "빨간", "green": "초록", "blue": "파란", "white": "하얀"}
RGB = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200), "white": (230, 230, 230)}
SIZE = 24
FRAMES = 6
TINY = DemoClipModel(image_size=32, vision_width=2, width=32, context_length=16, merges=60)


def jpeg(colour: str, seed: int) -> bytes:
    noise = np.random.default_rng(seed).integers(-20, 20, (SIZE, SIZE, 3))
    pixels = np.clip(np.array(RGB[colour]) + noise, 0, 255).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG")
    return data.getvalue()


def split_of(video: int) -> str:
    return ("train", "train", "train", "train", "val", "test")[video % 6]


def make_corpus(folder: Path, videos: int = 12, shards: int = 2, failed: tuple[int, ...] = ()) -> Path:
    """Frames a second apart; one moment from 1 to 3 s and one of the whole video, each in two languages."""
    corpus, frames = folder / "corpus", folder / "frames"
    corpus.mkdir(parents=True), frames.mkdir()
    per_shard = videos // shards
    for shard in range(shards):
        here = range(shard * per_shard, (shard + 1) * per_shard)
        _write(corpus / f"videos_{shard:03d}.parquet", [_video(i) for i in here], VIDEOS)
        _write(
            corpus / f"captions_{shard:03d}.parquet", [row for i in here for row in _captions(i)], CAPTIONS
        )
        good = [i for i in here if i not in failed]
        write_tar(frames / f"frames_{shard:03d}.tar", ((i, _jpegs(i)) for i in good))
        write_status(frames / f"status_{shard:03d}.parquet", [_status(i, i in good) for i in here])
    return folder


def colour_of(video: int) -> str:
    return list(COLOURS)[video % len(COLOURS)]


def _jpegs(video: int) -> list[bytes]:
    return [jpeg(colour_of(video), 100 * video + frame) for frame in range(FRAMES)]


def _video(i: int) -> dict:
    path = f"{i}.mp4"
    return {"index": i, "id": path, "path": path, "source": path, "split": split_of(i)}


def _captions(i: int) -> list[dict]:
    colour = colour_of(i)
    rows = []
    for start, end in ((1.0, 3.0), (None, None)):
        for language, text in (("en", f"a {colour} square"), ("ko", f"{COLOURS[colour]} 사각형이 있다")):
            j = len(rows)
            rows.append(
                {
                    "video": i, "caption": j, "key": caption_key(i, j), "split": split_of(i), "language": language,
                    "text": text, "start_s": start, "end_s": end, "attributes": [],
                }
            )  # fmt: skip
    return rows


def _status(i: int, good: bool) -> dict:
    return {
        "index": i, "key": video_key(i), "split": split_of(i), "outcome": "ok" if good else "failed",
        "reason": None if good else "corrupt", "frames": FRAMES if good else 0,
        "timestamps": [float(t) for t in range(FRAMES)] if good else [], "bytes": 0, "seconds": 0.1,
    }  # fmt: skip


def _write(path: Path, rows: list[dict], schema: pa.Schema) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def write_configs(folder: Path, **changes) -> Path:
    """The frozen clip section, with changes, and the parts of it that are frozen apart."""
    settings = {
        "demo_model": TINY,
        "batch_size": 8,
        "epochs": 2,
        "warmup": 2,
        "precision": "fp32",
        "lr": 1e-3,
    }
    clip = ClipConfig(**settings | changes)
    for name, section in (("clip", clip), ("clip_data", clip.data), ("clip_evaluation", clip.evaluation())):
        (folder / f"{name}.yaml").write_text(freeze(section), encoding="utf-8")
    return folder / "clip.yaml"
