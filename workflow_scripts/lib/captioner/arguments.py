"""A stage in the words of transformers.Trainer."""

import math
from pathlib import Path

import torch
from transformers import TrainingArguments

from workflow_scripts.lib.captioner.settings import learning_rate
from workflow_scripts.lib.config import CaptionerConfig, Stage
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.processes import PATIENCE, this_process

CHECKPOINT_STEPS = 500
"""Optimizer steps that a kill costs at most, where nothing else is written."""
SCHEDULES = {"constant": "constant_with_warmup"}  # those that the Trainer calls otherwise


def shared_batch(batch_size: int, at_most: int, processes: int) -> tuple[int, int]:
    """Captions of a forward pass, and forward passes of an optimizer step, of each process.

    UserError when the processes cannot share the batch evenly.
    """
    own, left = divmod(batch_size, processes)
    if left:
        raise UserError(
            f"captioner: a batch_size of {batch_size} cannot be shared by {processes} processes; make it a multiple "
            f"of {processes}"
        )
    captions = max(size for size in range(1, min(own, at_most) + 1) if own % size == 0)
    return captions, own // captions


def training_arguments(
    config: CaptionerConfig,
    stage: Stage,
    checkpoints: Path,
    *,
    seed: int,
    steps_an_epoch: int,
    validate: bool,
) -> TrainingArguments:
    """The stage as arguments; with `validate`, the model that validated best is loaded at the end."""
    running, world = config.running, this_process().world
    captions, passes = shared_batch(stage.batch_size, running.per_device_batch_size, world)
    validate_every = config.validation.every_steps or steps_an_epoch
    save_every = running.checkpoint_steps or min(validate_every, CHECKPOINT_STEPS)
    if validate:  # the Trainer wants it so; `SaveAndLog` saves at the other steps
        save_every = math.ceil(save_every / validate_every) * validate_every
    on_gpu = torch.cuda.is_available()
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=captions,
        per_device_eval_batch_size=2 * captions,
        gradient_accumulation_steps=passes,
        num_train_epochs=stage.epochs,
        learning_rate=learning_rate(stage),
        lr_scheduler_type=SCHEDULES.get(stage.schedule, stage.schedule),
        lr_scheduler_kwargs={"num_cycles": stage.restarts}
        if stage.schedule == "cosine_with_restarts"
        else {},
        warmup_steps=stage.warmup,  # below 1: a share of the optimizer steps
        weight_decay=stage.weight_decay,
        max_grad_norm=stage.max_grad_norm,
        bf16=config.precision == "bf16",
        fp16=config.precision == "fp16",
        activation_checkpointing=running.gradient_checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps" if validate else "no",
        eval_steps=validate_every,
        save_strategy="steps",
        save_steps=save_every,
        save_total_limit=2,
        load_best_model_at_end=validate,
        metric_for_best_model=stage.metric,
        restore_callback_states_from_checkpoint=True,  # else patience would be counted anew
        logging_steps=running.log_steps or max(1, steps_an_epoch // 10),
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=running.workers,
        dataloader_pin_memory=on_gpu,
        ddp_timeout=int(PATIENCE.total_seconds()),  # of GPUs; gloo has its own
        # both are needed on a CPU: without them its processes would not know of each other
        ddp_find_unused_parameters=False,
        use_cpu=not on_gpu,
        ddp_backend="gloo" if world > 1 and not on_gpu else None,
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
    )
    # Several GPUs are used through torchrun; a plain start must not fall into DataParallel.
    _ = arguments.device
    arguments._n_gpu = min(1, arguments._n_gpu)
    return arguments
