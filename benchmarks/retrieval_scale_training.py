"""A training that is watched: which videos it takes, and the memory of its processes. A process of its own, given a
JSON of `Run`, answers with one in the file `answer`."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan

WORKER = "pt_data_worker"  # what PyTorch calls its workers' threads
KIB_PER_MIB = 1024


@dataclass(frozen=True)
class Run:
    root: str
    """Folder of features."""
    folder: str
    """For checkpoints and logs."""
    answer: str
    config: dict
    """The `retrieval` section."""
    every: int
    """Steps between two looks at the memory."""


class Watched(ShardEpochBatches):
    """Steps as they are handed to the loader, counted."""

    def __init__(self, plan: TrainingPlan, *args, every: int):
        super().__init__(plan, *args)
        self.every = every
        self.counts = np.zeros(plan.videos, np.int16)
        self.passes: list[dict[str, int]] = []
        self.memory: list[dict] = []

    def __iter__(self) -> Iterator[list[int]]:
        steps, taken = super().__iter__(), 0
        for epoch in range(self.plan.epochs):
            for positions in islice(steps, self.plan.steps_in(epoch)):
                np.add.at(self.counts, positions, 1)
                if taken % self.every == 0:
                    self.memory.append({"step": taken, "epoch": epoch, **anonymous_mib()})
                taken += 1
                yield positions
            if (epoch + 1) % self.plan.shards == 0:
                self.end_pass()

    def end_pass(self) -> None:
        """Count what the pass has taken."""
        seen = np.bincount(self.counts, minlength=2)
        self.passes.append({"never": int(seen[0]), "once": int(seen[1]), "again": int(seen[2:].sum())})
        self.counts[:] = 0


def anonymous_mib() -> dict[str, float | list[float]]:
    """MiB of this process and of each of its readers that are no files' pages: those are the system's to give and take."""
    workers = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            facts = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            continue
        if facts["Name"] == WORKER and "RssAnon" in facts and _is_ours(int(facts["PPid"])):
            workers.append(_mib(facts))
    own = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"training": _mib(own), "workers": sorted(workers)}


def _is_ours(process: int) -> bool:
    """Whether it is this process, or the fork server that this one has started."""
    me = str(Path("/proc/self").resolve().name)
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return str(process) == me or f"PPid:\t{me}\n" in status


def _mib(facts: dict[str, str]) -> float:
    return round(int(facts["RssAnon"].split()[0]) / KIB_PER_MIB, 1)


def train(run: Run) -> dict:
    """Train, and tell what was announced and what happened."""
    torch.set_num_threads(1)
    config = RetrievalConfig(**run.config)
    made: list[Watched] = []

    def watched(*args) -> Watched:
        made.append(Watched(*args, every=run.every))
        return made[-1]

    training.ShardEpochBatches = watched
    root, folder = Path(run.root), Path(run.folder)
    splits = read_splits(root, ("train", "val"), None)
    readers = (open_features(root, kind) for kind in ("video", "text"))
    state = training.train(
        config, *readers, splits, folder / "checkpoints",
        log=folder / "log", seed=1, device=torch.device("cpu"),
    )  # fmt: skip
    [batches] = made
    plan = batches.plan
    ends = [0, *(row["step"] for row in state.curve)]
    return {
        "plan": asdict(plan),
        "announced": plan.describe().splitlines(),
        "steps_of_epochs": np.diff(ends).tolist(),
        "steps": state.step,
        "rate_of_last_step": state.rate(state.step - 1),
        "rate_behind_it": state.rate(state.step),
        "losses": [round(row["train_loss"], 4) for row in state.curve],
        "passes": batches.passes,
        "memory": batches.memory,
    }


def main() -> None:
    run = Run(**json.loads(sys.argv[1]))
    Path(run.answer).write_text(json.dumps(train(run)), encoding="utf-8")


if __name__ == "__main__":
    main()
