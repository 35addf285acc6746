"""Training of GMMFormer, by one process or several."""

import dataclasses
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import CaptionedVideos, CaptionTable, take
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.processes import ALONE, Processes
from workflow_scripts.lib.retrieval.checkpoints import Checkpoints, identity
from workflow_scripts.lib.retrieval.data import Batch
from workflow_scripts.lib.retrieval.distributed import over_processes
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.loader import Waiting, make_loader
from workflow_scripts.lib.retrieval.logs import TrainingLog
from workflow_scripts.lib.retrieval.metrics import recalls
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan
from workflow_scripts.lib.retrieval.state import TrainingState
from workflow_scripts.lib.retrieval.step import BatchEncoder, train_step

CURVE_COLUMNS = ("step", "epoch", "train_loss", "val_sumr", "val_r1", "lr")


def train(
    config: RetrievalConfig,
    videos: FeatureReader,
    texts: FeatureReader,
    splits: dict[str, CaptionTable],
    folder: Path,
    *,
    log: Path,
    seed: int,
    device: torch.device,
    job: Processes = ALONE,
) -> TrainingState:
    """Train on splits["train"], choose the epoch by SumR on splits["val"]; checkpoints go to `folder`.

    Without validation videos every epoch is trained and the last is kept. A killed run goes on behind its last
    checkpoint, and ends with the same weights as an uninterrupted one. With another number of processes it takes the
    same batches and negatives, and other dropout.
    """
    model = new_model(config, splits["train"], videos, texts, seed).to(device)
    plan = _plan(config, splits["train"], seed, job)
    state = TrainingState.new(model, config, plan.total_steps)
    checkpoints = Checkpoints(
        folder, identity(config, seed, splits, (videos, texts)), config.keep_epochs, job
    )
    checkpoints.resume(state, log)
    describe(plan, model, len(splits["val"]) > 0)
    encoder = BatchEncoder(
        model, config.accumulation > 1, precision=config.precision, compiled=config.compile
    )
    encoder = over_processes(encoder, job, device)
    data = CaptionedVideos(videos, texts, splits["train"])
    stream = Waiting(batches_behind(state, plan, data, config, device, job))
    with TrainingLog(log, state, plan.total_steps, config.wandb, job) as training_log:
        while not finished(state, config, splits["val"]):
            hard = state.epoch >= config.hard_negative_start_epoch
            for batch in islice(stream, plan.steps_in(state.epoch) - state.epoch_step):
                done = state.epoch_step * config.batch_size
                numbers = train_step(state, encoder, batch, config, seed=seed, hard=hard, job=job)
                state.count(numbers)
                size = min(config.batch_size, plan.samples_in(state.epoch) - done)
                training_log.count(batch, size, stream.seconds)
                if state.step % config.log_steps == 0:
                    training_log.write_row(state)
                if state.step % config.checkpoint_steps == 0:
                    with training_log.paused():
                        training_log.flush()
                        checkpoints.save(state)
            state.means(state.of_epoch)  # no use in validating what has diverged
            with training_log.paused():
                scores = validate(model, splits["val"], videos, texts, config) if job.first else None
                is_best = state.end_epoch(job.share(scores))
                if state.of_row.steps and finished(state, config, splits["val"]):
                    training_log.write_row(state)
                training_log.write_epoch(state, config.epochs)
                training_log.flush()
                checkpoints.save_epoch(state, is_best=is_best)
    if state.epoch < config.epochs:
        print(f"SumR has not improved for {state.epoch - state.best_epoch} epochs: stopping", flush=True)
    return state


def validate(
    model: GMMFormer,
    split: CaptionTable,
    videos: FeatureReader,
    texts: FeatureReader,
    config: RetrievalConfig,
) -> dict[str, float]:
    """SumR and R@1 of the split, in percent, under the names of the curve's columns; nothing of an empty split."""
    if not len(split):
        return {}
    found = recalls(retrieve(model, split, videos, texts, config.clip_weight).rank, split.video_count)
    return {"val_sumr": found["sumr"], "val_r1": found["r1"]}


def finished(state: TrainingState, config: RetrievalConfig, val: CaptionTable) -> bool:
    """Whether all epochs are done, or validation has not improved for more than `patience` of them."""
    without_gain = len(val) and state.epoch - state.best_epoch > config.patience
    return bool(without_gain) or state.epoch >= config.epochs


def batches_behind(
    state: TrainingState,
    plan: TrainingPlan,
    data: CaptionedVideos,
    config: RetrievalConfig,
    device: torch.device,
    job: Processes,
) -> Iterator[Batch]:
    """This process's share of every batch behind those that `state` has seen; nothing is read before the first is
    asked for."""
    batches = ShardEpochBatches(plan, job.rank, job.world)
    batches.set(state.epoch, state.epoch_step)
    yield from make_loader(data, batches, state.model.config, config, device, config.workers, config.prefetch)


def new_model(
    config: RetrievalConfig, split: CaptionTable, videos: FeatureReader, texts: FeatureReader, seed: int
) -> GMMFormer:
    """A model with the initial weights of the seed; its sizes are the configuration's, and the features' widths.

    The widths are those of the first video. UserError when there is none.
    """
    if not len(split):
        raise UserError(
            f"{videos.root}: no training video has features and a caption in the languages of `retrieval.languages`"
        )
    first = split.videos(slice(1)), split.captions(slice(1))
    [frames], [words] = take(videos, first[0]), take(texts, *first)
    shared = {field.name for field in dataclasses.fields(GMMFormerConfig)} & set(RetrievalConfig.model_fields)
    torch.manual_seed(seed)
    return GMMFormer(
        GMMFormerConfig(
            visual_input_size=frames[0].size,
            query_input_size=words[0].size,
            **{name: getattr(config, name) for name in shared},
        )
    )


def describe(plan: TrainingPlan, model: GMMFormer, validated: bool) -> None:
    """Say what is about to be trained."""
    weights = list(model.parameters())
    size = sum(weight.nbytes for weight in weights) / 1e6
    print(
        f"{sum(weight.numel() for weight in weights):,} parameters: {size:,.1f} MB, and {3 * size:,.1f} MB more for"
        f" gradients and optimizer\n{plan.describe()}",
        flush=True,
    )
    if not validated:
        print("no validation videos: all epochs are trained, and the last is kept", flush=True)


def _plan(config: RetrievalConfig, split: CaptionTable, seed: int, job: Processes) -> TrainingPlan:
    if config.window_length == "batch" and job.world > 1:
        raise UserError(
            f"retrieval.window_length: 'batch' depends on the padding of the whole batch, which {job.world} processes take"
            " apart; set the rule's resource `gpu` to 1, or window_length to a number"
        )
    return TrainingPlan(
        split.video_count,
        config.batch_size,
        config.train_shard_size,
        config.steps_per_epoch,
        config.epochs,
        seed,
    )
