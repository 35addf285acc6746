"""When jobs run on given machines: list scheduling, by priority, then those on the longest chain first."""

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.lib.errors import UserError


@dataclass(frozen=True)
class Task:
    """A job: its time, what it holds meanwhile, the tasks (positions in the list) that it waits for, and its priority."""

    name: str
    seconds: float
    cores: int
    gpus: int
    after: tuple[int, ...]
    priority: float = 0


@dataclass(frozen=True)
class Schedule:
    """When each task starts and ends, in seconds; `chain`: the longest chain of tasks that wait for each other."""

    starts: list[float]
    ends: list[float]
    chain: float

    @property
    def seconds(self) -> float:
        return max(self.ends, default=0.0)


def schedule(tasks: Sequence[Task], cores: int, gpus: int) -> Schedule:
    """Start, whenever cores and GPUs are free, of the waiting tasks that find room the one with the longest chain behind it
    among those of the highest priority.

    Cores and GPUs are those of all machines together: that a job must find its own on one machine is left out.
    UserError when a task needs more than there is.
    """
    for task in tasks:
        if task.cores > cores or task.gpus > gpus:
            raise UserError(
                f"a job of {task.name} holds {_counted(task.cores, 'core')} and {_counted(task.gpus, 'GPU')} in the "
                f"pilot, and --cores and --gpus give {_counted(cores, 'core')} and {_counted(gpus, 'GPU')}; give more"
            )
    behind, followers = _chains(tasks)
    waiting_for = [len(set(task.after)) for task in tasks]
    # Tasks that hold the same find room or do not, all of them: a queue for each such kind.
    ready: defaultdict[tuple[int, int], list[tuple[float, float, int]]] = defaultdict(list)
    starts, ends = [0.0] * len(tasks), [0.0] * len(tasks)
    running: list[tuple[float, int]] = []
    free, now = [cores, gpus], 0.0

    def make_ready(task: int) -> None:
        order = (-tasks[task].priority, -behind[task], task)
        heapq.heappush(ready[tasks[task].cores, tasks[task].gpus], order)

    for task, count in enumerate(waiting_for):
        if not count:
            make_ready(task)
    while True:
        while fitting := [
            kind for kind, queue in ready.items() if queue and kind[0] <= free[0] and kind[1] <= free[1]
        ]:
            kind = min(fitting, key=lambda kind: ready[kind][0])
            *_, task = heapq.heappop(ready[kind])
            starts[task], ends[task] = now, now + tasks[task].seconds
            free = [free[0] - kind[0], free[1] - kind[1]]
            heapq.heappush(running, (ends[task], task))
        if not running:
            return Schedule(starts, ends, max(behind, default=0.0))
        now, task = heapq.heappop(running)
        free = [free[0] + tasks[task].cores, free[1] + tasks[task].gpus]
        for follower in followers[task]:
            waiting_for[follower] -= 1
            if not waiting_for[follower]:
                make_ready(follower)


def _chains(tasks: Sequence[Task]) -> tuple[list[float], list[list[int]]]:
    """Of each task, the seconds of the longest chain that it begins; and the tasks that wait for it."""
    followers: list[list[int]] = [[] for _ in tasks]
    for position, task in enumerate(tasks):
        for before in set(task.after):
            followers[before].append(position)
    behind = [0.0] * len(tasks)
    left = [len(them) for them in followers]
    last = [position for position, count in enumerate(left) if not count]
    while last:
        position = last.pop()
        behind[position] += tasks[position].seconds
        for before in set(tasks[position].after):
            behind[before] = max(behind[before], behind[position])
            left[before] -= 1
            if not left[before]:
                last.append(before)
    return behind, followers


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
