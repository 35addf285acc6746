import numpy as np
import pytest
import torch

from workflow_scripts.lib.retrieval.metrics import (
    best_ranks,
    intervals,
    recalls,
    recalls_by_language,
    recalls_by_moment,
    video_to_text,
)


def test_rank_counts_the_wrong_videos_ahead():
    scores = torch.tensor([[0.9, 0.5, 0.7], [0.1, 0.2, 0.3], [0.1, 0.9, 0.2]])
    assert best_ranks(scores, torch.tensor([1, 0, 1])).tolist() == [3, 3, 1]


def test_ranks_equal_those_of_sorting():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(40, 30, generator=generator)
    right = torch.randint(30, (40,), generator=generator)
    order = scores.argsort(dim=1, descending=True)
    expected = 1 + (order == right[:, None]).int().argmax(dim=1)
    assert best_ranks(scores, right).tolist() == expected.tolist()


def test_ties_and_nan_count_against_the_right_video():
    assert best_ranks(torch.full((1, 4), 0.5), torch.tensor([0])).tolist() == [4]
    assert best_ranks(torch.full((1, 4), torch.nan), torch.tensor([0])).tolist() == [4]


def test_of_several_right_videos_the_best_counts_and_the_others_are_not_ahead():
    scores = torch.tensor([[0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1], [0.9, 0.8, 0.7, 0.1]])
    right = torch.tensor([[1, 2], [3, 2], [3, -1]])
    assert best_ranks(scores, right).tolist() == [2, 3, 4]


def test_a_padded_entry_does_not_take_the_first_video_out():
    assert best_ranks(torch.tensor([[0.9, 0.1]]), torch.tensor([[1, -1]])).tolist() == [2]
    assert best_ranks(torch.tensor([[0.9, 0.1]]), torch.tensor([[0, -1]])).tolist() == [1]


def test_recalls_of_a_case_by_hand_are_percent():
    found = recalls([1, 2, 5, 6, 10, 11, 100, 101], videos=200)
    assert found.pop("map") == pytest.approx(
        100 / 8 * (1 + 1 / 2 + 1 / 5 + 1 / 6 + 1 / 10 + 1 / 11 + 1 / 100 + 1 / 101)
    )
    assert found == {
        "r1": 12.5, "r5": 37.5, "r10": 62.5, "r100": 87.5, "sumr": 200.0, "median_rank": 8.0,
        "queries": 8, "videos": 200, "chance_r1": 0.5,
    }  # fmt: skip


def test_languages_are_counted_apart():
    found = recalls_by_language(np.array([1, 3, 1, 1]), np.array([2, 2, 0, 0]), ["ko", "zh", "en"], videos=4)
    assert {name: part["r1"] for name, part in found.items()} == {"en": 50, "ko": 100}
    assert found["ko"]["queries"] == 2
    assert found["en"]["median_rank"] == pytest.approx(2)


def test_moments_are_told_apart_by_their_share_and_a_bound_belongs_to_the_range_below_it():
    ratios = np.array([0.01, 0.2, 0.21, 0.8, 1.0, np.nan])
    found = recalls_by_moment(np.array([1, 7, 1, 1, 2, 1]), ratios, videos=9)
    assert [(part["from"], part["to"], part["queries"], part["r1"]) for part in found] == [
        (0, 0.2, 2, 50), (0.2, 0.4, 1, 100), (0.6, 0.8, 1, 100), (0.8, 1, 1, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("ratio", [1.0, np.nan])
def test_without_a_part_of_a_video_there_is_nothing_to_tell_apart(ratio):
    assert recalls_by_moment(np.array([1, 2]), np.full(2, ratio), videos=9) is None


def test_searching_captions_counts_the_best_own_one_and_the_precision_of_all():
    """Video 1 has captions at ranks 1, 2 and 5, video 0 one at rank 3."""
    found = video_to_text(np.array([2, 2, 0, 0]), np.array([0, 1, 1, 1]))
    assert found["r1"] == 50
    assert found["r5"] == 100
    assert found["median_rank"] == 2
    assert found["map"] == pytest.approx(100 / 2 * (1 / 3 + (1 / 1 + 2 / 2 + 3 / 5) / 3))
    assert (found["queries"], found["captions"], found["chance_r1"]) == (2, 4, 50)


def test_searching_captions_equals_average_precision_by_sorting():
    random = np.random.default_rng(0)
    owner = np.repeat(np.arange(7), [1, 4, 2, 9, 1, 3, 5])
    scores = random.permutation(7 * len(owner)).reshape(7, -1)  # without ties
    ahead = [
        (scores[video, owner != video] >= scores[video, q]).sum() for q, video in enumerate(owner.tolist())
    ]
    precisions, ranks = [], []
    for video in range(7):
        right = (owner == video)[np.argsort(-scores[video])]
        places = 1 + np.flatnonzero(right)
        precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
        ranks.append(places[0])
    shuffled = random.permutation(len(owner))
    found = video_to_text(np.array(ahead)[shuffled], owner[shuffled])
    assert found["map"] == pytest.approx(100 * np.mean(precisions))
    assert found["median_rank"] == np.median(ranks)
    assert found["r5"] == pytest.approx(100 * np.mean(np.array(ranks) <= 5))


def test_intervals_equal_those_of_samples_that_are_drawn_one_by_one():
    ranks = np.random.default_rng(1).integers(1, 60, 31)
    found = intervals(ranks, 40, seed=5)
    draws = np.random.default_rng(5)
    samples = [recalls(np.sort(ranks)[draws.integers(31, size=31)], 60) for _ in range(40)]
    assert set(found) == {"r1", "r5", "r10", "r100", "sumr", "median_rank", "map"}
    for name, ends in found.items():
        assert ends == pytest.approx(np.percentile([sample[name] for sample in samples], [2.5, 97.5]))


def test_intervals_do_not_depend_on_how_many_samples_are_drawn_at_a_time():
    ranks = np.random.default_rng(1).integers(1, 60, 30)
    found = intervals(ranks, 25, seed=0)
    for cells in (7, 100):
        for name, ends in intervals(ranks, 25, seed=0, cells=cells).items():
            assert ends == pytest.approx(found[name])
    assert intervals(ranks, 25, seed=0) != intervals(ranks, 25, seed=1)


def test_intervals_hold_what_they_are_of_and_narrow_with_more_queries():
    def width(queries):
        ranks = np.random.default_rng(2).integers(1, 30, queries)
        low, high = intervals(ranks, 300, seed=0)["r10"]
        assert low < recalls(ranks, 30)["r10"] < high
        return high - low

    assert width(4000) < 0.5 * width(400)


def test_no_samples_make_no_interval_and_one_query_a_point():
    assert intervals(np.array([1, 2]), 0, seed=0) is None
    assert intervals(np.array([4]), 9, seed=0)["r5"] == [100, 100]
    assert intervals(np.array([4]), 9, seed=0)["median_rank"] == [4, 4]
