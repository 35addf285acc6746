"""The files of a shard: frames in a WebDataset tar, and a status row for every video. Writing and reading them."""

import io
import json
import mmap
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.corpus.tables import shard_files
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import whole_file
from workflow_scripts.lib.keys import frame_name

STATUS = pa.schema(
    [
        pa.field("index", pa.int64(), nullable=False),
        pa.field("key", pa.string(), nullable=False),  # vid_{index}
        pa.field("split", pa.string(), nullable=False),
        pa.field("outcome", pa.string(), nullable=False),  # ok or failed
        pa.field("reason", pa.string()),  # why it failed: a key of reasons.REASONS
        pa.field("detail", pa.string()),
        pa.field("decoder", pa.string()),
        pa.field("frames", pa.int32(), nullable=False),
        pa.field("timestamps", pa.list_(pa.float64()), nullable=False),  # seconds from the clip's start
        pa.field("width", pa.int32()),  # of the source as it is shown, turned upright
        pa.field("height", pa.int32()),
        pa.field("fps", pa.float64()),
        pa.field("codec", pa.string()),
        pa.field("duration_s", pa.float64()),  # of the clip
        pa.field("bytes", pa.int64(), nullable=False),  # of its frames as JPEG
        # time spent on it; clips that were decoded together share theirs evenly
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
BLOCK = 512
IDENTITY = b"vidloom"  # key of the status table's metadata


def write_tar(path: Path, videos: Iterable[tuple[int, Iterable[bytes]]]) -> None:
    """Write the JPEGs of each (video, jpegs); the same frames give the same bytes."""
    with whole_file(path) as temporary, tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
        for video, jpegs in videos:
            for frame, jpeg in enumerate(jpegs):
                add_member(tar, frame_name(video, frame), jpeg)


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add bytes under a name; owner, mode and time are TarInfo's constants, so equal members are equal bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def write_status(path: Path, rows: list[dict], identity: dict[str, Any] | None = None) -> None:
    """Write the status table of a shard; `identity`, what its frames depend on, goes into the file's metadata."""
    schema = STATUS.with_metadata({IDENTITY: json.dumps(identity)}) if identity else STATUS
    with whole_file(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema), temporary)


def read_identity(status: Path) -> dict[str, Any]:
    """What the frames of a shard depended on when they were made; empty where the status table does not tell."""
    return json.loads((pq.read_schema(status).metadata or {}).get(IDENTITY, b"{}"))


def read_status(folder: Path, shards: int) -> list[dict]:
    """Status rows of all videos in corpus order; UserError when a shard's file is missing."""
    return [
        row
        for file in shard_files(folder, "status_%03d.parquet", shards)
        for row in pq.read_table(file).to_pylist()
    ]


class FrameShard:
    """The frames of one tar, by video. A memory map: opening reads the member headers and no picture.

    A context manager. UserError when the file is missing or no tar of frames.
    """

    def __init__(self, tar: Path):
        self.path = Path(tar)
        try:
            with self.path.open("rb") as handle:
                self._map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            raise UserError(f"{tar}: frames cannot be read ({error}); run extract_frames again") from None
        self._members: dict[int, list[tuple[int, int]]] = {}
        try:
            self._index()
        except ValueError:
            raise UserError(f"{tar}: not a tar of frames; remove it and run extract_frames again") from None

    def _index(self) -> None:
        position = 0
        while (header := self._map[position : position + BLOCK]).strip(b"\0"):
            name, size = header[:100].rstrip(b"\0").decode(), int(header[124:136].rstrip(b"\0 "), 8)
            video = int(name.removeprefix("vid_").partition(".")[0])
            self._members.setdefault(video, []).append((position + BLOCK, size))
            position += BLOCK + -(-size // BLOCK) * BLOCK

    @property
    def videos(self) -> list[int]:
        """Indices of the videos with frames, in order."""
        return list(self._members)

    def places(self, video: int) -> list[tuple[int, int]]:
        """Where in the tar its frames are, in order: (offset, length) in bytes; UserError when it has none."""
        if video not in self._members:
            raise UserError(f"{self.path}: no frames of video {video}; its status row tells why")
        return self._members[video]

    def jpegs(self, video: int) -> list[bytes]:
        """The frames of a video as JPEG, in order; UserError when it has none."""
        return [self.read(start, size) for start, size in self.places(video)]

    def read(self, start: int, size: int) -> bytes:
        """Bytes of the tar, at a place that `places` tells."""
        return self._map[start : start + size]

    def close(self) -> None:
        self._map.close()

    def __enter__(self) -> "FrameShard":
        return self

    def __exit__(self, *_) -> None:
        self.close()
