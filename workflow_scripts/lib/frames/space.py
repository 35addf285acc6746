"""The disk that frames take: estimated before they are made."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.clips import as_json
from workflow_scripts.lib.frames.extract import Clip, Settings
from workflow_scripts.lib.frames.shard import read_identity
from workflow_scripts.lib.report.numbers import size as readable

# Bytes a pixel by JPEG quality, before any frame of a corpus is there: the mean over 21 real videos (street scenes,
# cooking, film, screen recordings) at 160x256; single videos lay between half and twice of it.
QUALITIES = [1, 50, 75, 90, 95, 100]
BYTES_A_PIXEL = [0.02, 0.12, 0.17, 0.27, 0.38, 0.73]
MEMBER = 512 + 256  # bytes that a tar adds to a frame: its header, and up to the next whole block
UNSURE = 2  # so many times less may do where only this rule is there


@dataclass(frozen=True)
class Estimate:
    """Bytes of one clip's frames in a tar; `measured`: the mean of a shard that is there, else a rule of thumb."""

    clip_bytes: float
    measured: bool

    def __str__(self) -> str:
        source = "as in the shards that are there" if self.measured else "by a rule of thumb"
        return f"{readable(self.clip_bytes)} a clip, {source}"

    def require(self, needed: float, folder: Path) -> None:
        """UserError when `needed` bytes cannot fit on the disk of `folder`."""
        free = free_bytes(folder)
        if free < needed / (1 if self.measured else UNSURE):
            raise UserError(
                f"the frames of this shard need about {readable(needed)} while they are written ({self}), and the "
                f"disk of {folder} has {readable(free)} free. Make room, or store less: fewer frames (frames.count), "
                "smaller ones (frames.size), a lower frames.jpeg_quality, smaller shards (corpus.videos_per_shard)"
            )


def estimate(settings: Settings, frames: Path, clips: list[Clip] | None = None) -> Estimate:
    """From a status table in the folder `frames` that was made with the same settings, else from pixels and quality.

    `clips` tell how many moments get frames of their own.
    """
    for file in sorted(Path(frames).glob("status_*.parquet")):
        with contextlib.suppress(OSError, pa.ArrowInvalid):  # a broken one is for its readers to report
            if (clip_bytes := _mean(file, settings)) is not None:
                return Estimate(clip_bytes, measured=True)
    height, width = settings.size
    frame_bytes = height * width * float(np.interp(settings.jpeg_quality, QUALITIES, BYTES_A_PIXEL)) + MEMBER
    moments = sum(len(clip.moments) for clip in clips) / len(clips) if clips else 0
    return Estimate(frame_bytes * (settings.count + settings.moment_frames * moments), measured=False)


def _mean(status: Path, settings: Settings) -> float | None:
    """Bytes that a clip takes in the tar of a finished shard; None when it has other settings, or no frames."""
    if read_identity(status).get("settings") != as_json(settings):
        return None
    table = pq.read_table(status, columns=["outcome", "bytes", "frames"])
    good = table.filter(pc.field("outcome") == "ok")
    if not good.num_rows:
        return None
    return pc.mean(good["bytes"]).as_py() + MEMBER * pc.mean(good["frames"]).as_py()


def corpus_line(config: Config, resources: Path) -> str:
    """What the frames of the whole corpus will take, for people: an upper bound until the annotations are read."""
    if config.corpus.is_imported:
        [encoder] = config.features.encoders
        return f"frames: none; the features are imported from {encoder.source} ({encoder.format})"
    frames, ingested = Path(resources, "frames"), Path(resources, "ingest", "videos.parquet")
    room = config.corpus.shards * config.corpus.videos_per_shard
    known = config.corpus.demo.videos if config.corpus.adapter == "demo" else None
    if ingested.is_file():
        with contextlib.suppress(OSError, pa.ArrowInvalid):
            known = pq.read_metadata(ingested).num_rows
    videos = room if known is None else min(room, known)
    a_clip = estimate(Settings.of(config.frames), frames)
    there = sum(file.stat().st_size for file in frames.glob("frames_*.tar"))
    keep = "yes" if config.frames.keep else "no, each shard's are removed once its features exist"
    if config.clip.enabled and not config.frames.keep:
        keep += " and CLIP is trained and evaluated, which is after all of them are made"
    return (
        f"frames: about {readable(videos * a_clip.clip_bytes)} for {'at most ' if known is None else ''}{videos} "
        f"videos ({a_clip}); there: {readable(there)}; free: {readable(free_bytes(frames))}; keep: {keep}"
    )


def free_bytes(folder: Path) -> int:
    """Free bytes of the disk that a folder lies on, or will lie on."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
