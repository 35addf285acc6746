"""The three depths of verification, one after the other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.verify.lists import check_lists
from workflow_scripts.lib.features.verify.problems import Problems, say
from workflow_scripts.lib.features.verify.structure import check_structure, open_all
from workflow_scripts.lib.features.verify.values import check_values


@dataclass(frozen=True)
class Job:
    """What is verified, and against what."""

    root: Path
    frames: Path | None
    """Folder of the frames' tars; without it, no video is encoded again."""
    corpus: Path | None
    """Folder of the corpus tables; without it, no caption is encoded again."""
    config: EncoderConfig | None
    trained_clip: Path | None
    sample: int
    quick: bool
    """Read the values of `sample` items of each shard, not of all."""
    threads: int


def verify(job: Job, device: torch.device, rng: np.random.Generator, problems: Problems) -> None:
    """Print what is found at each depth, and a summary. UserError when there is nothing that can be verified."""
    _check(job)
    with _depth("structure", problems) as numbers:
        features = open_all(job.root, problems)
        check_structure(features, rng, problems)
        check_lists(features, problems)
        keys = sum(len(shard.index) for shard in features)
        shards = len(list(features))
        numbers.append(f"{shards} shards of {', '.join(features.shards)}, {keys} items")
    with _depth("values", problems) as numbers:
        read = check_values(features, job.sample if job.quick else None, rng, job.threads, problems)
        rate = read.bytes / max(read.seconds, 1e-9)
        numbers.append(f"{read.items} of {keys} items, {_size(read.bytes)} at {_size(rate)}/s")
        if read.without_checksums:
            numbers.append(
                f"{read.without_checksums} shards have no checksums, so that only NaN and zeros can be seen in them"
            )
    again = 0
    if job.config is None:
        say("recompute: left out, it takes --config, and --frames or --corpus")
    else:
        # Imported here: the libraries of the models take seconds to load.
        from workflow_scripts.lib.features.verify.recompute import recompute

        with _depth("recompute", problems) as numbers:
            done = recompute(
                features,
                job.config,
                job.trained_clip,
                device,
                job.frames,
                job.corpus,
                job.sample,
                rng,
                problems,
            )
            again = sum(done.items.values())
            numbers.append(
                f"{done.items.get('video', 0)} videos and {done.items.get('text', 0)} captions encoded again"
            )
            numbers += done.left_out
            if again:
                numbers.append(f"smallest cosine of a row that fits {done.cosine:.6f}")
    found = f"{problems.count} problems" if problems.count else "no problem"
    say(f"{job.root}: {found} in {shards} shards, {read.items} of {keys} items read, {again} encoded again")


def _check(job: Job) -> None:
    for flag, folder in (("--root", job.root), ("--frames", job.frames), ("--corpus", job.corpus)):
        if folder is not None and not folder.is_dir():
            raise UserError(f"{flag} {folder}: no such folder")
    if job.sample < 1:
        raise UserError(f"--sample {job.sample}: must be 1 or more")
    if job.config is not None and job.frames is None and job.corpus is None:
        raise UserError(
            "--config: to encode again takes --frames (for videos) or --corpus (for captions), too"
        )


@contextmanager
def _depth(name: str, problems: Problems) -> Iterator[list[str]]:
    """Print a line about a depth when it is done, with the numbers that the block gives."""
    before, began = problems.count, time.monotonic()
    numbers: list[str] = []
    yield numbers
    seconds = time.monotonic() - began
    say(f"{name}: {problems.count - before} problems; {'; '.join(numbers)} ({seconds:.1f} s)")


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
