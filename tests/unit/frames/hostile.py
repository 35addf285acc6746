"""What decoding processes may be made to do; called by name in worker processes."""

import os
import signal
import time
from pathlib import Path

from workflow_scripts.lib.frames.extract import Clip, Extracted, Settings, extract_file


def double(number: int) -> int:
    return 2 * number


def misbehave(what: str, folder: str) -> str:
    """Do what is asked, and note in `folder` that it was tried, by which process."""
    tried = Path(folder, f"{what}.{time.monotonic_ns()}")
    tried.write_text(str(os.getpid()))
    again = len(list(Path(folder).glob(f"{what}.*"))) > 1
    if what == "crash" or (what == "crash once" and not again):
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "hang":
        time.sleep(600)
    if what == "eat":
        return str(len(bytearray(2**40)))
    if what == "exit":
        os._exit(3)
    return what


def slow(clips: tuple[Clip, ...], settings: Settings) -> list[Extracted]:
    """As extract_file, slowly enough to be killed in between; leaves its process id beside the video."""
    Path(f"{clips[0].path}.pid").write_text(str(os.getpid()))
    time.sleep(0.15)
    return extract_file(clips, settings)
