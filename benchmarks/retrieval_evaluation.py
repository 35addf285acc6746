"""Evaluation passes in turns, each in a fresh process: features are opened, read, encoded, searched and ranked."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.retrieval_agreement import metrics_agree
from benchmarks.retrieval_contestants import CONTESTANTS, OURS, REFERENCE, Setting
from benchmarks.retrieval_training import device_name, in_process
from benchmarks.turns import Costs, speed


def evaluation(cache: Path, setting: Setting, quick: bool, device: torch.device, rounds: int) -> dict:
    """Costs of a pass by one thread, without imports and the making of the model. A first pass of each, which does not
    count, tells its stages."""
    stages, costs = {}, {name: Costs() for name in CONTESTANTS}
    peaks: dict[str, list[float]] = {name: [] for name in CONTESTANTS}
    with tempfile.TemporaryDirectory() as scratch:
        ranks = {name: Path(scratch, f"{name}.npy") for name in CONTESTANTS}
        for name, file in ranks.items():
            options = ("--ranks", str(file), "--profiled")
            stages[name] = in_process(name, "evaluate", cache, quick, device, *options)["stages"]
        arrays = {name: np.load(file) for name, file in ranks.items()}
    off = metrics_agree(arrays, setting.sizes.videos)
    for number in range(rounds):
        for name in list(CONTESTANTS)[:: -1 if number % 2 else 1]:
            found = in_process(name, "evaluate", cache, quick, device)
            costs[name].cpu_s.append(found["cpu_s"])
            costs[name].wall_s.append(found["wall_s"])
            peaks[name].append(found["peak_mib"])
    return {
        "device": device_name(device),
        "videos": setting.sizes.videos,
        "queries": len(arrays[OURS]),
        "recalls_off": off,
        "ranks_equal": float((arrays[OURS] == arrays[REFERENCE]).mean()),
        "ranks_off": int(np.abs(arrays[OURS] - arrays[REFERENCE]).max()),
        "contestants": {
            name: {**cost.facts(), "peak_mib": max(peaks[name]), "stages_cpu_s": stages[name]}
            for name, cost in costs.items()
        },
        "ratios": {of: speed(costs, REFERENCE, OURS, of) for of in ("cpu_s", "wall_s")},
    }
