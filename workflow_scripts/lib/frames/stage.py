"""One shard from its table of videos to its frames: decode, keep a journal, judge, write."""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from workflow_scripts.lib.config import FramesConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings
from workflow_scripts.lib.frames.journal import Journal
from workflow_scripts.lib.frames.pool import Failure, Pool
from workflow_scripts.lib.frames.shard import STATUS, write_status, write_tar
from workflow_scripts.lib.keys import video_key

EXTRACT = "workflow_scripts.lib.frames.extract:extract_file"
VERSION = 1  # of what a journal holds
SAY_EVERY_S = 10
EXAMPLES = 3


def extract_shard(
    config: FramesConfig,
    videos: Path,
    root: Path,
    journal: Path,
    tar: Path,
    status: Path,
    workers: int,
    function: str = EXTRACT,
) -> None:
    """Write the frames of the shard's videos to `tar` and a row for each of them to `status`.

    Progress is kept in the folder `journal`, which is removed at the end; a second call goes on from it, and tries
    the videos that failed once more. UserError when more than `max_bad_fraction` of the videos give no frames.
    `function` is what the decoding processes call ("module:name").
    """
    rows = pq.read_table(videos).to_pylist()
    settings = Settings.of(config)
    with Journal(journal, _identity(settings, rows, root)) as kept:
        if kept.entries:
            print(f"{len(kept.entries)} of {len(rows)} videos are done already", flush=True)
        failed: dict[int, dict] = {}
        tasks = [((_clip(row, root),), settings) for row in rows if row["index"] not in kept.entries]
        with Pool(function, workers, timeout_s=config.timeout_s, memory_mb=config.memory_mb) as pool:
            for clip, row, jpegs in _done(pool, tasks, len(rows)):
                if row["reason"] is None:
                    kept.add(clip.index, row, jpegs)
                else:
                    failed[clip.index] = row
        _judge(config, rows, failed)
        write_tar(
            tar, ((row["index"], kept.jpegs(row["index"])) for row in rows if row["index"] in kept.entries)
        )
        write_status(
            status,
            [_status(row, kept.entries.get(row["index"]) or failed[row["index"]]) for row in rows],
        )
        kept.remove()


def _clip(row: dict, root: Path) -> Clip:
    return Clip(row["index"], str(Path(root) / row["path"]), row["start_s"], row["end_s"])


def _identity(settings: Settings, rows: list[dict], root: Path) -> dict[str, Any]:
    """What the frames depend on; limits of time and memory may change between two runs."""
    table = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {
        "version": VERSION,
        "settings": json.loads(json.dumps(asdict(settings))),
        "root": str(Path(root).absolute()),
        "videos_sha256": table,
    }


def _done(pool: Pool, tasks: list[tuple], total: int) -> Iterator[tuple[Clip, dict, list[bytes]]]:
    """Every finished clip with its row (STATUS without what the corpus table knows) and frames."""
    before, began, said, bad = total - len(tasks), time.monotonic(), time.monotonic(), 0
    for done, (((clip,), _), answer, seconds) in enumerate(pool.run(tasks), start=1):
        if isinstance(answer, Failure):
            answer = Extracted(reason=answer.reason, detail=answer.detail)
        else:
            [answer] = answer
        if answer.reason:
            bad += 1
            print(
                f"{video_key(clip.index)} failed: {clip.path}: {answer.reason}: {answer.detail}", flush=True
            )
        row = {name: value for name, value in vars(answer).items() if name != "jpegs"}
        yield clip, {**row, "seconds": round(seconds, 4)}, answer.jpegs
        now = time.monotonic()
        if now - said >= SAY_EVERY_S or done == len(tasks):
            rate = done / max(now - began, 1e-9)
            print(f"{before + done} of {total} videos, {bad} failed, {rate:.1f} a second", flush=True)
            said = now


def _status(video: dict, row: dict) -> dict:
    ok = row["reason"] is None
    return {
        **{name: row[name] for name in STATUS.names if name in row},
        "index": video["index"],
        "key": video_key(video["index"]),
        "split": video["split"],
        "outcome": "ok" if ok else "failed",
        "frames": len(row["timestamps"]),
    }


def _judge(config: FramesConfig, rows: list[dict], failed: dict[int, dict]) -> None:
    """Print the counts; UserError when too many failed."""
    print(f"{len(rows) - len(failed)} of {len(rows)} videos gave frames", flush=True)
    by_reason = Counter(row["reason"] for row in failed.values()).most_common()
    examples = {reason: [] for reason, _ in by_reason}
    for video in rows:
        if video["index"] in failed:
            examples[failed[video["index"]]["reason"]].append(video["path"])
    for reason, count in by_reason:
        print(f"  {reason}: {count}", flush=True)
    if len(failed) > config.max_bad_fraction * len(rows):
        worst = "\n  ".join(
            f"{reason}: {count}, such as {', '.join(examples[reason][:EXAMPLES])}"
            for reason, count in by_reason
        )
        raise UserError(
            f"{len(failed)} of {len(rows)} videos of this shard gave no frames, more than "
            f"frames.max_bad_fraction {config.max_bad_fraction:g} allows:\n  {worst}\n"
            "Mend these files or take them out of the annotations, or raise frames.max_bad_fraction to go on without "
            "them. A plain rerun keeps the frames that are there and tries only the failed ones"
        )
