"""The captioner's training: what the cache of visual tokens saves, what the Trainer costs, what padding costs.

`python -m benchmarks.captioner` writes a result file, the same as a page beside it, and exits with 1 when a target fails.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from benchmarks.captioner_data import QUICK, SEED, TINY, Setting, corpus_folder
from benchmarks.captioner_page import page
from benchmarks.captioner_trainer import overhead
from benchmarks.captioner_training import caching, padding
from benchmarks.machine import Sharing, result_head
from benchmarks.verdict import at_least, at_most, tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import whole_file, write_json

PACKAGES = ("torch", "transformers", "peft", "accelerate", "h5py")
EPOCH, WITH_CACHING, OVERHEAD = 15, 6, 1.1


def compare(cache: Path, rounds: int, setting: Setting) -> dict:
    """Everything that is measured, as the result file has it."""
    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    folder = corpus_folder(cache, setting)
    with Sharing() as sharing:
        print("caching", flush=True)
        cached = caching(folder, setting, rounds)
        print("the Trainer", flush=True)
        trainer = overhead(folder, setting, rounds)
        print("padding", flush=True)
        padded = padding(folder, setting, rounds)
    result = {
        **result_head(PACKAGES, sharing),
        "rounds": rounds,
        "threads": 1,
        "seed": SEED,
        "setting": {"clips": setting.clips, "frames": setting.frames, "batch": setting.batch,
                    "patches": (setting.image // setting.vision[2]) ** 2, "places": setting.places},
        "verdict": [],
        "caching": cached,
        "trainer": trainer,
        "padding": padded,
    }  # fmt: skip
    return {**result, "verdict": judge(result)}


def judge(result: dict) -> list[dict]:
    """A row a target: `target`, `measured`, `where`, `needed`, `passed`; CPU seconds, and of caching with the tiny
    language model, beside which the encoder is what training costs."""
    setting = result["setting"]
    [cached] = [run for run in result["caching"] if run["language_model"] == TINY]
    where = (
        f"{setting['clips']} clips of {setting['frames']} frames, an encoder of {cached['encoder_parameters'] / 1e6:.2g}M"
        f" parameters, a language model of {cached['language_model_parameters'] / 1e6:.2g}M"
    )
    steps = f"{result['trainer']['steps']} steps of {setting['batch']} captions"
    return [
        at_least(
            "an epoch with the encoder in the loop over one from the cache", EPOCH, _short(cached["epoch"]), where
        ),
        at_least(
            f"{cached['epochs']} epochs with the encoder in the loop over caching once and {cached['epochs']} from it",
            WITH_CACHING, _short(cached["with_caching"]), where,
        ),
        at_most("an epoch by the Trainer over a bare loop", OVERHEAD, _short(result["trainer"]["ratio"]), steps),
    ]  # fmt: skip


def _short(ratio: dict[str, float]) -> float:
    return round(ratio["cpu_s"], 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/captioner.json"), help="result file"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for clips and models (0.5 GB); kept",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, help="turns of every contestant")
    parser.add_argument(
        "--quick", action="store_true", help="tiny models, one round: does it run, not how fast"
    )
    args = parser.parse_args()
    disable_progress_bar()
    result = compare(args.cache, 1 if args.quick else args.rounds, QUICK if args.quick else Setting())
    write_json(args.out, result)
    with whole_file(args.out.with_suffix(".md")) as temporary:
        temporary.write_text(page(result), encoding="utf-8")
    tell(result["verdict"], args.quick)


if __name__ == "__main__":
    run_command(main)
