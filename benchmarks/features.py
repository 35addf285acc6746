"""Features, side by side: extracting, reading, opening and writing them, ours against bare loops and other formats.

`python -m benchmarks.features` writes a result file, the same as a page beside it, and exits with 1 when a target fails.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.features_bigfile import bigfile
from benchmarks.features_extraction import extraction
from benchmarks.features_opening import opening
from benchmarks.features_page import page
from benchmarks.features_reading import reading
from benchmarks.features_verdict import judge
from benchmarks.features_writing import resuming, writing
from benchmarks.machine import Sharing, result_head
from benchmarks.verdict import tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import whole_file, write_json

PACKAGES = ("torch", "open_clip_torch", "numpy", "h5py", "pyarrow", "safetensors", "pillow")
MODEL, TINY = "ViT-B-32", "tiny"
VIDEOS, FRAMES = 40, 16
ITEMS, SHARDS, ITEMS_WRITTEN = 20_000, 4, 2000
# width, videos, rows anywhere
BIGFILES = ((512, 1000, False), (512, 1000, True), (3072, 200, False))
VAST, A_SHARD = 10_700_000, 50_000


def compare(cache: Path, rounds: int, quick: bool) -> dict:
    """Everything that is measured, as the result file has it."""
    model, videos, frames = (TINY, 3, 4) if quick else (MODEL, VIDEOS, FRAMES)
    precisions = ("fp32", "bf16") if torch.cuda.is_available() else ("fp32",)
    bigfiles = ((8, 20, False), (8, 20, True)) if quick else BIGFILES
    with Sharing() as sharing:
        print("reading", flush=True)
        read = reading(cache, *((300, 2) if quick else (ITEMS, SHARDS)), rounds)
        print("BigFile", flush=True)
        bigfile_runs = [bigfile(cache, *run, rounds) for run in bigfiles]
        print("opening", flush=True)
        opened = opening(cache, *((1000, 100) if quick else (VAST, A_SHARD)), rounds)
        print("writing", flush=True)
        written = writing(cache, 50 if quick else ITEMS_WRITTEN, rounds)
        resumed = resuming(cache, model, videos, frames)
        print("extraction", flush=True)
        extracted = [
            extraction(cache, model, videos, frames, precision, threads, rounds)
            for precision in precisions
            for threads in sorted({1, len(os.sched_getaffinity(0))})
        ]
    result = {
        **result_head(PACKAGES, sharing),
        "rounds": rounds,
        "verdict": [],
        "extraction": extracted,
        "reading": read,
        "bigfile": bigfile_runs,
        "opening": opened,
        "writing": written,
        "resuming": resumed,
    }
    return {**result, "verdict": judge(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/features.json"), help="result file"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for what is read (12 GB); kept",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contestant")
    parser.add_argument(
        "--quick", action="store_true", help="tiny data, one round: does it run, not how fast"
    )
    args = parser.parse_args()
    result = compare(args.cache, 1 if args.quick else args.rounds, args.quick)
    write_json(args.out, result)
    with whole_file(args.out.with_suffix(".md")) as temporary:
        temporary.write_text(page(result), encoding="utf-8")
    tell(result["verdict"], args.quick)


if __name__ == "__main__":
    run_command(main)
