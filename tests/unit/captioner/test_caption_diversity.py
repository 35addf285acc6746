import numpy as np
import pytest

from workflow_scripts.lib.captioner import diversity
from workflow_scripts.lib.captioner.diversity import near_duplicates, variety


def test_variety_by_hand():
    texts = ["a red ring", "a red ring", "a red box", "on"]
    found = variety(texts, [text.split() for text in texts], 1.0)
    assert found == {
        "diversity": 75,
        "distinct_1": 50,  # a red ring box on, of 10
        "distinct_2": 50,  # a red, red ring, red box, of 6
        "near_duplicates": 50,
        "most_frequent_share": 50,
    }


def test_nothing_said_has_no_words_to_tell_apart():
    found = variety(["", ""], [[], []], 0.9)
    assert found["distinct_1"] is None and found["distinct_2"] is None and found["diversity"] == 50


@pytest.mark.parametrize(("least", "expected"), [(0.9, 50), (0.91, 0), (0.0, 100)])
def test_near_duplicates_are_those_with_few_edits(least, expected):
    assert near_duplicates(["aaaaaaaaaa", "aaaaaaaaab", "0123456789", "한글"], least) == expected


def test_of_very_many_captions_some_are_compared(monkeypatch):
    texts = [f"{number:010b}" * 3 for number in range(600)]
    every = near_duplicates(texts, 1.0)
    monkeypatch.setattr(diversity, "AT_MOST", 400)
    doubled = near_duplicates([text for text in texts for _ in range(2)], 1.0)
    assert every == 0
    # of 1,200 a third are drawn, each with its double in a third of the cases
    assert 25 < doubled < 42
    assert doubled == near_duplicates(list(np.repeat(texts, 2)), 1.0)
