"""Reading the same clips in turns by every contestant, so that what else the machine does meets all alike."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.clips import MadeClip

CHECKOUT = Path(__file__).parents[1]
SHORT_S = 15  # clips up to this long are read several times a turn
REPEAT = 2


class DidNotRun(Exception):
    """A contestant that cannot be measured here, and why: without paths and addresses, which are this machine's."""

    def __init__(self, why: str):
        text = re.sub(r"(https?:/)?(?<![\w.])/[^\s`'\"]+", "…", " ".join(why.split()))
        super().__init__(text[-300:] or "it ended without a word")


class WarmProcess:
    """A `benchmarks.worker` for one reader, run by `python`. A context manager."""

    def __init__(self, reader: str, python: str):
        self.complaints = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on exit; a pipe would fill up
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", reader],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            text=True,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        )

    def ask(self, path: Path, repeat: int, keep: Path | None = None) -> None:
        """Have a clip read; `answer` waits for the outcome."""
        job = {"path": str(path), "repeat": repeat, "keep": str(keep) if keep else None}
        with suppress(BrokenPipeError):  # the answer will tell
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()

    def answer(self) -> dict:
        """`wall_s`, `cpu_s` and `frames`; DidNotRun when there is none."""
        line = self.process.stdout.readline()
        if not line:
            self.complaints.seek(0)
            raise DidNotRun((self.complaints.read().strip().splitlines() or [""])[-1])
        answer = json.loads(line)
        if "error" in answer:
            raise DidNotRun(answer["error"])
        return answer

    def __enter__(self) -> "WarmProcess":
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.complaints):
            with suppress(BrokenPipeError):
                pipe.close()


@dataclass(frozen=True)
class Contestant:
    """A reader, the Python that has its packages, in how many rounds it takes part and with how many processes."""

    reader: str
    python: str = sys.executable
    rounds: int = 100
    processes: tuple[int, ...] = (1,)


@dataclass
class Turns:
    """What the rounds gave: CPU and wall seconds a clip, by (reader, clip, processes), one figure a round."""

    cpu_s: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)
    wall_s: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)
    did_not_run: dict[str, str] = field(default_factory=dict)

    def ratio(self, slower: tuple[str, str, int], faster: tuple[str, str, int]) -> list[float]:
        """CPU seconds of `slower` over those of `faster`, round by round."""
        return [a / b for a, b in zip(self.cpu_s[slower], self.cpu_s[faster], strict=False)]

    def rows(self) -> list[dict]:
        """One row a figure, for the result file."""
        return [
            {
                "reader": reader,
                "clip": clip,
                "processes": processes,
                "rounds": len(cpu),
                "cpu_s_a_clip": round(median(cpu), 4),
                "cpu_s_lowest": round(min(cpu), 4),
                "cpu_s_highest": round(max(cpu), 4),
                "clips_a_cpu_s": round(1 / median(cpu), 3),
                "clips_a_s": round(1 / median(self.wall_s[reader, clip, processes]), 3),
            }
            for (reader, clip, processes), cpu in self.cpu_s.items()
        ]


def take_turns(
    contestants: list[Contestant], clips: list[MadeClip], tiny: MadeClip, rounds: int, keep: Path
) -> Turns:
    """Every contestant reads every clip, `rounds` times in turn, in warm processes of its own.

    Each process reads the clip `tiny` first, which loads its libraries. The frames of the first round are left in
    `keep`/reader/clip.
    """
    turns = Turns()
    with ExitStack() as stack:
        ready: dict[str, list[WarmProcess]] = {}
        for contestant in contestants:
            print(f"warming up: {contestant.reader}", flush=True)
            ready[contestant.reader] = [
                stack.enter_context(WarmProcess(contestant.reader, contestant.python))
                for _ in range(max(contestant.processes))
            ]
            try:
                _together(ready[contestant.reader], tiny.path, 1)
            except DidNotRun as why:
                turns.did_not_run[contestant.reader] = str(why)
        for number in range(rounds):
            for clip in clips:
                print(f"round {number + 1} of {rounds}: {clip.kind.name}", flush=True)
                for contestant in contestants:
                    if number < contestant.rounds and contestant.reader not in turns.did_not_run:
                        folder = None if number else keep / contestant.reader / clip.kind.name
                        _take_turn(turns, contestant, ready[contestant.reader], clip, folder)
    return turns


def _take_turn(
    turns: Turns, contestant: Contestant, ready: list[WarmProcess], clip: MadeClip, keep: Path | None
) -> None:
    repeat = REPEAT if clip.kind.seconds <= SHORT_S else 1
    for processes in contestant.processes:
        try:
            wall_s, cpu_s = _together(ready[:processes], clip.path, repeat, keep)
        except DidNotRun as why:
            turns.did_not_run[contestant.reader] = str(why)
            return
        key, read = (contestant.reader, clip.kind.name, processes), repeat * processes
        turns.cpu_s.setdefault(key, []).append(cpu_s / read)
        turns.wall_s.setdefault(key, []).append(wall_s / read)


def _together(
    processes: list[WarmProcess], path: Path, repeat: int, keep: Path | None = None
) -> tuple[float, float]:
    """Have all processes read a clip at the same time: wall seconds and the sum of CPU seconds."""
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for process in processes:
        process.ask(path, repeat, keep)
    answers = [process.answer() for process in processes]
    return time.perf_counter() - began, sum(answer["cpu_s"] for answer in answers)
