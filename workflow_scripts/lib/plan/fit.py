"""What a job costs by how much work it has: a fixed part and one an item, by what pilots took."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import linear_regression, mean

APART = 1.5  # so many times more work the largest jobs must have, for a difference to tell of the work and not of chance


@dataclass(frozen=True)
class Line:
    """`fixed` + `per_item` times the amount of work; seconds, or bytes."""

    fixed: float
    per_item: float

    def at(self, amount: float) -> float:
        return self.fixed + self.per_item * amount


def fit(pilots: Sequence[Sequence[tuple[float, float]]]) -> Line | None:
    """From (amount, cost) of each job, a list a pilot; None where no job had anything to do.

    Jobs of a pilot count together, as one of their mean. Where pilots have jobs of different sizes, the line through
    them; otherwise everything counts as per item, the start of Python included, which is too much for larger jobs.
    """
    means = [(mean(a for a, _ in jobs), mean(c for _, c in jobs)) for jobs in pilots if jobs]
    means = [(amount, cost) for amount, cost in means if amount > 0]
    if not means:
        return None
    amounts, costs = zip(*means, strict=True)
    proportional = Line(0.0, sum(costs) / sum(amounts))
    if max(amounts) < APART * min(amounts):
        return proportional
    slope, intercept = linear_regression(amounts, costs)
    if slope <= 0:
        return Line(mean(costs), 0.0)
    return Line(intercept, slope) if intercept >= 0 else proportional
