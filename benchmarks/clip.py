"""What train_clip costs over open_clip_train called by hand, on the same tars with the same options: CPU seconds.

`python -m benchmarks.clip` writes a result file, and exits with 1 when the target is missed.
"""

import argparse
import io
import os
import shutil
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from benchmarks.machine import Sharing, measure, result_head
from benchmarks.verdict import at_most, tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import ClipConfig, freeze
from workflow_scripts.lib.files import whole_folder, write_json

OURS, BY_HAND = "train_clip", "open_clip_train by hand"
MOST = 1.02
PACKAGES = ("torch", "open_clip_torch", "webdataset")
TARS = 8
SEED = 1
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "pink", "brown")
MODEL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 3, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Setting:
    """How much is trained."""

    pairs: int = 6400
    epochs: int = 7
    batch: int = 128


QUICK = Setting(pairs=64, epochs=1, batch=16)


def make_pairs(folder: Path, pairs: int) -> None:
    """Noisy pictures of 96x96 with a caption, in tars of the same size."""
    rng = np.random.default_rng(SEED)
    for tar_number in range(TARS):
        with tarfile.open(folder / f"{tar_number:03d}.tar", "w") as tar:
            for number in range(tar_number, pairs, TARS):
                data = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(
                    data, "JPEG", quality=90
                )
                caption = f"a {COLOURS[number % len(COLOURS)]} picture with the number {number}"
                for ending, content in (("jpg", data.getvalue()), ("txt", caption.encode())):
                    member = tarfile.TarInfo(f"{number:06d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def prepare(cache: Path, setting: Setting) -> Path:
    """The folder with tars and model, made once."""
    folder = cache / f"clip_{setting.pairs}"
    if not folder.is_dir():
        with whole_folder(folder) as made:
            make_pairs(made, setting.pairs)
            (made / "model").mkdir()
            write_json(
                made / "model" / "open_clip_config.json", {"model_cfg": MODEL, "preprocess_cfg": {"size": 64}}
            )
    return folder


def ours(data: Path, work: Path, setting: Setting) -> list[str]:
    """The command of the rule train_clip."""
    tars = {"files": [f"{data}/{{000..{TARS - 1:03d}}}.tar"]}
    config = ClipConfig(
        model=f"local-dir:{data / 'model'}", data={"train": tars, "val": {"files": [f"{data}/000.tar"]}},
        batch_size=setting.batch, epochs=setting.epochs, warmup=10, precision="fp32",
    )  # fmt: skip
    (work / "clip.yaml").write_text(freeze(config), encoding="utf-8")
    flags = {"config": work / "clip.yaml", "shards": 1, "checkpoints": work / "checkpoints", "model": work / "trained",
             "curve": work / "curve.csv", "threads": 1, "seed": SEED, "workers": 0}  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "workflow_scripts.train_clip", *words]


def by_hand(data: Path, work: Path, setting: Setting) -> list[str]:
    """What a reader of the package's guide types."""
    options = {
        "model": f"local-dir:{data / 'model'}", "train-data": f"{data}/{{000..{TARS - 1:03d}}}.tar",
        "train-num-samples": setting.pairs, "val-data": f"{data}/000.tar", "val-num-samples": setting.pairs // TARS,
        "dataset-type": "webdataset", "batch-size": setting.batch, "epochs": setting.epochs, "warmup": 10, "lr": 5e-4,
        "beta2": 0.98, "beta1": 0.9, "eps": 1e-6, "precision": "fp32", "workers": 0, "device": "cpu", "seed": SEED,
        "logs": work / "logs", "name": "by_hand", "report-to": "tensorboard", "save-frequency": 0,
        "log-every-n-steps": 10,
    }  # fmt: skip
    words = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "open_clip_train.main", "--save-most-recent", *words]


def compare(cache: Path, rounds: int, setting: Setting) -> dict:
    """Both in turns, in reversed order every second round, each time from the beginning in a fresh folder."""
    data = prepare(cache, setting)
    costs: dict[str, list[dict]] = {OURS: [], BY_HAND: []}
    commands = {OURS: ours, BY_HAND: by_hand}
    with Sharing() as sharing:
        for number in range(rounds):
            for name in list(commands)[:: -1 if number % 2 else 1]:
                work = Path(tempfile.mkdtemp(dir=cache))
                costs[name].append(measure(commands[name](data, work, setting), env=_one_thread()))
                shutil.rmtree(work)
    ratios = [a["cpu_s"] / b["cpu_s"] for a, b in zip(costs[OURS], costs[BY_HAND], strict=True)]
    target = "CPU seconds of train_clip over those of open_clip_train by hand"
    return {
        **result_head(PACKAGES, sharing),
        "rounds": rounds,
        "setting": {
            **vars(setting),
            "threads": 1,
            "steps": -(-setting.pairs // setting.batch) * setting.epochs,
        },
        "verdict": [
            at_most(target, MOST, round(median(ratios), 4), f"{setting.pairs} pairs, {setting.epochs} epochs")
        ],
        "ratios": [round(ratio, 4) for ratio in ratios],
        "contestants": costs,
    }


def _one_thread() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/clip.json"), help="result file")
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for the tars (50 MB); kept",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns of both")
    parser.add_argument(
        "--quick", action="store_true", help="a few pairs, one round: does it run, not how fast"
    )
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    result = compare(args.cache, 1 if args.quick else args.rounds, QUICK if args.quick else Setting())
    write_json(args.out, result)
    tell(result["verdict"], args.quick)


if __name__ == "__main__":
    run_command(main)
