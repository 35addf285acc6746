"""How long Snakemake plans a large corpus, and in how much memory: a fresh one, and one that is finished.

`python -m benchmarks.dag` plans all stages on WebVid in 214 and in 2,000 shards, writes a result file, and exits
with 1 when a target is missed. The finished run is a pretended one: its files are empty.
"""

import argparse
import csv
import logging
import os
import re
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path

import yaml
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, ResourceSettings

from benchmarks.machine import Sharing, machine_facts, measure
from benchmarks.verdict import SHARED, at_most, tell
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.plan.dry_run import SNAKEFILE
from workflow_scripts.lib.status.record import SNAKEMAKE_LOGGER

ROOT = Path(__file__).parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}
SECONDS = {214: 10, 2000: 90}
FRESH, FINISHED = "nothing done", "all done"
MB_A_SHARD, MB_AT_START = 0.25, 200


def write_corpus(folder: Path, shards: int) -> None:
    """The demo's stages, which are all there are, on WebVid in so many shards, with a second encoder.

    The annotations are of a few videos: planning depends on the shards alone.
    """
    config, webvid = (
        yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))
        for file in ("config.yaml", "examples/webvid.yaml")
    )
    config["corpus"] = webvid["corpus"] | {"shards": shards}
    second = {"name": "dinov2", "kind": "transformers", "model": "facebook/dinov2-base", "text": "none"}
    config["features"]["encoders"].append(second)
    for split, file in config["corpus"]["annotations"].items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with (folder / file).open("w", encoding="utf-8", newline="") as handle:
            rows = csv.writer(handle)
            rows.writerow(["videoid", "contentUrl", "duration", "page_dir", "name"])
            rows.writerow([split, "https://example.org", "PT00H00M12S", "000001_000050", "a clip"])
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")


def pretend_finished(folder: Path) -> None:
    """Make every file that is planned, and write down as Snakemake does that it was made.

    `snakemake --touch` would write nothing down, and running commands that make empty files takes half an hour.
    """
    with chdir(folder), SnakemakeApi(OutputSettings(dryrun=True)) as snakemake:
        for handler in logging.getLogger(SNAKEMAKE_LOGGER).handlers:
            handler.setLevel(logging.ERROR)  # it would print every job
        workflow = snakemake.workflow(
            ResourceSettings(cores=2), ConfigSettings(configfiles=[Path("config.yaml")]), snakefile=SNAKEFILE
        )
        workflow.dag().execute_workflow(executor="dryrun")
        made = workflow._workflow
        for level in made.dag.toposorted():
            for job in level:
                for output in map(Path, job.output):
                    output.parent.mkdir(parents=True, exist_ok=True)
                    output.touch() if output.suffix else output.mkdir(exist_ok=True)
                made.async_run(made.persistence.finished(job))


def snakemake(folder: Path) -> list[str]:
    return [
        sys.executable, "-m", "snakemake", "all", "--cores", "2", "--directory", str(folder),
        "--configfile", str(folder / "config.yaml"), "--workflow-profile", str(ROOT / "profiles/default"),
        "--snakefile", str(SNAKEFILE),
    ]  # fmt: skip


def dry_run(folder: Path) -> dict[str, float]:
    """Of a dry run: jobs that it plans, wall and CPU seconds, the peak of its memory in MB, and the share of the machine
    that others use."""
    printed = folder / "printed.txt"  # every job
    command = ["sh", "-c", 'exec "$@" >"$0" 2>&1', str(printed), *snakemake(folder), "--dry-run"]
    with Sharing() as sharing:
        found = measure(command, env=ENVIRONMENT)
    text = printed.read_text(encoding="utf-8")
    jobs = 0 if "Nothing to be done" in text else int(re.search(r"^total +(\d+)$", text, re.MULTILINE)[1])
    return {"jobs": jobs, **found, "others": round(sharing.others, 3)}


def verdict(runs: dict[int, dict[str, dict[str, float]]]) -> list[dict]:
    """A row a target. Planning is one process: where others use the machine, its CPU time is what counts."""
    rows = []
    for shards, found in runs.items():
        for state, run in found.items():
            terms = "cpu_s" if run["others"] > SHARED else "wall_s"
            if (state == FINISHED) != (run["jobs"] == 0):
                raise UserError(f"{shards} shards, {state}: {run['jobs']} jobs were planned")
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
        write_corpus(folder, shards)
        runs[shards] = {FRESH: dry_run(folder)}
        print(shards, runs[shards], flush=True)
        pretend_finished(folder)
        runs[shards][FINISHED] = dry_run(folder)
        print(shards, runs[shards][FINISHED], flush=True)
        shutil.rmtree(folder)
    rows = verdict(runs)
    write_json(args.out, {"machine": machine_facts(), "verdict": rows, "runs": runs})
    tell(rows, quick=False)


if __name__ == "__main__":
    run_command(main)
