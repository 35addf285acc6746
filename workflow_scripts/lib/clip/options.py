"""The options of open_clip_train: which key of the configuration each stands for, and why some have none.

Of open_clip_torch 3.3.0. Its own parser decides what an option is: nothing is listed twice.
"""

import argparse
import contextlib
import difflib
import io
from pathlib import Path
from unittest import mock

from open_clip_train import params

from workflow_scripts.lib.config_clip import Augmentation, ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.running import flag

SET_BY_US = {
    "train_data": "clip.data says which pairs",
    "val_data": "clip.data says which pairs",
    "train_num_samples": "pairs are counted",
    "val_num_samples": "pairs are counted",
    "train_data_upsampling_factors": "clip.data.train.upsampling",
    "dataset_type": "clip.data.dataset_type",
    "dataset_resampled": "clip.data.dataset_resampled",
    "csv_separator": "clip.data.csv_separator",
    "csv_img_key": "clip.data.csv_img_key",
    "csv_caption_key": "clip.data.csv_caption_key",
    "logs": "the folder of checkpoints",
    "name": "the folder of this run's checkpoints, named after what they depend on",
    "seed": "the run's seed",
    "device": "the GPU where there is one",
    "resume": "the last checkpoint of this run, where there is one; the weights of another are `clip.pretrained`",
    "save_most_recent": "always: a killed run goes on from it",
}
"""Options that follow from something else."""

NO_USE = {
    "imagenet_val": "clip.zeroshot takes any folder of pictures by class; the package's takes ImageNet's 1000 only",
    "imagenet_v2": "clip.zeroshot takes any folder of pictures by class; the package's takes ImageNet's 1000 only",
    "zeroshot_frequency": "clip.zeroshot is measured before and after training",
    "trace": "a traced model cannot be trained",
    "torchscript": "the trained model could not be saved; clip.torchcompile is what makes training fast",
    "horovod": "several processes are started by torchrun",
    "log_local": "the package refuses a folder with such logs, so no killed run could go on",
    "copy_codebase": "every result names the versions it was made with",
}
"""Options that are refused, and why."""

EXTRA = {
    "debug": "more lines in the log",
    "dist_url": "torchrun tells it",
    "dist_backend": "nccl on GPUs, gloo on CPUs",
    "no_set_device_rank": "for launchers that show each process one GPU only",
}
"""Options for `clip.extra_args` only: nobody needs them but who knows why."""

WRITTEN_ELSEWHERE = {"enabled", "demo_model", "data", "zeroshot", "extra_args"}
"""Keys that are no option of the package."""
COMPUTED = {
    "model",
    "pretrained",
    "batch_size",
    "workers",
    "aug_cfg",
    "report_to",
    "distill_model",
    "distill_pretrained",
}
"""Keys whose option has another value or form than the key."""
ADAMW = {"beta1": 0.9, "beta2": 0.98, "eps": 1e-6}
"""Of the CLIP paper (Radford et al., 2021, table 18); the package goes by whether the model's name contains "vit"."""
TEACHER_BRINGS_ITS_WEIGHTS = "its-own"
"""The package distills only when some weights are named, and ignores them where they come with the model."""


def option_arguments(config: ClipConfig) -> list[str]:
    """The options that follow from the section alone, `extra_args` last; UserError when those are none."""
    check_extra(config.extra_args)
    words: list[str] = []
    for key in ClipConfig.model_fields:
        if key not in WRITTEN_ELSEWHERE | COMPUTED:
            words += _words(key, _value(config, key))
    words += _augmentation(config.aug_cfg)
    words += _words("report_to", ",".join(config.report_to) or None)
    if config.distill_model:
        teacher = Path(config.distill_model)
        words += _words("distill_model", teacher.stem if teacher.is_file() else config.distill_model)
        words += _words("distill_pretrained", config.distill_pretrained or TEACHER_BRINGS_ITS_WEIGHTS)
    return [*words, *config.extra_args]


def _value(config: ClipConfig, key: str):
    value = getattr(config, key)
    if value is None and key in ADAMW and (config.opt == "adamw" or key == "eps"):
        return ADAMW[key]  # without eps, the package takes None for a number with all of timm's that have one
    return value


def _words(key: str, value) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [flag(key)]
    if isinstance(value, list):
        return [flag(key), *map(str, value)]
    return [f"{flag(key)}={value}"]


def _augmentation(augmentation: Augmentation) -> list[str]:
    """All pairs behind one `--aug-cfg`: of several, the package keeps the last."""
    given = augmentation.model_dump(exclude_defaults=True)
    return [flag("aug_cfg"), *(f"{name}={value!r}" for name, value in given.items())] if given else []


def check_extra(extra: list[str]) -> None:
    """UserError for `clip.extra_args` that the package does not know, or that are said elsewhere."""
    parser = package_parser()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    given, unknown = _parse(parser.parse_known_args, extra)
    if unknown:
        names = [name for action in parser._actions for name in action.option_strings]
        close = difflib.get_close_matches(unknown[0].split("=")[0], names, 3)
        raise UserError(
            f"clip.extra_args: open_clip_train has no option {unknown[0]!r}"
            + (f"; near: {', '.join(close)}" if close else "")
        )
    for name in vars(given):
        if name in ClipConfig.model_fields:
            raise UserError(f"clip.extra_args: {flag(name)} is the key clip.{name}; set that one")
        if name in SET_BY_US | NO_USE:
            raise UserError(
                f"clip.extra_args: {flag(name)} cannot be given ({(SET_BY_US | NO_USE)[name]}); leave it out"
            )


def check_command(command: list[str]) -> argparse.Namespace:
    """The package's own reading of a whole command line; UserError for what it refuses."""
    return _parse(params.parse_args, command)


def package_parser() -> argparse.ArgumentParser:
    """The parser of open_clip_train, which makes it within `parse_args`."""
    made: list[argparse.ArgumentParser] = []

    def keep(parser, args=None, namespace=None):
        made.append(parser)
        return argparse.Namespace(opt="timm")  # for which no defaults are filled in

    with mock.patch.object(argparse.ArgumentParser, "parse_args", keep):
        params.parse_args([])
    return made[0]


def _parse(parse, words: list[str]):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return parse(words)
    except SystemExit:
        last = said.getvalue().strip().splitlines()[-1:] or ["it prints its help"]
    except ValueError as error:  # of `--aug-cfg` without `=`
        last = [str(error)]
    raise UserError(f"clip: open_clip_train refuses its options: {last[0].split('error: ')[-1]}")
