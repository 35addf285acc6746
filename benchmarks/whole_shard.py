"""A whole shard, from files to a tar of frames: `extract_shard` against the bare loop in a multiprocessing pool.

Ours includes starting the decoding processes, time and memory limits, the journal, status rows and flushed files. The
bare loop forks from this process, which spares it the start, and writes its tar at once.
"""

import contextlib
import io
import multiprocessing
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.clips import MadeClip
from benchmarks.machine import cpu_seconds
from benchmarks.readers import COUNT, JPEG_QUALITY, SIZE, bare_pyav
from workflow_scripts.lib.config import FramesConfig
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.shard import FrameShard
from workflow_scripts.lib.frames.stage import Executor, ShardFiles, extract_shard

COPIES_OF_SHORT, COPIES_OF_LONG, LONG_S = 6, 2, 15


def whole_shards(clips: list[MadeClip], rounds: int) -> list[dict]:
    """A row for each of ours and bare with 1 and 2 processes: CPU and wall seconds a clip, one figure a round."""
    rows = {
        (name, processes): {"shard": name, "processes": processes, "cpu_s": [], "wall_s": []}
        for name in ("ours", "bare")
        for processes in (1, 2)
    }
    with tempfile.TemporaryDirectory() as scratch:
        root, out = Path(scratch, "videos"), Path(scratch, "out")
        files = _copies(clips, root)
        for number in range(rounds):
            print(f"whole shards, round {number + 1} of {rounds}", flush=True)
            for (name, processes), row in rows.items():
                out.mkdir()
                work = partial(
                    {"ours": _ours, "bare": _bare}[name], files, root, out / "frames.tar", processes
                )
                wall_s, cpu_s = _timed(work)
                row["wall_s"].append(wall_s / len(files))
                row["cpu_s"].append(cpu_s / len(files))
                _check(out / "frames.tar", len(files))
                for written in out.iterdir():
                    written.unlink()
                out.rmdir()
    return [
        {
            **row,
            "clips": len(files),
            "cpu_s_a_clip": round(median(row["cpu_s"]), 4),
            "clips_a_s": round(1 / median(row["wall_s"]), 3),
        }
        for row in rows.values()
    ]


def _copies(clips: list[MadeClip], root: Path) -> list[Path]:
    """Every clip under several names, the longest first."""
    root.mkdir()
    files = []
    for clip in sorted(clips, key=lambda clip: clip.path.stat().st_size, reverse=True):
        for copy in range(COPIES_OF_LONG if clip.kind.seconds > LONG_S else COPIES_OF_SHORT):
            files.append(root / f"{len(files):03d}_{copy}.{clip.kind.ending}")
            shutil.copyfile(clip.path, files[-1])  # paths that lead out of the root are refused
    return files


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds, child processes included."""
    began, cpu = time.perf_counter(), cpu_seconds()
    with contextlib.redirect_stdout(io.StringIO()):
        work()
    return time.perf_counter() - began, cpu_seconds() - cpu


def _ours(files: list[Path], root: Path, tar: Path, processes: int) -> None:
    config = FramesConfig(count=COUNT, size=list(SIZE), fit="stretch", jpeg_quality=JPEG_QUALITY)
    rows = [
        {"index": index, "id": file.stem, "path": file.name, "source": file.stem, "split": "train"}
        for index, file in enumerate(files)
    ]
    table = tar.with_name("videos.parquet")
    pq.write_table(pa.Table.from_pylist(rows, VIDEOS), table)
    shard = ShardFiles(table, None, root, tar.with_name("journal"), tar, tar.with_name("status.parquet"))
    extract_shard(config, Limits(), shard, Executor(processes))


def _bare(files: list[Path], root: Path, tar: Path, processes: int) -> None:
    read = partial(bare_pyav, count=COUNT, size=SIZE)
    with multiprocessing.get_context("fork").Pool(processes) as pool, tarfile.open(tar, "w") as written:
        for video, jpegs in enumerate(pool.imap(read, files)):
            for frame, jpeg in enumerate(jpegs):
                member = tarfile.TarInfo(f"vid_{video}.{frame:03d}.jpg")
                member.size = len(jpeg)
                written.addfile(member, io.BytesIO(jpeg))
        pool.close()
        pool.join()


def _check(tar: Path, videos: int) -> None:
    with FrameShard(tar) as shard:
        counts = {len(shard.jpegs(video)) for video in shard.videos}
    if len(shard.videos) != videos or counts != {COUNT}:
        raise RuntimeError(f"a shard of {videos} videos came out with {len(shard.videos)}, frames {counts}")
