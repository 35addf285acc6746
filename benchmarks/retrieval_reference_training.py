"""The reference's losses, optimizer and training step: a loop over the videos of a batch, a loop over the tensors."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.retrieval_reference import Reference, clip_scores, frame_scores
from benchmarks.retrieval_reference_inputs import TrainingBatch
from workflow_scripts.lib.config import RetrievalConfig


class Ranks(NamedTuple):
    """Which negatives a triplet loss takes, from the hardest."""

    query: list[int]
    """Of each video, among the queries of others, from 0."""
    video: Tensor
    """[Nq], of each query, among all videos with its own at 0."""


def train_step(
    model: Reference, optimizer: "BertAdam", batch: TrainingBatch, config: RetrievalConfig, hard: bool
) -> float:
    """One step; the loss."""
    model.train()
    loss = forward(model, batch, config, hard)["total"]
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def forward(model: Reference, batch: TrainingBatch, config: RetrievalConfig, hard: bool) -> dict[str, Tensor]:
    """The terms of the loss. Queries are encoded once for the scores, and again for the query diverse loss."""
    clips, frame = model.encode_context(batch.videos)
    query = model.encode_query(batch.queries)
    again = model.encode_query(batch.queries)
    pool_size = config.hard_pool_size if hard else None
    ranks = [draw_ranks(batch.labels, len(frame), pool_size) for _ in ("clip", "frame")]
    return losses(clips, frame, query, again, batch.labels, config, ranks)


def losses(
    clips: Tensor,
    frame: Tensor,
    query: Tensor,
    again: Tensor,
    labels: list[int],
    config: RetrievalConfig,
    ranks: list[Ranks],
) -> dict[str, Tensor]:
    """The five terms and their weighted sum, of the clips' and the frames' negatives."""
    label_dict: dict[int, list[int]] = {}
    for place, label in enumerate(labels):
        label_dict.setdefault(label, []).append(place)
    terms = {
        "clip_nce": nce_loss(clip_scores(query, clips, False), labels, label_dict),
        "clip_triplet": triplet_loss(
            clip_scores(query, clips, True), labels, label_dict, config.margin, ranks[0]
        ),
        "frame_nce": nce_loss(frame_scores(query, frame, False), labels, label_dict),
        "frame_triplet": triplet_loss(
            frame_scores(query, frame, True), labels, label_dict, config.margin, ranks[1]
        ),
        "query_diverse": query_diverse_loss(again, label_dict, *config.neg_factor),
    }
    clip_factor, frame_factor, query_factor = config.loss_factor
    terms["total"] = (
        clip_factor * terms["clip_nce"] + terms["clip_triplet"]
        + frame_factor * terms["frame_nce"] + terms["frame_triplet"]
        + query_factor * terms["query_diverse"]
    )  # fmt: skip
    return terms


def nce_loss(scores: Tensor, labels: list[int], label_dict: dict[int, list[int]]) -> Tensor:
    own = scores[torch.arange(len(labels)), labels]
    query_to_video = torch.logsumexp(scores, dim=1) - own
    positives = torch.zeros(len(label_dict), device=scores.device)
    for video, queries in label_dict.items():
        positives[video] = torch.logsumexp(scores[queries, video], dim=0)
    video_to_query = torch.logsumexp(scores, dim=0) - positives
    return query_to_video.mean() + video_to_query.mean()


def triplet_loss(
    scores: Tensor, labels: list[int], label_dict: dict[int, list[int]], margin: float, ranks: Ranks
) -> Tensor:
    video_to_query = 0
    for video, queries in label_dict.items():
        others = torch.ones(len(scores), dtype=torch.bool)
        others[queries] = False
        negatives, _ = torch.sort(scores[others.to(scores.device), video], descending=True)
        positive = scores[queries, video].mean()
        video_to_query = video_to_query + F.relu(margin + negatives[ranks.query[video]] - positive)
    places = torch.arange(len(labels))
    first = scores.detach().clone()
    first[places, labels] = 999
    _, order = torch.sort(first, dim=1, descending=True)
    negatives = scores[places, order[places, ranks.video]]
    query_to_video = F.relu(margin + negatives - scores[places, labels])
    return query_to_video.mean() + video_to_query / len(label_dict)


def query_diverse_loss(query: Tensor, label_dict: dict[int, list[int]], delta: float, alpha: float) -> Tensor:
    query = F.normalize(query, dim=-1)
    total = 0
    for queries in label_dict.values():
        cosines = query[queries] @ query[queries].t()
        apart = 1 - torch.eye(len(queries), device=query.device)
        total = total + torch.log(1 + (torch.exp(alpha * (cosines + delta)) * apart).sum(dim=1)).sum()
    return total / len(query)


def draw_ranks(labels: list[int], videos: int, pool_size: int | None) -> Ranks:
    """Any negative; or the hardest query and one of the `pool_size` hardest videos."""
    counts = torch.bincount(torch.tensor(labels), minlength=videos).tolist()
    if pool_size is None:
        query = [int(torch.randint(0, len(labels) - count, (1,))) for count in counts]
        most = videos
    else:
        query = [0] * videos
        most = min(pool_size + 1, videos)
    return Ranks(query, torch.randint(1, most, (len(labels),)))


class BertAdam:
    """Adam without bias correction, with weight decay, and each tensor's gradient clipped apart."""

    def __init__(self, model: nn.Module, lr: float, weight_decay: float, clip_norm: float):
        self.lr, self.weight_decay, self.clip_norm = lr, weight_decay, clip_norm
        self.parameters = list(model.named_parameters())
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}

    def zero_grad(self) -> None:
        for _, parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        for name, parameter in self.parameters:
            if parameter.grad is None:
                continue
            nn.utils.clip_grad_norm_(parameter, self.clip_norm)
            if name not in self.moments:
                self.moments[name] = (torch.zeros_like(parameter), torch.zeros_like(parameter))
            mean, square = self.moments[name]
            mean.mul_(0.9).add_(parameter.grad, alpha=0.1)
            square.mul_(0.999).addcmul_(parameter.grad, parameter.grad, value=0.001)
            update = mean / (square.sqrt() + 1e-6)
            if not name.endswith(("bias", "LayerNorm.weight")):
                update = update + self.weight_decay * parameter
            parameter.add_(-self.lr * update)
