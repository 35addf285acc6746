"""What of the `clip` section open_clip_train would ignore or die of, told before anything runs.

What hangs on the architecture of the model is checked by `lib/clip/models.py`, which knows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel

if TYPE_CHECKING:
    from workflow_scripts.lib.config_clip import Augmentation, ClipConfig, PairsConfig

SCHEMES = ("local-dir:", "hf-hub:")


def fits_together(config: ClipConfig) -> None:
    """ValueError for keys of which one makes another useless or impossible."""
    _model(config)
    _optimizer(config)
    _locks(config)
    _loss(config)
    _distillation(config)
    if config.delete_previous_checkpoint and config.save_frequency != 1:
        raise ValueError(
            "delete_previous_checkpoint: open_clip_train deletes the checkpoint of the epoch before, so save_frequency 1"
            f" is needed; found {config.save_frequency}"
        )
    if config.remote_sync is None:
        _useless(config, "without remote_sync", "remote_sync_frequency", "remote_sync_protocol")
    if "wandb" not in config.report_to:
        _useless(config, "without `wandb` in report_to", "wandb_project_name", "wandb_notes")
    if len(set(config.report_to)) < len(config.report_to):
        raise ValueError("report_to: each may be there only once")


def pairs_fit_together(data: PairsConfig) -> None:
    """The same for `clip.data`."""
    own = {split: files for split in ("train", "val", "test") if (files := data.own(split))}
    if data.dataset_type == "synthetic":
        keys = ("train", "val", "test", "frames_per_caption", "frames", "captions_per_video", "languages")
        _useless(data, "with dataset_type synthetic", *keys, "pairs_per_tar")
    else:
        _useless(data, "without dataset_type synthetic", "samples")
    if data.dataset_type != "webdataset":
        _useless(data, f"with dataset_type {data.dataset_type}", "dataset_resampled", "pairs_per_tar")
    if data.dataset_type != "csv":
        why = f"with dataset_type {data.dataset_type}"
        _useless(data, why, "csv_separator", "csv_img_key", "csv_caption_key")
    if not any(map(data.of_corpus, ("train", "val"))):
        keys = ("frames_per_caption", "frames", "captions_per_video", "languages", "pairs_per_tar")
        _useless(data, "without pairs of the corpus to train or to validate on", *keys)
    for split, files in own.items():
        if data.dataset_type == "csv" and len(files.files) > 1:
            raise ValueError(
                f"{split}.files: open_clip_train reads one CSV, found {len(files.files)}; join them"
            )
        if data.dataset_type == "csv" and files.samples is not None:
            raise ValueError(f"{split}.samples: the CSV itself tells how many there are; leave it out")
        if files.upsampling is None:
            continue
        if split != "train" or not data.dataset_resampled:
            raise ValueError(
                f"{split}.upsampling: only training pairs that are drawn with replacement have it; set dataset_resampled, "
                "or leave it out"
            )
        if len(files.upsampling) != len(files.files):
            raise ValueError(
                f"{split}.upsampling: one number for each of files is needed, found {len(files.upsampling)} for "
                f"{len(files.files)}"
            )


def sensible_augmentation(aug: Augmentation) -> None:
    """The same for `clip.aug_cfg`."""
    for name in ("scale", "ratio"):
        bounds = getattr(aug, name)
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"{name}: the smaller number comes first, found {bounds}")
    if aug.scale and aug.scale[1] > 1:
        raise ValueError(f"scale: a share of the area is at most 1, found {aug.scale[1]:g}")
    if aug.use_timm:
        _useless(aug, "with use_timm", "color_jitter_prob", "gray_scale_prob")
    else:
        _useless(aug, "without use_timm", "ratio", "re_prob", "re_count")
        four = isinstance(aug.color_jitter, list) and len(aug.color_jitter) == 4
        if (aug.color_jitter is None) != (not aug.color_jitter_prob) or (aug.color_jitter_prob and not four):
            raise ValueError(
                "color_jitter and color_jitter_prob go together, the first being four numbers; or set use_timm"
            )
    if not aug.re_prob:
        _useless(aug, "without re_prob", "re_count")


def _model(config: ClipConfig) -> None:
    if config.demo_model is not None:
        more = ("force_image_size", "force_context_length", "force_patch_dropout", "pretrained_image")
        keys = ("pretrained", *more, "lock_image_unlocked_groups")
        _useless(config, "with demo_model, a ResNet that is trained from scratch", *keys)
    if config.pretrained:
        _useless(config, "with pretrained", "pretrained_image")
    if config.image_interpolation == "random" and not config.aug_cfg.use_timm:
        raise ValueError("image_interpolation: `random` needs aug_cfg.use_timm; without it, it is `bicubic`")


def _optimizer(config: ClipConfig) -> None:
    if config.opt == "adamw":
        _useless(config, "with opt adamw", "momentum")
    elif not config.opt.startswith("timm/") or config.opt == "timm/":
        raise ValueError(f"opt: `adamw` or `timm/NAME` is needed, found {config.opt!r}")
    if (config.beta1 is None) != (config.beta2 is None) and config.opt != "adamw":
        raise ValueError("beta1, beta2: of an optimizer of timm, give both or none")
    cooldown = ("epochs_cooldown", "lr_cooldown_end", "lr_cooldown_power")
    if config.skip_scheduler:
        _useless(config, "with skip_scheduler", "lr_scheduler", *cooldown)
        if config.warmup not in (0, type(config).model_fields["warmup"].default):
            raise ValueError("warmup: ignored with skip_scheduler; leave it out")
    elif config.lr_scheduler != "const-cooldown":
        _useless(config, f"with lr_scheduler {config.lr_scheduler}", *cooldown)
    elif config.epochs_cooldown is None or config.epochs_cooldown > config.epochs:
        raise ValueError(
            f"epochs_cooldown: lr_scheduler const-cooldown needs it, from 1 to epochs ({config.epochs}); "
            f"found {config.epochs_cooldown}"
        )
    elif config.lr_cooldown_end > config.lr:
        raise ValueError(f"lr_cooldown_end: {config.lr_cooldown_end:g} is more than lr, {config.lr:g}")


def _locks(config: ClipConfig) -> None:
    if not config.lock_image:
        why = "without lock_image"
        _useless(config, why, "lock_image_unlocked_groups", "lock_image_freeze_bn_stats")
    if not config.lock_text:
        _useless(config, "without lock_text", "lock_text_unlocked_layers", "lock_text_freeze_layer_norm")


def _loss(config: ClipConfig) -> None:
    if config.siglip:
        _useless(config, "with siglip", "local_loss", "gather_with_grad")
        _useless(config, "with siglip", "coca_caption_loss_weight", "coca_contrastive_loss_weight")
    else:
        _useless(config, "without siglip", "loss_dist_impl")


def _distillation(config: ClipConfig) -> None:
    if config.distill_model is None:
        _useless(config, "without distill_model", "distill_pretrained")
        return
    complete = config.distill_model.startswith(SCHEMES)
    if complete and config.distill_pretrained:
        raise ValueError(
            f"distill_pretrained: the weights of {config.distill_model!r} come with it; leave it out"
        )
    if not complete and not config.distill_pretrained:
        raise ValueError(
            f"distill_pretrained: a teacher has learned something; give the weights of {config.distill_model!r}"
        )
    if config.accum_freq > 1:
        raise ValueError(
            "accum_freq: open_clip_train distills without accumulation; set it to 1, or leave distill_model out"
        )
    if config.siglip:
        raise ValueError(
            "siglip: open_clip_train distills with the softmax loss; leave siglip or distill_model out"
        )


def _useless(section: BaseModel, why: str, *keys: str) -> None:
    """ValueError for the first of `keys` that has another value than its default."""
    fields = type(section).model_fields
    for key in keys:
        if getattr(section, key) != fields[key].get_default(call_default_factory=True):
            raise ValueError(f"{key}: ignored {why}; leave it out")
