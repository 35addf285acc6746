"""What the options of a training do: a step or two by open_clip_train on a tiny model, with and without each."""

import functools
import json
import math

import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.unit.clip import tiny_training as tiny
from tests.unit.clip.pipeline import temporary_folder
from tests.unit.clip.tiny_training import csv_data, journal, make_pairs, moved, options_of, train, weights
from workflow_scripts.lib.errors import UserError


@functools.cache
def pairs():
    return make_pairs(temporary_folder() / "pairs")


def trained(tmp_path, model=tiny.VIT, flags=None, **settings):
    """Losses by step and weights after a training on the CSV, whose pictures are not cropped at random."""
    settings = {"data": csv_data(pairs()), "aug_cfg": tiny.NO_CROPS, **settings}
    run = train(tmp_path, flags, model=tiny.write_model(tmp_path, model), **settings)
    return journal(run), weights(tmp_path)


@functools.cache
def plain(kind="VIT"):
    """The same without any option; made once."""
    return trained(temporary_folder(), getattr(tiny, kind))


DESCENT = {"opt": "timm/momentum", "momentum": 0.9, "wd": 0, "lr": 0.1}
"""Plain: a small difference of gradients is a small difference of weights."""


def same(one, other, tolerance=0.0):
    return set(one) == set(other) and all(
        torch.allclose(one[name].float(), other[name].float(), atol=tolerance, rtol=0) for name in one
    )


@pytest.mark.parametrize(
    "data",
    [tiny.csv_data, tiny.tar_data, functools.partial(tiny.tar_data, dataset_resampled=True), None],
    ids=["csv", "webdataset", "resampled", "synthetic"],
)
def test_pairs_of_every_form(tmp_path, data):
    settings = {"data": data(pairs())} if data else {}
    losses = journal(train(tmp_path, **settings))
    assert len(losses) == 2 and all(map(math.isfinite, losses))
    assert len(moved(tmp_path)) > 50
    # black pictures with one caption: nothing tells a pair from another
    assert all(loss == pytest.approx(math.log(8), abs=1e-4) for loss in losses) == (data is None)


def test_tars_are_drawn_by_their_weights(tmp_path):
    """Of the two tars, the one that is never drawn can as well be broken."""
    folder = make_pairs(tmp_path / "pairs")
    files = [str(folder / f"pairs_{half}.tar") for half in (0, 1)]
    data = {"train": {"files": files, "upsampling": [1e9, 1e-9], "samples": 16}, "val": {"files": files[:1]},
            "dataset_resampled": True}  # fmt: skip
    (folder / "pairs_1.tar").write_bytes(b"")
    run = train(tmp_path, data=data, batch_size=4)
    assert len(journal(run)) == 4
    assert options_of(run)["train_data_upsampling_factors"].startswith("1000000000.0::1e-09")


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"aug_cfg": {"scale": [0.1, 0.3]}},
        {"aug_cfg": {**tiny.NO_CROPS, "re_prob": 1, "re_count": 2}},
        {"aug_cfg": {**tiny.NO_CROPS, "color_jitter": 0.8}},
        {"force_patch_dropout": 0.5},
        {"force_image_size": [16]},
        {"force_context_length": 8},
        {"force_quick_gelu": True},
        {"image_mean": [0, 0, 0]},
        {"image_std": [1, 1, 1]},
        {"precision": "amp_bf16"},
        {"precision": "bf16"},
        {"precision": "pure_bf16"},
        {"precision": "fp16"},
        {"siglip": True},
        {"batch_size": 4},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_what_changes_the_first_loss(tmp_path, settings):
    losses, _ = trained(tmp_path, **settings)
    assert math.isfinite(losses[0])
    assert losses[0] != pytest.approx(plain()[0][0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"lr": 1e-4},
        {"warmup": 10},
        {"wd": 0},
        {"beta1": 0.5, "beta2": 0.6},
        {"eps": 1e-2},
        {"grad_clip_norm": 1e-5, "opt": "timm/sgd"},
        {"opt": "timm/lamb"},
        {"opt": "timm/lamb", "beta1": 0.5, "beta2": 0.6},
        {"opt": "timm/sgd", "momentum": 0.5},
        {"opt": "timm/sgd"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_what_changes_the_steps_only(tmp_path, settings):
    losses, found = trained(tmp_path, **settings)
    assert losses[0] == pytest.approx(plain()[0][0], rel=1e-6)
    assert not same(found, plain()[1])


def test_gradients_are_clipped(tmp_path):
    """Plain gradient descent moves all weights together by no more than the learning rate times the norm."""
    settings = {**DESCENT, "lr": 1.0, "skip_scheduler": True, "warmup": 0}
    _, found = trained(tmp_path, grad_clip_norm=1e-3, batch_size=16, **settings)
    before = tiny.initial_weights(tmp_path)
    distance = math.sqrt(sum(float((found[name] - before[name]).square().sum()) for name in found))
    assert distance == pytest.approx(1e-3, rel=0.02)


@pytest.mark.slow
def test_learning_rates_of_the_schedules(tmp_path):
    def rates(**settings):
        settings = {"batch_size": 4, "epochs": 2, "warmup": 2, "lr": 1e-3, **settings}
        return journal(train(tmp_path, data=csv_data(pairs()), **settings), "train/lr")

    rise = [5e-4, 1e-3]
    assert rates(lr_scheduler="const") == pytest.approx([*rise, *[1e-3] * 6])
    cosine = [0.5 * (1 + math.cos(math.pi * step / 6)) * 1e-3 for step in range(6)]
    assert rates() == pytest.approx([*rise, *cosine])
    cooled = rates(
        lr_scheduler="const-cooldown", epochs_cooldown=1, lr_cooldown_end=2e-4, lr_cooldown_power=2
    )
    fall = [2e-4 + 8e-4 * (1 - step / 4) ** 2 for step in range(4)]
    assert cooled == pytest.approx([*rise, 1e-3, 1e-3, *fall])
    assert rates(skip_scheduler=True, warmup=0) == pytest.approx([1e-3] * 8)


def test_two_half_batches_are_one(tmp_path):
    """But for the logit scale: the package adds up its gradient once for each of them."""
    (tmp_path / "half").mkdir(), (tmp_path / "whole").mkdir()
    losses, found = trained(tmp_path / "half", batch_size=8, accum_freq=2, **DESCENT)
    expected, whole = trained(tmp_path / "whole", batch_size=16, **DESCENT)
    assert losses == pytest.approx(expected, rel=1e-5) and len(losses) == 1
    start = tiny.initial_weights(tmp_path / "whole")["logit_scale"]
    assert found.pop("logit_scale") - start == pytest.approx(
        2 * float(whole.pop("logit_scale") - start), rel=1e-2
    )
    assert same(found, whole, 1e-6)


def test_checkpointing_computes_again_what_it_did_not_keep(tmp_path, monkeypatch):
    from open_clip import transformer

    calls = []
    real = transformer.checkpoint
    monkeypatch.setattr(
        transformer, "checkpoint", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs)
    )
    losses, found = trained(tmp_path, grad_checkpointing=True)
    assert calls
    assert losses == pytest.approx(plain()[0], rel=1e-6)
    assert same(found, plain()[1], 1e-6)


def test_a_text_tower_of_its_own(tmp_path):
    losses, found = trained(tmp_path, force_custom_text=True)
    assert losses == pytest.approx(plain()[0], rel=1e-6)
    assert "text.token_embedding.weight" in found and "token_embedding.weight" not in found


VISUAL = {"visual"}
OTHER = {"logit_scale"}
TEXT = {"token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, VISUAL | TEXT | OTHER),
        ({"lock_image": True}, TEXT | OTHER),
        ({"lock_text": True, "lock_text_freeze_layer_norm": True}, VISUAL | OTHER),
        (
            {"lock_image": True, "lock_text": True, "lock_text_freeze_layer_norm": True},
            OTHER,
        ),
    ],
    ids=["none", "image", "text", "both"],
)
def test_which_towers_are_trained(tmp_path, settings, expected):
    trained(tmp_path, **settings)
    assert {name.split(".")[0] for name in moved(tmp_path)} == expected


def test_the_last_groups_of_a_locked_image_tower_are_trained(tmp_path):
    trained(tmp_path, lock_image=True, lock_image_unlocked_groups=2)
    visual = {name for name in moved(tmp_path) if name.startswith("visual.")}
    assert {"visual.proj", "visual.ln_post.weight"} <= visual
    assert any(name.startswith("visual.transformer.resblocks.1.") for name in visual)
    assert not any("resblocks.0" in name or "conv1" in name for name in visual)


def test_the_last_layers_of_a_locked_text_tower_are_trained(tmp_path):
    settings = {"lock_text": True, "lock_text_freeze_layer_norm": True, "lock_text_unlocked_layers": 2}
    trained(tmp_path, **settings)
    text = {name for name in moved(tmp_path) if not name.startswith("visual.")}
    assert any(name.startswith("transformer.resblocks.1.") for name in text)
    assert not any("resblocks.0" in name or "token_embedding" in name for name in text)


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_a_locked_resnet(tmp_path, frozen):
    _, found = trained(tmp_path, tiny.RESNET, lock_image=True, lock_image_freeze_bn_stats=frozen)
    before = tiny.initial_weights(tmp_path)
    name = "visual.bn1.running_mean"
    assert torch.equal(found[name], before[name]) == frozen
    assert torch.equal(found["visual.conv1.weight"], before["visual.conv1.weight"])


def test_a_sigmoid_loss_learns_a_bias(tmp_path):
    _, found = trained(tmp_path, siglip=True)
    assert found["logit_bias"] == pytest.approx(-10, abs=0.1) and found["logit_bias"] != -10
    assert found["logit_scale"] == pytest.approx(math.log(10), abs=0.1)


def test_coca_captions_and_weighs_its_losses(tmp_path):
    def losses(number, **settings):
        folder = tmp_path / str(number)
        folder.mkdir()
        model = tiny.write_model(folder, tiny.COCA)
        run = train(
            folder, model=model, data=csv_data(pairs()), aug_cfg=tiny.NO_CROPS, batch_size=16, **settings
        )
        return [journal(run, f"train/{name}_loss")[0] for name in ("contrastive", "caption")]

    one, other = losses(1), losses(2, coca_caption_loss_weight=3, coca_contrastive_loss_weight=0.5)
    assert all(math.isfinite(loss) and loss > 0 for loss in one)
    assert other == pytest.approx([0.5 * one[0], 1.5 * one[1]], rel=1e-5)


@pytest.mark.parametrize("of", ["folder", "file"])
def test_a_teacher_is_listened_to(tmp_path, of):
    folder = tmp_path / "teacher"
    folder.mkdir()
    trained(folder, lr=1e-2)
    weights_of = tiny.newest_run(folder) / "checkpoints/epoch_latest.pt"
    teacher = {
        "folder": {"distill_model": f"local-dir:{folder / 'trained'}"},
        "file": {"distill_model": str(next(folder.glob("*.json"))), "distill_pretrained": str(weights_of)},
    }[of]
    settings = {"model": tiny.write_model(tmp_path), "data": csv_data(pairs()), "aug_cfg": tiny.NO_CROPS}
    run = train(tmp_path, **settings, **teacher)
    assert journal(run, "train/contrastive_loss")[0] == pytest.approx(plain()[0][0], rel=1e-6)
    assert journal(run, "train/distill_loss")[0] > 0
    assert not same(weights(tmp_path), plain()[1])


def test_curves_for_tensorboard_are_those_of_the_journal(tmp_path):
    run = train(tmp_path, {"report_to": "tensorboard"}, data=csv_data(pairs()), epochs=2)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    for name in ("train/loss", "train/lr", "train/scale", "val/clip_val_loss"):
        assert [event.value for event in events.Scalars(name)] == pytest.approx(journal(run, name))
    assert len(journal(run)) == 4 and len(journal(run, "val/clip_val_loss")) == 2


def test_no_curves_where_none_are_asked_for(tmp_path):
    flags = {"log_every_n_steps": 2}
    run = train(tmp_path, flags, batch_size=4, data=csv_data(pairs()), val_frequency=2, epochs=3)
    assert len(journal(run)) == 3 * 3 and len(journal(run, "val/clip_val_loss")) == 2
    run = train(tmp_path, {"report_to": None}, lr=2e-3)
    assert not (run / "tensorboard").exists() and journal(run)


def test_validation_every_second_epoch_and_after_the_last(tmp_path):
    run = train(tmp_path, data=csv_data(pairs()), batch_size=16, val_frequency=2, epochs=3)
    epochs = [
        line["step"] for line in map(json.loads, (run / "curve.jsonl").open()) if line["name"] == "val/epoch"
    ]
    assert epochs == [2, 3]


@pytest.mark.parametrize(
    "settings",
    [{"image_interpolation": "bilinear"}, {"image_resize_mode": "squash"}, {"image_mean": [0, 0, 0]}],
    ids=str,
)
def test_how_pictures_are_made_fit_for_validation(tmp_path, settings):
    folder = make_pairs(tmp_path / "pairs")
    for picture in folder.glob("*.jpg"):
        Image.open(picture).resize((90, 40)).save(picture)
    still = {"data": csv_data(folder), "lr": 1e-12, "model": tiny.write_model(tmp_path)}
    plain, other = (journal(train(tmp_path, **still, **more), "val/clip_val_loss") for more in ({}, settings))
    assert plain[0] != pytest.approx(other[0], rel=1e-5)
    made = json.loads((tmp_path / "trained" / "open_clip_config.json").read_text())["preprocess_cfg"]
    ((key, value),) = settings.items()
    assert made[key.removeprefix("image_")] == value


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_DIR", "WANDB_RESUME"):  # set by the training
        monkeypatch.setenv(name, "put back afterwards")
        monkeypatch.delenv(name)
    run = train(tmp_path, {"report_to": "wandb", "wandb_project_name": "mine", "wandb_notes": "a note"})
    assert list((run / "wandb").glob("offline-run-*/*.wandb"))
    assert options_of(run)["wandb_project_name"] == "mine" and options_of(run)["wandb_notes"] == "a note"


@pytest.mark.slow
def test_a_compiled_model_learns_the_same(tmp_path, monkeypatch):
    compiled = []
    real = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda model: compiled.append(model) or real(model, backend="eager")
    )
    losses, found = trained(tmp_path, torchcompile=True)
    assert len(compiled) == 1
    assert losses == pytest.approx(plain()[0], rel=1e-4)
    assert set(found) == set(plain()[1])


def test_extra_arguments_reach_it(tmp_path):
    run = train(tmp_path, extra_args=["--debug"])
    assert options_of(run)["debug"] == "True" and options_of(run)["log_level"] == "10"


def test_the_seed_decides(tmp_path):
    _, other = trained(tmp_path, lr=1e-3)
    assert same(other, plain()[1])
    train(tmp_path, seed=2, data=csv_data(pairs()), aug_cfg=tiny.NO_CROPS, model=tiny.write_model(tmp_path))
    assert not same(weights(tmp_path), plain()[1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 32}, r"clip\.batch_size: 32 .*at most 16"),
        ({"accum_freq": 3}, r"clip\.accum_freq: 3 batches of 8 are more than the 16"),
        ({"opt": "timm/nothing"}, "timm has no optimizer 'nothing'; it has: .*lamb"),
        ({"use_bn_sync": True}, "works on GPUs only"),
        ({"use_bnb_linear": "SwitchBackLinearGlobal"}, "works on GPUs only"),
        ({"extra_args": ["--lr=1"]}, r"the key clip\.lr"),
    ],
)
def test_what_is_refused_before_training(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        train(tmp_path, **settings)
    assert not (tmp_path / "checkpoints").exists()


def test_options_are_refused_before_pairs_are_looked_for(tmp_path):
    with pytest.raises(UserError, match="has no option '--nothing'"):
        train(tmp_path, extra_args=["--nothing"], data=csv_data(tmp_path / "not there"))


def test_a_warm_up_that_never_ends_is_told(tmp_path, capsys):
    train(tmp_path, warmup=1000)
    assert "clip.warmup is 1000 steps of 2" in capsys.readouterr().out
