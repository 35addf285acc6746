"""Contestants in turns, so that what else the machine does meets all alike; ratios are taken round by round."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

from benchmarks.machine import cpu_seconds

Clock = Literal["cpu_s", "wall_s"]


@dataclass
class Costs:
    """What the turns of one contestant took: seconds for each thing done, one figure a round."""

    cpu_s: list[float] = field(default_factory=list)
    """Child processes that ended within the turn included."""
    wall_s: list[float] = field(default_factory=list)

    def facts(self) -> dict:
        """For the result file: medians, the spread of CPU time, and rates."""
        return {
            "rounds": len(self.cpu_s),
            "cpu_s": _short(median(self.cpu_s)),
            "cpu_s_lowest": _short(min(self.cpu_s)),
            "cpu_s_highest": _short(max(self.cpu_s)),
            "wall_s": _short(median(self.wall_s)),
            "a_cpu_s": _short(1 / max(median(self.cpu_s), 1e-9)),
            "a_s": _short(1 / max(median(self.wall_s), 1e-9)),
        }


def in_turns(contestants: Mapping[str, Callable[[], int]], rounds: int) -> dict[str, Costs]:
    """Run every contestant once a round, in reversed order every second round.

    A contestant returns how many things it did: costs are those of one.
    """
    costs = {name: Costs() for name in contestants}
    for number in range(rounds):
        for name in list(contestants)[:: -1 if number % 2 else 1]:
            began, cpu = time.perf_counter(), cpu_seconds()
            done = contestants[name]()
            costs[name].cpu_s.append((cpu_seconds() - cpu) / done)
            costs[name].wall_s.append((time.perf_counter() - began) / done)
    return costs


def speed(costs: Mapping[str, Costs], ours: str, other: str, clock: Clock) -> float:
    """Our rate over that of the other: the median of the rounds' ratios."""
    pairs = zip(getattr(costs[other], clock), getattr(costs[ours], clock), strict=True)
    return median(a / max(b, 1e-9) for a, b in pairs)


def _short(number: float) -> float:
    return float(f"{number:.4g}")
