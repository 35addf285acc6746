"""Writing shards, and going on after a kill: for orientation, without a target."""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from benchmarks.features_data import IDENTITY, WIDTH, frames_folder, item_lengths, item_values, model_folder
from benchmarks.rounds import CHECKOUT
from benchmarks.turns import in_turns
from workflow_scripts.lib.config import EncoderConfig, freeze
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.planned import Plan, PlannedShard
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.keys import video_key

PLANNED, AS_THEY_COME, PLAIN, RAW = (
    "ours, planned",
    "ours, as they come",
    "h5py, create_dataset",
    "one file, raw",
)
BATCH = 512  # rows that a planned shard is given at once
MIB = 2**20
# The command itself, that tells when the model is given a batch; what is computed is on the disk at once.
EXTRACT = """
import sys
from workflow_scripts import extract_video_features
from workflow_scripts.lib.features import planned
from workflow_scripts.lib.features.encoders.open_clip_encoder import OpenClipEncoder

def encode_frames(self, batch, encode=OpenClipEncoder.encode_frames):
    print("a batch", file=sys.stderr, flush=True)
    return encode(self, batch)

OpenClipEncoder.encode_frames = encode_frames
planned.COMMIT_S = 0.0
extract_video_features.main()
"""
FIRST = 2  # the first batch but the one that shows the shapes
KILLED_AT = 6


def writing(cache: Path, items: int, rounds: int) -> dict:
    """MiB a second of float16 items [T, 512], flushed to the disk: shards of ours with checksums, index and digest."""
    arrays = list(item_values(item_lengths(items), WIDTH, "float16"))
    values = np.concatenate(arrays)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        contestants = {
            name: partial(write, arrays, values, Path(folder, f"{number}.hdf5"))
            for number, (name, write) in enumerate(
                {PLANNED: _planned, AS_THEY_COME: _as_they_come, PLAIN: _plain, RAW: _raw}.items()
            )
        }
        costs = in_turns(contestants, rounds)
    return {
        "items": items,
        "mib": values.nbytes // MIB,
        "contestants": {name: cost.facts() for name, cost in costs.items()},
    }


def _planned(arrays: list[np.ndarray], values: np.ndarray, file: Path) -> int:
    lengths = np.array([len(array) for array in arrays])
    plan = Plan(Keys(np.arange(len(arrays))), lengths, (WIDTH,), values.dtype, IDENTITY, "made up")
    shard = PlannedShard(file, plan)
    shard.prepare()
    with shard:
        for first in range(0, len(values), BATCH):
            part = values[first : first + BATCH]
            shard.write(np.arange(first, first + len(part)), part)
    shard.seal()
    shard.publish()
    shard.forget()
    return values.nbytes // MIB


def _as_they_come(arrays: list[np.ndarray], values: np.ndarray, file: Path) -> int:
    with ShardWriter(file, IDENTITY) as writer:
        for item, array in enumerate(arrays):
            writer.write(video_key(item), array)
    return values.nbytes // MIB


def _plain(arrays: list[np.ndarray], values: np.ndarray, file: Path) -> int:
    with h5py.File(file, "w") as written:
        for item, array in enumerate(arrays):
            written.create_dataset(video_key(item), data=array)
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
    return values.nbytes // MIB


def _raw(arrays: list[np.ndarray], values: np.ndarray, file: Path) -> int:
    with file.open("wb") as written:
        for array in arrays:
            written.write(array.data)
        written.flush()
        os.fsync(written.fileno())
    return values.nbytes // MIB


def resuming(cache: Path, model: str, videos: int, frames: int) -> dict:
    """Seconds from the start of extract_video_features to its first batch: anew, and after a kill by signal 9."""
    source = frames_folder(cache, videos, frames)
    section = EncoderConfig(
        name="benchmark", kind="open_clip", model=f"local-dir:{model_folder(cache, model)}", text="none"
    )
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        config = Path(folder, "encoder.yaml")
        config.write_text(freeze(section), encoding="utf-8")
        files = {
            "--config": config,
            "--frames": source / "frames.tar",
            "--status": source / "status.parquet",
            "--video-features": Path(folder, "video_shard_000.hdf5"),
            "--token-features": Path(folder, "token_shard_000.hdf5"),
        }
        arguments = [word for flag, file in files.items() for word in (flag, str(file))]
        anew, _ = _until_killed(arguments)
        resumed, done = _until_killed(arguments)
    return {"model": model, "start_s": round(anew, 2), "resume_s": round(resumed, 2), "said": done}


def _until_killed(arguments: list[str]) -> tuple[float, str]:
    """Seconds to the first batch, and what the command says of what was done; it is killed some batches later."""
    began, batches, first = time.perf_counter(), 0, 0.0
    command = [sys.executable, "-c", EXTRACT, *arguments]
    with subprocess.Popen(
        command, cwd=CHECKOUT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        for line in process.stderr:
            batches += line == "a batch\n"
            if batches == FIRST and not first:
                first = time.perf_counter() - began
            if batches == KILLED_AT:
                process.kill()
        said = [line for line in process.stdout.read().splitlines() if "done already" in line]
        return first, " ".join(said)
