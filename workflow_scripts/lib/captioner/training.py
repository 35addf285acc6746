"""Training of a stage with transformers.Trainer: arguments, checkpoints, curve."""

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch.utils.data import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from workflow_scripts.lib.captioner.data import Collator
from workflow_scripts.lib.checkpoints import OTHER_CODE, differences, finished_by_other_code, set_aside, told
from workflow_scripts.lib.config import Stage
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_csv, write_json

MADE_BY = "made_by.json"
CURVE = {"loss": "train_loss", "eval_loss": "val_loss", "learning_rate": "lr", "grad_norm": "grad_norm"}


def train_projector_only(model: PeftModel) -> None:
    """Stage 1: the adapters, which change nothing yet, stay as they are."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(False)


def trainable_parameters(model: torch.nn.Module) -> int:
    """Number of parameters that are trained."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def training_arguments(
    stage: Stage, checkpoints: Path, *, precision: str, seed: int, steps_an_epoch: int, validate: bool
) -> TrainingArguments:
    """The stage in the Trainer's words. UserError when the processes cannot share the global batch evenly."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    passes = stage.accumulation * world
    if stage.batch_size % passes:
        raise UserError(
            f"captioner: a batch_size of {stage.batch_size} cannot be shared by {world} processes with "
            f"accumulation {stage.accumulation}; make it a multiple of {passes}"
        )
    arguments = TrainingArguments(
        output_dir=str(checkpoints),
        per_device_train_batch_size=stage.batch_size // passes,
        per_device_eval_batch_size=2 * stage.batch_size // passes,
        gradient_accumulation_steps=stage.accumulation,
        num_train_epochs=stage.epochs,
        learning_rate=stage.lr,
        lr_scheduler_type="cosine",
        warmup_steps=stage.warmup,  # below 1: a share of the optimizer steps
        weight_decay=stage.weight_decay,
        max_grad_norm=1.0,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        eval_strategy="epoch" if validate else "no",
        save_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=validate,
        metric_for_best_model="loss",
        logging_steps=max(1, steps_an_epoch // 10),
        logging_nan_inf_filter=False,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=torch.cuda.is_available(),
        # both are needed on a CPU: without them its processes would not know of each other
        ddp_find_unused_parameters=False,
        use_cpu=not torch.cuda.is_available(),
        ddp_backend="gloo" if world > 1 and not torch.cuda.is_available() else None,
        report_to=[],
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
    )
    # Several GPUs are used through torchrun; a plain start must not fall into DataParallel.
    _ = arguments.device
    arguments._n_gpu = min(1, arguments._n_gpu)
    return arguments


def train_stage(
    model: PeftModel,
    stage: Stage,
    train: Dataset,
    val: Dataset,
    collator: Collator,
    *,
    checkpoints: Path,
    made_by: Mapping[str, Any],
    precision: str,
    seed: int,
    callbacks: list[TrainerCallback] | None = None,
) -> Trainer:
    """Train what is trainable in `model`, and leave it with the weights of the epoch that validated best.

    Without validation captions: those of the last epoch. A checkpoint that the same configuration and inputs
    (`made_by`) left in `checkpoints` is continued, with the curve of an uninterrupted run; others are set aside.
    """
    if not len(train):
        raise UserError(
            "captioner: no training captions with frames; look at the frames' status tables for the reasons"
        )
    model.base_model.model.config.label_smoothing = stage.label_smoothing
    arguments = training_arguments(
        stage,
        checkpoints,
        precision=precision,
        seed=seed,
        steps_an_epoch=math.ceil(len(train) / stage.batch_size),
        validate=len(val) > 0,
    )
    with arguments.main_process_first(local=False):
        first = arguments.process_index == 0
        last = usable_checkpoint(checkpoints, made_by) if first else last_checkpoint(checkpoints)
    trainer = Trainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=train,
        eval_dataset=val if len(val) else None,
        callbacks=[StopAtNaN(), *(callbacks or [])],
    )
    if trainer.is_world_process_zero():
        print(f"{trainable_parameters(model):,} parameters are trained", flush=True)
        if last is not None:
            print(f"continuing from {last}", flush=True)
    trainer.train(resume_from_checkpoint=None if last is None else str(last))
    return trainer


def usable_checkpoint(folder: Path, made_by: Mapping[str, Any]) -> Path | None:
    """The last whole checkpoint made by the same configuration and inputs; one of others is set aside.

    For the first process alone; the others read `last_checkpoint` after it.
    """
    record = folder / MADE_BY
    if folder.is_dir():
        before = read_json(record) if record.is_file() else None
        if before is None:
            shutil.rmtree(folder)  # nothing whole is in it
        elif changed := differences(before, json.loads(json.dumps(made_by))):
            set_aside(folder, f"made under another configuration or other inputs:{told(changed)}")
        elif finished_by_other_code(folder, "captioner"):
            set_aside(folder, OTHER_CODE)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(record, dict(made_by))
    for checkpoint in folder.glob("checkpoint-*"):
        if not _is_whole(checkpoint):
            shutil.rmtree(checkpoint)  # a kill cut it off
    return last_checkpoint(folder)


def last_checkpoint(folder: Path) -> Path | None:
    """The whole checkpoint with the most steps."""
    steps = {
        int(path.name.rpartition("-")[2]): path for path in folder.glob("checkpoint-*") if _is_whole(path)
    }
    return steps[max(steps)] if steps else None


def _is_whole(checkpoint: Path) -> bool:
    """The Trainer writes trainer_state.json last; a removal that a kill cut off may have left it alone."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all((checkpoint / name).is_file() for name in ("adapter_model.safetensors", "optimizer.pt"))


class StopAtNaN(TrainerCallback):
    """A loss that is no number ends the training with a sentence, not with a model that is none."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        for name in ("loss", "eval_loss"):
            if name in (logs or {}) and not math.isfinite(logs[name]):
                raise UserError(
                    f"captioner: the {name} is {logs[name]} at step {state.global_step}; "
                    "lower the stage's lr, or train with precision bf16 or fp32"
                )


def write_curve(path: Path, history: list[dict[str, float]]) -> None:
    """`step`, `epoch`, `train_loss`, `val_loss`, `lr`, `grad_norm`: the Trainer's log as CSV, blank where not measured.

    The training loss is the smoothed one where the stage smooths labels, the validation loss never is.
    """
    rows: dict[int, dict[str, float]] = {}
    for entry in history:
        measured = {CURVE[key]: value for key, value in entry.items() if key in CURVE}
        if measured:
            row = rows.setdefault(entry["step"], {"step": entry["step"], "epoch": round(entry["epoch"], 4)})
            row.update(measured)
    write_csv(path, ["step", "epoch", *CURVE.values()], (rows[step] for step in sorted(rows)))
