"""Every option of open_clip_train is a key of the section, or refused with a reason; every key reaches the package."""

import argparse
import shlex

import pytest

from workflow_scripts.lib.clip import options
from workflow_scripts.lib.clip.options import check_command, check_extra, option_arguments, package_parser
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.running import add_running_arguments, running_flags, with_running_arguments

# Another value than the default for every key that is an option, as sections that allow each other.
OTHER_VALUES = [
    {
        "cache_dir": "/c", "force_image_size": [64, 32], "force_context_length": 9, "force_quick_gelu": True,
        "force_custom_text": True, "force_patch_dropout": 0.5, "image_mean": [-0.1, 0, 0.1], "image_std": [1, 2, 3],
        "image_interpolation": "bilinear", "image_resize_mode": "longest", "accum_freq": 3, "epochs": 7,
        "opt": "timm/sgd", "lr": 0.125, "momentum": 0.75, "wd": 0.5, "grad_clip_norm": 2.5, "warmup": 11,
        "lr_scheduler": "const-cooldown", "epochs_cooldown": 2, "lr_cooldown_end": 0.0625, "lr_cooldown_power": 2,
        "precision": "pure_bf16", "lock_image": True, "lock_image_unlocked_groups": 2,
        "lock_image_freeze_bn_stats": True, "lock_text": True, "lock_text_unlocked_layers": 3,
        "lock_text_freeze_layer_norm": True, "local_loss": True, "gather_with_grad": True,
        "coca_caption_loss_weight": 0.5, "coca_contrastive_loss_weight": 0.25, "grad_checkpointing": True,
        "torchcompile": True, "use_bn_sync": True, "ddp_static_graph": True,
        "use_bnb_linear": "SwitchBackLinearGlobal", "val_frequency": 4, "save_frequency": 1,
        "delete_previous_checkpoint": True, "log_every_n_steps": 13, "wandb_project_name": "p q", "wandb_notes": "n'",
        "report_to": ["wandb"], "remote_sync": "s3://b", "remote_sync_frequency": 17, "remote_sync_protocol": "s3",
    },
    {"siglip": True, "loss_dist_impl": "shift", "skip_scheduler": True, "beta1": 0.5, "beta2": 0.625, "eps": 0.25},
    {"pretrained_image": True, "distill_model": "ViT-B-32", "distill_pretrained": "openai"},
]  # fmt: skip
OF_THE_RUN = {"model", "pretrained", "batch_size", "workers", "aug_cfg"}
NO_OPTION = {"enabled", "demo_model", "data", "zeroshot", "extra_args"}


def names():
    return {action.dest for action in package_parser()._actions} - {"help"}


def test_every_option_of_the_package_is_a_key_or_has_a_reason_not_to_be():
    reasons = [options.SET_BY_US, options.NO_USE, options.EXTRA]
    without_key = set().union(*reasons)
    assert names() - set(ClipConfig.model_fields) == without_key
    assert sum(map(len, reasons)) == len(without_key)
    assert set(ClipConfig.model_fields) - names() == NO_OPTION


def test_every_key_is_tried_below():
    tried = {key for section in OTHER_VALUES for key in section}
    assert tried | OF_THE_RUN | NO_OPTION == set(ClipConfig.model_fields)


@pytest.mark.parametrize("section", OTHER_VALUES)
def test_every_key_reaches_the_package(section):
    given = check_command(option_arguments(ClipConfig(model="ViT-B-32", **section)))
    for key, value in section.items():
        found = getattr(given, key)
        assert (found.split(",") if key == "report_to" else found) == value, key


def test_all_augmentation_stands_behind_one_flag():
    aug = {
        "scale": [0.5, 1],
        "color_jitter": [0.4, 0.3, 0.2, 0.1],
        "color_jitter_prob": 0.8,
        "gray_scale_prob": 0.2,
    }
    given = check_command(option_arguments(ClipConfig(model="ViT-B-32", aug_cfg=aug)))
    assert given.aug_cfg == aug
    aug = {"use_timm": True, "ratio": [0.5, 2], "re_prob": 0.3, "re_count": 2}
    assert check_command(option_arguments(ClipConfig(model="RN50", aug_cfg=aug))).aug_cfg == aug
    assert "--aug-cfg" not in option_arguments(ClipConfig(model="ViT-B-32"))


@pytest.mark.parametrize("model", ["ViT-B-32", "RN50"])
def test_nothing_hangs_on_the_models_name(model):
    given = check_command([f"--model={model}", *option_arguments(ClipConfig(model=model))])
    assert (given.beta1, given.beta2, given.eps) == (0.9, 0.98, 1e-6)
    assert given.precision == "amp_bf16"


def test_an_optimizer_of_timm_keeps_its_own_numbers():
    given = check_command(option_arguments(ClipConfig(model="ViT-B-32", opt="timm/sgd")))
    assert (given.beta1, given.beta2, given.eps) == (None, None, 1e-6)


def test_extra_arguments_come_last():
    words = option_arguments(ClipConfig(model="ViT-B-32", extra_args=["--debug", "--dist-backend", "gloo"]))
    assert words[-3:] == ["--debug", "--dist-backend", "gloo"]
    assert check_command(words).debug


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--patch-dropout", "0.5"], r"no option '--patch-dropout'; near: --force-patch-dropout"),
        (["--lr", "0.1"], r"--lr is the key clip\.lr"),
        (["--lr=0.1"], r"--lr is the key clip\.lr"),
        (["--lock-image-u", "3"], r"the key clip\.lock_image_unlocked_groups"),  # argparse takes beginnings
        (["--resume", "x.pt"], r"--resume cannot be given .*clip\.pretrained"),
        (["--horovod"], "--horovod cannot be given .*torchrun"),
        (["--imagenet-val", "/i"], r"clip\.zeroshot takes"),
        (["--dist-backend"], "open_clip_train refuses its options: argument --dist-backend: expected one"),
        (["stray"], "no option 'stray'"),
        (["--help"], "refuses its options"),
    ],
)
def test_extra_arguments_that_are_refused(extra, message):
    with pytest.raises(UserError, match=message):
        check_extra(extra)


def test_flags_bring_back_what_is_not_frozen():
    parser = argparse.ArgumentParser()
    add_running_arguments(parser, ClipConfig, ClipConfig.RUNNING)
    changes = {key: OTHER_VALUES[0].get(key, 5) for key in ClipConfig.RUNNING}
    for section in (ClipConfig(model="m", **changes), ClipConfig(model="m", report_to=[])):
        arguments = parser.parse_args(shlex.split(running_flags(section, ClipConfig.RUNNING)))
        assert with_running_arguments(ClipConfig(model="m"), ClipConfig.RUNNING, arguments) == section
