"""Retrieval, side by side: training steps and evaluation of ours and of a straightforward GMMFormer, same results.

`python -m benchmarks.retrieval` writes a result file, the same as a page beside it, and exits with 1 when a target fails.
"""

import argparse
import os
import tempfile
from pathlib import Path

import torch

from benchmarks.machine import Sharing, result_head
from benchmarks.retrieval_agreement import agreement
from benchmarks.retrieval_contestants import QUICK, Setting
from benchmarks.retrieval_evaluation import evaluation
from benchmarks.retrieval_page import page
from benchmarks.retrieval_training import memory, parts, training
from benchmarks.retrieval_verdict import ORIGINAL, judge
from benchmarks.verdict import tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import whole_file, write_json

PACKAGES = ("torch", "numpy", "h5py", "pyarrow")
PARTS = ("training", "parts", "memory", "evaluation")
CPU = torch.device("cpu")


def compare(cache: Path, rounds: int, quick: bool, only: list[str]) -> dict:
    """Everything that is measured, as the result file has it; `only` some of it."""
    setting = QUICK if quick else Setting()
    gpu = [torch.device("cuda")] if torch.cuda.is_available() else []
    devices = [CPU, *gpu]
    measured = {}
    with Sharing() as sharing:
        print("agreement", flush=True)
        torch.set_num_threads(1)
        agreed = agreement(cache, setting)
        for part in only:
            print(part, flush=True)
            if part == "training":
                threads = sorted({1, len(os.sched_getaffinity(0))})
                runs = [(CPU, number) for number in threads] + [(device, 1) for device in gpu]
                measured[part] = [training(cache, setting, *run, rounds) for run in runs]
            elif part == "parts":
                measured[part] = [parts(cache, setting, device, min(rounds, 3)) for device in devices]
            elif part == "memory":
                measured[part] = [memory(cache, quick, device) for device in devices]
            else:  # minutes each
                measured[part] = [
                    evaluation(cache, setting, quick, device, min(rounds, 2)) for device in devices
                ]
    result = {
        **result_head(PACKAGES, sharing),
        "rounds": rounds,
        "setting": {
            "batch": setting.batch,
            "captions": setting.sizes.captions,
            "width": setting.sizes.width,
            "hidden_size": setting.config.hidden_size,
            "drop": setting.config.drop,
        },
        "original": ORIGINAL,
        "verdict": [],
        "agreement": agreed,
        **measured,
    }
    return {**result, "verdict": judge(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/retrieval.json"), help="result file"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for the corpus (1.3 GB); kept",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="turns of both; of evaluation two at most")
    parser.add_argument(
        "--quick", action="store_true", help="a tiny corpus, one round: does it run, not how fast"
    )
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, help="some measurements, that are printed and not written"
    )
    args = parser.parse_args()
    result = compare(args.cache, 1 if args.quick else args.rounds, args.quick, args.only or list(PARTS))
    if args.only:
        print({part: result[part] for part in args.only})
    else:
        write_json(args.out, result)
        with whole_file(args.out.with_suffix(".md")) as temporary:
            temporary.write_text(page(result), encoding="utf-8")
    tell(result["verdict"], args.quick)


if __name__ == "__main__":
    run_command(main)
