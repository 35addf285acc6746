"""The training sections of a parity fixture, as this library makes them: loss terms, gradients, optimizer steps.

The order in which the original draws its random negatives is written here; the library draws otherwise.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.retrieval import losses
from workflow_scripts.lib.retrieval.model import GMMFormer, similarities
from workflow_scripts.lib.retrieval.optim import BertAdam, clip_gradients, make_optimizer, make_schedule

WEIGHT_DECAY, CLIP_NORM = 0.01, 1.0  # fixed in the original's code
VIDEO_INPUTS = ("clip_video_features", "frame_video_features", "videos_mask")
TERMS = ("clip_nce", "clip_triplet", "frame_nce", "frame_triplet")


def original_config(stated: Mapping[str, Any], **changes: Any) -> RetrievalConfig:
    """A section of our configuration that trains as the original does with its own, `stated`."""
    same = {name: stated[name] for name in ("margin", "loss_factor", "neg_factor", "hard_pool_size")}
    original = {"optimizer": "bert_adam", "weight_decay": WEIGHT_DECAY, "clipping": "per_tensor"}
    return RetrievalConfig(encoder="fixture", clip_norm=CLIP_NORM, **{**same, **original, **changes})


def encode(model: GMMFormer, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [Nq, D], clips [B, M, D] and frames [B, D] of a batch in the original's form."""
    query = model.encode_query(batch["text_feat"], batch["text_mask"])
    return query, *model.encode_video(*(batch[name] for name in VIDEO_INPUTS))


def training_pass(
    model: GMMFormer, batch: Mapping[str, Any], config: RetrievalConfig, seed: int, *, hard: bool
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    """Scores, loss terms and draws of a batch, with the negatives that the original draws from `seed`."""
    owner = torch.tensor(batch["text_labels"])
    query, clips, frame = encode(model.train(), batch)
    scores = similarities(query, clips, frame)
    draws = original_draws(owner, len(frame), config.hard_pool_size if hard else None, seed)
    negatives = [
        losses.Negatives(each.get("v2t", torch.zeros(len(frame), dtype=torch.long)), each["t2v"] - 1)
        for each in draws.values()
    ]
    with mock.patch.object(losses, "draw_negatives", side_effect=negatives):
        terms = losses.retrieval_loss(scores, query, owner, config, hard=hard)
    outputs = {
        "clip_scale_scores": scores.clip,
        "clip_scale_scores_unnorm": scores.clip_dot,
        "frame_scale_scores": scores.frame,
        "frame_scale_scores_unnorm": scores.frame_dot,
        "video_query": query,
    }
    return outputs, terms, draws


def original_draws(
    owner: Tensor, videos: int, hard_pool_size: int | None, seed: int
) -> dict[str, dict[str, Tensor]]:
    """Negatives in the order in which the original draws them: clip triplet first, then frame triplet.

    `v2t` [B]: rank of a video's negative among the other videos' queries, from the hardest; none is drawn when hard.
    `t2v` [Nq]: rank of a query's negative among all videos, from the hardest, the right one being put at rank 0.
    """
    generator = torch.Generator().manual_seed(seed)
    draws: dict[str, dict[str, Tensor]] = {"clip": {}, "frame": {}}
    for drawn in draws.values():
        end = videos
        if hard_pool_size is None:
            others = (len(owner) - torch.bincount(owner, minlength=videos)).tolist()
            drawn["v2t"] = torch.cat([torch.randint(0, count, (1,), generator=generator) for count in others])
        else:
            end = min(videos, hard_pool_size + 1)
        drawn["t2v"] = torch.randint(1, end, (len(owner),), generator=generator)
    return draws


def loss_and_gradients(
    model: GMMFormer, batch: Mapping[str, Any], config: RetrievalConfig, seed: int, *, hard: bool
) -> dict[str, Any]:
    """One forward and backward pass: the sections `train_soft` and `train_hard`."""
    outputs, terms, draws = training_pass(model, batch, config, seed, hard=hard)
    terms["total"].backward()
    owner = torch.tensor(batch["text_labels"])
    unweighted = {name: terms[name].detach() for name in TERMS} | {"qdl": terms["query_diverse"].detach()}
    return {
        "draws": draws,
        "outputs": {name: value.detach() for name, value in outputs.items()},
        "terms_unweighted": unweighted,
        "total": terms["total"].detach(),
        "label_dict": {video: places(owner == video) for video in range(int(owner.max()) + 1)},
        "grads": {name: parameter.grad for name, parameter in model.named_parameters()},
    }


def optimizer_steps(
    model: GMMFormer,
    batch: Mapping[str, Any],
    config: RetrievalConfig,
    given: Mapping[str, Any],
    order: Iterable[str],
) -> dict[str, Any]:
    """Steps on one batch with random negatives, per-tensor clipping and the schedule: the section `optim`.

    `order` is that of the original's parameters.
    """
    optimizer = make_optimizer(model, config)
    schedule = _schedule(optimizer, config, given["t_total"])
    decaying = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    rates, values, clipped, watched = [], [], [], []
    for seed, names in zip(given["rng_seed_per_step"], given["watched"], strict=True):
        loss = training_pass(model, batch, config, seed, hard=False)[1]["total"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clipped.append(_clip(model, config))
        rates.append(schedule.get_last_lr()[0])
        values.append(loss.item())
        optimizer.step()
        schedule.step()
        watched.append({name: model.get_parameter(name).detach().clone() for name in names})
    return {
        "lr_per_step": rates,
        "loss_per_step": values,
        "n_params_clipped_per_step": clipped,
        "watched": watched,
        "final_state_dict": model.state_dict(),
        "decay_names": [name for name in order if id(model.get_parameter(name)) in decaying],
        "schedule_multipliers": _multipliers(config, given["schedule_multipliers"]),
    }


def _clip(model: nn.Module, config: RetrievalConfig) -> int:
    """Clip the gradients; how many it changed."""
    before = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    clip_gradients(model.parameters(), config.clip_norm, config.clipping)
    return sum(not torch.equal(grad, model.get_parameter(name).grad) for name, grad in before.items())


def _multipliers(config: RetrievalConfig, given: Mapping[tuple[float, int], float]) -> dict[tuple, float]:
    """The schedule at (warm-up, step); the steps of the fixture end at the first one behind 0 whose rate is 0."""
    total = min(step for (_, step), factor in given.items() if step > 0 and factor == 0)
    return {
        (warmup, step): make_schedule(config.model_copy(update={"warmup": warmup}), total)(step)
        for warmup, step in given
    }


def given_gradients(given: Mapping[str, Any], config: RetrievalConfig) -> dict[str, Any]:
    """The optimizer on two tensors with given gradients: the section `optim_standalone`."""
    params = [nn.Parameter(given[name].clone()) for name in ("p0", "p1")]
    groups = [
        {"params": [param], "weight_decay": decay}
        for param, decay in zip(params, given["weight_decay"], strict=True)
    ]
    optimizer = BertAdam(groups, lr=given["lr"])
    schedule = _schedule(optimizer, config, given["t_total"])
    after = []
    for grads in given["grads"]:
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad.clone()
        clip_gradients(params, config.clip_norm, config.clipping)
        optimizer.step()
        schedule.step()
        after.append([param.detach().clone() for param in params])
    return {"params_after": after}


def places(chosen: Tensor) -> list[int]:
    """Where a boolean vector is true."""
    return chosen.nonzero().squeeze(1).tolist()


def _schedule(optimizer: torch.optim.Optimizer, config: RetrievalConfig, steps: int):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, make_schedule(config, steps))
