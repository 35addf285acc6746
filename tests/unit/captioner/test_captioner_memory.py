"""The estimate against what is really kept: weights in 4 bits, and tensors for the backward pass."""

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from tests.unit.captioner.tiny import config
from workflow_scripts.lib.captioner import memory
from workflow_scripts.lib.captioner.loading import load_language_model, new_captioner
from workflow_scripts.lib.captioner.memory import (
    Estimate,
    check_memory,
    estimate_memory,
    meta_captioner,
    weight_bytes,
)
from workflow_scripts.lib.captioner.training import train_projector_only, trainable_parameters
from workflow_scripts.lib.errors import UserError

SHAPE = Qwen3Config(
    vocab_size=400,
    hidden_size=128,
    intermediate_size=320,
    num_hidden_layers=3,
    num_attention_heads=8,
    num_key_value_heads=2,
    head_dim=16,
    tie_word_embeddings=True,
    attn_implementation="sdpa",
)
TOKENS, CAPTIONS, GIB = 40, 3, 2**30


def bytes_of(tensors) -> int:
    """Each storage once."""
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


class Kept:
    """Counts what the forward pass keeps beside the parameters."""

    def __init__(self, model):
        self.known = {p.untyped_storage().data_ptr() for p in model.parameters()}
        self.tensors = []

    def __call__(self, tensor):
        if tensor.untyped_storage().data_ptr() not in self.known:
            self.tensors.append(tensor)
        return tensor

    def count(self, layers, inputs) -> int:
        with torch.autograd.graph.saved_tensors_hooks(self, lambda tensor: tensor):
            self.out = layers(inputs_embeds=inputs, use_cache=False).last_hidden_state
        return bytes_of(self.tensors)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("targets", ["attention", "attention+mlp"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_those_that_the_layers_keep(stage, targets, checkpointing):
    settings = config(
        lora={"r": 4, "dropout": 0.1, "target_modules": targets},
        running={"per_device_batch_size": CAPTIONS, "gradient_checkpointing": checkpointing},
    )
    language_model = Qwen3ForCausalLM(SHAPE)
    model = new_captioner(language_model, settings.lora, visual_width=8, tokens_per_frame=2, max_frames=3)
    if stage == 1:
        train_projector_only(model)
    model.train()
    layers = language_model.model
    if checkpointing:
        layers.activation_checkpointing_enable({"use_reentrant": False})
    inputs = torch.randn(CAPTIONS, TOKENS, 128, requires_grad=True)
    kept = Kept(model).count(layers, inputs)
    if checkpointing:  # and what one layer keeps when it is computed again
        one = layers.layers[0]
        places = layers.rotary_emb(inputs, torch.arange(TOKENS)[None])
        layers.activation_checkpointing_disable()
        again = Kept(model)
        with torch.autograd.graph.saved_tensors_hooks(again, lambda tensor: tensor):
            one(inputs, position_embeddings=places, attention_mask=None)
        kept += bytes_of(again.tensors)
    estimate = estimate_memory(model, settings, tokens=TOKENS, labels=9, on_gpu=False)
    assert estimate.activations == pytest.approx(kept, rel=0.25)


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_weights_are_those_of_a_loaded_model(tmp_path, quantization):
    shape = Qwen3Config(**SHAPE.to_dict() | {"hidden_size": 512, "intermediate_size": 1536})
    Qwen3ForCausalLM(shape).to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_language_model(str(tmp_path), quantization, "bf16", torch.device("cpu"))
    kept = list(loaded.parameters())
    for module in loaded.modules():
        if (state := getattr(getattr(module, "weight", None), "quant_state", None)) is not None:
            kept += [state.absmax, state.state2.absmax]
    with torch.device("meta"):
        empty = Qwen3ForCausalLM(shape)
    assert weight_bytes(empty, quantization, 2) == pytest.approx(bytes_of(kept), rel=0.02)


def test_shapes_alone_tell_what_a_real_captioner_has(tiny):
    real = tiny.captioner()
    empty = meta_captioner(tiny.config, tiny.language_model().config, 2, 8)
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    told = [estimate_memory(model, tiny.config, tokens=20, labels=5, on_gpu=False) for model in (real, empty)]
    assert told[0] == told[1]
    assert told[0].trained == 16 * trainable_parameters(real)
    train_projector_only(empty)
    assert trainable_parameters(empty) < trainable_parameters(real)


def test_what_cannot_fit_is_refused_and_what_may_not_is_warned_of(monkeypatch, capsys):
    estimate = Estimate(
        weights=6 * GIB, trained=2 * GIB, activations=4 * GIB, logits=1 * GIB, generation=3 * GIB
    )
    room = {}
    monkeypatch.setattr(memory, "device_memory", lambda device: int(room["GiB"] * GIB))
    room["GiB"] = 7.9
    with pytest.raises(
        UserError, match=r"need 8\.0 GiB, but the device has 7\.9 GiB; use `quantization: nf4`"
    ):
        check_memory(estimate, torch.device("cpu"))
    capsys.readouterr()
    for gib, warned in ((14, True), (15, False)):
        room["GiB"] = gib
        check_memory(estimate, torch.device("cpu"))
        out = capsys.readouterr().out
        assert ("WARNING: 93% of the memory" in out) == warned
        assert "at most" in out and "13.00 GiB" in out
    room["GiB"] = 15
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")  # processes of a machine share its memory
    with pytest.raises(UserError, match=r"has 7\.5 GiB"):
        check_memory(estimate, torch.device("cpu"))


def test_generation_keeps_the_keys_and_values_of_the_captions_of_a_validation(tiny):
    language_model = tiny.language_model()
    ids = torch.zeros(1, 7, dtype=torch.long)
    cache = language_model(input_ids=ids, use_cache=True).past_key_values
    kept = bytes_of([tensor for layer in cache.layers for tensor in (layer.keys, layer.values)])
    assert 7 * memory.cache_bytes(language_model.config, 4) == kept
    for captions, at_a_time in ((3, 16), (9, 18)):
        settings = config(running={"per_device_batch_size": captions})
        told = estimate_memory(tiny.captioner(), settings, tokens=7, labels=5, on_gpu=False)
        assert told.generation == at_a_time * kept
    silent = config(validation={"generated": 0})
    assert estimate_memory(tiny.captioner(), silent, tokens=7, labels=5, on_gpu=False).generation == 0
