"""What of the clip section is refused before anything runs, with what to do."""

import pytest
from pydantic import ValidationError

from workflow_scripts.lib.config_clip import ClipConfig

MY_PAIRS = {"files": ["mine.tar"]}
CSV = {"dataset_type": "csv"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"demo_model": {}}, "exactly one of `model` and `demo_model`"),
        ({"model": None}, "exactly one of `model` and `demo_model`"),
        ({"model": None, "demo_model": {}, "pretrained": "openai"}, "pretrained: ignored with demo_model"),
        (
            {"model": None, "demo_model": {}, "lock_image": True, "lock_image_unlocked_groups": 1},
            "lock_image_unlocked",
        ),
        ({"pretrained": "openai", "pretrained_image": True}, "pretrained_image: ignored with pretrained"),
        ({"image_interpolation": "random"}, "needs aug_cfg.use_timm"),
        ({"opt": "sgd"}, "`adamw` or `timm/NAME`.*'sgd'"),
        ({"momentum": 0.9}, "momentum: ignored with opt adamw"),
        ({"opt": "timm/adam", "beta1": 0.9}, "give both or none"),
        ({"lr_scheduler": "const-cooldown"}, "epochs_cooldown: .*needs it, from 1 to epochs"),
        ({"lr_scheduler": "const-cooldown", "epochs_cooldown": 6, "epochs": 5}, "from 1 to epochs .5."),
        ({"lr_scheduler": "const-cooldown", "epochs_cooldown": 1, "lr_cooldown_end": 1}, "more than lr"),
        ({"epochs_cooldown": 2}, "epochs_cooldown: ignored with lr_scheduler cosine"),
        ({"lr_cooldown_power": 2}, "lr_cooldown_power: ignored"),
        ({"skip_scheduler": True, "lr_scheduler": "const"}, "lr_scheduler: ignored with skip_scheduler"),
        ({"skip_scheduler": True, "warmup": 5}, "warmup: ignored with skip_scheduler"),
        ({"lock_image_unlocked_groups": 1}, "ignored without lock_image"),
        ({"lock_image_freeze_bn_stats": True}, "ignored without lock_image"),
        ({"lock_text_unlocked_layers": 1}, "ignored without lock_text"),
        ({"siglip": True, "local_loss": True}, "local_loss: ignored with siglip"),
        ({"siglip": True, "coca_caption_loss_weight": 1}, "coca_caption_loss_weight: ignored with siglip"),
        ({"loss_dist_impl": "shift"}, "loss_dist_impl: ignored without siglip"),
        ({"distill_pretrained": "openai"}, "ignored without distill_model"),
        ({"distill_model": "ViT-B-32"}, "distill_pretrained: .*give the weights of 'ViT-B-32'"),
        ({"distill_model": "local-dir:/t", "distill_pretrained": "x"}, "come with it"),
        ({"distill_model": "local-dir:/t", "accum_freq": 2}, "distills without accumulation"),
        ({"distill_model": "local-dir:/t", "siglip": True}, "softmax loss"),
        ({"save_frequency": 2, "delete_previous_checkpoint": True}, "save_frequency 1 is needed; found 2"),
        ({"delete_previous_checkpoint": True}, "save_frequency 1 is needed; found 0"),
        ({"remote_sync_frequency": 5}, "ignored without remote_sync"),
        ({"wandb_notes": "x"}, "ignored without `wandb`"),
        ({"report_to": ["wandb", "wandb"]}, "only once"),
        ({"aug_cfg": {"scale": [1, 0.5]}}, "scale: the smaller number comes first"),
        ({"aug_cfg": {"scale": [0.5, 1.5]}}, "at most 1"),
        ({"aug_cfg": {"ratio": [0.5, 2]}}, "ratio: ignored without use_timm"),
        ({"aug_cfg": {"re_prob": 0.5}}, "re_prob: ignored without use_timm"),
        ({"aug_cfg": {"use_timm": True, "re_count": 2}}, "re_count: ignored without re_prob"),
        ({"aug_cfg": {"use_timm": True, "gray_scale_prob": 0.5}}, "gray_scale_prob: ignored with use_timm"),
        ({"aug_cfg": {"color_jitter": [0.4, 0.4, 0.4, 0.1]}}, "go together"),
        ({"aug_cfg": {"color_jitter": 0.4, "color_jitter_prob": 0.5}}, "four numbers"),
        ({"aug_cfg": {"interpolation": "bicubic"}}, "interpolation"),
        (
            {"data": {"dataset_type": "synthetic", "train": MY_PAIRS}},
            "train: ignored with dataset_type synthetic",
        ),
        ({"data": {"dataset_type": "synthetic", "frames_per_caption": 4}}, "frames_per_caption: ignored"),
        ({"data": {"samples": 5}}, "samples: ignored without dataset_type synthetic"),
        ({"data": {**CSV, "dataset_resampled": True}}, "dataset_resampled: ignored with dataset_type csv"),
        ({"data": {"csv_separator": ","}}, "csv_separator: ignored with dataset_type webdataset"),
        ({"data": {**CSV, "csv_separator": ", "}}, "one character is needed"),
        ({"data": {**CSV, "train": {"files": ["a.csv", "b.csv"]}}}, "one CSV, found 2"),
        ({"data": {"train": MY_PAIRS, "frames": "middle"}}, "frames: ignored without pairs of the corpus"),
        (
            {"data": {"train": MY_PAIRS, "val": MY_PAIRS, "languages": ["en"], "test": "corpus"}},
            "languages: ignored",
        ),
        ({"data": {"train": "corpus"}}, "PairFiles"),
        (
            {"data": {"dataset_type": "synthetic", "val": "corpus"}},
            "val: ignored with dataset_type synthetic",
        ),
        ({"data": {**CSV, "train": {"files": ["a.csv"], "samples": 5}}}, "the CSV itself tells"),
        ({"data": {"train": {**MY_PAIRS, "upsampling": [2]}}}, "set dataset_resampled"),
        (
            {"data": {"val": {**MY_PAIRS, "upsampling": [2]}, "dataset_resampled": True}},
            "only training pairs",
        ),
        ({"data": {"train": {**MY_PAIRS, "upsampling": [2, 1]}, "dataset_resampled": True}}, "found 2 for 1"),
        (
            {"zeroshot": {"classes": ["a", "b"], "images": "i", "templates": ["a {} in {city}"]}},
            r"needs `\{\}` once",
        ),
    ],
)
def test_what_would_be_ignored_or_fail_later(settings, message):
    with pytest.raises(ValidationError, match=message):
        ClipConfig(**{"model": "ViT-B-32", **settings})


def test_what_goes_together_is_allowed():
    ClipConfig(model="m", aug_cfg={"use_timm": True, "re_prob": 0.5, "re_count": 2, "color_jitter": 0.4})
    ClipConfig(model="m", skip_scheduler=True)
    ClipConfig(model="m", distill_model="hf-hub:a/b")
    ClipConfig(model="m", data={"train": {**MY_PAIRS, "upsampling": [2]}, "dataset_resampled": True})
    ClipConfig(model="m", save_frequency=1, delete_previous_checkpoint=True)
    ClipConfig(model="m", data={"train": MY_PAIRS, "val": "corpus", "languages": ["en"]})
    ClipConfig(model="m", data={"val": MY_PAIRS, "frames": "middle"})


def test_a_tab_may_be_written_as_two_characters():
    assert ClipConfig(model="m", data={**CSV, "csv_separator": r"\t"}).data.csv_separator == "\t"
