"""Which layers of a language model get a LoRA adapter."""

import re
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from workflow_scripts.lib.errors import UserError

PLACES = {"attention": r"attn|attention", "mlp": r"mlp|ffn|feed_forward"}
"""How models call the modules that their layers of a kind lie in."""
ENTRY = "mlp_entry"
"""Of the MLP, the layers that read what the model passes on: not the one that leads back."""


def linear_layers(language_model: PreTrainedModel) -> dict[str, nn.Module]:
    """Linear layers by name, also those of 4 bits and GPT-2's `Conv1D`; without the head that writes tokens."""
    head = language_model.get_output_embeddings()
    return {
        name: module
        for name, module in language_model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not head
    }


def adapter_targets(language_model: PreTrainedModel, wanted: str | Sequence[str]) -> str:
    """A regular expression for the captioner's layers that get an adapter.

    `wanted` is "attention", "attention+mlp_entry" or "attention+mlp", by the modules that the layers lie in, or a list of
    last parts of names.
    UserError names the linear layers that there are when none is what is wanted.
    """
    linears = linear_layers(language_model)
    names = list(linears)
    if isinstance(wanted, str):
        width = language_model.config.get_text_config().hidden_size
        chosen = [
            name
            for kind in wanted.split("+")
            for name in _in_place(names, kind.removesuffix("_entry"))
            if kind != ENTRY or _reads(linears[name]) == width
        ]
    else:
        chosen = [name for last in wanted for name in _of_name(names, last)]
    numbered = dict.fromkeys(re.sub(r"\b\d+\b", "#", name) for name in chosen)
    layers = "|".join(re.escape(name).replace(r"\#", r"\d+") for name in numbered)
    return rf"language_model\.({layers})"


def _reads(linear: nn.Module) -> int:
    """Width of a linear layer's input."""
    return linear.weight.shape[0] if isinstance(linear, Conv1D) else linear.in_features


def _in_place(names: list[str], kind: str) -> list[str]:
    found = [name for name in names if re.search(PLACES[kind], name.rpartition(".")[0], re.IGNORECASE)]
    return found or _none(names, f"no linear layers of the {kind} are known in it; list them by name")


def _of_name(names: list[str], last: str) -> list[str]:
    found = [name for name in names if name.rpartition(".")[2] == last]
    return found or _none(names, f"the language model has no linear layer '{last}'")


def _none(names: list[str], reason: str) -> list[str]:
    there = sorted({name.rpartition(".")[2] for name in names})
    raise UserError(f"captioner.lora.target_modules: {reason}; it has {', '.join(there)}")
