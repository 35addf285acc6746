"""One contestant in a process of its own, for its peak memory and for a pass from the beginning; prints JSON.

`python -m benchmarks.retrieval_worker WHO WHAT CACHE [--quick] [--threads N] [--device D] [--steps N] [--ranks FILE]`
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import cpu_seconds
from benchmarks.retrieval_contestants import CONTESTANTS, QUICK, Contestant, Setting
from benchmarks.retrieval_shares import STAGES, shares


def peak_mib() -> float:
    """Of this program alone: ru_maxrss may be that of the process that started it."""
    [line] = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def train(contestant: Contestant, setting: Setting, steps: int) -> dict:
    """Steps, each on a batch that was read for it; the optimizer's memory is there from the second on."""
    order = np.random.default_rng(0).permutation(setting.sizes.videos)
    for step in range(steps):
        videos = order[step * setting.batch : (step + 1) * setting.batch].tolist()
        contestant.step(contestant.read(videos))
    return {}


def evaluate(contestant: Contestant, who: str, ranks: Path | None, profiled: bool) -> dict:
    """A pass over all videos and captions, everything opened in it; where its time went when `profiled`."""
    began, cpu = time.perf_counter(), cpu_seconds()
    if profiled:
        found, stages = shares(lambda: contestant.evaluate(few=False), STAGES[who])
    else:
        found, stages = contestant.evaluate(few=False), None
    costs = {"cpu_s": cpu_seconds() - cpu, "wall_s": time.perf_counter() - began}
    if ranks:
        np.save(ranks, found)
    return {**costs, "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("who", choices=list(CONTESTANTS))
    parser.add_argument("what", choices=["train", "evaluate"])
    parser.add_argument("cache", type=Path, help="folder of the corpus")
    parser.add_argument("--quick", action="store_true", help="the tiny one")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--device", default="cpu", help="of the model")
    parser.add_argument("--steps", type=int, default=3, help="of training")
    parser.add_argument("--ranks", type=Path, help="file for the ranks of evaluation")
    parser.add_argument("--profiled", action="store_true", help="tell where evaluation's time goes")
    args = parser.parse_args()
    imports = peak_mib()
    torch.set_num_threads(args.threads)
    setting, device = QUICK if args.quick else Setting(), torch.device(args.device)
    contestant = CONTESTANTS[args.who](args.cache, setting, device)
    if args.what == "train":
        found = train(contestant, setting, args.steps)
    else:
        found = evaluate(contestant, args.who, args.ranks, args.profiled)
    found |= {"imports_mib": imports, "peak_mib": peak_mib(), "own_mib": peak_mib() - imports}
    if device.type == "cuda":
        found["device_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
    print(json.dumps(found))


if __name__ == "__main__":
    main()
