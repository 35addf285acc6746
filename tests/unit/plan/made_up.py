"""A pilot run that never ran: tables, benchmark files, logs and a diary, made by hand."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import Config, freeze_named, parse_config
from workflow_scripts.lib.plan.estimate import PlannedJob
from workflow_scripts.lib.plan.pilot import FROZEN
from workflow_scripts.lib.plan.scaling import Name

PER_SHARD = 10  # videos, the last of each in the test split; two captions and four frames each
FRAME_BYTES = 1000


def config(shards: int, run: str = "large", videos: int | None = None, **sections) -> Config:
    """Of a corpus of full shards, if not of so many videos."""
    demo = {"videos": shards * PER_SHARD if videos is None else videos}
    return parse_config(
        {
            "run": run,
            "corpus": {
                "name": run, "adapter": "demo", "shards": shards, "videos_per_shard": PER_SHARD, "demo": demo,
            },
            "features": {
                "encoders": [
                    {"name": "clip", "kind": "open_clip", "model": "ViT-B-32", "token_grid": [2, 2]}
                ]
            },
        }
        | sections
    )  # fmt: skip


def write_pilot(
    root: Path,
    jobs: dict[str, float],
    *,
    shards: int = 1,
    run: str = "pilot",
    held: dict[str, dict] | None = None,
    events: list[dict] | None = None,
    executor: str = "processes",
    **sections,
) -> Path:
    """`jobs`: benchmark file without its ending -> wall time; CPU time is twice that. Returns the folder of them.

    `held`: by rule, {"cores": ..., "gpus": ...}.
    """
    for shard in range(shards):
        write_tables(root / "resources" / run, shard)
    table(root / "resources" / run / "ingest/videos.parquet", split=["train"] * shards * PER_SHARD)
    made = config(shards, run, **sections)
    for name in sections:
        for part in [part for part, section in FROZEN.items() if section.partition(".")[0] == name]:
            write(root / "results" / run / "config" / f"{part}.yaml", freeze_named(made, part))
    folder = root / "benchmarks-out" / run
    for name, seconds in jobs.items():
        write(folder / f"{name}.tsv", f"s\tmax_rss\tcpu_time\n{seconds}\t10\t0.5\n")
        write(root / "logs" / run / f"{name}.log", f"working\nCPU time: {2 * seconds:.2f} s\n")
    rules = [{"name": name, "cores": 1, "gpus": 0} | more for name, more in (held or {}).items()]
    head = {"event": "run", "corpus": run, "shards": shards, "rules": rules, "executor": executor}
    lines = "".join(json.dumps(line) + "\n" for line in [head, *(events or [])])
    write(root / "results" / run / "run.jsonl", lines)
    return folder


def write_tables(resources: Path, shard: int) -> None:
    splits = ["train"] * (PER_SHARD - 1) + ["test"]
    table(resources / f"corpus/videos_{shard:03d}.parquet", split=splits)
    table(resources / f"corpus/captions_{shard:03d}.parquet", split=splits * 2)
    status = {"frames": [4] * PER_SHARD, "bytes": [4 * FRAME_BYTES] * PER_SHARD}
    table(resources / f"frames/status_{shard:03d}.parquet", **status)


def table(file: Path, **columns) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def planned(shards: int, *rules: str) -> list[PlannedJob]:
    """Frames of every shard, their features, and one job of each further rule after all of them."""
    jobs = []
    for shard in range(shards):
        tar, features = f"frames_{shard:03d}.tar", f"video_{shard:03d}.hdf5"
        jobs.append(PlannedJob(Name("extract_frames", "", shard), (), (tar,), True))
        jobs.append(PlannedJob(Name("extract_video_features", "clip", shard), (tar,), (features,), True))
    everything = tuple(file for job in jobs for file in job.outputs if file.endswith("hdf5"))
    return [*jobs, *(PlannedJob(Name(rule), everything, (rule,), True) for rule in rules)]
