"""The stages train what they should, and an interrupted run ends as an uninterrupted one."""

import json

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from tests.unit.captioner.tiny import CONFIG, GRID, WIDTH, config
from workflow_scripts.lib.captioner.arguments import shared_batch
from workflow_scripts.lib.captioner.curve import write_curve
from workflow_scripts.lib.captioner.loading import load_captioner, new_captioner, save_captioner
from workflow_scripts.lib.captioner.resuming import usable_checkpoint
from workflow_scripts.lib.captioner.training import make_sampler, train_projector_only, train_stage
from workflow_scripts.lib.checkpoints import FINISHED, mark_finished
from workflow_scripts.lib.config import Stage
from workflow_scripts.lib.errors import UserError

STAGE = Stage(epochs=3, lr=1e-2, batch_size=8, warmup=0.1, label_smoothing=0.1)


def weights(model):
    return {name: parameter.detach().clone() for name, parameter in model.named_parameters()}


def train(
    tiny, model, checkpoints, stage=STAGE, val="val", callbacks=None, made_by=None, check=None, **changes
):
    return train_stage(
        model,
        config(**changes),
        stage,
        tiny.dataset("train"),
        tiny.dataset(val) if val else torch.utils.data.Subset(tiny.dataset("val"), []),
        tiny.collator,
        checkpoints=checkpoints,
        made_by=made_by or {"lr": 1},
        seed=0,
        caption_check=check,
        callbacks=callbacks,
    )


def running(**changes):
    return CONFIG["running"] | changes


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
    """Ends training in the middle of the second epoch, as a kill would: behind a checkpoint, if there are such."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.epoch > 1.7:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("flags", [{}, {"checkpoint_steps": 3, "log_steps": 4, "per_device_batch_size": 2}])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tiny, tmp_path, flags):
    straight, resumed = tiny.captioner(seed=5), tiny.captioner(seed=5)
    how = {"running": running(**flags)}
    log = train(tiny, straight, tmp_path / "straight", **how).state.log_history
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tiny.captioner(seed=5), tmp_path / "resumed", callbacks=[Kill()], **how)
    half = tmp_path / "resumed" / "checkpoint-999"  # the kill hit while a checkpoint was written
    half.mkdir()
    (half / "adapter_model.safetensors").write_bytes(b"half")
    again = train(tiny, resumed, tmp_path / "resumed", **how).state.log_history
    assert not half.exists()
    for key in ("loss", "eval_loss", "learning_rate"):
        assert [(e["step"], e[key]) for e in log if key in e] == [
            (e["step"], e[key]) for e in again if key in e
        ]
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


def test_a_folder_that_does_not_say_what_made_it_is_set_aside(tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    half_trained(folder)
    (folder / "made_by.json").unlink()
    assert usable_checkpoint(folder, {"lr": 1, "lora": {"r": 16}}) is None
    assert "made_by.json" in capsys.readouterr().out
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


def test_the_best_step_is_kept_where_checkpoints_are_rarer_than_validations(tiny, tmp_path):
    model = tiny.captioner()
    wild = Stage(epochs=3, lr=0.3, batch_size=8, warmup=0.5, patience=0)
    changes = {"validation": {"every_steps": 2, "generated": 0}, "running": running(checkpoint_steps=7)}
    trainer = train(tiny, model, tmp_path / "c", stage=wild, **changes)
    losses = {e["step"]: e["eval_loss"] for e in trainer.state.log_history if "eval_loss" in e}
    assert list(losses) == [2, 4, 6, 8, 10, 12, 14, 15]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses.values()), rel=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_four_bits_learn_in_half_precision(tiny, tmp_path, precision):
    language_model = tiny.language_model("nf4", precision)
    torch.manual_seed(0)
    model = new_captioner(
        language_model, tiny.config.lora, visual_width=WIDTH, tokens_per_frame=GRID, max_frames=3
    )
    trained = {p.dtype for p in model.parameters() if p.requires_grad}
    log = train(tiny, model, tmp_path / "c", precision=precision).state.log_history
    losses = [entry["eval_loss"] for entry in log if "eval_loss" in entry]
    assert losses[-1] < losses[0] and trained == {torch.float32}


def test_an_epoch_is_of_the_captions_that_the_configuration_wants(tiny):
    train_set = tiny.dataset("train")
    drawn = make_sampler(config(language_shares={"en": 2, "ko": 1, "zh": 0.3}), STAGE, train_set, 0).order(0)
    languages = [train_set.examples[int(index)].language for index in drawn if index >= 0]
    assert [languages.count(name) for name in ("en", "ko", "zh")] == [20, 10, 3]
    twice = tiny.dataset("train")
    twice.examples = twice.examples.take(np.arange(33).repeat(2))
    one = make_sampler(config(captions_per_moment="one"), STAGE, twice, 0)
    assert (one.captions, len(one)) == (33, 40)


def test_the_validation_loss_is_that_of_a_token_in_batches_of_any_size(tiny, tmp_path):
    model, losses = tiny.captioner(seed=2), []
    for captions in (1, 4):
        nothing = Stage(batch_size=8, lr=1e-30, weight_decay=0)
        flags = running(per_device_batch_size=captions)
        log = train(tiny, model, tmp_path / str(captions), stage=nothing, running=flags).state.log_history
        losses.append(next(entry["eval_loss"] for entry in log if "eval_loss" in entry))
    val = tiny.dataset("val")
    with torch.no_grad():
        batch = tiny.collator([val[index] for index in range(len(val))])
        expected = model.eval()(**batch).loss.item()
    assert losses == pytest.approx([expected, expected], rel=1e-5)


def test_without_validation_captions_the_last_epoch_is_kept(tiny, tmp_path):
    trainer = train(tiny, tiny.captioner(), tmp_path / "c", val=None)
    assert trainer.state.global_step == 3 * 5
    assert not any("eval_loss" in entry for entry in trainer.state.log_history)


def without_dropout(model):
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.mark.slow
def test_accumulation_gives_the_same_losses_and_weights(tiny, tmp_path):
    curves, models = [], []
    for captions in (8, 2, 1):
        model = without_dropout(tiny.captioner(seed=2))
        flags = running(per_device_batch_size=captions)
        log = train(tiny, model, tmp_path / str(captions), running=flags).state.log_history
        curves.append([entry[key] for entry in log for key in ("loss", "eval_loss") if key in entry])
        models.append(torch.cat([weight.flatten() for weight in weights(model).values()]))
    assert len(curves[0]) == 3 * 5 + 3
    for curve, model in zip(curves[1:], models[1:], strict=True):
        assert curve == pytest.approx(curves[0], rel=1e-4)
        assert torch.allclose(model, models[0], atol=1e-4)


def test_the_schedule_warms_up_and_falls_as_a_cosine(tiny, tmp_path):
    stage = Stage(epochs=4, lr=1e-2, batch_size=8, warmup=0.2)
    log = train(tiny, tiny.captioner(), tmp_path / "c", stage=stage).state.log_history
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert len(rates) == 20
    assert rates.index(max(rates)) == 4 and max(rates) == pytest.approx(1e-2)
    assert rates[0] == 0 and rates[-1] < 1e-4
    assert rates[12] == pytest.approx(5e-3, rel=1e-6)  # half of the way down


@pytest.mark.parametrize("captions", [8, 2])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "cosine_with_restarts", "constant"])
def test_steps_of_the_schedule_are_optimizer_steps(tiny, tmp_path, schedule, captions):
    restarts = {"restarts": 3} if schedule == "cosine_with_restarts" else {}
    stage = Stage(epochs=2, lr=1e-2, batch_size=8, warmup=0.1, schedule=schedule, **restarts)
    flags = running(per_device_batch_size=captions)
    trainer = train(tiny, tiny.captioner(), tmp_path / "c", stage=stage, running=flags)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert len(rates) == trainer.state.global_step == 10
    assert rates[0] == 0 and rates[1] == 1e-2
    last = trainer.lr_scheduler.get_last_lr()[0]
    assert last == (1e-2 if schedule == "constant" else pytest.approx(0, abs=1e-12))
    falls = sum(after < before for before, after in zip(rates, [*rates[1:], last], strict=True))
    rises = sum(after > before for before, after in zip(rates, [*rates[1:], last], strict=True))
    assert {"cosine": (9, 1), "linear": (9, 1), "cosine_with_restarts": (7, 3), "constant": (0, 1)}[schedule] == (
        falls, rises
    )  # fmt: skip


@pytest.mark.parametrize(("warmup", "rising"), [(0, 0), (0.03, 1), (0.25, 3)])
def test_a_share_of_the_steps_warms_up(tiny, tmp_path, warmup, rising):
    stage = Stage(epochs=2, lr=1e-2, batch_size=8, warmup=warmup)
    log = train(tiny, tiny.captioner(), tmp_path / "c", stage=stage).state.log_history
    rates = [entry["learning_rate"] for entry in log if "learning_rate" in entry]
    assert rates.index(max(rates)) == rising


@pytest.mark.parametrize("first_stage", [True, False])
def test_checkpointing_of_activations_changes_nothing(tiny, tmp_path, first_stage):
    models = []
    for checkpointing in (True, False):
        model = tiny.captioner(seed=2)
        if first_stage:
            train_projector_only(model)
        flags = running(gradient_checkpointing=checkpointing)
        train(tiny, model, tmp_path / str(checkpointing), stage=Stage(batch_size=8, lr=1e-2), running=flags)
        models.append(weights(model))
    for name, weight in models[0].items():
        assert torch.allclose(weight, models[1][name], atol=1e-5), name


def test_gradients_are_clipped(tiny, tmp_path):
    moved = []
    for norm in (
        1e-9,
        1.0,
    ):  # AdamW takes steps of the learning rate unless gradients are as small as its epsilon
        model = tiny.captioner(seed=2)
        before = weights(model)
        train(
            tiny,
            model,
            tmp_path / str(norm),
            stage=Stage(batch_size=8, lr=1e-2, weight_decay=0, max_grad_norm=norm),
        )
        moved.append(sum((weights(model)[name] - before[name]).abs().sum().item() for name in before))
    assert moved[0] < 0.5 * moved[1]


def test_processes_and_forward_passes_share_the_global_batch():
    assert shared_batch(16, 4, 1) == (4, 4)
    assert shared_batch(16, 4, 2) == (4, 2)
    assert shared_batch(16, 32, 1) == (16, 1)
    assert shared_batch(14, 4, 2) == (1, 7)  # what a process has is no multiple of 2, 3 or 4
    with pytest.raises(UserError, match="3 processes"):
        shared_batch(8, 4, 3)


def test_the_curve_is_a_table(tmp_path):
    history = [
        {"step": 1, "epoch": 0.5, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.0},
        {
            "step": 2,
            "epoch": 1.0,
            "eval_loss": 1.5,
            "eval_runtime": 9,
            "eval_cider": 12.0,
            "eval_chrf": 30.0,
            "eval_diversity": 0.5,
            "eval_reference_diversity": 1.0,
        },
        {"step": 2, "epoch": 1.0, "train_runtime": 9},
    ]
    write_curve(tmp_path / "curve.csv", history)
    lines = (tmp_path / "curve.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "step,epoch,train_loss,val_loss,lr,grad_norm,val_cider,val_chrf,val_diversity",
        "1,0.5,2.0,,0.1,1.0,,,",
        "2,1.0,,1.5,,,12.0,30.0,0.5",
    ]
