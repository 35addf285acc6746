"""Training steps in turns, by ours and by the reference: whole, by parts, and their memory in fresh processes."""

import json
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.retrieval_contestants import CONTESTANTS, OURS, REFERENCE, Contestant, Setting
from benchmarks.rounds import CHECKOUT
from benchmarks.turns import Costs, in_turns, speed

MEMORY_STEPS = 3


def training(cache: Path, setting: Setting, device: torch.device, threads: int, rounds: int) -> dict:
    """Costs of a step, of reading its batch, and of both; each round has videos of its own, the same for both."""
    torch.set_num_threads(threads)
    contestants = {name: made(cache, setting, device) for name, made in CONTESTANTS.items()}
    batches = {name: deque() for name in contestants}
    rng = np.random.default_rng(0)
    videos = [rng.permutation(setting.sizes.videos)[: setting.batch].tolist() for _ in range(rounds + 1)]

    def read(name: str, left: deque) -> int:
        batches[name].append(contestants[name].read(left.popleft()))
        return 1

    def step(name: str) -> int:
        contestants[name].step(batches[name].popleft())
        return _done(device)

    reads = {name: partial(read, name, deque(videos)) for name in contestants}
    steps = {name: partial(step, name) for name in contestants}
    in_turns(reads, 1)  # what the first of all costs, as the optimizer's memory
    in_turns(steps, 1)
    reading, stepping = in_turns(reads, rounds), in_turns(steps, rounds)
    both = {name: _sum(reading[name], stepping[name]) for name in contestants}
    return {
        "device": device_name(device),
        "threads": threads,
        "contestants": {
            name: {
                "step": stepping[name].facts(),
                "reading": reading[name].facts(),
                "both": both[name].facts(),
            }
            for name in contestants
        },
        "ratios": {
            what: {of: speed(costs, REFERENCE, OURS, of) for of in ("cpu_s", "wall_s")}
            for what, costs in {"step": stepping, "reading": reading, "both": both}.items()
        },
        "padding": {name: padding(contestants[name], videos[0]) for name in contestants},
    }


def parts(cache: Path, setting: Setting, device: torch.device, rounds: int) -> dict:
    """Costs of what a step is made of, forward and backward, with one thread."""
    torch.set_num_threads(1)
    videos = np.random.default_rng(1).permutation(setting.sizes.videos)[: setting.batch].tolist()
    by_part: dict[str, dict[str, Callable[[], int]]] = {}
    for name, made in CONTESTANTS.items():
        contestant = made(cache, setting, device)
        batch = contestant.read(videos)
        contestant.step(batch)
        for part, run in contestant.parts(batch).items():
            by_part.setdefault(part, {})[name] = partial(_whole, run, device)
    found = {}
    for part, runs in by_part.items():
        costs = in_turns(runs, rounds)
        found[part] = {
            **{name: cost.facts() for name, cost in costs.items()},
            "ratios": {of: speed(costs, REFERENCE, OURS, of) for of in ("cpu_s", "wall_s")},
        }
    return {"device": device_name(device), "parts": found}


def memory(cache: Path, quick: bool, device: torch.device) -> dict:
    """Peak MiB of a fresh process that takes three steps, each on a batch that it reads: whole, and above its imports."""
    found = {
        name: in_process(name, "train", cache, quick, device, "--steps", str(MEMORY_STEPS))
        for name in CONTESTANTS
    }
    figures = [figure for figure in found[OURS] if figure != "imports_mib"]
    return {
        "device": device_name(device),
        "steps": MEMORY_STEPS,
        "contestants": found,
        "ratios": {figure: found[OURS][figure] / found[REFERENCE][figure] for figure in figures},
    }


def in_process(who: str, what: str, cache: Path, quick: bool, device: torch.device, *options: str) -> dict:
    """What `benchmarks.retrieval_worker` tells."""
    command = [sys.executable, "-m", "benchmarks.retrieval_worker", who, what, str(cache)]
    command += ["--device", str(device), *(["--quick"] if quick else []), *options]
    return json.loads(subprocess.run(command, cwd=CHECKOUT, check=True, stdout=subprocess.PIPE).stdout)


def padding(contestant: Contestant, videos: list[int]) -> dict[str, float]:
    """Share of the frames and of the words of a batch that are padding."""
    masks = contestant.masks(contestant.read(videos))
    return {
        kind: 1 - sum(float(mask.sum()) for mask in of_it) / sum(mask.numel() for mask in of_it)
        for kind, of_it in masks.items()
    }


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _sum(first: Costs, second: Costs) -> Costs:
    """Of two things that are done one after the other, round by round."""
    return Costs(
        *(
            [a + b for a, b in zip(getattr(first, clock), getattr(second, clock), strict=True)]
            for clock in ("cpu_s", "wall_s")
        )
    )


def _whole(run: Callable[[], int], device: torch.device) -> int:
    run()
    return _done(device)


def _done(device: torch.device) -> int:
    """One thing is done, on the GPU too."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1
