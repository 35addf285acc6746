"""One shard from its table of videos to its frames: decode, keep a journal, judge, write."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.lib.config import FramesConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.clips import find_files, group, identity, read_clips
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings
from workflow_scripts.lib.frames.journal import Journal
from workflow_scripts.lib.frames.pool import Failure, Limits, Pool
from workflow_scripts.lib.frames.progress import Progress
from workflow_scripts.lib.frames.shard import STATUS, write_status, write_tar
from workflow_scripts.lib.frames.space import estimate, readable
from workflow_scripts.lib.keys import video_key

EXTRACT = "workflow_scripts.lib.frames.extract:extract_file"
PREPARE = "workflow_scripts.lib.frames.extract:prepare"
EXAMPLES = 3


@dataclass(frozen=True)
class ShardFiles:
    """The files of one shard's frames."""

    videos: Path
    """Its table of videos."""
    captions: Path | None
    """Its table of captions; None unless captioned moments get frames of their own."""
    root: Path
    """Folder that the videos' paths are relative to."""
    journal: Path
    """Folder for progress."""
    tar: Path
    status: Path


@dataclass(frozen=True)
class Executor:
    """Who decodes: processes of this machine, or the CPUs of a Ray cluster. The frames are the same."""

    workers: int = 1
    """Processes, unless Ray decodes: then there are as many as the cluster has CPUs."""
    ray_address: str | None = None
    function: str = EXTRACT
    """What the decoding processes call ("module:name")."""

    def pool(self, limits: Limits, prepare: tuple = ()):
        """Of the processes: a context manager whose `run(tasks)` gives (clip, answer or Failure, seconds)."""
        if self.ray_address is None:
            return Pool(self.function, self.workers, limits, prepare)
        from workflow_scripts.lib.frames.ray_pool import RayPool  # ray is large, and most runs do without

        return RayPool(self.function, self.ray_address, limits, prepare)


def extract_shard(config: FramesConfig, limits: Limits, files: ShardFiles, executor: Executor) -> None:
    """Write the frames of the shard's videos to `files.tar` and a row for each of them to `files.status`.

    Progress is kept in the folder `files.journal`, which is removed at the end; a second call goes on from it, and
    tries the videos that failed once more. UserError when more than `max_bad_fraction` of the videos give no frames,
    or when the disk has no room for them.
    """
    settings = Settings.of(config)
    columns = ["index", "path", "split", "start_s", "end_s", "duration_s"]
    rows = pq.read_table(files.videos, columns=columns).to_pylist()
    clips = read_clips(files.videos, files.captions if settings.moment_frames else None)
    made_of = identity(settings, clips, files.root)
    with Journal(files.journal, made_of) as kept:
        if kept.entries:
            print(f"{len(kept.entries)} of {len(rows)} videos are done already", flush=True)
        todo = [clip for clip in clips if clip.index not in kept.entries]
        _check_space(settings, files, clips, todo)
        results = {index: row for index, row in kept.entries.items() if row["reason"] is not None}
        pool = executor.pool(limits, (PREPARE, settings))
        lengths = {row["index"]: _length(row) for row in rows}
        with (
            Progress(len(rows), len(kept.entries)) as progress,
            closing(_decode(todo, lengths, settings, files.root, pool, progress)) as decoded,
        ):
            for clip, row, jpegs in decoded:
                if row["reason"] is None:
                    kept.add(clip.index, row, jpegs)
                else:
                    results[clip.index] = row
        _judge(limits, rows, results)
        good = [row["index"] for row in rows if row["index"] not in results]
        write_tar(files.tar, ((index, kept.jpegs(index)) for index in good))
        results.update((index, kept.entries[index]) for index in good)
        write_status(files.status, [_status(row, results[row["index"]]) for row in rows], made_of)
        kept.remove()
    print(f"{files.tar}: {readable(Path(files.tar).stat().st_size)}", flush=True)


def _length(row: dict) -> float | None:
    """Seconds of a clip, where the annotation tells."""
    if row["end_s"] is not None:
        return row["end_s"] - (row["start_s"] or 0.0)
    return row["duration_s"]


def _check_space(settings: Settings, files: ShardFiles, clips: list[Clip], todo: list[Clip]) -> None:
    """UserError when the disk has no room for the tar and, until that is written, the journal's copy of it."""
    a_clip = estimate(settings, Path(files.status).parent, clips)
    needed = a_clip.clip_bytes * (len(clips) + len(todo))
    print(f"about {readable(a_clip.clip_bytes * len(clips))} of frames ({a_clip})", flush=True)
    a_clip.require(needed, Path(files.tar).parent)


def _decode(
    clips: list[Clip], lengths: dict, settings: Settings, root: Path, pool, progress: Progress
) -> Iterator[tuple[Clip, dict, list[bytes]]]:
    """Every clip as it is finished, with its row (STATUS without what the corpus table knows) and its frames.

    A decoder that takes its process along is a failed one, too: the next one gets the clip.
    """
    found, lost = find_files(clips, root)
    for clip, answer in lost:
        yield _finished(clip, answer, 0.0, progress)
    if not found:
        return
    with pool:
        while found:
            again = []
            for clip, answer, seconds in pool.run((some, settings) for some in group(found, lengths)):
                if isinstance(answer, Failure) and len(settings.decoders) > 1:
                    again.append(clip)
                    continue
                if isinstance(answer, Failure):
                    answer = Extracted(reason=answer.reason, detail=answer.detail)
                yield _finished(clip, answer, seconds, progress)
            found, settings = again, replace(settings, decoders=settings.decoders[1:])


def _finished(
    clip: Clip, answer: Extracted, seconds: float, progress: Progress
) -> tuple[Clip, dict, list[bytes]]:
    if answer.reason:
        progress.say(f"{video_key(clip.index)} failed: {clip.path}: {answer.reason}: {answer.detail}")
    progress.count(failed=answer.reason is not None)
    row = {name: value for name, value in vars(answer).items() if name != "jpegs"}
    row |= {"bytes": sum(map(len, answer.jpegs)), "seconds": round(seconds, 4)}
    return clip, row, answer.jpegs


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


def _judge(limits: Limits, rows: list[dict], failed: dict[int, dict]) -> None:
    """Print the counts; UserError when too many failed."""
    print(f"{len(rows) - len(failed)} of {len(rows)} videos gave frames", flush=True)
    by_reason = Counter(row["reason"] for row in failed.values()).most_common()
    examples = {reason: [] for reason, _ in by_reason}
    for video in rows:
        if video["index"] in failed:
            examples[failed[video["index"]]["reason"]].append(video["path"])
    for reason, count in by_reason:
        print(f"  {reason}: {count}", flush=True)
    if len(failed) > limits.max_bad_fraction * len(rows):
        worst = "\n  ".join(
            f"{reason}: {count}, such as {', '.join(examples[reason][:EXAMPLES])}"
            for reason, count in by_reason
        )
        raise UserError(
            f"{len(failed)} of {len(rows)} videos of this shard gave no frames, more than "
            f"frames.max_bad_fraction {limits.max_bad_fraction:g} allows:\n  {worst}\n"
            "Mend these files or take them out of the annotations, or raise frames.max_bad_fraction to go on without "
            "them. A plain rerun keeps the frames that are there and tries only the failed ones"
        )
