"""Training or fine-tuning by open_clip_train: the command line that it is given."""

import importlib.util
import math
from pathlib import Path

import torch

from workflow_scripts.lib.clip.models import Model
from workflow_scripts.lib.clip.options import check_command, check_extra, option_arguments
from workflow_scripts.lib.clip.pair_files import Pairs, usable_workers
from workflow_scripts.lib.clip.remote import remote_copy
from workflow_scripts.lib.compute import require_bf16
from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError

SHOWN = 300
"""Characters of an argument that the log shows: a list of tars can be a megabyte."""


def training_arguments(
    config: ClipConfig,
    model: Model,
    train: Pairs,
    val: Pairs,
    *,
    logs: Path,
    name: str,
    seed: int,
    ranks: int,
    device: str,
) -> list[str]:
    """The command line of open_clip_train, which its own parser has agreed to.

    `train` and `val` are the pairs, `logs`/`name` the folder for checkpoints, `ranks` the number of processes.
    UserError for what cannot be had from so few pairs.
    """
    if config.batch_size % ranks:
        raise UserError(f"clip.batch_size: {config.batch_size} is not a multiple of the {ranks} processes")
    batch = config.batch_size // ranks
    workers = usable_workers(train, config.workers, ranks, batch, config.data)
    options = {
        "model": model.name,
        "pretrained": model.pretrained,
        "batch-size": batch,
        "workers": workers,
        "device": device,
        "seed": seed,
        "logs": logs,
        "name": name,
        **_data_options(config, train, val),
    }
    _steps(config, train, workers)
    flags = ["--save-most-recent", *(["--dataset-resampled"] if config.data.dataset_resampled else [])]
    given = [f"--{option}={value}" for option, value in options.items()]
    command = [*flags, *given, *option_arguments(config)]
    check_command(command)
    return command


def shown(command: list[str]) -> str:
    """The command for the log, with long arguments cut."""
    words = (word if len(word) <= SHOWN else f"{word[:SHOWN]}..." for word in command)
    return " ".join(["open_clip_train", *words])


def _data_options(config: ClipConfig, train: Pairs, val: Pairs) -> dict[str, object]:
    data = config.data
    options: dict[str, object] = {
        "dataset-type": data.dataset_type,
        "train-num-samples": train.total,
        "csv-separator": data.csv_separator,
        "csv-img-key": data.csv_img_key,
        "csv-caption-key": data.csv_caption_key,
    }
    if train.files:
        options["train-data"] = "::".join(map(str, train.files))
    if train.weights is not None:
        options["train-data-upsampling-factors"] = "::".join(map(str, train.weights))
    if val.files:
        options |= {"val-data": "::".join(map(str, val.files)), "val-num-samples": val.total}
    return options


def _steps(config: ClipConfig, train: Pairs, workers: int) -> None:
    """UserError when an epoch has no optimizer step; a warning where the warm-up is longer than the training."""
    batches = train.total / config.batch_size
    if config.data.dataset_type == "webdataset":  # every worker makes as many
        workers = max(1, workers)
        batches = math.ceil(math.ceil(batches) / workers) * workers
    steps = math.floor(batches) // config.accum_freq
    if steps == 0:
        raise UserError(
            f"clip.accum_freq: {config.accum_freq} batches of {config.batch_size} are more than the {train.total} training"
            " pairs; lower it or clip.batch_size"
        )
    total = steps * config.epochs
    print(f"{train.total} training pairs: {steps} optimizer steps an epoch, {total} in all", flush=True)
    if not config.skip_scheduler and config.warmup >= total:
        print(
            f"warning: clip.warmup is {config.warmup} steps of {total}: the learning rate never reaches its peak",
            flush=True,
        )


def check(config: ClipConfig, device: torch.device) -> None:
    """UserError for options that are none, or that cannot be had on this machine; before any pairs are read."""
    check_extra(config.extra_args)
    if "bf" in config.precision:
        require_bf16(device, "clip.precision", "amp")
    for key in ("use_bn_sync", "use_bnb_linear") if device.type == "cpu" else ():
        if getattr(config, key):
            raise UserError(f"clip.{key}: works on GPUs only, and there is none; leave it out")
    for place in config.report_to:
        if importlib.util.find_spec(place) is None:
            raise UserError(
                f"clip.report_to: the package {place} is not installed; install it, or leave it out"
            )
    if config.use_bnb_linear and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(
            "clip.use_bnb_linear: the package bitsandbytes is not installed; install it, or leave it out"
        )
    if config.use_bnb_linear:
        import bitsandbytes

        if not hasattr(getattr(bitsandbytes.nn, "triton_based_modules", None), config.use_bnb_linear):
            raise UserError(
                f"clip.use_bnb_linear: bitsandbytes {bitsandbytes.__version__} has no {config.use_bnb_linear}; install an"
                " older one, or leave it out"
            )
    remote_copy(config, "")
    if config.opt.startswith("timm/"):
        import timm.optim

        name = config.opt.removeprefix("timm/")
        if name not in timm.optim.list_optimizers():
            raise UserError(
                f"clip.opt: timm has no optimizer {name!r}; it has: {', '.join(timm.optim.list_optimizers())}"
            )
