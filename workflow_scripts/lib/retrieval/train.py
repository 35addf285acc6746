"""Training of GMMFormer."""

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import CaptionedVideos, CaptionTable, take
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.retrieval import checkpoints
from workflow_scripts.lib.retrieval.checkpoints import TrainingState
from workflow_scripts.lib.retrieval.data import Batch, EpochBatches, make_batch
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.losses import retrieval_loss
from workflow_scripts.lib.retrieval.metrics import recalls
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig, similarities

CURVE_COLUMNS = ("step", "epoch", "train_loss", "val_sumr", "val_r1", "lr")


def train(
    config: RetrievalConfig,
    videos: FeatureReader,
    texts: FeatureReader,
    splits: dict[str, CaptionTable],
    folder: Path,
    *,
    seed: int,
    device: torch.device,
) -> TrainingState:
    """Train on splits["train"], choose the epoch by SumR on splits["val"]; checkpoints go to `folder`.

    Without validation videos every epoch is trained and the last is kept. A killed run goes on behind
    its last whole epoch and ends with the same weights as an uninterrupted one.
    """
    model = GMMFormer(model_config(config, splits["train"], videos, texts)).to(device)
    train_set = CaptionedVideos(videos, texts, splits["train"])
    batches = EpochBatches(len(train_set), config.batch_size, seed)
    loader = DataLoader(train_set, batch_sampler=batches, collate_fn=partial(make_batch, config=model.config))
    optimizer = make_optimizer(model, config)
    rate = linear_schedule(config.epochs * len(batches), config.warmup)
    state = TrainingState(model, optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, rate))
    who = checkpoints.identity(config, seed, splits, (videos, texts))
    checkpoints.resume(folder, state, who)
    has_validation = len(splits["val"]) > 0
    if not has_validation:
        print("no validation videos: all epochs are trained, and the last is kept", flush=True)

    while state.epoch < config.epochs:
        if has_validation and state.epoch - state.best_epoch > config.patience:
            print(f"SumR has not improved for {state.epoch - state.best_epoch} epochs: stopping", flush=True)
            break
        started = time.monotonic()
        batches.epoch = state.epoch
        hard = state.epoch >= config.hard_negative_start_epoch
        losses = [train_step(state, batch.to(device), config, hard=hard) for batch in loader]
        state.epoch += 1
        row = {"step": state.step, "epoch": state.epoch, "train_loss": sum(losses) / len(losses)}
        if has_validation:
            row |= validate(model, splits["val"], videos, texts, config)
        row["lr"] = state.scheduler.get_last_lr()[0]
        state.curve.append(row)
        is_best = not has_validation or row["val_sumr"] > state.best_sumr
        if is_best:
            state.best_epoch, state.best_sumr = state.epoch, row.get("val_sumr", -1.0)
        checkpoints.save(folder, state, who, is_best=is_best)
        print(_line(row, config.epochs, time.monotonic() - started), flush=True)
    return state


def train_step(state: TrainingState, batch: Batch, config: RetrievalConfig, *, hard: bool) -> float:
    """One optimizer step; returns the loss. UserError when it is not a number."""
    model = state.model.train()
    query = model.encode_query(batch.tokens, batch.token_mask)
    clips, frame = model.encode_video(batch.clips, batch.frames, batch.frame_mask)
    loss = retrieval_loss(similarities(query, clips, frame), query, batch.owner, config, hard=hard)["total"]
    if not torch.isfinite(loss):
        raise UserError(
            f"retrieval: the loss is {loss.item()} at step {state.step}; try a smaller `lr` (now {config.lr})"
        )
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    state.optimizer.step()
    state.scheduler.step()
    state.step += 1
    return loss.item()


def validate(
    model: GMMFormer,
    split: CaptionTable,
    videos: FeatureReader,
    texts: FeatureReader,
    config: RetrievalConfig,
) -> dict[str, float]:
    """SumR and R@1 of the split, in percent, under the names of the curve's columns."""
    found = recalls(retrieve(model, split, videos, texts, config.clip_weight).rank, split.video_count)
    return {"val_sumr": found["sumr"], "val_r1": found["r1"]}


def model_config(
    config: RetrievalConfig, split: CaptionTable, videos: FeatureReader, texts: FeatureReader
) -> GMMFormerConfig:
    """The model's sizes: from the configuration, and the features' widths from the first video."""
    if not len(split):
        raise UserError(
            f"{videos.root}: no training video has features and a caption in the languages of `retrieval.languages`"
        )
    first = split.videos(slice(1)), split.captions(slice(1))
    [frames], [words] = take(videos, first[0]), take(texts, *first)
    shared = {field.name for field in dataclasses.fields(GMMFormerConfig)} & set(RetrievalConfig.model_fields)
    return GMMFormerConfig(
        visual_input_size=frames[0].size,
        query_input_size=words[0].size,
        **{name: getattr(config, name) for name in shared},
    )


def make_optimizer(model: nn.Module, config: RetrievalConfig) -> torch.optim.AdamW:
    """AdamW; biases and LayerNorm weights, the vectors among the parameters, do not decay."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr)


def linear_schedule(steps: int, warmup: float) -> Callable[[int], float]:
    """Factor of the learning rate by step, from 0: up over the share `warmup` of all steps, then down to 0."""
    rising = round(warmup * steps)

    def factor(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return max(0, steps - step) / max(1, steps - rising)

    return factor


def _line(row: dict, epochs: int, seconds: float) -> str:
    found = f", val R@1 {row['val_r1']:.1f}, SumR {row['val_sumr']:.1f}" if "val_r1" in row else ""
    return f"epoch {row['epoch']}/{epochs}: loss {row['train_loss']:.4f}{found} ({seconds:.1f} s)"
