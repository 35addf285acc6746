import numpy as np
import pytest

from workflow_scripts.lib.bootstrap import resampled
from workflow_scripts.lib.captioner import scores
from workflow_scripts.lib.captioner.confidence import Score, intervals, mean, ratio


def test_of_a_mean_the_interval_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(10, 2, size=2000)
    [low, high] = intervals({"x": mean(values)}, 2000, seed=1)["x"]
    error = values.std() / len(values) ** 0.5
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.02
    )


def test_intervals_hold_the_score_and_shrink_with_the_moments():
    texts = [f"a {colour} {shape} moves" for colour in ("red", "blue") for shape in ("ring", "star", "box")]

    def width(times):
        generated = [text if k % 3 else text.replace("red", "green") for k, text in enumerate(texts * times)]
        references = [[text] for text in texts * times]
        found = scores.bleu(generated, references, "13a") | {"chrf": scores.chrf(generated, references)}
        ends = intervals(found, 300, seed=0)
        for name, (low, high) in ends.items():
            assert low < found[name].value < high
        return {name: high - low for name, (low, high) in ends.items()}

    few, many = width(2), width(32)
    assert all(0.15 < many[name] / few[name] < 0.4 for name in few)  # a quarter: the root of 16


def test_a_seed_gives_the_same_samples_however_many_are_drawn_at_a_time():
    one, other = (np.concatenate(list(resampled(7, 50, 3, cells))) for cells in (7, 10_000))
    assert (one == other).all()
    assert (one.sum(axis=1) == 7).all() and len({tuple(row) for row in one}) > 1


def test_the_ratio_is_one_of_sums():
    score = ratio(np.array([1, 0, 3]), np.array([1, 1, 8]), scale=100)
    assert score.value == 40
    assert ratio(np.zeros(2), np.zeros(2)).value is None


def test_a_score_that_says_nothing_has_no_interval():
    nothing = Score(np.zeros((3, 1)), lambda sums: np.nan)
    assert intervals({"a": mean(np.ones(3)), "b": nothing}, 10, seed=0) == {"a": [1, 1]}
    assert intervals({"a": mean(np.ones(3))}, 0, seed=0) is None
