"""Recall of frame-caption retrieval."""

import numpy as np
import pytest

from workflow_scripts.lib.clip.evaluate import by_language, recall

TEXTS = [f"caption {i}" for i in range(8)]
NAMES = [f"image {i}" for i in range(8)]


def test_matching_embeddings_are_all_found():
    rows = np.eye(8)
    found = recall(rows, 3 * rows, TEXTS, NAMES)
    assert found["t2i_r1"] == found["i2t_r1"] == 100
    assert found["chance_r1"] == found["i2t_chance_r1"] == 12.5


def test_equal_embeddings_find_nothing():
    found = recall(np.ones((8, 4)), np.ones((8, 4)), TEXTS, NAMES)
    assert found["t2i_r1"] == found["t2i_r5"] == found["i2t_r5"] == 0


def test_pairs_with_the_same_text_are_each_others_answers():
    images = np.eye(4)
    texts = np.eye(4)[[1, 1, 2, 3]]  # the first text is that of image 1
    assert recall(images, texts, ["x", "y", "z", "w"], NAMES[:4])["t2i_r1"] == 75
    found = recall(images, texts, ["x", "x", "z", "w"], NAMES[:4])
    assert found["t2i_r1"] == 100
    assert found["chance_r1"] == pytest.approx(100 * (2 + 2 + 1 + 1) / 16)
    assert found["unique_texts"] == 3


def test_a_picture_with_several_captions_is_found_by_each_and_finds_any():
    pictures = [name for name in NAMES for _ in range(3)]
    rows = np.repeat(np.eye(8), 3, axis=0)
    found = recall(rows, rows, [f"caption {i}" for i in range(24)], pictures)
    assert found["t2i_r1"] == found["i2t_r1"] == 100
    assert (found["unique_images"], found["unique_texts"]) == (8, 24)
    assert found["chance_r1"] == found["i2t_chance_r1"] == 12.5


def test_random_embeddings_are_near_chance():
    rng = np.random.default_rng(0)
    names = [str(i) for i in range(400)]
    found = recall(rng.standard_normal((400, 16)), rng.standard_normal((400, 16)), names, names)
    assert found["t2i_r1"] < 2
    assert found["t2i_r5"] < 4


def test_recall_at_five_counts_ranks_one_to_five():
    images = np.eye(10)
    texts = np.eye(10) + np.roll(np.eye(10), 1, axis=1) * 2  # the right image comes second
    found = recall(images, texts, [str(i) for i in range(10)], [str(i) for i in range(10)])
    assert (found["t2i_r1"], found["t2i_r5"]) == (0, 100)


def test_languages_are_apart():
    found = by_language(np.eye(4), np.eye(4), ["a", "b", "가", "나"], NAMES[:4], ["en", "en", "ko", "ko"])
    assert set(found) == {"en", "ko"}
    assert all(scores["pairs"] == 2 and scores["chance_r1"] == 50 for scores in found.values())
