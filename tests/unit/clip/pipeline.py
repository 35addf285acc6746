"""The commands of the clip and features stages, run in this process one after the other on a small corpus."""

import atexit
import functools
import importlib
import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

from tests.unit.clip.fake_corpus import make_corpus, write_configs
from workflow_scripts.lib.config import EncoderConfig, freeze

SHARDS = 2
VIDEOS = 12


def run(command: str, **flags) -> None:
    """Call a command's `main` with `--flag value` for every keyword, `--flag` of None and True."""
    arguments = [command]
    for name, value in flags.items():
        alone = value is None or value is True
        arguments += [f"--{name.replace('_', '-')}", *([] if alone else [str(value)])]
    module = importlib.import_module(f"workflow_scripts.{command}")
    with mock.patch.object(sys, "argv", arguments):
        module.main()


def make_model(folder: Path) -> None:
    run(
        "make_demo_clip_model", config=folder / "clip.yaml",
        corpus=folder / "corpus", shards=SHARDS, model=folder / "demo_model",
    )  # fmt: skip


def pack(folder: Path, **changes) -> None:
    for shard in (f"{k:03d}" for k in range(SHARDS)):
        flags = {
            "config": folder / "clip_data.yaml", "captions": folder / "corpus" / f"captions_{shard}.parquet",
            "frames": folder / "frames" / f"frames_{shard}.tar", "status": folder / "frames" / f"status_{shard}.parquet",
            "pairs": folder / "pairs" / shard, "seed": 1,
        }  # fmt: skip
        run("pack_pairs", **flags | changes)


def train(folder: Path, name: str = "trained", checkpoints: str = "checkpoints", **changes) -> None:
    flags = {
        "config": folder / "clip.yaml", "demo_model": folder / "demo_model", "pairs": folder / "pairs",
        "shards": SHARDS, "checkpoints": folder / checkpoints, "model": folder / name,
        "curve": folder / f"{name}.csv", "threads": 1, "seed": 1,
    }  # fmt: skip
    run("train_clip", **flags | changes)


def extract(folder: Path, root: Path, shard: str, config: Path, **changes) -> None:
    flags = {
        "config": config, "trained_clip": folder / "trained",
        "frames": folder / "frames" / f"frames_{shard}.tar", "status": folder / "frames" / f"status_{shard}.parquet",
        "video_features": root / f"FeatureData/video_shard_{shard}.hdf5",
        "token_features": root / f"TokenData/token_shard_{shard}.hdf5", "threads": 1,
    }  # fmt: skip
    run("extract_video_features", **flags | changes)
    flags = {
        "config": config, "trained_clip": folder / "trained",
        "captions": folder / "corpus" / f"captions_{shard}.parquet",
        "text_features": root / f"TextData/text_shard_{shard}.hdf5",
        "sentence_features": root / f"SentenceData/sentence_shard_{shard}.hdf5", "threads": 1,
    }  # fmt: skip
    run("extract_text_features", **flags)


def collect(folder: Path, root: Path) -> None:
    for side in ("video", "text"):
        run(
            "collect_features", side=side, root=root, corpus=folder / "corpus", shards=SHARDS,
            videos_per_shard=VIDEOS // SHARDS,
        )  # fmt: skip
    run("list_captions", root=root, corpus=folder / "corpus", name="tiny", shards=SHARDS)


def temporary_folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="vidloom-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def packed() -> Path:
    """A corpus whose video 3 could not be read, with demo model and pairs; made once."""
    folder = make_corpus(temporary_folder(), VIDEOS, SHARDS, failed=(3,))
    write_configs(folder)
    make_model(folder)
    pack(folder)
    return folder


@functools.cache
def trained() -> Path:
    """The same, with a model of two epochs in `trained`."""
    train(packed())
    return packed()


@functools.cache
def extracted() -> Path:
    """The same, with features in `features`, and an encoder section in encoder.yaml."""
    folder = trained()
    section = EncoderConfig(name="clip", kind="trained_clip", token_grid=[1, 1], batch_size=5)
    (folder / "encoder.yaml").write_text(freeze(section), encoding="utf-8")
    for shard in ("000", "001"):
        extract(folder, folder / "features", shard, folder / "encoder.yaml")
    collect(folder, folder / "features")
    return folder
