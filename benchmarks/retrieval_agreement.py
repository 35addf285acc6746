"""Whether the reference and ours say the same, checked before anything is timed."""

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.retrieval_contestants import Ours, Setting, Theirs
from benchmarks.retrieval_reference_training import Ranks, losses
from workflow_scripts.lib.retrieval.losses import Negatives, draw_negatives, retrieval_loss
from workflow_scripts.lib.retrieval.metrics import recalls
from workflow_scripts.lib.retrieval.model import similarities

# Largest differences, of float32 throughout; gradients are relative to the largest of their tensor
LIMITS = {"scores": 1e-5, "embeddings": 2e-5, "losses": 1e-4, "gradients": 1e-3, "weights": 2e-5}
RECALLS = 0.05  # percent; ranks of scores that are as close as LIMITS may swap


class Disagreement(RuntimeError):
    """They are not the same computation: times would tell nothing."""


def agreement(cache: Path, setting: Setting) -> dict[str, float]:
    """Largest differences of a batch's embeddings, loss terms with the same negatives (random and hard), gradients and
    weights after a step, and of the scores that ranks of the small split would need to differ by; Disagreement when one
    is too large."""
    ours, theirs = (contestant(cache, setting, torch.device("cpu")) for contestant in (Ours, Theirs))
    videos = np.random.default_rng(0).permutation(setting.sizes.videos)[: setting.batch].tolist()
    found = {}
    for name, off in chain([("scores", _ranks(ours, theirs))], _training(ours, theirs, videos)):
        if not off <= LIMITS[name]:
            raise Disagreement(
                f"ours and the reference differ by {off:.3g} in {name}, more than {LIMITS[name]:g}"
            )
        found[name] = max(off, found.get(name, 0.0))
    return found


def metrics_agree(ranks: dict[str, np.ndarray], videos: int) -> float:
    """Largest difference of recalls in percent; Disagreement when it is too large."""
    first, second = (recalls(its_ranks, videos) for its_ranks in ranks.values())
    off = max(abs(first[name] - second[name]) for name in ("r1", "r5", "r10", "r100"))
    if not off <= RECALLS:
        raise Disagreement(f"{' and '.join(ranks)} differ by {off:.3g} in percent of recall")
    return off


def _training(ours: Ours, theirs: Theirs, videos: Sequence[int]) -> Iterator[tuple[str, float]]:
    """What is compared, and the difference, from the embeddings on: what follows rests on what was found before."""
    ours.model.eval()  # without dropout
    theirs.model.eval()
    our_batch, their_batch = ours.read(videos), theirs.read(videos)
    config, owner, labels, order = ours.setting.config, our_batch.owner, their_batch.labels, their_batch.order
    of_queries = [query for place in order for query in torch.nonzero(owner == place)[:, 0].tolist()]
    query, clips, frame = ours.encode(our_batch)
    their_clips, their_frame = theirs.model.encode_context(their_batch.videos)
    their_query, again = (theirs.model.encode_query(their_batch.queries) for _ in range(2))
    yield "embeddings", _off(query[of_queries], their_query)
    yield "embeddings", _off(clips[order], their_clips)
    yield "embeddings", _off(frame[order], their_frame)
    for hard in (True, False):
        terms = retrieval_loss(
            similarities(query, clips, frame), query, owner, config, hard=hard, generator=_seeded()
        )
        generator, pool = _seeded(), config.hard_pool_size if hard else None
        drawn = [draw_negatives(owner, len(frame), pool, generator) for _ in range(2)]
        ranks = [_as_theirs(negatives, order, of_queries) for negatives in drawn]
        their_terms = losses(their_clips, their_frame, their_query, again, labels, config, ranks)
        for name, term in terms.items():
            yield "losses", _off(term, their_terms[name])
    terms["total"].backward()
    their_terms["total"].backward()
    weights = [(weight, theirs.model.get_parameter(name)) for name, weight in ours.model.named_parameters()]
    for weight, their_weight in weights:
        largest = float(their_weight.grad.abs().max())
        yield "gradients", _off(weight.grad, their_weight.grad) / (1e-6 + largest)
    ours.optimize()
    theirs.optimize()
    for weight, their_weight in weights:
        yield "weights", _off(weight, their_weight)


def _as_theirs(negatives: Negatives, order: list[int], of_queries: list[int]) -> Ranks:
    """Our negatives by the reference's order of videos and queries; a query's own video has its rank 0."""
    query = negatives.query[order].tolist()
    return Ranks(query, negatives.video[of_queries] + 1)


def _ranks(ours: Ours, theirs: Theirs) -> float:
    """By how much our scores would have to differ from the reference's for our ranks: 0 where all are the same."""
    ranks = ours.evaluate(few=True)
    scores, right = theirs.few_scores()
    own = scores[np.arange(len(scores)), right]
    others = -np.sort(-np.where(np.arange(scores.shape[1]) == right[:, None], -np.inf, scores), axis=1)
    padded = np.pad(others, ((0, 0), (1, 0)), constant_values=np.inf)
    rows = np.arange(len(ranks))
    ahead, behind = padded[rows, ranks - 1], padded[rows, ranks]  # of our ranks, by their scores
    return float(np.maximum(own - ahead, behind - own).clip(0).max())


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(11)


def _off(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max())
