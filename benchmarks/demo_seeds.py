"""Whether the demo reaches its thresholds with other seeds too: it is run once a seed, and the worst margin counts.

`python -m benchmarks.demo_seeds` takes about five minutes a seed on two cores, writes a result file, and exits with 1
when a seed misses a threshold. The corpus does not depend on the seed: it is rendered, and its frames are made, once.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machine import machine_facts
from tests.demo.thresholds import THRESHOLDS, Threshold
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json

ROOT = Path(__file__).parents[1]


def snakemake(folder: Path, seed: int, cores: str) -> list[str]:
    """The command that runs the demo of a seed in a folder of its own."""
    return [
        sys.executable, "-m", "snakemake",
        "--snakefile", str(ROOT / "Snakefile"),
        "--configfile", str(ROOT / "config.yaml"),
        "--workflow-profile", str(ROOT / "profiles" / "default"),
        "--directory", str(folder),
        "--cores", cores,
        "--config", f"seed={seed}", f"run={run_name(seed)}",
    ]  # fmt: skip


def run_name(seed: int) -> str:
    return f"demo_seed_{seed}"


def run_demo(folder: Path, seed: int, cores: str) -> dict:
    """metrics.json of the demo with that seed; UserError when a step of it fails."""
    log = folder / f"{run_name(seed)}.log"
    with log.open("w", encoding="utf-8") as out:
        done = subprocess.run(snakemake(folder, seed, cores), stdout=out, stderr=subprocess.STDOUT)
    if done.returncode:
        raise UserError(f"{log}: the demo with seed {seed} failed; the last lines say at which step")
    return read_json(folder / "results" / run_name(seed) / "metrics.json")


def numbers(metrics: dict) -> dict:
    """What is kept of a run's metrics."""
    retrieval, captions, clip = metrics["retrieval"], metrics["captioner"]["test"], metrics["clip"]["test"]
    methods = {"gmmformer": retrieval["test"], **retrieval["baselines"]}
    recalls = ("r1", "r5", "r10", "sumr", "median_rank", "map")
    captioned = ("attribute_accuracy", "exact_match", "chrf", "diversity", "reference_diversity")
    return {
        "retrieval": {name: _some(found, recalls) for name, found in methods.items()},
        "chance_r1": retrieval["test"]["chance_r1"],
        "captions": {language: _some(found, captioned) for language, found in captions.items()},
        "clip": {
            language: _some(found, ("t2i_r1", "i2t_r1", "chance_r1")) for language, found in clip.items()
        },
    }


def verdict(runs: dict[int, dict], thresholds: Sequence[Threshold] = THRESHOLDS) -> list[dict]:
    """A row a threshold, of the metrics of each seed: what was measured, the least of it, and by how much of the
    threshold it lies above (below 0: missed)."""
    rows = []
    for threshold in thresholds:
        measured = {str(seed): threshold.measured(metrics) for seed, metrics in runs.items()}
        worst = min(measured.values())
        rows.append(
            {
                "target": f"{threshold.name} >= {threshold.least:g}",
                "measured": {seed: round(value, 3) for seed, value in measured.items()},
                "worst": round(worst, 3),
                "margin": round(worst / threshold.least - 1, 3),
                "passed": worst >= threshold.least,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of the runs")
    parser.add_argument("--cores", default="all", help="processors for Snakemake")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/demo_seeds.json"), help="result file"
    )
    args = parser.parse_args()

    # A folder made for this: in an old one, Snakemake would find steps that other code has finished.
    folder = Path(tempfile.mkdtemp(prefix="vidloom-demo-seeds-"))
    runs, seconds = {}, {}
    for seed in dict.fromkeys(args.seeds):
        began = time.monotonic()
        runs[seed] = run_demo(folder, seed, args.cores)
        seconds[seed] = round(time.monotonic() - began)
        print(f"seed {seed}: {seconds[seed]} s", flush=True)
    rows = verdict(runs)
    result = {
        "machine": machine_facts(),
        "load_average_at_end": round(os.getloadavg()[0], 1),
        "verdict": rows,
        "runs": {str(seed): {"seconds": seconds[seed], **numbers(metrics)} for seed, metrics in runs.items()},
    }
    write_json(args.out, result)
    for row in rows:
        print(
            f"{'pass' if row['passed'] else 'FAIL'}  {row['target']}: "
            f"{', '.join(map(str, row['measured'].values()))} (margin {100 * row['margin']:+.1f}%)"
        )
    shutil.rmtree(folder)
    if not all(row["passed"] for row in rows):
        sys.exit(1)


def _some(found: dict, names: Sequence[str]) -> dict:
    return {name: found.get(name) for name in names}


if __name__ == "__main__":
    run_command(main)
