"""Which values a stage trains with: written ones before the preset's, the preset's before the defaults."""

from types import SimpleNamespace

import pytest
import torch

from tests.unit.captioner.tiny import config
from workflow_scripts.lib.captioner import settings
from workflow_scripts.lib.captioner.settings import (
    GIB,
    begun_settings,
    choose_preset,
    dropout_guide,
    for_device,
    learning_rate,
    rank_guide,
    read_settings,
    with_lora,
    write_settings,
)
from workflow_scripts.lib.config import CaptionerConfig, Stage
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json

READ = {"seed": 1, "caption files": ["a"]}
CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of so many GiB, with or without bf16."""

    def make(gib: float, bf16: bool = True) -> torch.device:
        found = SimpleNamespace(total_memory=int(gib * GIB))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: found)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
        # what it emulates does not count
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16 or including_emulation
        )
        return GPU

    return make


def auto(**written) -> CaptionerConfig:
    return CaptionerConfig.model_validate({"language_model": "x", **written})


@pytest.mark.parametrize(
    ("gib", "preset"), [(14.6, "t4"), (22.0, "l4"), (39.4, "a100"), (79.1, "h100"), (139.0, "h100")]
)
def test_the_preset_is_that_of_the_devices_memory(gpu, gib, preset):
    assert choose_preset(gpu(gib))[0] == preset


def test_without_a_gpu_it_is_the_cpus():
    assert choose_preset(CPU)[0] == "cpu"


def test_what_is_written_goes_before_the_preset_and_the_preset_before_the_default(gpu, capsys):
    written = auto(frames=5, stage2={"epochs": 9}, lora={"r": 3})
    found = for_device(written, gpu(22))
    assert (found.preset, found.frames, found.stage2.epochs, found.lora.r) == ("l4", 5, 9, 3)
    assert (found.stage2.label_smoothing, found.running.per_device_batch_size) == (0.1, 2)
    assert found.generation.num_beams == 1
    out = capsys.readouterr().out
    assert "preset: l4 (a GPU, 22 GiB)" in out
    assert "  stage2.label_smoothing: 0.1\n" in out and "  lora.dropout: 0.05\n" in out
    for not_filled in ("  frames:", "  stage2.epochs:", "  lora.r:"):
        assert not_filled not in out


def test_auto_ends_as_the_preset_of_that_name_would(gpu):
    named = auto(preset="a100", lora={"r": 3})
    assert for_device(auto(lora={"r": 3}), gpu(40)) == named == for_device(named, CPU)


def test_a_frozen_part_leaves_the_choice_to_the_job(gpu):
    part = CaptionerConfig.model_validate(auto(lora={"r": 3}).part("stage1"))
    assert for_device(part, gpu(80)).frames == 16


def test_without_bf16_arithmetic_is_fp16_unless_it_was_written(gpu):
    assert for_device(auto(), gpu(24, bf16=False)).precision == "fp16"
    assert for_device(auto(precision="fp32"), gpu(24, bf16=False)).precision == "fp32"
    for written in ({"precision": "bf16"}, {"preset": "l4"}):
        with pytest.raises(UserError, match="has no bf16"):
            for_device(auto(**written), gpu(24, bf16=False))


def test_stage_2_takes_the_preset_and_the_adapters_of_stage_1(gpu, tmp_path):
    first = with_lora(for_device(auto(lora={"r": "auto"}), gpu(40)), 4_000, GPU)
    write_settings(first, tmp_path)
    assert read_settings(tmp_path) == first
    assert (first.lora.r, first.lora.alpha) == (16, 32)
    second = with_lora(for_device(auto(lora={"r": "auto"}), gpu(80), tmp_path), 10**6, GPU, tmp_path)
    assert second.model_copy(update={"running": first.running}) == first
    assert (first.running.per_device_batch_size, second.running.per_device_batch_size) == (4, 8)


@pytest.fixture
def begun(tmp_path):
    """What the checkpoints of a settled configuration tell to another one on a device, or on other inputs."""

    def ask(settled, config, device=CPU, read=READ):
        left_out = {"running", "generation", "evaluation", "stage2"}
        record = settled.model_dump(mode="json", exclude=left_out)
        write_json(tmp_path / "made_by.json", {**record, **READ})
        return begun_settings(config, tmp_path, read, device)

    return ask


@pytest.mark.parametrize(("gib", "bf16"), [(14.6, True), (22, True), (22, False), (79, True)])
def test_a_stage_goes_on_as_it_was_begun_on_another_gpu(gpu, begun, gib, bf16, capsys):
    written = auto(lora={"r": "auto", "dropout": "auto"}, stage2={"epochs": 9})
    first = with_lora(for_device(written, gpu(gib, bf16)), 6_000, GPU)
    found = begun(first, written, gpu(39.4))
    again = with_lora(for_device(written, gpu(39.4), None, found), 6_000, GPU, None, found)
    assert again.model_copy(update={"running": first.running}) == first
    assert again.running == for_device(written, GPU).running
    assert f"preset: {first.preset} (that of the checkpoints)" in capsys.readouterr().out


def test_checkpoints_of_another_configuration_decide_nothing(gpu, begun):
    first = with_lora(for_device(auto(lora={"r": "auto"}), gpu(22)), 6_000, GPU)
    for other in ({"stage1": {"lr": 1.0}}, {"frames": 5}, {"lora": {"r": 3}}, {"preset": "a100"}):
        assert begun(first, auto(**other)) is None
    assert begun(first, auto(preset="l4", lora={"r": "auto"})).lora == first.lora
    written = auto(lora={"r": "auto"})
    assert begun(first, written, read={**READ, "caption files": ["b"]}) is None  # more captions, say
    assert begun(first, written, gpu(22, bf16=False)) is None  # which cannot go on with bf16


@pytest.mark.parametrize(("gib", "preset"), [(39.4, "a100"), (79, "h100")])
def test_presets_that_differ_in_what_was_written_are_told_apart(gpu, begun, gib, preset):
    """All that these two have different for stage 1 is in the configuration."""
    written = auto(frames=8, lora={"r": "auto"})
    first = with_lora(for_device(written, gpu(gib)), 6_000, GPU)
    found = begun(first, written, GPU)
    assert found.preset == preset and found.stage2 == first.stage2


def test_nothing_was_begun(tmp_path):
    assert begun_settings(auto(), tmp_path, {}, CPU) is None


def test_adapters_by_the_captions_and_the_memory(monkeypatch, capsys):
    assert [rank_guide(n, 16) for n in (10, 10**7)] == [8, 8]
    assert [rank_guide(n, 24) for n in (10, 10**7)] == [16, 16]
    assert [rank_guide(n, 40) for n in (4_999, 5_000)] == [16, 32]
    assert [rank_guide(n, 80) for n in (9_999, 10_000)] == [32, 64]
    assert [dropout_guide(n) for n in (4_999, 5_000, 20_000, 20_001)] == [0.1, 0.05, 0.05, 0.01]
    found = with_lora(config(lora={"r": "auto", "dropout": "auto"}), 6_000, CPU).lora
    assert (found.r, found.alpha, found.dropout) == (8, 16, 0.05)
    assert "r 8, alpha 16, dropout 0.05" in capsys.readouterr().out
    found = with_lora(config(lora={"r": 5, "alpha": 7, "dropout": 0.2}), 6_000, CPU).lora
    assert (found.r, found.alpha, found.dropout) == (5, 7, 0.2)


def test_the_learning_rate_is_scaled_by_the_batch_only_where_wanted():
    assert learning_rate(Stage(lr=1e-4, batch_size=64)) == 1e-4
    assert learning_rate(Stage(lr=1e-4, batch_size=64, lr_scaling="linear")) == pytest.approx(4e-4)
    assert learning_rate(Stage(lr=1e-4, batch_size=8, lr_scaling="linear")) == pytest.approx(5e-5)


def test_a_folder_without_settings_is_named(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path / settings.FILE)):
        read_settings(tmp_path)
