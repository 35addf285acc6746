"""Trying the failed videos of finished shards again, once their cause is mended, and nothing else.

A finished shard is given the journal of one that was cut off, made from its tar and its status table without the videos
that are to be tried again. Then a small file says so, which the rule has as an input: newer than the frames, it makes
Snakemake start the job again. (A removed output would not do: Snakemake does not miss what no later step is to be made
from.) Killed at any moment in between, nothing is lost: the shard's files stay until the job begins.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.corpus.checks import default_root
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.frames.clips import identity, read_clips
from workflow_scripts.lib.frames.extract import Settings
from workflow_scripts.lib.frames.journal import adopt
from workflow_scripts.lib.frames.shard import FrameShard, read_identity
from workflow_scripts.lib.frames.stage import ShardFiles

OF_THE_TABLE = {"index", "key", "split", "outcome", "frames"}  # what a journal's row is without


@dataclass
class Found:
    """The finished shards of a run: `again` have failed videos to try, `removed` have, too, but no tar any more."""

    again: dict[int, Counter] = field(default_factory=dict)
    """Shard -> how many videos by reason."""
    removed: dict[int, Counter] = field(default_factory=dict)
    unfinished: list[int] = field(default_factory=list)

    def by_reason(self) -> Counter:
        return sum(self.again.values(), Counter())


def request_of(config: Config, shard: int) -> Path:
    """The file by which a shard is asked for again: an input of its job in rules/frames.smk."""
    return Path("resources", config.corpus.name, "frames", f"retry_{shard:03d}.json")


def files_of(config: Config, shard: int) -> ShardFiles:
    """Where rules/corpus.smk and rules/frames.smk put a shard."""
    resources, number = Path("resources", config.corpus.name), f"{shard:03d}"
    corpus, frames = resources / "corpus", resources / "frames"
    demo = config.corpus.adapter == "demo" and not config.corpus.root
    root = resources / "raw" if demo else default_root(config.corpus)
    return ShardFiles(
        videos=corpus / f"videos_{number}.parquet",
        captions=corpus / f"captions_{number}.parquet" if config.frames.moment_frames else None,
        root=root,
        journal=frames / f"journal_{number}",
        tar=frames / f"frames_{number}.tar",
        status=frames / f"status_{number}.parquet",
    )


def find_failed(config: Config, reasons: Iterable[str]) -> Found:
    """What failed for one of `reasons`, in the shards of the run.

    UserError when such a shard was made with other settings, of other videos or below another root than `config` and
    the tables ask for now: Snakemake will make all of it anew. UserError, too, for a table that is missing or broken.
    """
    found, reasons = Found(), set(reasons)
    for shard in range(config.corpus.shards):
        files = files_of(config, shard)
        if not files.status.is_file():
            found.unfinished.append(shard)
            continue
        try:
            failed = Counter(pq.read_table(files.status, columns=["reason"])["reason"].to_pylist())
            if failed := Counter({reason: count for reason, count in failed.items() if reason in reasons}):
                there = files.tar.is_file()
                (found.again if there else found.removed)[shard] = failed
                if there:
                    _identity(config, files)
        except (OSError, pa.ArrowInvalid) as error:
            raise UserError(
                f"shard {shard:03d}: a table cannot be read ({error}); make what is broken anew "
                "(snakemake --cores all --forcerun FILE), then call this again"
            ) from None
    return found


def _identity(config: Config, files: ShardFiles) -> dict[str, Any]:
    """What the shard's frames depend on, the same as when they were made."""
    settings = Settings.of(config.frames)
    now = identity(settings, read_clips(files.videos, files.captions), files.root)
    then = read_identity(files.status)
    if changed := [name for name in now if then.get(name) != now[name]]:
        meaning = {
            "settings": "the section `frames`",
            "root": "the corpus root",
            "clips_sha256": "its videos",
        }
        what = ", ".join(meaning.get(name, name) for name in changed)
        raise UserError(
            f"{files.status}: since this shard was made, {what} changed, so that none of its frames can be kept; "
            "a plain run of snakemake makes it anew. To retry what failed, undo the change first"
        )
    return now


def prepare(config: Config, shard: int, reasons: Iterable[str]) -> None:
    """Make a shard of `find_failed(...).again` ready: the next run does its extract_frames, for those videos alone.

    What was asked for before, and no run has done yet, is asked for still.
    """
    files = files_of(config, shard)
    made_of, request, reasons = _identity(config, files), request_of(config, shard), set(reasons)
    if files.journal.exists() and request.exists():
        reasons.update(read_json(request)["reasons"])
    with FrameShard(files.tar) as frames:
        adopt(files.journal, made_of, files.tar, _kept(files.status, frames, reasons))
    # With the time, as Snakemake takes a small input with the same content for unchanged.
    now = datetime.now().astimezone().isoformat()
    write_json(request, {"asked": now, "reasons": sorted(reasons)})


def _kept(status: Path, frames: FrameShard, reasons: set[str]) -> Iterator[tuple]:
    """What stays as it is: frames, and failures for other reasons."""
    for row in pq.read_table(status).to_pylist():
        if row["reason"] in reasons:
            continue
        video, ok = row["index"], row["reason"] is None
        entry = {name: value for name, value in row.items() if name not in OF_THE_TABLE}
        yield video, entry, frames.places(video) if ok else [], frames.jpegs(video) if ok else []
