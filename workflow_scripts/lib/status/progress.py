"""How far a job is, by its log: videos decoded, frames and captions encoded, captions generated, epochs trained."""

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

TAKEN_UP = re.compile(
    r"^(resuming behind epoch|going on from the (checkpoint|copy)|continuing from) ", re.MULTILINE
)
"""How they say that they were begun before."""

COUNTING = {"extract_frames", "extract_video_features", "extract_text_features", "generate_captions"}
COUNTED = re.compile(
    r"^(?P<done>\d+) of (?P<total>\d+) (?P<unit>videos|clips|frames|captions|moments)(?P<before> are done already)?",
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
    return logged(job.rule, job.log, epochs) if job.log and job.has_log else None


def logged(rule: str, log: str | Path, epochs: dict[str, int]) -> Progress | None:
    """The same of any log of a rule's job."""
    if rule in COUNTING:
        return _counted(log_edges(log))
    if rule in EPOCH and rule in epochs:
        return _epochs(EPOCH[rule], log_edges(log), epochs[rule])
    return None


def is_taken_up(log: str | Path) -> bool:
    """Whether a training has gone on from a checkpoint, by its log."""
    return TAKEN_UP.search(log_edges(log)) is not None


def _counted(text: str) -> Progress | None:
    found = list(COUNTED.finditer(text))
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
