import numpy as np
import pytest
import torch
import torch.nn.functional as F

from workflow_scripts.lib.retrieval import gallery as galleries
from workflow_scripts.lib.retrieval import ranking
from workflow_scripts.lib.retrieval.gallery import Gallery, stored
from workflow_scripts.lib.retrieval.metrics import best_ranks
from workflow_scripts.lib.retrieval.ranking import Queries, rank

CPU = torch.device("cpu")
VIDEOS, DIM = 11, 6


@pytest.fixture
def corpus():
    """Vectors [Nv, m, D] of videos, unit queries [Nq, D], and owners: from one to six captions a video."""
    generator = torch.Generator().manual_seed(0)
    owner = np.repeat(np.arange(VIDEOS), np.random.default_rng(1).integers(1, 7, VIDEOS))
    vectors = torch.randn(VIDEOS, 3, DIM, generator=generator)
    return vectors, F.normalize(torch.randn(len(owner), DIM, generator=generator), dim=-1), owner


def search(vectors, queries, owner, order=None, both=True):
    """By a gallery whose videos come in this order."""
    order = np.arange(len(vectors)) if order is None else order
    gallery = stored([(order, vectors[order])], len(vectors), CPU)
    return gallery, rank(gallery, Queries([(np.arange(len(owner)), queries)], owner, gallery, CPU), both=both)


def small_blocks(monkeypatch, vectors=7, queries=5, together=2, captions=3):
    monkeypatch.setitem(galleries.VECTORS, "cpu", vectors)
    monkeypatch.setitem(ranking.QUERIES, "cpu", queries)
    monkeypatch.setattr(ranking, "TOGETHER", together)
    monkeypatch.setattr(ranking, "CAPTIONS", captions)


def all_scores(vectors, queries):
    return torch.einsum("vmd,qd->qvm", vectors, queries).amax(-1)


@pytest.mark.parametrize("blocks", [None, (7, 5, 2, 3), (1, 1, 1, 1), (3 * VIDEOS - 3, 64, 1, 2)])
def test_both_directions_equal_those_of_all_scores(corpus, monkeypatch, blocks):
    vectors, queries, owner = corpus
    if blocks:
        small_blocks(monkeypatch, *blocks)
    order = np.random.default_rng(2).permutation(VIDEOS)
    _, found = search(vectors, queries, owner, order)
    scores = all_scores(vectors, queries)
    assert found.rank.tolist() == best_ranks(scores, torch.from_numpy(owner)).tolist()
    for q, video in enumerate(owner):
        others = scores[owner != video, video]
        assert found.captions_ahead[q] == (others >= scores[q, video]).sum()
    top = scores.topk(5)
    np.testing.assert_array_equal(order[found.top_places], top.indices.numpy())
    np.testing.assert_allclose(found.top_scores, top.values.numpy(), atol=1e-6)


def test_ties_and_nan_count_against_the_right_one_in_any_block(corpus, monkeypatch):
    """Of whole numbers, so that no order of adding them rounds otherwise."""
    _, queries, owner = corpus
    small_blocks(monkeypatch)
    whole = torch.arange(VIDEOS * 2 * DIM).view(VIDEOS, 2, DIM) % 7 - 3.0
    _, same_videos = search(torch.ones(VIDEOS, 2, DIM), (4 * queries).round(), owner)
    assert set(same_videos.rank) == {VIDEOS}
    others = len(owner) - np.bincount(owner)[owner]
    _, same_captions = search(whole, torch.ones(len(owner), DIM), owner)
    np.testing.assert_array_equal(same_captions.captions_ahead, others)
    _, nothing = search(torch.full((VIDEOS, 2, DIM), torch.nan), queries, owner)
    assert set(nothing.rank) == {VIDEOS}
    np.testing.assert_array_equal(nothing.captions_ahead, others)


def test_a_score_that_is_no_number_is_ahead_of_the_right_video(corpus):
    vectors, queries, owner = corpus
    vectors[3] = torch.nan
    found = search(vectors, queries, owner)[1].rank
    assert found.min() > 1
    assert set(found[owner == 3]) == {VIDEOS}


def test_one_video_and_fewer_videos_than_are_listed(corpus):
    vectors, queries, _ = corpus
    _, found = search(vectors[:1], queries[:2], np.zeros(2, dtype=np.int64))
    assert (found.rank.tolist(), found.captions_ahead.tolist()) == ([1, 1], [0, 0])
    assert found.top_places.shape == (2, 1)
    _, found = search(vectors[:3], queries[:3], np.arange(3))
    assert sorted(found.top_places[0]) == [0, 1, 2]


def test_the_other_direction_is_counted_only_when_asked_for(corpus):
    assert search(*corpus, both=False)[1].captions_ahead is None


def test_videos_may_have_different_numbers_of_vectors(corpus):
    vectors, queries, owner = corpus
    blocks = [slice(0, 7), slice(7, VIDEOS)]
    ragged = Gallery(np.arange(VIDEOS), blocks, lambda rows: vectors[rows, : 1 + 2 * (rows.start == 0)])
    found = rank(ragged, Queries([(np.arange(len(owner)), queries)], owner, ragged, CPU))
    scores = torch.cat([all_scores(vectors[:7], queries), all_scores(vectors[7:, :1], queries)], dim=1)
    assert found.rank.tolist() == best_ranks(scores, torch.from_numpy(owner)).tolist()
