"""What a stage will need of the device's memory, told before the language model's weights are read."""

import os
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, PreTrainedConfig

from workflow_scripts.lib.captioner.loading import DTYPES, new_captioner
from workflow_scripts.lib.captioner.settings import GIB, device_memory
from workflow_scripts.lib.captioner.targets import linear_layers
from workflow_scripts.lib.config import CaptionerConfig
from workflow_scripts.lib.errors import UserError

NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""A weight, its share of its block's 8-bit scale, and of the fp32 scale of 256 of those (QLoRA, section 3)."""
TRAINED_BYTES = 16
"""Of a trained parameter: fp32 value and gradient, and AdamW's two moments."""
FULL = 0.9  # of the memory: the rest is fragments, buffers of kernels, and other users of the device


@dataclass(frozen=True)
class Estimate:
    """Bytes on one device, by what they are for."""

    weights: int
    trained: int
    activations: int
    logits: int
    generation: int
    """Keys and values of the captions that a validation generates, when there are no activations."""

    @property
    def certain(self) -> int:
        """What is there whatever a batch holds."""
        return self.weights + self.trained

    @property
    def total(self) -> int:
        return self.certain + max(self.activations + self.logits, self.generation)

    def lines(self) -> list[str]:
        """A short table for the log."""
        named = {
            "frozen weights": self.weights,
            "trained parameters, gradients, optimizer": self.trained,
            "activations of the longest batch": self.activations,
            "its logits": self.logits,
            "or, while captions are generated": self.generation,
            "at most": self.total,
        }
        return [_line(name, size) for name, size in named.items()]


def _line(name: str, size: int) -> str:
    amount, unit = (size / GIB, "GiB") if size >= GIB else (size / 2**20, "MiB")
    return f"  {name:42}{amount:8.2f} {unit}"


def meta_captioner(
    config: CaptionerConfig, text_config: PreTrainedConfig, tokens: int, width: int
) -> PeftModel:
    """The captioner's shapes without any values, for visual tokens [tokens, width] of a frame."""
    with torch.device("meta"):
        language_model = AutoModelForCausalLM.from_config(text_config)
        return new_captioner(
            language_model,
            config.lora,
            visual_width=width,
            tokens_per_frame=tokens,
            max_frames=config.frames,
            projector=config.projector,
        )


def estimate_memory(
    model: PeftModel, config: CaptionerConfig, *, tokens: int, labels: int, on_gpu: bool
) -> Estimate:
    """Of a captioner (of any device) whose longest item has `tokens` tokens, `labels` of them to predict."""
    captions = config.running.per_device_batch_size
    size = DTYPES[config.precision].itemsize
    text_config = model.base_model.model.config.text_config
    a_token = activation_bytes(
        text_config,
        size,
        tokens=tokens,
        eager=config.attention == "eager",
        adapted=adapter_inputs(model),
        mask=0 if not config.lora.dropout else 1 if on_gpu else 4,
        has_query_norm=any(name.endswith(".q_norm") for name, _ in model.named_modules()),
    )
    layers = text_config.num_hidden_layers
    if config.running.gradient_checkpointing:  # a layer's input, and one layer at a time
        a_token = a_token + layers * text_config.hidden_size * size
    else:
        a_token = a_token * layers
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return Estimate(
        weights=weight_bytes(model, config.quantization, size),
        trained=TRAINED_BYTES * trained,
        activations=round(captions * tokens * a_token),
        logits=captions * labels * text_config.vocab_size * (size + 12),  # and in fp32 with their gradient
        generation=tokens * cache_bytes(text_config, size) * validation_batch(config)
        if config.validation.generated
        else 0,
    )


def validation_batch(config: CaptionerConfig) -> int:
    """Captions that a validation generates at a time: without activations to keep, there is room for some."""
    return max(16, 2 * config.running.per_device_batch_size)


def cache_bytes(text_config: PreTrainedConfig, size: int) -> int:
    """Keys and values that generation keeps of a token, in all layers."""
    heads = text_config.num_attention_heads
    head = getattr(text_config, "head_dim", None) or text_config.hidden_size // heads
    shared = getattr(text_config, "num_key_value_heads", None) or heads
    return 2 * text_config.num_hidden_layers * shared * head * size


def weight_bytes(model: torch.nn.Module, quantization: str, size: int) -> int:
    """Bytes of the frozen parameters: `size` each, less in 4 bits; adapters and projectors are fp32."""
    whole = model.base_model.model if isinstance(model, PeftModel) else model
    language_model = getattr(whole, "language_model", whole)
    linears = linear_layers(language_model).values() if quantization == "nf4" else []
    in_four_bits = {id(getattr(linear, "base_layer", linear).weight) for linear in linears}
    total = 0.0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and isinstance(model, PeftModel):
            continue
        own = 4 if "lora_" in name or "projector" in name else size
        total += parameter.numel() * (NF4_BITS / 8 if id(parameter) in in_four_bits else own)
    return round(total)


def adapter_inputs(model: PeftModel) -> list[int]:
    """Widths of what goes into the trained adapters of one layer."""
    widths = [
        parameter.shape[1]
        for name, parameter in model.named_parameters()
        if "lora_A" in name and parameter.requires_grad
    ]
    layers = model.base_model.model.config.text_config.num_hidden_layers
    return widths[: len(widths) // layers]


def activation_bytes(
    text_config: PreTrainedConfig,
    size: int,
    *,
    tokens: int,
    eager: bool,
    adapted: list[int],
    mask: int,
    has_query_norm: bool,
) -> float:
    """What one layer keeps of a token for the backward pass, the values being of `size` bytes.

    Frozen linear layers keep nothing. Kept are: the inputs of the norms, in fp32; what attention was computed of, and
    its result; the gate, its activation and what it opens; what goes into adapters, and their dropout's `mask`.
    """
    width = text_config.hidden_size
    heads = text_config.num_attention_heads
    head = getattr(text_config, "head_dim", None) or width // heads
    shared = (getattr(text_config, "num_key_value_heads", None) or heads) * head
    inner = getattr(text_config, "intermediate_size", None) or 4 * width
    norms = 2 * width + (heads * head + shared if has_query_norm else 0)
    kept = 4 * norms + size * (4 * heads * head + 3 * inner)
    kept += sum((size + mask) * wide for wide in adapted)
    return kept + (heads * tokens * (4 + size) if eager else 0)


def check_memory(estimate: Estimate, device: torch.device) -> None:
    """Print the estimate. UserError when what is certain does not fit on the device; a warning when the rest may not."""
    room = device_memory(device)
    if device.type == "cpu":
        room //= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    print(
        "memory, estimated:",
        *estimate.lines(),
        _line("there is", room),
        sep="\n",
        flush=True,
    )
    if estimate.certain > room:
        raise UserError(
            f"captioner: weights and optimizer need {estimate.certain / GIB:.1f} GiB, but the device has "
            f"{room / GIB:.1f} GiB; use `quantization: nf4`, a smaller `lora.r`, or a smaller language model"
        )
    if estimate.total > FULL * room:
        print(
            f"WARNING: {estimate.total / room:.0%} of the memory may be needed; should it run out, lower "
            "running.per_device_batch_size, set running.gradient_checkpointing, or lower frames, projector.tokens, "
            "max_caption_tokens, or validation.generated for what is generated",
            flush=True,
        )
