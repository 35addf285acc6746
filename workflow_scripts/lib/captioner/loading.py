"""Language models from a hub id or a folder, and captioners from the small folders that the stages write.

A stage's folder holds a PEFT adapter with the projector among its `modules_to_save`, and the captioner's
config; the language model stays where it came from, so that a folder is megabytes beside an 8B model.
"""

import copy
import warnings
from pathlib import Path
from typing import Any, Literal

import torch
from huggingface_hub import try_to_load_from_cache
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.pytorch_utils import Conv1D

from workflow_scripts.lib.captioner.model import CaptionerForConditionalGeneration, CaptionerModelConfig
from workflow_scripts.lib.captioner.projector import pooling_error
from workflow_scripts.lib.captioner.targets import adapter_targets
from workflow_scripts.lib.config import CaptionerConfig, Lora
from workflow_scripts.lib.config_captioner import Projector as ProjectorSection
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import file_digest

# PEFT's, which asks for it by the old name
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")

# On processors with AVX512-BF16, a 4-bit layer of bitsandbytes 0.50 packs its weights anew when it first computes without
# gradients: rounded to bfloat16, only for widths of whole blocks, and with no gradient ever after, so that a validation
# would end the learning.
REPACKING = "support_avx512bf16_for_cpu"

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


def load_tokenizer(name: str, revision: str | None = None) -> Any:
    """The language model's tokenizer, with a token to pad with; UserError when captions could not end."""
    tokenizer = _from_hub(AutoTokenizer, name, revision)
    if tokenizer.eos_token_id is None:
        raise UserError(
            f"captioner.language_model: the tokenizer of '{name}' has no end token, so captions could not end"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_language_model(
    name: str,
    quantization: Literal["none", "nf4"],
    precision: str,
    device: torch.device,
    *,
    attention: str = "sdpa",
    revision: str | None = None,
) -> PreTrainedModel:
    """A causal language model on `device`; `nf4` keeps its linear layers in 4 bits, double-quantised
    (Dettmers et al., "QLoRA", NeurIPS 2023, section 3).

    `prepare_model_for_kbit_training` is left out on purpose: PEFT freezes the weights anyway, and it would
    hold the embeddings of an 8B model in fp32.
    """
    dtype = DTYPES[precision]
    # with a device map the weights go straight to the device: several processes of a node need no memory for them
    options = {"dtype": dtype, "attn_implementation": attention, "device_map": {"": device}}
    if quantization == "nf4":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    model = _from_hub(AutoModelForCausalLM, name, revision, **options)
    if model.config.get_text_config() is not model.config:
        raise UserError(
            f"captioner.language_model: '{name}' is a {type(model).__name__}, which has more in it than a language"
            " model; take one of text alone, such as Qwen/Qwen3-8B or google/gemma-3-1b-it"
        )
    for layer in model.modules():
        if hasattr(layer, REPACKING):
            setattr(layer, REPACKING, False)
    return model


def language_model_files(name: str, revision: str | None = None) -> dict[str, str]:
    """Digests of a model's weights and of its tokenizer, by file; of a hub's model as far as it was fetched.

    Whatever else a new commit changes in a repository, the model is the same.
    """
    folder = Path(name)
    if not folder.is_dir():
        config = try_to_load_from_cache(name, "config.json", revision=revision)
        if not isinstance(config, str):
            return {}
        folder = Path(config).parent
    weights = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    files = [*weights, *sorted(folder.glob("tokenizer*")), *sorted(folder.glob("chat_template*"))]
    there = {file.name: file.resolve() for file in files}
    # the hub's cache has files under their digests in `blobs`, and links to them
    return {
        name: file.name if file.parent.name == "blobs" else file_digest(file) for name, file in there.items()
    }


def language_model_config(name: str, revision: str | None = None) -> PreTrainedConfig:
    """The language model's config, without its weights."""
    return _from_hub(AutoConfig, name, revision).get_text_config()


def _from_hub(auto_class: Any, name: str, revision: str | None, **options: Any) -> Any:
    try:
        return auto_class.from_pretrained(name, **({"revision": revision} if revision else {}), **options)
    except (OSError, ValueError, ImportError) as error:
        at = f" at revision '{revision}'" if revision else ""
        raise UserError(
            f"captioner.language_model: '{name}'{at} cannot be loaded as a causal language model; a hub id (not with "
            f"HF_HUB_OFFLINE=1) or a local folder is needed: {error}"
        ) from None


def new_captioner(
    language_model: PreTrainedModel,
    lora: Lora,
    *,
    visual_width: int,
    tokens_per_frame: int,
    max_frames: int,
    projector: ProjectorSection | None = None,
) -> PeftModel:
    """A captioner with a new projector and LoRA adapters (which change nothing before they are trained).

    UserError when the language model has no layer of `lora.target_modules`, or the visual tokens cannot be pooled.
    """
    projector = projector or ProjectorSection()
    config = CaptionerModelConfig(
        language_model.config,
        visual_width=visual_width,
        tokens_per_frame=tokens_per_frame,
        max_frames=max_frames,
        pooling=projector.pooling,
        pooled_tokens=projector.tokens,
        resampler_layers=projector.layers,
        resampler_heads=projector.heads,
    )
    if error := pooling_error(config):
        raise UserError(f"captioner.projector: {error}")
    captioner = CaptionerForConditionalGeneration(config, language_model)
    captioner.projector.to(language_model.device)
    return get_peft_model(captioner, lora_config(language_model, lora))


def lora_config(language_model: PreTrainedModel, lora: Lora) -> LoraConfig:
    """The adapters in PEFT's words. `lora` is settled: no `auto` is left in it."""
    return LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha or 2 * lora.r,
        lora_dropout=lora.dropout,
        target_modules=adapter_targets(language_model, lora.target_modules),
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in language_model.modules()),
        modules_to_save=["projector"],
        task_type="CAUSAL_LM",
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
    return PeftModel.from_pretrained(
        captioner, str(folder), is_trainable=trainable, torch_device=str(language_model.device)
    )
