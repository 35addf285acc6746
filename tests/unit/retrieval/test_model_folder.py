"""Model folders and checkpoints that are none."""

import dataclasses
import json

import pytest
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.model_folder import read_checkpoint_model, read_model, write_model

SIZES = GMMFormerConfig(12, 10, hidden_size=8, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return GMMFormer(SIZES)


@pytest.fixture
def folder(model, tmp_path):
    write_model(tmp_path / "모델", model.state_dict(), SIZES)
    return tmp_path / "모델"


def checkpoint(model):
    return {"model_config": dataclasses.asdict(model.config), "model": model.state_dict()}


def test_folder_and_checkpoint_give_the_model_back(model, folder, tmp_path):
    torch.save(checkpoint(model), tmp_path / "last.pt")
    for found in (read_model(folder), read_checkpoint_model(tmp_path / "last.pt")):
        assert found.config == SIZES
        assert not found.training
        assert all(torch.equal(value, found.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    "sizes",
    [
        {"n_heads": 0}, {"n_heads": "2"}, {"hidden_size": -8}, {"hidden_size": 10**12}, {"map_size": None},
        {"max_ctx_l": 2.5}, {"initializer_range": -1}, {"layers": 3},
    ],
)  # fmt: skip
def test_odd_sizes_are_named(folder, sizes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | sizes))
    with pytest.raises(UserError, match=r"config\.json: not the sizes of a GMMFormer"):
        read_model(folder)


def test_weights_of_another_model_are_named_in_a_sentence(folder):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"hidden_size": 16}))
    with pytest.raises(
        UserError, match=r"model\.safetensors: the weights cannot be loaded: .*size mismatch"
    ) as caught:
        read_model(folder)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_half_of_the_weights_are_named(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors: the weights cannot be loaded"):
        read_model(folder)


@pytest.mark.parametrize("content", [b"", b"\x80\x04broken", {"epoch": 3}, [1], torch.zeros(3)])
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(content) if isinstance(content, bytes) else torch.save(content, file)
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        read_checkpoint_model(file)


def test_half_a_checkpoint_is_named(model, tmp_path):
    file = tmp_path / "checkpoint.pt"
    torch.save(checkpoint(model), file)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be read as a checkpoint"):
        read_checkpoint_model(file)


@pytest.mark.parametrize("weights", [None, [1], {"a": 1}])
def test_a_checkpoint_of_other_weights_is_named(model, tmp_path, weights):
    torch.save(checkpoint(model) | {"model": weights}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match=r"checkpoint\.pt: the weights cannot be loaded") as caught:
        read_checkpoint_model(tmp_path / "checkpoint.pt")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
