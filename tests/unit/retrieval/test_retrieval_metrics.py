import numpy as np
import pytest
import torch

from workflow_scripts.lib.retrieval.metrics import best_ranks, recalls, recalls_by_language


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
    assert found == {
        "r1": 12.5, "r5": 37.5, "r10": 62.5, "r100": 87.5, "sumr": 200.0, "median_rank": 8.0,
        "queries": 8, "videos": 200, "chance_r1": 0.5,
    }  # fmt: skip


def test_languages_are_counted_apart():
    found = recalls_by_language(np.array([1, 3, 1, 1]), np.array([2, 2, 0, 0]), ["ko", "zh", "en"], videos=4)
    assert found["r1"] == 75
    assert {name: part["r1"] for name, part in found["by_language"].items()} == {"en": 50, "ko": 100}
    assert found["by_language"]["ko"]["queries"] == 2
    assert found["by_language"]["en"]["median_rank"] == pytest.approx(2)
