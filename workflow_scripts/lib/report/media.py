"""Paths, times and pictures of the corpus's videos, for the few that the page shows."""

import base64
import io
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from workflow_scripts.lib.corpus.tables import shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.clips import find_files, read_clips
from workflow_scripts.lib.frames.extract import Settings, extract_file
from workflow_scripts.lib.frames.shard import FrameShard

STRIP_GAP = 2  # pixels between two frames
STRIP_QUALITY = 75
STRIP_GROUND = "#f1f3f5"


@dataclass(frozen=True)
class FrameSource:
    """Where the frames of a corpus are, and what they are made of by which settings."""

    folder: Path
    root: Path
    settings: Settings


@dataclass(frozen=True)
class Video:
    """A video with frames, or one of imported features, which has none."""

    index: int
    path: str
    """As in the corpus table, with the clip's seconds behind it where it is a part of a file."""
    timestamps: list[float]
    """Seconds of its frames from the start of the clip."""
    length_s: float | None
    """Seconds, where the container tells."""
    shard: int


class Media:
    """Looks videos up in the tables and tars of `shards` shards. A context manager: it keeps tars open.

    Only the rows asked for stay in memory, so the size of the corpus does not matter. Where a tar was removed
    (`frames.keep: false`), the frames of the few videos are made again from their files. Without `frames`, the corpus is
    of imported features: there are no pictures.
    """

    def __init__(self, corpus: Path, shards: int, frames: FrameSource | None):
        self.shards, self.frames = shards, frames
        self._made_again: dict[int, list[bytes] | None] = {}
        self._videos = shard_files(corpus, "videos_%03d.parquet", shards)
        self._captions = shard_files(corpus, "captions_%03d.parquet", shards)
        self._status = shard_files(frames.folder, "status_%03d.parquet", shards) if frames else []
        self._open: dict[int, FrameShard] = {}
        self._stack = ExitStack()

    def videos(self, indices: Iterable[int]) -> dict[int, Video]:
        """{index: Video}; UserError for one that is not in the corpus."""
        wanted = sorted(set(indices))
        found = {
            row["index"]: Video(row["index"], _shown_path(row), [], None, shard)
            for shard, file in enumerate(self._videos)
            for row in _rows([file], "index", wanted)
        }
        if self.frames:
            columns = ["index", "timestamps", "duration_s"]
            found = {
                row["index"]: replace(
                    found[row["index"]], timestamps=row["timestamps"], length_s=row["duration_s"]
                )
                for row in _rows(self._status, "index", wanted, columns)
                if row["index"] in found
            }
        if missing := set(wanted) - set(found):
            raise UserError(
                f"{self._videos[0].parent}: no video {min(missing)}; results and corpus do not belong together"
            )
        return found

    def captions(self, videos: Iterable[int], keys: Iterable[str]) -> dict[str, dict]:
        """{caption key: row with text, start_s, end_s}, of captions of these videos; UserError for a missing one."""
        keys = set(keys)
        columns = ["key", "text", "start_s", "end_s"]
        rows = _rows(self._captions, "video", sorted(set(videos)), ["video", *columns])
        found = {row["key"]: row for row in rows if row["key"] in keys}
        if missing := keys - set(found):
            raise UserError(
                f"{self._captions[0].parent}: no caption {min(missing)}; results and corpus do not belong together"
            )
        return found

    def texts(self, videos: Iterable[int], most: int) -> dict[int, list[str]]:
        """The texts of the first captions of each of these videos, `most` at most; none for a caption without a text."""
        rows = _rows(self._captions, "video", sorted(set(videos)), ["video", "caption", "text"])
        texts: dict[int, list[str]] = {}
        for row in sorted(rows, key=lambda row: (row["video"], row["caption"])):
            texts.setdefault(row["video"], []).append(row["text"])
        return {video: [text for text in found if text][:most] for video, found in texts.items()}

    def failures(self, limit: int) -> list[dict]:
        """The first `limit` videos without frames, in corpus order: index, split, reason, detail, path."""
        rows: list[dict] = []
        for file in self._status:
            rows += _rows([file], "outcome", ["failed"], ["index", "split", "reason", "detail", "outcome"])
            if len(rows) >= limit:
                break
        rows = rows[:limit]
        paths = {
            row["index"]: _shown_path(row)
            for row in _rows(self._videos, "index", [row["index"] for row in rows])
        }
        return [{**row, "path": paths.get(row["index"], "")} for row in rows]

    def strip(self, video: Video, positions: Sequence[int], height: int, slots: int) -> str | None:
        """The frames at `positions` as a `film_strip`; None when there are none, or tar and source are gone.

        UserError when the tar and its status do not fit.
        """
        jpegs = self._jpegs(video, self.frames) if self.frames else None
        if jpegs is None:
            return None
        if len(jpegs) != len(video.timestamps):
            raise UserError(
                f"{self.frames.folder}: video {video.index} has {len(jpegs)} frames in the tar and "
                f"{len(video.timestamps)} in the status; run extract_frames again"
            )
        return film_strip([jpegs[position] for position in positions], height, slots)

    def _jpegs(self, video: Video, frames: FrameSource) -> list[bytes] | None:
        tar = frames.folder / f"frames_{video.shard:03d}.tar"
        if not tar.exists():
            if video.index not in self._made_again:
                self._made_again[video.index] = self._make_again(video, frames)
            return self._made_again[video.index]
        if video.shard not in self._open:
            self._open[video.shard] = self._stack.enter_context(FrameShard(tar))
        return self._open[video.shard].jpegs(video.index)

    def _make_again(self, video: Video, frames: FrameSource) -> list[bytes] | None:
        """None when the file is gone, changed, or not to be decoded on this machine."""
        captions = self._captions[video.shard] if frames.settings.moment_frames else None
        found, _ = find_files(read_clips(self._videos[video.shard], captions, [video.index]), frames.root)
        if not found:
            return None
        try:
            [made] = extract_file(tuple(found), frames.settings)
        except UserError:
            return None
        return made.jpegs if made.timestamps == video.timestamps else None

    def __enter__(self) -> "Media":
        return self

    def __exit__(self, *_) -> None:
        self._stack.close()


def film_strip(jpegs: Sequence[bytes], height: int, slots: int) -> str:
    """Frames beside each other, `height` pixels high, as one JPEG data URI: one picture has one header, not many.

    Where there are fewer frames than `slots`, the rest stays empty, so that all strips have the same scale.
    """
    pictures = [_thumbnail(jpeg, height) for jpeg in jpegs]
    slots = max(slots, len(pictures))
    width = sum(picture.width for picture in pictures) + pictures[0].width * (slots - len(pictures))
    strip = Image.new("RGB", (width + STRIP_GAP * (slots - 1), height), STRIP_GROUND)
    left = 0
    for picture in pictures:
        strip.paste(picture, (left, 0))
        left += picture.width + STRIP_GAP
    data = io.BytesIO()
    strip.save(data, "JPEG", quality=STRIP_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode()


def _thumbnail(jpeg: bytes, height: int) -> Image.Image:
    picture = Image.open(io.BytesIO(jpeg))
    width = max(1, round(picture.width * height / picture.height))
    picture.draft("RGB", (width, height))  # lets the JPEG decoder do most of the shrinking
    return picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)


def _rows(
    files: Iterable[Path], column: str, values: Sequence, columns: list[str] | None = None
) -> list[dict]:
    """Rows with one of `values` in `column`; parquet statistics skip the files that cannot hold any."""
    if not len(values):
        return []
    tables = (pq.read_table(file, columns=columns, filters=[(column, "in", values)]) for file in files)
    return [row for table in tables for row in table.to_pylist()]


def _shown_path(row: dict) -> str:
    if row["start_s"] is None and row["end_s"] is None:
        return row["path"]
    end = "end" if row["end_s"] is None else f"{row['end_s']:.1f} s"
    return f"{row['path']} ({row['start_s'] or 0:.1f} s to {end})"
