"""Recall of frame-caption retrieval."""

import numpy as np
import pytest

from workflow_scripts.lib.clip import recall as module
from workflow_scripts.lib.clip.recall import by_language, recall, wrong_ahead

EACH = np.arange(8)


def test_matching_embeddings_are_all_found():
    found = recall(np.eye(8), 3 * np.eye(8), EACH, EACH)
    assert found["t2i_r1"] == found["i2t_r1"] == found["i2t_r10"] == 100
    assert found["chance_r1"] == found["i2t_chance_r1"] == 12.5


def test_equal_embeddings_find_nothing():
    found = recall(np.ones((20, 4)), np.ones((20, 4)), np.arange(20), np.arange(20))
    assert [found[f"{way}_r{k}"] for way in ("t2i", "i2t") for k in (1, 5, 10)] == [0] * 6


def test_pairs_of_the_same_text_are_each_others_answers():
    images, texts = np.eye(4), np.eye(4)[[1, 1, 2, 3]]  # the first text is that of image 1
    assert recall(images, texts, np.arange(4), np.arange(4))["t2i_r1"] == 75
    found = recall(images, texts, np.arange(4), np.array([1, 1, 2, 3]))
    assert found["t2i_r1"] == 100
    assert found["chance_r1"] == pytest.approx(100 * (2 + 2 + 1 + 1) / 16)
    assert found["unique_texts"] == 3


def test_an_image_with_several_captions_is_found_by_each_and_finds_any():
    texts = np.repeat(np.eye(8), 3, axis=0)
    found = recall(np.eye(8), texts, np.repeat(EACH, 3), np.arange(24))
    assert found["t2i_r1"] == found["i2t_r1"] == 100
    assert (found["unique_images"], found["unique_texts"], found["pairs"]) == (8, 24, 24)
    assert found["chance_r1"] == found["i2t_chance_r1"] == 12.5


def test_a_pair_that_is_there_twice_counts_twice_as_a_query_and_once_as_an_answer():
    images, texts = np.eye(3), np.eye(3)[[0, 2, 1]]  # of three pairs, the first is found
    found = recall(images, texts, np.array([0, 0, 1, 2]), np.array([0, 0, 1, 2]))
    assert (found["t2i_r1"], found["pairs"], found["unique_images"]) == (50, 4, 3)
    assert found["chance_r1"] == pytest.approx(100 / 3, abs=1e-3)


def test_random_embeddings_are_near_chance():
    rng, rows = np.random.default_rng(0), np.arange(400)
    found = recall(rng.standard_normal((400, 16)), rng.standard_normal((400, 16)), rows, rows)
    assert found["t2i_r1"] < 2
    assert found["t2i_r5"] < 4


def test_ranks_are_counted_from_one():
    rows = np.arange(20)
    second = np.eye(20) + np.roll(np.eye(20), 1, axis=1) * 2  # the right image comes second
    found = recall(np.eye(20), second, rows, rows)
    assert (found["t2i_r1"], found["t2i_r5"]) == (0, 100)
    sixth = np.eye(20) + sum(np.roll(np.eye(20), k, axis=1) * 2 for k in range(1, 6))
    found = recall(np.eye(20), sixth, rows, rows)
    assert (found["t2i_r5"], found["t2i_r10"]) == (0, 100)


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_blocks_do_not_change_what_is_found(monkeypatch, size):
    """Against one matrix; vectors of few values give ties."""
    rng = np.random.default_rng(size)
    images, texts = rng.integers(0, 3, (23, 3)), rng.integers(0, 3, (31, 3))
    images, texts = images.astype(np.float32), texts.astype(np.float32)
    pairs = np.unique(
        np.stack([np.r_[np.arange(31), rng.integers(0, 31, 20)], rng.integers(0, 23, 51)], 1), axis=0
    )
    scores = texts @ images.T  # small whole numbers: exact
    right = np.zeros(scores.shape, dtype=bool)
    right[pairs[:, 0], pairs[:, 1]] = True
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    monkeypatch.setattr(module, "BLOCK", {"cpu": size})
    expected = ((scores >= best) & ~right).sum(axis=1)
    assert (wrong_ahead(texts, images, pairs) == expected).all()
    assert expected.max() > 1


def test_no_number_ranks_last():
    images, texts = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    pairs = np.stack([np.arange(3)] * 2, axis=1)
    images[1] = np.nan
    # the second's own score is none, and the others have it ahead of theirs
    assert wrong_ahead(texts, images, pairs).tolist() == [1, 2, 1]


def test_languages_are_apart():
    rows = np.arange(4)
    found = by_language(np.eye(4), np.eye(4), rows, rows, ["en", "en", "ko", "ko"])
    assert set(found) == {"en", "ko"}
    assert all(scores["pairs"] == 2 and scores["chance_r1"] == 50 for scores in found.values())
