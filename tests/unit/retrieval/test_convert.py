import zipfile

import pytest
import torch

from tests.unit.retrieval.released import SIZES, hostile, save_release, weights
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.convert import read_released, released_model
from workflow_scripts.lib.retrieval.model import GMMFormer

HOSTILE = ["os.system", "builtins.eval", "builtins.exec", "builtins.open", "pathlib"]


@pytest.mark.parametrize("old_format", [False, True])
def test_weights_and_config_of_a_release_whose_module_is_not_here(tmp_path, old_format):
    path = save_release(tmp_path / "best.ckpt", old_format=old_format)
    assert zipfile.is_zipfile(path) is not old_format
    with pytest.raises(Exception, match="WarmupLinearSchedule"):
        torch.load(path, weights_only=True)
    trusted = torch.serialization.get_safe_globals()
    found, config = read_released(path)
    assert config["dataset_name"] == "tvr"
    assert found.keys() == weights().keys()
    assert all(torch.equal(value, found[name]) for name, value in weights().items())
    assert set(torch.serialization.get_safe_globals()) == set(trusted)


@pytest.mark.parametrize("old_format", [False, True])
def test_sizes_are_those_of_the_tensors_and_the_config(tmp_path, old_format):
    found, config = released_model(save_release(tmp_path / "best.ckpt", old_format=old_format))
    assert {name: getattr(config, name) for name in SIZES} == SIZES
    assert (config.map_size, config.n_heads, config.window_length) == (4, 2, "batch")
    assert (config.drop, config.input_drop, config.initializer_range) == (0.2, 0.15, 0.02)
    GMMFormer(config).load_state_dict(found)


def test_half_precision_becomes_float32(tmp_path):
    half = {name: value.half() for name, value in weights().items()}
    found, _ = released_model(save_release(tmp_path / "best.ckpt", state_dict=half))
    assert {value.dtype for value in found.values()} == {torch.float32}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("where", ["optimizer", "state_dict", "config"])
def test_code_in_a_file_is_never_run(tmp_path, kind, old_format, where):
    trace = tmp_path / "ran"
    path = tmp_path / "best.ckpt"
    save_release(path, old_format=old_format, **{where: {"x": hostile(kind, trace)}})
    try:
        read_released(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    assert not trace.exists()


def test_the_hostile_files_would_run_code_if_they_were_unpickled(tmp_path):
    """Or the test above could not fail."""
    for kind in HOSTILE:
        trace, path = tmp_path / f"ran {kind}", tmp_path / "best.ckpt"
        save_release(path, optimizer={"x": hostile(kind, trace)})
        torch.load(path, weights_only=False)
        assert trace.exists(), kind


def test_a_file_that_is_all_code_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "best.ckpt"
    torch.save(hostile("os.system", tmp_path / "ran"), path)
    with pytest.raises(UserError, match=r"best\.ckpt.*without running code of it"):
        read_released(path)
    torch.save(hostile("builtins.eval", tmp_path / "ran"), path)
    with pytest.raises(UserError, match=r"expected a dict with weights under `state_dict`, found Inert"):
        read_released(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", b"PK\x03\x04 and no more", b"\x80\x02}q\x00."])
def test_foreign_and_cut_files_are_refused_with_a_sentence(tmp_path, content):
    path = tmp_path / "모델.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"모델\.ckpt: cannot be read as a checkpoint"):
        read_released(path)
    whole = save_release(tmp_path / "whole.ckpt").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        read_released(path)


def test_missing_file_and_folder_are_told(tmp_path):
    with pytest.raises(UserError, match="none: the checkpoint cannot be read: No such file"):
        read_released(tmp_path / "none")
    with pytest.raises(UserError, match="Is a directory"):
        read_released(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "found list"),
        ({"model": {}}, r"found a dict with \['model'\]"),
        ({"state_dict": 3}, "expected a dict with weights under `state_dict`"),
        ({"state_dict": {"a": "b"}}, "no named tensor under 'a'"),
        ({"state_dict": {3: torch.zeros(1)}}, "no named tensor under 3"),
    ],
)
def test_other_contents_are_told(tmp_path, content, message):
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=message):
        read_released(tmp_path / "best.ckpt")


def without(name):
    return {key: value for key, value in weights().items() if key != name}


@pytest.mark.parametrize(
    ("state_dict", "message"),
    [
        ({f"module.{name}": value for name, value in weights().items()}, r"DataParallel"),
        (without("clip_input_proj.net.1.weight"), r"clip_input_proj\.net\.1\.weight is missing"),
        (
            without("frame_encoder_2.attn3.self.key.bias"),
            r"lacks 1 of 193 tensors, among them frame_encoder_2\.attn3",
        ),
        ({**weights(), "weight_token": torch.zeros(3)}, r"has, unlike GMMFormer, 1 .* weight_token"),
        ({**weights(), "query_encoder.self.key.weight": torch.zeros(8, 7)}, r"shape \[8, 7\], and \[8, 8\]"),
        (
            {**weights(), "clip_input_proj.net.1.weight": torch.zeros(8)},
            r"of shape \[8\], and should be a matrix",
        ),
        ({}, r"clip_input_proj\.net\.1\.weight is missing"),
    ],
)
def test_weights_of_another_model_are_told(tmp_path, state_dict, message):
    path = save_release(tmp_path / "best.ckpt", state_dict=state_dict)
    with pytest.raises(UserError, match=message):
        released_model(path)


def test_heads_and_segments_come_from_the_arguments_only_where_the_file_does_not_say_them(tmp_path):
    silent = save_release(tmp_path / "silent.ckpt", config={})
    with pytest.raises(UserError, match=r"does not say `map_size`.*give --map-size"):
        released_model(silent, n_heads=2)
    with pytest.raises(UserError, match=r"does not say `n_heads`.*give --n-heads"):
        released_model(silent, map_size=4)
    _, config = released_model(silent, n_heads=4, map_size=8)
    assert (config.n_heads, config.map_size) == (4, 8)
    says = save_release(tmp_path / "says.ckpt")
    with pytest.raises(UserError, match="its config says n_heads 2, and --n-heads 4"):
        released_model(says, n_heads=4)
    assert released_model(says, n_heads=2)[1].n_heads == 2


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"map_size": 4, "n_heads": 3}, "hidden_size 8 is not a multiple of n_heads 3"),
        ({"map_size": 9, "n_heads": 2}, "map_size 9 is larger than max_ctx_l 8"),
        ({"map_size": 4, "n_heads": 0}, "n_heads is 0, expected a whole number from 1"),
        ({"map_size": "vier", "n_heads": 2}, "map_size is 'vier'"),
        ({"map_size": 4, "n_heads": 2, "drop": "viel"}, "not the sizes of a GMMFormer"),
        ({"map_size": 4, "n_heads": 2, "initializer_range": -1}, "not the sizes of a GMMFormer"),
    ],
)
def test_sizes_that_do_not_fit_are_told(tmp_path, config, message):
    with pytest.raises(UserError, match=message):
        released_model(save_release(tmp_path / "best.ckpt", config=config))
