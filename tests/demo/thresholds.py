"""What the demo has to reach, by its metrics.json: one place for its test and for its runs over several seeds."""

from functools import reduce
from typing import NamedTuple


class Threshold(NamedTuple):
    score: str
    """Keys of a number, with dots between."""
    least: float
    over: str | None = None
    """Another number that the score is divided by."""

    @property
    def name(self) -> str:
        return f"{self.score} / {self.over}" if self.over else self.score

    def measured(self, metrics: dict) -> float:
        score = _number(metrics, self.score)
        return score / _number(metrics, self.over) if self.over else score


def _number(metrics: dict, keys: str) -> float:
    return reduce(dict.__getitem__, keys.split("."), metrics)


THRESHOLDS = [
    Threshold("retrieval.test.r1", 20, "retrieval.test.chance_r1"),
    *(
        Threshold(f"retrieval.test.{score}", least, f"retrieval.baselines.{baseline}.{score}")
        # R@5, R@10 and R@100 of max_frame are near 100 % among 96 videos, so that its SumR leaves little above it.
        for baseline, sumr in (("mean_pooled", 1.1), ("max_frame", 1.02))
        for score, least in (("r1", 1.25), ("sumr", sumr))
    ),
    *(
        threshold
        for language in ("en", "ko")
        for threshold in (
            Threshold(f"captioner.test.{language}.attribute_accuracy", 90),
            Threshold(
                f"captioner.test.{language}.diversity", 0.5, f"captioner.test.{language}.reference_diversity"
            ),
            Threshold(f"clip.test.{language}.t2i_r1", 20, f"clip.test.{language}.chance_r1"),
        )
    ),
]
