"""What decoding processes may be made to do; called by name in worker processes."""

import json
import os
import signal
import time
from pathlib import Path

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings, extract_file

_held = []


def double(numbers: tuple[int, ...]) -> list[int]:
    return [2 * number for number in numbers]


def process_of(items: tuple) -> list[int]:
    """Its process, a moment later, so that others get items, too."""
    time.sleep(0.02)
    return [os.getpid() for _ in items]


def grow(megabytes: tuple[int, ...]) -> list[int]:
    """Keep so many MiB for good; gives its process."""
    _held.extend(bytearray(os.urandom(1)) * (size * 2**20) for size in megabytes)
    return [os.getpid() for _ in megabytes]


def refuse(items: tuple) -> list:
    raise UserError("no decoder here")


def misbehave(what: tuple[str, ...], folder: str) -> list[str]:
    """Do what is asked, one after another, and note in `folder` that it was tried, by which process."""
    return [_misbehave(one, folder) for one in what]


def _misbehave(what: str, folder: str) -> str:
    tried = Path(folder, f"{what}.{time.monotonic_ns()}")
    tried.write_text(str(os.getpid()))
    again = len(list(Path(folder).glob(f"{what}.*"))) > 1
    if what == "crash" or (what == "crash once" and not again):
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "meet":  # crash, and then wait for two others that have come so far
        if not again:
            os._exit(3)
        while len(list(Path(folder).parent.glob("*/meet.*"))) < 6:
            time.sleep(0.01)
    if what == "eat":
        return str(len(bytearray(2**40)))
    if what == "exit":
        os._exit(3)
    if what == "kill parent":  # a machine that goes away, for all that a Ray cluster can tell
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(600)
    return what


def slow(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file, slowly enough to be killed in between; leaves its process id beside the video."""
    Path(f"{clips[0].path}.pid").write_text(str(os.getpid()))
    time.sleep(1)
    return extract_file(clips, settings)


def slow_with_node(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file, once two machines have begun one; one that is named `crash` takes its process along."""
    Path(f"{clips[0].path}.{os.environ['RAY_RAYLET_PID']}.node").touch()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        if len({file.name.split(".")[-2] for file in Path(clips[0].path).parent.glob("*.node")}) > 1:
            break
        time.sleep(0.05)
    if "crash" in clips[0].path:
        os.kill(os.getpid(), signal.SIGSEGV)
    return extract_file(clips, settings)


def noted(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file; leaves a line with the clips of the task beside the video."""
    with Path(clips[0].path).with_name("tasks.jsonl").open("a") as handle:
        handle.write(json.dumps([clip.index for clip in clips]) + "\n")
    return extract_file(clips, settings)


def crash_in_decord(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file, but decord takes the process along at one video."""
    if settings.decoders[0] == "decord" and any("영상 7" in clip.path for clip in clips):
        os.kill(os.getpid(), signal.SIGSEGV)
    return extract_file(clips, settings)


def crash_at_13(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file, but clip 13 takes its process along."""
    if any(clip.index == 13 for clip in clips):
        os.kill(os.getpid(), signal.SIGSEGV)
    return extract_file(clips, settings)
