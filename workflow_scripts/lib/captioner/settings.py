"""What a stage trains with, once its device and its captions are known: `auto` filled in, and recorded with the model."""

from pathlib import Path
from typing import Any

import psutil
import torch

from workflow_scripts.lib.compute import device_name
from workflow_scripts.lib.config import CaptionerConfig, Stage, freeze, load_section
from workflow_scripts.lib.config_captioner_presets import PRESETS
from workflow_scripts.lib.errors import UserError

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


def has_bf16(device: torch.device) -> bool:
    """Whether the device calculates in bf16 itself; a GPU that emulates it would be slow."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def for_device(config: CaptionerConfig, device: torch.device, stage1: Path | None = None) -> CaptionerConfig:
    """The configuration with a preset in the place of `auto`; its choice and the values that it fills are printed.

    Stage 2 takes the preset of stage 1, whose model folder is given. UserError when the device has no bf16 and it was
    written into the configuration, by hand or by the name of a preset.
    """
    written = config
    if config.preset == "auto":
        name, why = choose_preset(device)
        if stage1 is not None:
            name, why = read_settings(stage1).preset, "that of stage 1"
        emulated = PRESETS[name]["precision"] == "bf16" and not has_bf16(device)
        values = {"precision": "fp16"} if emulated and "precision" not in config.model_fields_set else {}
        config = config.with_preset(name, **values)
        print(f"preset: {name} ({why})", *_filled(written, config, PRESETS[name]), sep="\n", flush=True)
    if config.precision == "bf16" and not has_bf16(device):
        raise UserError(f"captioner.precision: {device_name(device)} has no bf16; set it to fp16 (or fp32)")
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
    config: CaptionerConfig, samples: int, device: torch.device, stage1: Path | None = None
) -> CaptionerConfig:
    """The configuration with numbers in the place of `auto` in `lora`, by `samples` training captions and the device.

    Stage 2 takes the adapters that stage 1 made.
    """
    lora = config.lora
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
