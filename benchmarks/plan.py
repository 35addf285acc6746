"""Whether `plan` tells what a run takes: the demo at three sizes, the largest of which the smaller ones predict.

`python -m benchmarks.plan` takes about a quarter of an hour on two cores, writes a result file, and exits with 1 when a
target is missed. What counts is CPU time, since a machine may be shared.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.machine import Sharing, machine_facts
from benchmarks.verdict import at_most, tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.plan.pilot import read_pilot

ROOT = Path(__file__).parents[1]
SIZES = (120, 240, 480)  # videos
PER_SHARD = 120
OFF = 0.25
SHARE = 0.05  # of the CPU time of the run, from which on a step counts by itself


def run_name(videos: int) -> str:
    return f"pilot_{videos}"


def write_config(folder: Path, videos: int) -> Path:
    """The demo's, with so many videos and a corpus of its own."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    config["run"] = config["corpus"]["name"] = run_name(videos)
    config["corpus"] |= {"shards": -(-videos // PER_SHARD), "videos_per_shard": PER_SHARD}
    config["corpus"]["demo"]["videos"] = videos
    file = folder / f"{run_name(videos)}.yaml"
    file.write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    return file


def run_demo(folder: Path, videos: int, cores: str) -> None:
    """UserError when a step of it fails."""
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", cores,
        "--configfile", str(write_config(folder, videos)), "--directory", str(folder),
        "--workflow-profile", str(ROOT / "profiles/default"),
    ]  # fmt: skip
    log = folder / f"{run_name(videos)}.log"
    print(f"the demo with {videos} videos: {log}", flush=True)
    with log.open("w", encoding="utf-8") as out:
        if subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode:
            raise UserError(f"{log}: the demo with {videos} videos failed; the last lines say at which step")


def measured(folder: Path, videos: int) -> dict[str, float]:
    """CPU seconds by step and variant, as the run itself tells."""
    spent: defaultdict[str, float] = defaultdict(float)
    for job in read_pilot(folder / "benchmarks-out" / run_name(videos)).jobs:
        spent[f"{job.name.rule} {job.name.variant}".strip()] += job.cpu_s
    return dict(spent)


def predicted(folder: Path, videos: int, pilots: Sequence[int]) -> dict[str, float]:
    """The same, as `plan` tells by pilots of other sizes, called as a person calls it."""
    plan = folder / "plan.json"
    command = [
        sys.executable, "-m", "workflow_scripts.plan", "--configfile", str(write_config(folder, videos)),
        "--measured", *(f"benchmarks-out/{run_name(size)}" for size in pilots), "--output", str(plan),
    ]  # fmt: skip
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
    rules = [rule for rule in read_json(plan)["rules"] if rule["unit"]]
    return {f"{rule['rule']} {rule['variant']}".strip(): 3600 * rule["cpu_h"] for rule in rules}


def compare(told: dict[str, float], took: dict[str, float], pilots: str) -> list[dict]:
    """A row for all steps together, and one for the step of some weight that is told worst; by how much of what was taken
    the plan is off."""
    missing = took.keys() ^ told.keys()
    if missing:
        raise UserError(f"steps of only one of plan and run: {', '.join(sorted(missing))}")
    whole = sum(took.values())
    total = abs(sum(told.values()) / whole - 1)
    off = {step: abs(told[step] / cpu_s - 1) for step, cpu_s in took.items() if cpu_s >= SHARE * whole}
    worst = max(off, key=off.get)
    return [
        at_most(f"CPU time of the run, off by, told by {pilots}", OFF, round(total, 3), "all steps"),
        at_most(f"CPU time of a step, off by, told by {pilots}", OFF, round(off[worst], 3), worst),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cores", default="all", help="processors for Snakemake")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/plan.json"), help="result file")
    args = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="vidloom-plan-"))
    *small, large = SIZES
    with Sharing() as sharing:
        for videos in small:
            run_demo(folder, videos, args.cores)
        told = {
            "two pilots": predicted(folder, large, small),
            "one pilot": predicted(folder, large, small[-1:]),
        }
        run_demo(folder, large, args.cores)
    took = measured(folder, large)
    rows = compare(told["two pilots"], took, "two pilots")
    # By one alone, the start of jobs counts as work: of short steps it is most, so only the run as a whole is judged.
    rows += compare(told["one pilot"], took, "one pilot")[:1]
    steps = {
        step: {"measured_s": round(took[step], 1)} | {by: round(each[step], 1) for by, each in told.items()}
        for step in took
    }
    result = {
        "machine": machine_facts(),
        "others": round(sharing.others, 3),
        "videos": SIZES,
        "verdict": rows,
    }
    write_json(args.out, {**result, "steps": steps})
    shutil.rmtree(folder)
    tell(rows, quick=False)


if __name__ == "__main__":
    run_command(main)
