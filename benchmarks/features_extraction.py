"""Extraction of a shard, from JPEGs to HDF5, against the bare forward loop over the same batches."""

import contextlib
import io
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.features_data import frames_folder, model_folder
from benchmarks.turns import Clock, in_turns, speed
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.features.batches import FrameBatches
from workflow_scripts.lib.features.encoders.encoder import Encoder, load_encoder
from workflow_scripts.lib.features.extract import extract_videos
from workflow_scripts.lib.features.planned import Plan, PlannedShard

OURS, BARE = "ours, JPEGs to shards", "bare forward loop"
DECODE, WRITE = "decode and preprocess alone", "write alone"
BATCH = 64


def extraction(
    cache: Path, model: str, videos: int, frames: int, precision: str, threads: int, rounds: int
) -> dict:
    """Frames a second of each contestant, all with `threads` torch threads, on the GPU where there is one.

    Ours is all that a job does once its model is loaded: it reads the list of frames, decodes, preprocesses, encodes,
    writes the shards and seals them. The bare loop has its batches preprocessed and in memory. CPU seconds count, and
    wall time where a GPU does the work.
    """
    torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock: Clock = "wall_s" if device.type == "cuda" else "cpu_s"
    config = EncoderConfig(
        name="benchmark",
        kind="open_clip",
        model=f"local-dir:{model_folder(cache, model)}",
        text="none",
        precision=precision,
        batch_size=BATCH,
    )
    encoder = load_encoder(config, None, device, sides=["video"])
    folder = frames_folder(cache, videos, frames)
    with tempfile.TemporaryDirectory(dir=cache) as out, _opened(folder, encoder) as opened:
        batches = [opened[number] for number in range(len(opened))]
        features = [encoder.encode_frames(batch).embeddings.float().cpu().numpy() for batch in batches]
        contestants: dict[str, Callable[[], int]] = {
            OURS: partial(_ours, folder, encoder, Path(out), threads if device.type == "cuda" else 0),
            BARE: partial(_bare, batches, encoder),
            DECODE: partial(_decode, opened),
            WRITE: partial(_write, opened, encoder, features, Path(out)),
        }
        costs = in_turns(contestants, rounds)
    return {
        "model": model,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
        "precision": precision,
        "threads": threads,
        "videos": videos,
        "frames": videos * frames,
        "batch": BATCH,
        "counts": clock,
        "contestants": {name: cost.facts() for name, cost in costs.items()},
        "ratios": [
            {"faster": OURS, "than": BARE, "times": speed(costs, OURS, BARE, of), "of": of}
            for of in ("cpu_s", "wall_s")
        ],
    }


def _opened(folder: Path, encoder: Encoder) -> FrameBatches:
    return FrameBatches(folder / "frames.tar", folder / "status.parquet", encoder, BATCH)


def _ours(folder: Path, encoder: Encoder, out: Path, workers: int) -> int:
    files = {"video": out / "video_shard_000.hdf5", "token": out / "token_shard_000.hdf5"}
    with _opened(folder, encoder) as frames, contextlib.redirect_stdout(io.StringIO()):
        extract_videos(frames, encoder, files, "float16", workers=workers)
    return frames.items


def _bare(batches: list[dict[str, Tensor]], encoder: Encoder) -> int:
    return sum(len(encoder.encode_frames(batch).embeddings.cpu()) for batch in batches)


def _decode(frames: FrameBatches) -> int:
    for number in range(len(frames)):
        frames[number]
    return frames.items


def _write(frames: FrameBatches, encoder: Encoder, features: list[np.ndarray], out: Path) -> int:
    tail, dtype = features[0].shape[1:], np.dtype("<f2")
    plan = Plan(frames.keys, frames.lengths, tail, dtype, encoder.identity, frames.source)
    shard = PlannedShard(out / "written.hdf5", plan)
    shard.prepare()
    with shard:
        for batch, values in enumerate(features):
            rows, which = frames.rows("video", batch)
            shard.write(rows, values[which])
    shard.seal()
    shard.publish()
    shard.forget()
    return frames.items
