import math

import pytest
import torch
import torch.nn.functional as F

from tests.unit.retrieval.tiny_corpus import small_config
from workflow_scripts.lib.retrieval.losses import (
    Negatives,
    draw_negatives,
    nce_loss,
    query_diverse_loss,
    retrieval_loss,
    triplet_loss,
)
from workflow_scripts.lib.retrieval.model import similarities

OWNER = torch.tensor([0, 0, 1, 2, 2, 2])
QUERIES, VIDEOS = 6, 3


@pytest.fixture
def scores() -> torch.Tensor:
    return torch.randn(QUERIES, VIDEOS, generator=torch.Generator().manual_seed(3))


def queries_of(video: int) -> list[int]:
    return [q for q in range(QUERIES) if OWNER[q] == video]


def test_nce_equals_its_formula_in_loops(scores):
    u = scores.double().tolist()
    forward = [math.log(sum(map(math.exp, u[q]))) - u[q][OWNER[q]] for q in range(QUERIES)]
    backward = []
    for v in range(VIDEOS):
        every = sum(math.exp(u[q][v]) for q in range(QUERIES))
        own = sum(math.exp(u[q][v]) for q in queries_of(v))
        backward.append(math.log(every) - math.log(own))
    expected = sum(forward) / QUERIES + sum(backward) / VIDEOS
    assert nce_loss(scores, OWNER).item() == pytest.approx(expected, rel=1e-5)


def test_triplet_equals_its_formula_in_loops(scores):
    negatives = Negatives(query=torch.tensor([3, 0, 2]), video=torch.tensor([1, 0, 1, 1, 0, 1]))
    s, margin = scores.tolist(), 0.2
    total = 0.0
    for q in range(QUERIES):
        others = sorted((s[q][v] for v in range(VIDEOS) if v != OWNER[q]), reverse=True)
        total += max(0, margin + others[negatives.video[q]] - s[q][OWNER[q]]) / QUERIES
    for v in range(VIDEOS):
        others = sorted((s[q][v] for q in range(QUERIES) if OWNER[q] != v), reverse=True)
        own = [s[q][v] for q in queries_of(v)]
        total += max(0, margin + others[negatives.query[v]] - sum(own) / len(own)) / VIDEOS
    assert triplet_loss(scores, OWNER, margin, negatives).item() == pytest.approx(total, rel=1e-5)


def test_query_diverse_equals_its_formula_in_loops():
    query = torch.randn(QUERIES, 5, generator=torch.Generator().manual_seed(4))
    total = 0.0
    for q in range(QUERIES):
        siblings = [p for p in queries_of(int(OWNER[q])) if p != q]
        cosines = [F.cosine_similarity(query[q], query[p], dim=0).item() for p in siblings]
        total += math.log(1 + sum(math.exp(32 * (cosine + 0.15)) for cosine in cosines))
    loss = query_diverse_loss(query, OWNER, delta=0.15, alpha=32)
    assert loss.item() == pytest.approx(total / QUERIES, rel=1e-4)


def test_random_negatives_reach_every_negative_and_nothing_else():
    torch.manual_seed(0)
    draws = [draw_negatives(OWNER, VIDEOS) for _ in range(300)]
    assert {rank.item() for draw in draws for rank in draw.video} == {0, 1}
    for video in range(VIDEOS):
        others = QUERIES - len(queries_of(video))
        assert {draw.query[video].item() for draw in draws} == set(range(others))


@pytest.mark.parametrize(("pool", "ranks"), [(1, {0}), (2, {0, 1}), (20, {0, 1})])
def test_hard_negatives_are_the_hardest_query_and_one_of_the_hardest_videos(pool, ranks):
    torch.manual_seed(0)
    draws = [draw_negatives(OWNER, VIDEOS, hard_pool_size=pool) for _ in range(50)]
    assert all((draw.query == 0).all() for draw in draws)
    assert {rank.item() for draw in draws for rank in draw.video} == ranks


@pytest.mark.parametrize("hard", [False, True])
def test_total_is_the_weighted_sum_with_finite_gradients(hard):
    torch.manual_seed(1)
    query, clips, frame = (torch.randn(*shape, requires_grad=True) for shape in ((6, 4), (3, 2, 4), (3, 4)))
    config = small_config(loss_factor=[0.3, 0.2, 0.1])
    terms = retrieval_loss(similarities(query, clips, frame), query, OWNER, config, hard=hard)
    expected = (
        0.3 * terms["clip_nce"] + terms["clip_triplet"] + 0.2 * terms["frame_nce"]
        + terms["frame_triplet"] + 0.1 * terms["query_diverse"]
    )  # fmt: skip
    torch.testing.assert_close(terms["total"], expected)
    terms["total"].backward()
    assert all(torch.isfinite(tensor.grad).all() for tensor in (query, clips, frame))


@pytest.mark.parametrize("hard", [False, True])
def test_a_batch_of_one_video_has_no_negatives_and_does_not_crash(hard):
    query, clips, frame = (torch.randn(*shape, requires_grad=True) for shape in ((1, 4), (1, 2, 4), (1, 4)))
    owner = torch.zeros(1, dtype=torch.long)
    terms = retrieval_loss(similarities(query, clips, frame), query, owner, small_config(), hard=hard)
    assert terms["total"].item() == pytest.approx(0, abs=1e-6)
    terms["total"].backward()
    assert torch.isfinite(query.grad).all()
