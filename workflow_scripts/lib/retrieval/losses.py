"""GMMFormer's losses (Wang et al., AAAI 2024, section 3.4), each over a whole batch at once.

Scores are [Nq, B]: queries by videos. `owner` [Nq] is the column of each query's video; every video
of a batch has a query.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.retrieval.model import Scores


class Negatives(NamedTuple):
    """Which negatives a triplet loss takes, as positions among the negatives sorted from hard to easy."""

    query: Tensor
    """[B]: of each video, among the queries of other videos."""
    video: Tensor
    """[Nq]: of each query, among the other videos."""


def nce_loss(scores: Tensor, owner: Tensor) -> Tensor:
    """Noise-contrastive loss of unnormalised scores, query to video plus video to query (no temperature).

    A video's positives are summed inside the logarithm, so one good caption is enough.
    """
    positive = F.one_hot(owner, scores.shape[1]).bool()
    video_to_query = scores.logsumexp(0) - scores.masked_fill(~positive, -torch.inf).logsumexp(0)
    return F.cross_entropy(scores, owner) + video_to_query.mean()


def draw_negatives(
    owner: Tensor, videos: int, hard_pool_size: int | None = None, generator: torch.Generator | None = None
) -> Negatives:
    """Draw, on the CPU and waiting for no GPU: uniformly over all negatives, or, with `hard_pool_size`, the hardest query
    of a video and one of the so many hardest videos of a query (fewer in a small batch)."""
    queries, device = len(owner), owner.device
    pool = videos - 1
    if hard_pool_size is None:
        others = queries - F.one_hot(owner, videos).sum(0)  # bincount would wait
        drawn = torch.rand(videos, generator=generator).to(device, non_blocking=True)
        query = torch.minimum((drawn * others).long(), others - 1).clamp_min(0)
    else:
        query = torch.zeros(videos, dtype=torch.long, device=device)
        pool = min(pool, hard_pool_size)
    video = torch.randint(max(pool, 1), (queries,), generator=generator)
    return Negatives(query, video.to(device, non_blocking=True))


def triplet_loss(scores: Tensor, owner: Tensor, margin: float, negatives: Negatives) -> Tensor:
    """Hinge of cosine scores in both directions; a video's positive score is the mean over its queries.

    A batch of one video has no negatives: the loss is 0.
    """
    if scores.shape[1] == 1:
        return scores.sum() * 0
    positive = F.one_hot(owner, scores.shape[1]).bool()
    others = scores.masked_fill(positive, -torch.inf)
    video = others.sort(dim=1, descending=True).values.gather(1, negatives.video[:, None]).squeeze(1)
    query = others.sort(dim=0, descending=True).values.gather(0, negatives.query[None]).squeeze(0)
    own = scores.gather(1, owner[:, None]).squeeze(1)
    own_mean = (scores * positive).sum(0) / positive.sum(0)
    return F.relu(margin + video - own).mean() + F.relu(margin + query - own_mean).mean()


def query_diverse_loss(query: Tensor, owner: Tensor, delta: float, alpha: float) -> Tensor:
    """Pushes the queries [Nq, D] of one video apart: mean over q of log(1 + sum exp(alpha (cos + delta)))."""
    unit = F.normalize(query, dim=-1)
    siblings = owner[:, None] == owner
    siblings.fill_diagonal_(False)
    logits = (alpha * (unit @ unit.T + delta)).masked_fill(~siblings, -torch.inf)
    one = logits.new_zeros(len(logits), 1)  # exp(0), the 1 inside the logarithm
    return torch.cat([logits, one], dim=1).logsumexp(1).mean()


def retrieval_loss(
    scores: Scores,
    query: Tensor,
    owner: Tensor,
    config: RetrievalConfig,
    *,
    hard: bool,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """The five terms, unweighted, and their weighted sum under "total".

    `hard` chooses hard negatives; clip and frame triplets draw theirs apart, in this order, from
    `generator` (default: torch's global one).
    """
    pool = config.hard_pool_size if hard else None
    videos = scores.clip.shape[1]
    clip_negatives, frame_negatives = (draw_negatives(owner, videos, pool, generator) for _ in range(2))
    terms = {
        "clip_nce": nce_loss(scores.clip_dot, owner),
        "clip_triplet": triplet_loss(scores.clip, owner, config.margin, clip_negatives),
        "frame_nce": nce_loss(scores.frame_dot, owner),
        "frame_triplet": triplet_loss(scores.frame, owner, config.margin, frame_negatives),
        "query_diverse": query_diverse_loss(query, owner, *config.neg_factor),
    }
    clip_factor, frame_factor, query_factor = config.loss_factor
    terms["total"] = (
        clip_factor * terms["clip_nce"] + terms["clip_triplet"]
        + frame_factor * terms["frame_nce"] + terms["frame_triplet"]
        + query_factor * terms["query_diverse"]
    )  # fmt: skip
    return terms
