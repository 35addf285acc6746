"""The captioner's section: presets, what each command depends on, and what makes no sense."""

import pytest
import yaml

from workflow_scripts.lib.config import CaptionerConfig, freeze_named, load_section, parse_config
from workflow_scripts.lib.config_captioner_presets import PRESETS
from workflow_scripts.lib.errors import UserError

BASE = {
    "run": "x",
    "corpus": {"name": "c", "adapter": "demo", "languages": ["en", "ko"], "videos_per_shard": 240, "shards": 2,
               "demo": {"videos": 480}},
    "features": {"encoders": [{"name": "clip", "kind": "open_clip", "model": "ViT-B-32", "token_grid": [2, 2]}]},
}  # fmt: skip


def whole(**captioner):
    return parse_config(BASE | {"captioner": {"encoder": "clip", "language_model": "x", **captioner}})


def keys(values: dict, name: str = "") -> set[str]:
    return {
        inner
        for key, value in values.items()
        for inner in (keys(value, f"{name}{key}.") if isinstance(value, dict) else {f"{name}{key}"})
    }


TABLE = {
    "t4": (True, 8, 0.1, "attention", 1, 16, 4, 1e-4, "cosine", 0.05, 0.0, "fp16"),
    "l4": (True, 16, 0.05, "attention+mlp_entry", 2, 16, 8, 1e-4, "cosine", 0.03, 0.1, "bf16"),
    "a100": (False, 32, 0.05, "attention+mlp", 4, 16, 8, 2e-4, "cosine", 0.03, 0.1, "bf16"),
    "h100": (False, 64, 0.05, "attention+mlp", 8, 16, 16, 2e-4, "cosine_with_restarts", 0.03, 0.1, "bf16"),
}


@pytest.mark.parametrize("name", TABLE)
def test_presets_are_the_documented_table(name):
    found = whole(preset=name).captioner
    second = found.stage2
    assert found.quantization == "nf4"
    assert TABLE[name] == (
        found.running.gradient_checkpointing, found.lora.r, found.lora.dropout, found.lora.target_modules,
        found.running.per_device_batch_size, second.batch_size, found.frames, second.lr, second.schedule,
        second.warmup, second.label_smoothing, found.precision,
    )  # fmt: skip
    for stage, epochs in ((found.stage1, 1), (second, 4)):
        assert (stage.epochs, stage.weight_decay, stage.max_grad_norm, stage.patience) == (
            epochs,
            0.01,
            1.0,
            5,
        )
    assert (found.stage1.lr, found.stage1.warmup) == (2e-4, 0.1)


def test_every_preset_decides_on_the_same_keys():
    assert {frozenset(keys(values)) for values in PRESETS.values()} == {frozenset(keys(PRESETS["cpu"]))}


def test_what_is_written_goes_before_a_named_preset():
    found = whole(preset="l4", lora={"r": 3}, stage2={"lr": 5e-5}, frames=2).captioner
    assert (found.lora.r, found.stage2.lr, found.frames) == (3, 5e-5, 2)
    assert (found.lora.dropout, found.stage2.label_smoothing) == (0.05, 0.1)  # the preset's beside them
    assert whole(preset="l4").captioner == whole().captioner.with_preset("l4")
    assert whole(frames=2).captioner.with_preset("l4").frames == 2
    assert whole(precision="bf16").captioner.with_preset("l4", precision="fp16").precision == "fp16"


@pytest.mark.parametrize("preset", ["auto", "l4"])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"stage1": {"epochs": 7}}, {"stage1", "stage2"}),
        ({"stage2": {"epochs": 7}}, {"stage2"}),
        ({"lora": {"r": 7}}, {"stage1", "stage2"}),
        ({"validation": {"generated": 7}}, {"stage1", "stage2"}),
        ({"languages": ["ko"]}, {"language_model", "stage1", "stage2"}),
        ({"prompts": {"en": "a", "ko": "b"}}, {"language_model", "stage1", "stage2"}),
        ({"generation": {"num_beams": 7}}, {"generation"}),
        ({"evaluation": {"bootstrap": 7}}, {"evaluation"}),
        ({"running": {"workers": 7, "per_device_batch_size": 7}}, set()),
    ],
)
def test_a_key_is_in_the_parts_that_depend_on_it(preset, changes, parts):
    names = ("language_model", "stage1", "stage2", "generation", "evaluation")
    before, after = whole(preset=preset), whole(preset=preset, **changes)
    changed = {
        name
        for name in names
        if freeze_named(before, f"captioner_{name}") != freeze_named(after, f"captioner_{name}")
    }
    assert changed == parts


@pytest.mark.parametrize("preset", ["auto", "t4"])
def test_a_stages_part_reads_back_and_leaves_open_what_the_device_decides(tmp_path, preset):
    config = whole(preset=preset, lora={"r": 3}, stage2={"epochs": 2})
    file = tmp_path / "part.yaml"
    file.write_text(freeze_named(config, "captioner_stage2"), encoding="utf-8")
    assert ("frames" in yaml.safe_load(file.read_text(encoding="utf-8"))) == (preset == "t4")
    read = load_section(CaptionerConfig, file)
    resolved = read if preset == "t4" else read.with_preset("t4")
    assert resolved == whole(preset="t4", lora={"r": 3}, stage2={"epochs": 2}).captioner


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"stage2": {"metric": "cider"}, "validation": {"generated": 0}},
            ["stage2.metric", "validation.generated"],
        ),
        ({"projector": {"pooling": "average"}}, ["captioner.projector", "tokens"]),
        ({"projector": {"tokens": 4}}, ["captioner.projector", "pooling"]),
        ({"projector": {"pooling": "average", "tokens": 6}}, ["square number", "6"]),
        ({"language_shares": {"zh": 1}}, ["language_shares", "zh"]),
        ({"languages": ["en"], "language_shares": {"en": 1, "ko": 1}}, ["language_shares", "ko"]),
        ({"preset": "v100"}, ["captioner.preset", "v100", "t4"]),
        ({"stage1": {"accumulation": 2}}, ["captioner.stage1.accumulation", "unknown"]),
        ({"generation": {"temperature": 0.5}}, ["temperature", "do_sample"]),
        ({"projector": {"heads": 4}}, ["captioner.projector", "heads", "resampler"]),
        ({"stage2": {"restarts": 3}}, ["captioner.stage2", "restarts", "cosine_with_restarts"]),
        ({"language_model": None, "demo_language_model": {}, "revision": "main"}, ["revision"]),
        ({"demo_language_model": {}}, ["exactly one of `language_model`"]),
    ],
)
def test_what_makes_no_sense_is_refused(changes, words):
    with pytest.raises(UserError) as error:
        whole(**changes)
    for word in words:
        assert word in str(error.value)
