"""What a stage trains with, once its device and its captions are known: `auto` filled in, and recorded with the model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from workflow_scripts.lib.captioner.resuming import MADE_BY
from workflow_scripts.lib.checkpoints import finished_by_other_code
from workflow_scripts.lib.compute import device_name, has_bf16, require_bf16
from workflow_scripts.lib.config import CaptionerConfig, Lora, Stage, freeze, load_section
from workflow_scripts.lib.config_captioner_presets import PRESETS
from workflow_scripts.lib.files import read_json

FILE = "settings.yaml"
GIB = 2**30
UP_TO_GIB = {20: "t4", 32: "l4", 60: "a100"}
BASE_BATCH = 16  # captions an optimizer step that `lr_scaling: linear` is relative to


def read_settings(folder: Path) -> CaptionerConfig:
    """The whole resolved section that a stage's model was trained with. UserError when the folder has none."""
    return load_section(CaptionerConfig, Path(folder) / FILE)


def write_settings(config: CaptionerConfig, folder: Path) -> None:
    """Write it."""
    (folder / FILE).write_text(freeze(config), encoding="utf-8")


def device_memory(device: torch.device) -> int:
    """Bytes of the GPU, or of the machine's memory that is free."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return psutil.virtual_memory().available


def choose_preset(device: torch.device) -> tuple[str, str]:
    """The preset for a device, and why."""
    if device.type != "cuda":
        return "cpu", "no GPU"
    memory = device_memory(device) / GIB
    name = next((name for limit, name in UP_TO_GIB.items() if memory < limit), "h100")
    return name, f"{device_name(device)}, {memory:.0f} GiB"


def begun_settings(
    config: CaptionerConfig, checkpoints: Path, read: Mapping[str, Any], device: torch.device
) -> CaptionerConfig | None:
    """The configuration as it was settled when a stage's checkpoints were begun, maybe on another device.

    None when this configuration and these inputs (`read`, by their names in made_by.json) have not made them, or the device
    cannot go on.
    """
    file = checkpoints / MADE_BY
    record = read_json(file) if file.is_file() else {}
    if (
        not {"preset", "precision", "lora"} <= record.keys()
        or any(record.get(name) != value for name, value in read.items())
        or finished_by_other_code(checkpoints, "captioner")
    ):
        return None
    settled = config
    if config.preset == "auto":
        if record["preset"] not in PRESETS:
            return None
        written = "precision" in config.model_fields_set
        values = {} if written else {"precision": record["precision"]}
        settled = config.with_preset(record["preset"], **values)
    decided = settled.model_dump(mode="json", include=set(record), exclude={"preset", "lora"})
    lora = settled.lora.model_dump(mode="json")
    decided_lora = {key: value for key, value in lora.items() if value not in ("auto", None)}
    if (
        any(record[key] != value for key, value in decided.items())
        or any(record["lora"].get(key) != value for key, value in decided_lora.items())
        or (settled.precision == "bf16" and not has_bf16(device))
    ):
        return None
    return settled.model_copy(update={"lora": Lora.model_validate(record["lora"])})


def for_device(
    config: CaptionerConfig,
    device: torch.device,
    stage1: Path | None = None,
    begun: CaptionerConfig | None = None,
) -> CaptionerConfig:
    """The configuration with a preset in the place of `auto`; its choice and the values that it fills are printed.

    A stage that was begun goes on with its preset, and stage 2 takes that of stage 1, whose model folder is given; only how
    it runs (`running`) is the device's own. UserError when the device has no bf16 and it was written into the configuration,
    by hand or by the name of a preset.
    """
    written = config
    if config.preset == "auto":
        own, why = choose_preset(device)
        name, precision = own, PRESETS[own]["precision"]
        if begun is not None:
            name, precision, why = begun.preset, begun.precision, "that of the checkpoints"
        elif stage1 is not None:
            name, why = read_settings(stage1).preset, "that of stage 1"
            precision = PRESETS[name]["precision"]
        if precision == "bf16" and not has_bf16(device):
            precision = "fp16"
        values = {} if "precision" in config.model_fields_set else {"precision": precision}
        running = config.with_preset(own).running
        config = config.with_preset(name, **values).model_copy(update={"running": running})
        print(f"preset: {name} ({why})", *_filled(written, config, PRESETS[name]), sep="\n", flush=True)
    if config.precision == "bf16":
        require_bf16(device, "captioner.precision", "fp16")
    return config


def _filled(written: Any, config: Any, preset: dict[str, Any], name: str = "") -> list[str]:
    """`  stage2.lr: 0.0001` for every key of the preset that nobody wrote."""
    lines = []
    for key, value in preset.items():
        there = key in written.model_fields_set
        inner, path = getattr(config, key), f"{name}.{key}".strip(".")
        if isinstance(value, dict):
            before = getattr(written, key) if there else type(inner)()
            lines += _filled(before, inner, value, path)
        elif not there:
            lines.append(f"  {path}: {inner}")
    return lines


def with_lora(
    config: CaptionerConfig,
    samples: int,
    device: torch.device,
    stage1: Path | None = None,
    begun: CaptionerConfig | None = None,
) -> CaptionerConfig:
    """The configuration with numbers in the place of `auto` in `lora`, by `samples` training captions and the device.

    A stage that was begun keeps its own, and stage 2 takes the adapters that stage 1 made.
    """
    lora = config.lora
    if begun is not None:
        return config.model_copy(update={"lora": begun.lora})
    if stage1 is not None:
        return config.model_copy(update={"lora": read_settings(stage1).lora})
    memory = device_memory(device) / GIB if device.type == "cuda" else 0
    rank = rank_guide(samples, memory) if lora.r == "auto" else lora.r
    dropout = dropout_guide(samples) if lora.dropout == "auto" else lora.dropout
    settled = lora.model_copy(update={"r": rank, "alpha": lora.alpha or 2 * rank, "dropout": dropout})
    print(f"lora: r {settled.r}, alpha {settled.alpha}, dropout {settled.dropout:g}", flush=True)
    return config.model_copy(update={"lora": settled})


def rank_guide(samples: int, memory_gib: float) -> int:
    """A rank that `samples` captions can teach and the device has room for; 0 GiB without a GPU."""
    if memory_gib <= 16:
        return 8
    if memory_gib <= 24:
        return 16
    if memory_gib <= 40:
        return 16 if samples < 5_000 else 32
    return 32 if samples < 10_000 else 64


def dropout_guide(samples: int) -> float:
    """The fewer captions, the more dropout before the adapters."""
    if samples < 5_000:
        return 0.1
    return 0.05 if samples <= 20_000 else 0.01


def learning_rate(stage: Stage) -> float:
    """The stage's peak learning rate, scaled by its batch where that is wanted (Goyal et al., 2017, section 2.1)."""
    return stage.lr * (stage.batch_size / BASE_BATCH if stage.lr_scaling == "linear" else 1)
