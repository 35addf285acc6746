"""Which linear layers get an adapter, in language models whose layers are called differently."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from workflow_scripts.lib.captioner.loading import new_captioner
from workflow_scripts.lib.captioner.targets import adapter_targets
from workflow_scripts.lib.config import Lora
from workflow_scripts.lib.errors import UserError

SMALL = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
SEPARATE = {"q_proj", "k_proj", "v_proj", "o_proj"}


def language_model(kind: str):
    names = {
        "gpt2": {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2},
        "phi3": SMALL | {"pad_token_id": 0},
        "qwen3": SMALL | {"num_key_value_heads": 1},
    }
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **names.get(kind, SMALL)))


@pytest.mark.parametrize(
    ("kind", "attention", "entry", "back"),
    [
        ("qwen3", SEPARATE, {"gate_proj", "up_proj"}, "down_proj"),
        ("llama", SEPARATE, {"gate_proj", "up_proj"}, "down_proj"),
        ("phi3", {"qkv_proj", "o_proj"}, {"gate_up_proj"}, "down_proj"),
        ("gpt2", {"c_attn", "attn.c_proj"}, {"c_fc"}, "mlp.c_proj"),
        ("gpt_neox", {"query_key_value", "dense"}, {"dense_h_to_4h"}, "dense_4h_to_h"),
    ],
)
@pytest.mark.parametrize("wanted", ["attention", "attention+mlp_entry", "attention+mlp"])
def test_adapters_are_where_the_layers_lie(kind, attention, entry, back, wanted):
    model = new_captioner(
        language_model(kind),
        Lora(r=2, target_modules=wanted),
        visual_width=8,
        tokens_per_frame=1,
        max_frames=1,
    )
    adapted = [name.partition(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name]
    expected = {
        "attention": attention,
        "attention+mlp_entry": attention | entry,
        "attention+mlp": attention | entry | {back},
    }[wanted]
    assert len(adapted) == 2 * len(expected)  # of 2 layers
    for layer in expected:
        assert sum(name.endswith(f".{layer}") for name in adapted) == 2
    model(
        input_ids=torch.tensor([[50, 3, 4]]),
        visual=torch.randn(1, 1, 1, 8),
        frames=torch.tensor([1]),
        labels=torch.tensor([[-100, 3, 4]]),
    ).loss.backward()
    learning = [p for name, p in model.named_parameters() if "lora_B" in name]
    assert all(p.grad.abs().max() > 0 for p in learning)


def test_listed_names_are_last_parts():
    found = adapter_targets(language_model("qwen3"), ["q_proj", "up_proj"])
    assert found == (
        r"language_model\.(model\.layers\.\d+\.self_attn\.q_proj|model\.layers\.\d+\.mlp\.up_proj)"
    )


def test_a_layer_that_is_not_there_is_told_with_those_that_are():
    with pytest.raises(UserError, match=r"no linear layer 'wq'; it has down_proj, .*v_proj"):
        adapter_targets(language_model("llama"), ["wq"])
    with pytest.raises(UserError, match=r"no linear layers of the mlp are known in it.*it has fc1, fc2"):
        adapter_targets(language_model("opt"), "attention+mlp")
