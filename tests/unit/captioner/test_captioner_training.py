"""The stages train what they should, and an interrupted run ends as an uninterrupted one."""

import json
import os

import pytest
import torch
from transformers import TrainerCallback

from workflow_scripts.lib.captioner.loading import load_captioner, save_captioner
from workflow_scripts.lib.captioner.training import (
    train_projector_only,
    train_stage,
    training_arguments,
    usable_checkpoint,
    write_curve,
)
from workflow_scripts.lib.checkpoints import FINISHED, mark_finished
from workflow_scripts.lib.config import Stage
from workflow_scripts.lib.errors import UserError

STAGE = Stage(epochs=3, lr=1e-2, batch_size=8, warmup=0.1, label_smoothing=0.1)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def train(tiny, model, checkpoints, stage=STAGE, val="val", callbacks=None, made_by=None):
    return train_stage(
        model,
        stage,
        tiny.dataset("train"),
        tiny.dataset(val) if val else torch.utils.data.Subset(tiny.dataset("val"), []),
        tiny.collator,
        checkpoints=checkpoints,
        made_by=made_by or {"lr": 1},
        precision="fp32",
        seed=0,
        callbacks=callbacks,
    )


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_stage1_trains_the_projector_only_and_stage2_the_adapters_too(tiny, tmp_path, quantization):
    model = tiny.captioner(quantization)
    train_projector_only(model)
    before = weights(model)
    trainer = train(tiny, model, tmp_path / "c1")
    moved = changed(before, weights(model))
    assert moved and all("projector.modules_to_save" in name for name in moved)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert losses[-1] < losses[0]

    save_captioner(model, tmp_path / "stage1")
    model = load_captioner(tmp_path / "stage1", tiny.language_model(quantization), trainable=True)
    before = weights(model)
    train(tiny, model, tmp_path / "c2")
    moved = changed(before, weights(model))
    assert all("projector.modules_to_save" in name or "lora_" in name for name in moved)
    assert any("lora_B" in name for name in moved) and any("projector" in name for name in moved)


class Kill(TrainerCallback):
    """Ends training in the middle of the second epoch, as a kill would."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.epoch > 1.5:
            raise KeyboardInterrupt


def test_an_interrupted_run_ends_as_an_uninterrupted_one(tiny, tmp_path):
    straight, resumed = tiny.captioner(seed=5), tiny.captioner(seed=5)
    log = train(tiny, straight, tmp_path / "straight").state.log_history
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tiny.captioner(seed=5), tmp_path / "resumed", callbacks=[Kill()])
    half = tmp_path / "resumed" / "checkpoint-999"  # the kill hit while a checkpoint was written
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    again = train(tiny, resumed, tmp_path / "resumed").state.log_history
    assert not half.exists()
    for key in ("loss", "eval_loss", "learning_rate"):
        assert [e[key] for e in log if key in e] == [e[key] for e in again if key in e]
    assert not changed(weights(straight), weights(resumed))


def half_trained(folder):
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 16}}) is None
    checkpoint = folder / "checkpoint-7"
    checkpoint.mkdir()
    for name in ("adapter_model.safetensors", "optimizer.pt"):
        (checkpoint / name).touch()
    (checkpoint / "trainer_state.json").write_text(json.dumps({}))
    return checkpoint


def test_checkpoints_of_another_config_are_set_aside(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    checkpoint = half_trained(folder)
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 16}}) == checkpoint
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 32}}) is None
    assert "lora.r: 16 -> 32" in capsys.readouterr().out
    assert (tmp_path / "checkpoints.previous" / "checkpoint-7").is_dir()


def test_a_checkpoint_that_lost_its_weights_is_not_continued(tmp_path):
    checkpoint = half_trained(tmp_path / "checkpoints")
    (checkpoint / "optimizer.pt").unlink()
    assert usable_checkpoint(tmp_path / "checkpoints", {"lr": 1, "lora": {"r": 16}}) is None


def test_a_finished_training_is_repeated_only_after_a_change_of_code(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    checkpoint = half_trained(folder)
    mark_finished(folder, "captioner")
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 16}}) == checkpoint
    (folder / FINISHED).write_text("the digest of other code")
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 16}}) is None
    assert "the code has changed" in capsys.readouterr().out


def test_the_best_epoch_is_kept(tiny, tmp_path):
    model = tiny.captioner()
    wild = Stage(epochs=3, lr=0.3, batch_size=8, warmup=0.5)  # gets worse again
    trainer = train(tiny, model, tmp_path / "c", stage=wild)
    best = min(entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(best, rel=1e-5)


def test_without_validation_captions_the_last_epoch_is_kept(tiny, tmp_path):
    trainer = train(tiny, tiny.captioner(), tmp_path / "c", val=None)
    assert trainer.state.global_step == 3 * 5
    assert not any("eval_loss" in entry for entry in trainer.state.log_history)


def test_accumulation_gives_the_same_curve(tiny, tmp_path):
    curves = []
    for accumulation in (1, 4):
        model = tiny.captioner(seed=2)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        stage = Stage(epochs=1, lr=1e-2, batch_size=8, accumulation=accumulation)
        log = train(tiny, model, tmp_path / str(accumulation), stage=stage).state.log_history
        curves.append([entry["loss"] for entry in log if "loss" in entry])
    assert curves[0] == pytest.approx(curves[1], rel=1e-4)


def test_the_schedule_warms_up_and_falls_as_a_cosine(tiny, tmp_path):
    stage = Stage(epochs=4, lr=1e-2, batch_size=8, warmup=0.2)
    log = train(tiny, tiny.captioner(), tmp_path / "c", stage=stage).state.log_history
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert len(rates) == 20
    assert rates.index(max(rates)) == 4 and max(rates) == pytest.approx(1e-2)
    assert rates[0] == 0 and rates[-1] < 1e-4
    assert rates[12] == pytest.approx(5e-3, rel=1e-6)  # half of the way down


def test_processes_share_the_global_batch(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "environ", {**os.environ, "WORLD_SIZE": "3"})
    with pytest.raises(UserError, match="3 processes"):
        training_arguments(STAGE, tmp_path, precision="fp32", seed=0, steps_an_epoch=5, validate=False)


def test_the_curve_is_a_table(tmp_path):
    history = [
        {"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0},
        {"step": 2, "epoch": 1.0, "eval_loss": 1.5, "eval_runtime": 9},
        {"step": 2, "epoch": 1.0, "train_runtime": 9},
    ]
    write_curve(tmp_path / "curve.csv", history)
    lines = (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["step,epoch,train_loss,val_loss,lr,grad_norm", "1,0.5,2.0,,0.1,1.0", "2,1.0,,1.5,,"]
