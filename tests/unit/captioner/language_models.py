"""Folders with tiny language models of random weights and a tokenizer of their own, as a hub has them."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers as hf

from workflow_scripts.lib.captioner.demo_lm import train_tokenizer

# As instruction-following models have them; an answer without thinking begins behind an empty thought.
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
WIDTH = 64
SIZES = {"hidden_size": WIDTH, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "max_position_embeddings": 1024}  # fmt: skip
FAMILIES = {
    "qwen3": lambda ids: hf.Qwen3ForCausalLM(hf.Qwen3Config(**SIZES, **ids, head_dim=16, tie_word_embeddings=True)),
    "llama": lambda ids: hf.LlamaForCausalLM(hf.LlamaConfig(**SIZES, **ids)),
    "gpt2": lambda ids: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=WIDTH, n_layer=2, n_head=4, n_positions=1024, **ids)
    ),
}  # fmt: skip


def write_language_model(
    folder: Path, family: str, texts: Sequence[str], *, chat_template: bool = True, pad_token: bool = True
) -> Path:
    """A causal language model of `family` whose tokenizer knows the letters of `texts`."""
    tokenizer = train_tokenizer(list(texts), 400)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    if chat_template:
        tokenizer.chat_template = CHAT_TEMPLATE
    if not pad_token:
        tokenizer.pad_token = None
    torch.manual_seed(0)
    ids = {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "bos_token_id": None,
           "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    model = FAMILIES[family](ids)
    with torch.no_grad():
        for (
            values
        ) in model.parameters():  # weights as small as they begin would say one thing to whatever they see
            values.mul_(3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
