"""Which steps hold the cores of the machines at which time."""

from collections.abc import Iterable

import numpy as np

PARTS = 200  # of the time from the first start to the last end
SHOWN = 6
OTHERS = "all others"


def cores_held(
    jobs: Iterable[tuple[str, float, float, int]], end: float, parts: int = PARTS
) -> dict[str, list[float]]:
    """The mean number of cores that jobs hold in each of `parts` equal parts of the time from 0 to `end`, by step.

    `jobs` are (step, start, end, cores), in the unit of `end`. The steps that hold most come first; those after the
    sixth are counted together.
    """
    edges = np.linspace(0, end, parts + 1)
    held: dict[str, np.ndarray] = {}
    for step, start, stop, cores in jobs:
        until = cores * np.clip(edges - start, 0, stop - start)
        held[step] = held.get(step, 0) + np.diff(until) / np.diff(edges)
    order = sorted(held, key=lambda step: -held[step].sum())
    shown = order if len(order) <= SHOWN else order[: SHOWN - 1]
    found = {step: held[step] for step in shown}
    if rest := [held[step] for step in order[len(shown) :]]:
        found[OTHERS] = np.sum(rest, axis=0)
    return {step: cores.round(3).tolist() for step, cores in found.items()}
