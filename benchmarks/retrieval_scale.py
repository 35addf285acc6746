"""A training on a million videos: that memory stays flat, that no video comes twice in a pass over the corpus, and that
steps and epochs are those that are announced. And what opening 10.7 million videos for training takes.

`python -m benchmarks.retrieval_scale` writes a result file and exits with 1 when something does not hold.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

from benchmarks.features_data import vast_corpus
from benchmarks.machine import machine_facts, measure
from benchmarks.retrieval_scale_data import FRAMES, WORDS, many_videos
from benchmarks.retrieval_scale_training import Run
from benchmarks.rounds import CHECKOUT
from benchmarks.verdict import at_most
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import read_json, write_json

VIDEOS, VALIDATION, A_SHARD = 1_000_000, 1000, 50_000
VAST = 10_700_000
GROWTH_MIB = 32  # of a process, from behind its first epoch to the end
TINY_MODEL = {
    "encoder": "benchmark", "hidden_size": 8, "n_heads": 1, "map_size": 2, "max_ctx_l": FRAMES, "max_desc_l": WORDS,
    "length_buckets": 1, "hard_negative_start_epoch": 1000, "patience": 1000, "workers": 2,
}  # fmt: skip
OPENING = """
import json, sys, time
from pathlib import Path
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import CaptionedVideos, CaptionTable
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval.data import make_batch
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan
from benchmarks.retrieval_scale_training import anonymous_mib

root, shard_size, found = Path(sys.argv[1]), json.loads(sys.argv[2]), {}
began, before = time.perf_counter(), anonymous_mib()["training"]

def reached(name):
    found[f"{name}_s"] = round(time.perf_counter() - began, 3)
    found[f"{name}_mib"] = round(anonymous_mib()["training"] - before, 1)

table = CaptionTable(caption_table(root, "train"))
data = CaptionedVideos(open_features(root, "video"), open_features(root, "text"), table)
plan = TrainingPlan(len(data), 128, shard_size, -1, 100, 1)
reached("opened")
steps = iter(ShardEpochBatches(plan))
positions = next(steps)
reached("first_step_chosen")
make_batch(data.__getitems__(positions), GMMFormerConfig(512, 512), 4)
reached("first_batch")
print(json.dumps(found))
"""


def training(root: Path, scratch: Path, every: int, **config) -> dict:
    """What a training announced and did, in a process of its own, and what it cost."""
    run = Run(str(root), str(scratch), str(scratch / "answer.json"), {**TINY_MODEL, **config}, every)
    scratch.mkdir()
    costs = measure(
        [sys.executable, "-m", "benchmarks.retrieval_scale_training", json.dumps(asdict(run))],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)},
    )
    return {**read_json(Path(run.answer)), "costs": costs}


def opening(cache: Path, items: int, per_shard: int) -> dict:
    """Seconds and MiB of a fresh process until it has its first batch of a corpus of so many videos."""
    root = vast_corpus(cache, items, per_shard)
    found = {}
    for name, shard_size in (("a shard of 1,000,000", 1_000_000), ("all of them", None)):
        command = [sys.executable, "-c", OPENING, str(root), json.dumps(shard_size)]
        for _ in range(2):  # the first fills the page cache
            done = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True)
        found[name] = json.loads(done.stdout)
    return {"videos": items, "epochs_of": found}


def growth_mib(run: dict) -> dict[str, float]:
    """MiB that the training and its readers grew behind their first epoch: median of the last quarter of the looks
    over that of the first quarter."""
    looks = [look for look in run["memory"] if look["epoch"] > 0 and look["workers"]]
    quarter = max(1, len(looks) // 4)

    def grown(of) -> float:
        return round(median(map(of, looks[-quarter:])) - median(map(of, looks[:quarter])), 1)

    return {
        "training": grown(lambda look: look["training"]),
        "reader": grown(lambda look: max(look["workers"])),
    }


def by_epoch(looks: list[dict]) -> list[dict]:
    """Lowest and highest MiB of the training and of its largest reader, in every epoch."""
    found = []
    for epoch in range(1 + looks[-1]["epoch"]):
        here = [look for look in looks if look["epoch"] == epoch]
        readers = [max(look["workers"]) for look in here if look["workers"]]
        own = [look["training"] for look in here]
        found.append(
            {
                "epoch": epoch,
                "looks": len(here),
                "training_mib": [min(own), max(own)],
                "reader_mib": [min(readers), max(readers)] if readers else None,
            }
        )
    return found


def judge(run: dict, name: str) -> list[dict]:
    """Rows of the verdict, of a run: memory, passes, and what was announced against what was counted."""
    plan, epochs, announced = run["plan"], run["steps_of_epochs"], "\n".join(run["announced"])
    shards = -(-plan["videos"] // plan["shard_size"])
    a_pass, again = sum(epochs[:shards]), sum(done["again"] for done in run["passes"])
    taken = run["passes"][0]["once"]
    left_out = plan["videos"] - taken
    told = {
        "a pass": f"(super-epoch): {shards:,} epochs, {a_pass:,} steps, {taken:,} videos",
        "in all": f"in all: {len(epochs):,} epochs, {run['steps']:,} steps,",
        "left out": f"leaves {left_out:,} videos out of a pass" if left_out else "",
        "schedule": f"ends with epoch {len(epochs):,} = {len(epochs) / shards:.2f} passes",
    }
    wrong = [what for what, line in told.items() if line not in announced]
    wrong += ["rate"] if run["rate_behind_it"] > 0 or run["rate_of_last_step"] <= 0 else []
    expected_left = 0 if plan["steps_per_epoch"] == -1 else left_out
    never = max(done["never"] for done in run["passes"])
    grown = growth_mib(run)
    return [
        *(
            at_most(f"MiB that a {process} process grows behind the first epoch", GROWTH_MIB, mib, name)
            for process, mib in grown.items()
        ),
        at_most("videos that come twice in a pass", 0, again, name),
        at_most("videos that a pass leaves out", expected_left, never, name),
        at_most(
            "announcements that are not what happened", 0, len(wrong), f"{name}: {', '.join(wrong) or 'none'}"
        ),
    ]


def measure_all(cache: Path, videos: int, vast: int) -> dict:
    """Everything, as the result file has it."""
    per_shard = min(A_SHARD, -(-videos // 10))
    root = many_videos(cache, videos, min(VALIDATION, videos // 10), per_shard) / "features"
    shard, batch = -(-3 * videos // 10), min(256, videos // 100)
    whole = {"train_shard_size": shard, "batch_size": batch, "epochs": 5}
    runs = {"every video": whole, "steps_per_epoch": {**whole, "steps_per_epoch": shard // batch // 4}}
    every = max(1, shard // batch // 50)
    result = {
        "machine": machine_facts(),
        "packages": {name: version(name) for name in ("torch", "numpy", "pyarrow")},
        "verdict": [],
        "runs": {},
    }
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        for number, (name, config) in enumerate(runs.items()):
            print(name, flush=True)
            run = training(root, Path(scratch, str(number)), every, **config)
            result["runs"][name] = {
                **run,
                "growth_mib": growth_mib(run),
                "memory": by_epoch(run["memory"]),
            }
            result["verdict"] += judge(run, name)
    print("opening", flush=True)
    result["opening"] = opening(cache, vast, min(A_SHARD, vast))
    result["load_average_at_end"] = round(os.getloadavg()[0], 1)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/retrieval_scale.json"), help="result file"
    )
    parser.add_argument(
        "--cache", type=Path, default=Path(tempfile.gettempdir(), "vidloom-benchmarks"),
        help="folder for what is read (2 GB); kept",
    )  # fmt: skip
    parser.add_argument("--videos", type=int, default=VIDEOS, help="videos to train on; at least 1,000")
    parser.add_argument("--quick", action="store_true", help="few videos: does it run")
    args = parser.parse_args()
    if args.videos < 1000:
        parser.error("--videos: at least 1,000")
    args.cache.mkdir(parents=True, exist_ok=True)
    result = measure_all(args.cache, *((5000, 5000) if args.quick else (args.videos, VAST)))
    write_json(args.out, result)
    for row in result["verdict"]:
        print(
            f"{'ok' if row['passed'] else 'MISSED':7}{row['target']}: {row['measured']} ({row['where']})",
            flush=True,
        )
    sys.exit(not all(row["passed"] for row in result["verdict"]))


if __name__ == "__main__":
    run_command(main)
