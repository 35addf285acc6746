"""Training of a stage with transformers.Trainer."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EarlyStoppingCallback, Trainer, TrainerCallback
from transformers.trainer_utils import EvalLoopOutput

from workflow_scripts.lib.captioner.arguments import CHECKPOINT_STEPS, training_arguments
from workflow_scripts.lib.captioner.data import CaptionDataset, Collator
from workflow_scripts.lib.captioner.model import IGNORE
from workflow_scripts.lib.captioner.resuming import last_checkpoint, usable_checkpoint
from workflow_scripts.lib.captioner.sampler import CaptionSampler, LengthOrder
from workflow_scripts.lib.captioner.validation import CaptionCheck
from workflow_scripts.lib.config import CaptionerConfig, Stage
from workflow_scripts.lib.errors import UserError


def train_projector_only(model: PeftModel) -> None:
    """Stage 1: the adapters, which change nothing yet, stay as they are, and are left out of the forward pass."""
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.enable_adapters(False)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Number of parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def make_sampler(config: CaptionerConfig, stage: Stage, train: CaptionDataset, seed: int) -> CaptionSampler:
    """Which captions the stage's epochs have, as the configuration wants it."""
    one = config.captions_per_moment == "one"
    return CaptionSampler(
        train.lengths(),
        stage.batch_size,
        seed,
        bucket=config.bucket_by_length,
        moments=train.examples.moments() if one else None,
        shares=config.language_shares,
        examples=train.examples,
    )


class StageTrainer(Trainer):
    """The Trainer with our order of captions, the mean loss of a validation token, and captions generated."""

    def __init__(self, *, sampler: CaptionSampler, caption_check: CaptionCheck | None = None, **options: Any):
        super().__init__(**options)
        self.sampler, self.caption_check = sampler, caption_check
        # `skip_first_batches` of a resumed run hides the sampler from the Trainer's own call.
        self.add_callback(TellEpoch(sampler))

    def _run_epoch(self, *arguments: Any, **named: Any) -> None:
        if not self.control.should_training_stop:  # `StopEarly` knows before the first step of a resumed run
            super()._run_epoch(*arguments, **named)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler:
        return self.sampler

    def _get_eval_sampler(self, eval_dataset: CaptionDataset) -> Sampler:
        return LengthOrder(eval_dataset.lengths(), self.args.eval_batch_size * self.args.world_size)

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        *rest: Any,
        metric_key_prefix: str = "eval",
        **more: Any,
    ) -> EvalLoopOutput:
        """The loss of a token and the scores of captions, the same on every process and with any batch size.

        The Trainer's own is the mean of the batches' losses, which depends on what lies in one.
        """
        model = self._wrap_model(self.model, training=False)
        model.eval()
        metrics = {"loss": self.mean_loss(model, dataloader)}
        if self.caption_check is not None:
            with self.accelerator.autocast():
                metrics |= self.caption_check(self.model, self.args.process_index, self.args.world_size)
        named = {f"{metric_key_prefix}_{name}": value for name, value in metrics.items()}
        return EvalLoopOutput(None, None, named, len(dataloader.dataset))

    @torch.no_grad()
    def mean_loss(self, model: torch.nn.Module, dataloader: DataLoader) -> float:
        """Mean over the labels of all processes."""
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        for batch in dataloader:
            inputs = self._prepare_inputs(batch)
            with self.accelerator.autocast():
                sums[0] += model(**inputs, num_items_in_batch=1).loss
            sums[1] += (inputs["labels"][:, 1:] != IGNORE).sum()
        total, labels = self.accelerator.reduce(sums).tolist()
        return total / labels


def train_stage(
    model: PeftModel,
    config: CaptionerConfig,
    stage: Stage,
    train: CaptionDataset,
    val: CaptionDataset,
    collator: Collator,
    *,
    checkpoints: Path,
    made_by: Mapping[str, Any],
    seed: int,
    caption_check: CaptionCheck | None = None,
    callbacks: list[TrainerCallback] | None = None,
) -> StageTrainer:
    """Train what is trainable in `model`, and leave it with the weights that validated best.

    Without validation captions: those of the last epoch. A checkpoint that the same configuration and inputs
    (`made_by`) left in `checkpoints` is continued, with the curve of an uninterrupted run; others are set aside.
    """
    model.base_model.model.config.label_smoothing = stage.label_smoothing
    sampler = make_sampler(config, stage, train, seed)
    validate = len(val) > 0
    steps = len(sampler) // stage.batch_size
    arguments = training_arguments(
        config, stage, checkpoints, seed=seed, steps_an_epoch=steps, validate=validate
    )
    with arguments.main_process_first(local=False):
        first = arguments.process_index == 0
        last = usable_checkpoint(checkpoints, made_by) if first else last_checkpoint(checkpoints)
    found = [StopAtNaN(), SaveAndLog(config.running.checkpoint_steps or CHECKPOINT_STEPS), *(callbacks or [])]
    if validate and stage.patience:
        found.append(StopEarly(stage.patience, stage.threshold))
    # the Trainer's calls leave the device to PEFT, which takes the first GPU for all processes
    device = (
        arguments.device if arguments.device.type == "cuda" else "cpu"
    )  # not cpu:0, which safetensors does not know
    model.load_adapter = partial(model.load_adapter, torch_device=str(device))
    trainer = StageTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=train,
        eval_dataset=val if validate else None,
        sampler=sampler,
        caption_check=caption_check if validate else None,
        callbacks=found,
    )
    print(f"{trainable_parameters(model):,} parameters are trained", flush=True)
    if last is not None:
        print(f"continuing from {last}", flush=True)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return trainer


class TellEpoch(TrainerCallback):
    """Tells the sampler which epoch begins."""

    def __init__(self, sampler: CaptionSampler):
        self.sampler = sampler

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.sampler.set_epoch(state.global_step * self.sampler.batch_size // len(self.sampler))


class SaveAndLog(TrainerCallback):
    """Checkpoints at every so many steps and wherever the model has become better, so that the best one is kept.

    A checkpoint loses what was collected of the training loss since the last log: there is a log with each of them, so
    that a resumed run has the same curve.
    """

    def __init__(self, every: int):
        self.every = every

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step % self.every == 0:
            control.should_save = True
        if control.should_save or control.should_evaluate:
            control.should_log = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        value, best = metrics[f"eval_{args.metric_for_best_model}"], state.best_metric
        if best is None or (value > best if args.greater_is_better else value < best):
            control.should_save = True


class StopEarly(EarlyStoppingCallback):
    """As the Trainer's; and a training that it had stopped is not taken up again from its last checkpoint."""

    def on_train_begin(self, args, state, control, **kwargs):
        super().on_train_begin(args, state, control, **kwargs)
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True


class StopAtNaN(TrainerCallback):
    """A loss that is no number ends the training with a sentence, not with a model that is none."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        for name in ("loss", "eval_loss"):
            if name in (logs or {}) and not math.isfinite(logs[name]):
                raise UserError(
                    f"captioner: the {name} is {logs[name]} at step {state.global_step}; "
                    "lower the stage's lr, or train with precision bf16 or fp32"
                )
