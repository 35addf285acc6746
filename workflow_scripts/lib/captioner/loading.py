"""Language models from a hub id or a folder, and captioners from the small folders that the stages write.

A stage's folder holds a PEFT adapter with the projector among its `modules_to_save`, and the captioner's
config; the language model stays where it came from, so that a folder is megabytes beside an 8B model.
"""

import copy
import re
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, PreTrainedModel

from workflow_scripts.lib.captioner.model import CaptionerForConditionalGeneration, CaptionerModelConfig
from workflow_scripts.lib.config import CaptionerConfig, Lora
from workflow_scripts.lib.errors import UserError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def language_model_name(config: CaptionerConfig, demo: Path | None) -> str:
    """Hub id or folder of the language model; UserError when the config wants the demo's and there is none."""
    if config.demo_language_model is None:
        return str(config.language_model)
    if demo is None:
        raise UserError(
            "--demo-language-model: a folder is needed, since captioner.demo_language_model is set; "
            "make_demo_language_model writes one"
        )
    return str(demo)


def load_tokenizer(name: str) -> Any:
    """The language model's tokenizer, with a token to pad with; UserError when captions could not end."""
    tokenizer = _from_hub(AutoTokenizer, name)
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"captioner.language_model: the tokenizer of '{name}' has no end token, so captions could not end"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_language_model(
    name: str, quantization: Literal["none", "nf4"], precision: str, device: torch.device
) -> PreTrainedModel:
    """A causal language model on `device`; `nf4` keeps its linear layers in 4 bits, double-quantised
    (Dettmers et al., "QLoRA", NeurIPS 2023, section 3).

    `prepare_model_for_kbit_training` is left out on purpose: PEFT freezes the weights anyway, and it would
    hold the embeddings of an 8B model in fp32.
    """
    dtype = DTYPES[precision]
    if quantization == "none":
        return _from_hub(AutoModelForCausalLM, name, dtype=dtype).to(device)
    four_bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return _from_hub(
        AutoModelForCausalLM, name, dtype=dtype, quantization_config=four_bits, device_map={"": device}
    )


def _from_hub(auto_class: Any, name: str, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise UserError(
            f"captioner.language_model: '{name}' cannot be loaded as a causal language model; a hub id (not with "
            f"HF_HUB_OFFLINE=1) or a local folder is needed: {error}"
        ) from None


def new_captioner(
    language_model: PreTrainedModel, lora: Lora, *, visual_width: int, tokens_per_frame: int, max_frames: int
) -> PeftModel:
    """A captioner with a new projector and LoRA adapters (which change nothing before they are trained).

    UserError when the language model has no layer of a name in `lora.target_modules`.
    """
    config = CaptionerModelConfig(
        language_model.config,
        visual_width=visual_width,
        tokens_per_frame=tokens_per_frame,
        max_frames=max_frames,
    )
    captioner = CaptionerForConditionalGeneration(config, language_model)
    captioner.projector.to(language_model.device)
    _check_targets(captioner, lora.target_modules)
    names = "|".join(re.escape(name) for name in lora.target_modules)
    return get_peft_model(
        captioner,
        LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=rf"language_model\.(.*\.)?({names})",
            modules_to_save=["projector"],
            task_type="CAUSAL_LM",
        ),
    )


def _check_targets(captioner: torch.nn.Module, targets: list[str]) -> None:
    linears = {
        name.rpartition(".")[2]
        for name, module in captioner.language_model.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    for target in targets:
        if target not in linears:
            raise UserError(
                f"captioner.lora.target_modules: the language model has no linear layer '{target}'; "
                f"it has {', '.join(sorted(linears))}"
            )


def save_captioner(model: PeftModel, folder: Path) -> None:
    """Adapter and projector (adapter_model.safetensors, adapter_config.json) and the captioner's config.json."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # PEFT's model card, with every line left to fill in
    config = copy.deepcopy(model.base_model.model.config)
    config.label_smoothing = 0.0
    config.save_pretrained(folder)


def load_captioner(folder: Path, language_model: PreTrainedModel, *, trainable: bool = False) -> PeftModel:
    """The captioner of a stage's folder around the language model it was trained with.

    UserError when the folder is no such one, or the language model has another width or vocabulary.
    """
    try:
        config = CaptionerModelConfig.from_pretrained(folder)
    except OSError as error:
        raise UserError(f"{folder}: no captioner here (a stage's folder is expected): {error}") from None
    ours, theirs = config.text_config, language_model.config
    if (ours.hidden_size, ours.vocab_size) != (theirs.hidden_size, theirs.vocab_size):
        raise UserError(
            f"{folder}: trained with a language model of width {ours.hidden_size} and {ours.vocab_size} tokens, "
            f"but the given one has {theirs.hidden_size} and {theirs.vocab_size}"
        )
    captioner = CaptionerForConditionalGeneration(config, language_model)
    captioner.projector.to(language_model.device)
    return PeftModel.from_pretrained(captioner, str(folder), is_trainable=trainable)
