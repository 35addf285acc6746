"""How long Snakemake plans a large corpus, and in how much memory: a fresh one, and one that is finished.

`python -m benchmarks.dag` plans the WebVid configuration with 214 and with 2,000 shards, writes a result file, and exits
with 1 when a target is missed. The finished run is a pretended one: every job makes empty outputs, which takes a while.
"""

import argparse
import csv
import os
import shutil
import sys
import tempfile
from pathlib import Path

import yaml

from benchmarks.machine import Sharing, machine_facts, measure
from benchmarks.verdict import SHARED, at_most, tell
from tests.workflow.planning import Scratch
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.files import write_json

ROOT = Path(__file__).parents[1]
SECONDS = {214: 10, 2000: 90}
MB_A_SHARD, MB_AT_START = 0.25, 200


def corpus(folder: Path, shards: int) -> Scratch:
    """The WebVid example with so many shards and annotations of a few videos: planning depends on the shards alone."""
    config = yaml.safe_load((ROOT / "examples/webvid.yaml").read_text(encoding="utf-8"))
    config["corpus"]["shards"] = shards
    for split, file in config["corpus"]["annotations"].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with (folder / file).open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
            rows.writerow([split, "https://example.org", "PT00H00M12S", "000001_000050", "a clip"])
    return Scratch(folder, config)


def dry_run(folder: Path) -> dict[str, float]:
    """Of a dry run: wall and CPU seconds, the peak of its memory in MB, and the share of the machine that others use."""
    command = [
        "sh", "-c", 'exec "$@" >/dev/null', "sh",  # it prints every job
        sys.executable, "-m", "snakemake", "all", "--dry-run", "--cores", "2", "--directory", str(folder),
        "--snakefile", str(folder / "Snakefile"),
        "--configfile", str(folder / "config.yaml"), "--workflow-profile", str(ROOT / "profiles/default"),
    ]  # fmt: skip
    with Sharing() as sharing:
        found = measure(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    return {**found, "others": round(sharing.others, 3)}


def verdict(runs: dict[int, dict[str, dict[str, float]]]) -> list[dict]:
    """A row a target. Planning is one process: where others use the machine, its CPU time is what counts."""
    rows = []
    for shards, found in runs.items():
        for state, run in found.items():
            terms = "cpu_s" if run["others"] > SHARED else "wall_s"
            where = f"{shards} shards, {state}"
            rows.append(at_most(f"seconds of a dry run ({terms})", SECONDS[shards], run[terms], where))
            most = MB_AT_START + MB_A_SHARD * shards
            rows.append(at_most("MB of a dry run", most, run["peak_rss_mb"], where))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, nargs="+", choices=SECONDS, default=[*SECONDS])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/dag.json"), help="result file")
    args = parser.parse_args()

    runs: dict[int, dict[str, dict[str, float]]] = {}
    for shards in args.shards:
        folder = Path(tempfile.mkdtemp(prefix="vidloom-dag-"))
        scratch = corpus(folder, shards)
        runs[shards] = {"nothing done": dry_run(folder)}
        print(shards, runs[shards], flush=True)
        scratch.pretend_run()
        runs[shards]["all done"] = dry_run(folder)
        print(shards, runs[shards]["all done"], flush=True)
        shutil.rmtree(folder)
    rows = verdict(runs)
    write_json(args.out, {"machine": machine_facts(), "verdict": rows, "runs": runs})
    tell(rows, quick=False)


if __name__ == "__main__":
    run_command(main)
