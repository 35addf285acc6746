"""Presets of the captioner by kind of GPU: each a complete set of values for the keys that depend on it.

They are starting points from the memory of the device, for a language model of about 8 billion parameters; the
configuration overrides any of them. `batch_size` is global and the same everywhere; what differs is how many captions
a forward pass takes.
"""

from typing import Any


def _preset(
    *,
    frames: int,
    quantization: str,
    precision: str,
    checkpointing: bool,
    lora: tuple[int, float],
    targets: str,
    captions: int,
    lr: float,
    warmup: float,
    schedule: str = "cosine",
    label_smoothing: float = 0.1,
) -> dict[str, Any]:
    rank, dropout = lora
    both = {"batch_size": 16, "weight_decay": 0.01, "max_grad_norm": 1.0, "patience": 5, "threshold": 1e-4}
    return {
        "frames": frames,
        "quantization": quantization,
        "precision": precision,
        "lora": {"r": rank, "dropout": dropout, "target_modules": targets},
        "stage1": {
            **both, "epochs": 1, "lr": 2e-4, "warmup": 0.1, "schedule": "cosine", "label_smoothing": 0.0,
        },
        "stage2": {
            **both, "epochs": 4, "lr": lr, "warmup": warmup, "schedule": schedule, "label_smoothing": label_smoothing,
        },
        "running": {"per_device_batch_size": captions, "gradient_checkpointing": checkpointing},
    }  # fmt: skip


PRESETS: dict[str, dict[str, Any]] = {
    "cpu": _preset(
        frames=4, quantization="none", precision="fp32", checkpointing=False, lora=(8, 0.05),
        targets="attention", captions=4, lr=1e-4, warmup=0.03, label_smoothing=0.0,
    ),
    "t4": _preset(
        frames=4, quantization="nf4", precision="fp16", checkpointing=True, lora=(8, 0.1),
        targets="attention", captions=1, lr=1e-4, warmup=0.05, label_smoothing=0.0,
    ),
    "l4": _preset(
        frames=8, quantization="nf4", precision="bf16", checkpointing=True, lora=(16, 0.05),
        targets="attention+mlp_entry", captions=2, lr=1e-4, warmup=0.03,
    ),
    "a100": _preset(
        frames=8, quantization="nf4", precision="bf16", checkpointing=False, lora=(32, 0.05),
        targets="attention+mlp", captions=4, lr=2e-4, warmup=0.03,
    ),
    "h100": _preset(
        frames=16, quantization="nf4", precision="bf16", checkpointing=False, lora=(64, 0.05),
        targets="attention+mlp", captions=8, lr=2e-4, warmup=0.03, schedule="cosine_with_restarts",
    ),
}  # fmt: skip
