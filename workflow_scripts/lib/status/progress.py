"""How far a running job is, by its log: videos decoded, frames and captions encoded, epochs trained."""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.lib.status.state import Job

EDGE = 64 * 1024  # bytes at the beginning and at the end of a log that are looked at

EPOCH = {
    "train_clip": re.compile(r"Train Epoch: (?P<epoch>\d+) \[ *(?P<part>\d+)/(?P<whole>\d+)"),
    "train_retrieval": re.compile(r"^epoch (?P<epoch>\d+)/", re.MULTILINE),
    "train_captioner_stage1": re.compile(r"'loss'.*'epoch': '?(?P<epoch>[\d.]+)"),
}
"""How the trainings say that so many epochs are done; that of open_clip_train counts from 0, with a part of the next."""
EPOCH["train_captioner_stage2"] = EPOCH["train_captioner_stage1"]

EXTRACTIONS = {"extract_frames", "extract_video_features", "extract_text_features"}
VIDEOS = re.compile(
    r"^(?P<done>\d+) of (?P<total>\d+) (?P<unit>videos|clips|frames|captions)(?P<before> are done already)?",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units; `before`: what an earlier attempt had done when this one began."""

    done: float
    total: float
    before: float
    unit: str

    def seconds_left(self, seconds: float) -> float | None:
        """By the rate of this attempt, which made this progress in so many seconds; None: nothing to go by yet."""
        gained = self.done - self.before
        return (self.total - self.done) / gained * seconds if gained > 0 else None


def progress(job: Job, epochs: dict[str, int]) -> Progress | None:
    """Of a job that has begun its log; `epochs`: by rule, what the configuration asks for. None: it does not tell."""
    if not job.log or not job.has_log:
        return None
    if job.rule in EXTRACTIONS:
        return _extracted(log_edges(job.log))
    if job.rule in EPOCH and job.rule in epochs:
        return _epochs(EPOCH[job.rule], log_edges(job.log), epochs[job.rule])
    return None


def _extracted(text: str) -> Progress | None:
    found = list(VIDEOS.finditer(text))
    if not found:
        return None
    before = next((float(match["done"]) for match in found if match["before"]), 0.0)
    return Progress(float(found[-1]["done"]), float(found[-1]["total"]), before, found[-1]["unit"])


def _epochs(pattern: re.Pattern, text: str, total: int) -> Progress | None:
    done = [_epoch(match.groupdict()) for match in pattern.finditer(text)]
    if not done:
        return None
    # Trainings go on from the end of an epoch: the first that is told here was begun here.
    return Progress(min(done[-1], total), total, math.ceil(done[0]) - 1, "epochs")


def _epoch(said: dict[str, str]) -> float:
    return float(said["epoch"]) + (int(said["part"]) / int(said["whole"]) if "part" in said else 0)


def log_edges(log: str | Path) -> str:
    """The beginning and the end of a log, which may be long; empty when it cannot be read."""
    try:
        with Path(log).open("rb") as handle:
            head = handle.read(EDGE)
            behind = handle.seek(0, 2) - EDGE
            handle.seek(max(len(head), behind))
            return (head + (b"\n" if behind > len(head) else b"") + handle.read()).decode(errors="replace")
    except OSError:
        return ""


def last_line(log: str | Path) -> str:
    """The last line of a log with something in it, of a progress bar what it shows now; empty when there is none."""
    lines = [line.rstrip("\r").rpartition("\r")[2].strip() for line in log_edges(log).split("\n")]
    return next((line for line in reversed(lines) if line), "")


def error_line(log: str | Path) -> str:
    """What a failed command said: its last `error: ` sentence, otherwise its last line."""
    errors = [line for line in log_edges(log).splitlines() if line.startswith("error: ")]
    return errors[-1] if errors else last_line(log)
