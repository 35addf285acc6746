"""Interrupted, longer and changed trainings."""

import math
import shutil

import open_clip_train.main as program
import pytest
import torch

from tests.unit.clip import tiny_training as tiny
from tests.unit.clip.pipeline import temporary_folder
from tests.unit.clip.tiny_training import csv_data, journal, make_pairs, newest_run, tar_data, train, weights
from workflow_scripts.lib.errors import UserError

pytestmark = pytest.mark.slow

LATEST = "checkpoints/epoch_latest.pt"


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(temporary_folder() / "pairs")


@pytest.fixture
def stop_at(monkeypatch):
    """A training that is killed before the epoch of this number."""
    real = program.train_one_epoch

    def stop(number, *args, **kwargs):
        def stopped(model, data, loss, epoch, *args, **kwargs):
            if epoch == number:
                raise KeyboardInterrupt
            return real(model, data, loss, epoch, *args, **kwargs)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(program, "train_one_epoch", stopped)
            train(*args, **kwargs)

    return stop


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("form", ["csv", "webdataset", "resampled"])
def test_a_killed_run_ends_as_one_that_was_not(tmp_path, pairs, stop_at, form, workers):
    data = {
        "csv": csv_data(pairs),
        "webdataset": tar_data(pairs),
        "resampled": tar_data(pairs, dataset_resampled=True),
    }[form]
    settings = {"data": data, "epochs": 2, "batch_size": 4, "aug_cfg": {"scale": [0.3, 1]}}
    settings["model"] = tiny.write_model(tmp_path)
    flags = {"workers": workers}
    stop_at(1, tmp_path, flags, **settings)
    assert not (tmp_path / "trained").exists()
    torch.rand(7)  # whatever else has happened in the process
    resumed = train(tmp_path, flags, **settings)
    assert len(list((tmp_path / "checkpoints").iterdir())) == 1
    found, losses = weights(tmp_path), journal(resumed)
    shutil.rmtree(tmp_path / "checkpoints")
    straight = train(tmp_path, flags, **settings)
    assert losses == journal(straight) and len(losses) == 8
    assert equal(found, weights(tmp_path))
    assert (straight / "finished").is_file()


def test_a_finished_run_is_not_trained_again(tmp_path):
    run = train(tmp_path)
    before = journal(run)
    train(tmp_path)
    assert journal(run) == before and newest_run(tmp_path) == run
    assert (run / "out_1.log").is_file() and (run / "out.log").is_file()


def test_more_epochs_go_on_and_the_learning_rate_with_them(tmp_path, pairs, capsys):
    settings = {"data": csv_data(pairs), "batch_size": 4, "warmup": 0, "model": tiny.write_model(tmp_path)}
    run = train(tmp_path, epochs=1, **settings)
    assert len(journal(run)) == 4
    capsys.readouterr()
    assert train(tmp_path, epochs=2, **settings) == run
    said = capsys.readouterr().out
    assert "going on from the checkpoint of epoch 1" in said
    assert "epochs: 2 instead of 1; from here on the learning rate follows `cosine` over all of them" in said
    assert len(journal(run)) == 8
    second = [0.5 * (1 + math.cos(math.pi * step / 8)) * 1e-3 for step in range(4, 8)]
    assert journal(run, "train/lr")[4:] == pytest.approx(second)


def test_fewer_epochs_start_anew(tmp_path, capsys):
    run = train(tmp_path, epochs=2)
    assert train(tmp_path, epochs=1) == run
    assert "of 2 epochs, and 1 are wanted" in capsys.readouterr().out
    assert torch.load(run / LATEST, weights_only=True)["epoch"] == 1
    assert run.with_name(run.name + ".previous").is_dir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lr": 2e-3}, "clip.lr: 0.001 -> 0.002"),
        ({"aug_cfg": {"scale": [0.5, 1]}}, "clip.aug_cfg.scale: None -> "),
    ],
)
def test_other_settings_start_anew_and_are_told(tmp_path, capsys, change, told):
    model = tiny.write_model(tmp_path)
    run = train(tmp_path, model=model)
    other = train(tmp_path, model=model, **change)
    said = capsys.readouterr().out
    assert other != run and f"starting anew beside {run}" in said and told in said
    assert run.is_dir() and len(journal(other)) == 2


def test_other_pairs_and_another_seed_start_anew(tmp_path):
    pairs = make_pairs(tmp_path / "pairs")
    first = train(tmp_path, data=csv_data(pairs))
    second = train(tmp_path, data=csv_data(pairs), seed=2)
    table = pairs / "pairs.csv"
    table.write_text(table.read_text().replace("red", "pink"))
    third = train(tmp_path, data=csv_data(pairs))
    assert len({first, second, third}) == 3


@pytest.mark.parametrize(
    "change", [{"val_frequency": 2}, {"flags": {"save_frequency": 1, "log_every_n_steps": 2}}], ids=str
)
def test_what_changes_no_weight_goes_on(tmp_path, change):
    run = train(tmp_path)
    before = journal(run)
    assert train(tmp_path, **change) == run and journal(run) == before


def test_a_checkpoint_that_is_no_checkpoint(tmp_path):
    run = train(tmp_path)
    (run / LATEST).write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"epoch_latest\.pt: cannot be read as a checkpoint .*delete it"):
        train(tmp_path)


def kept(run):
    return sorted(file.name for file in (run / "checkpoints").glob("epoch_*.pt"))


def test_which_checkpoints_are_kept(tmp_path):
    assert kept(train(tmp_path, epochs=3)) == ["epoch_3.pt", "epoch_latest.pt"]
    run = train(tmp_path, {"save_frequency": 2}, epochs=3, lr=2e-3)
    assert kept(run) == ["epoch_2.pt", "epoch_3.pt", "epoch_latest.pt"]
    flags = {"save_frequency": 1, "delete_previous_checkpoint": True}
    assert kept(train(tmp_path, flags, epochs=3, lr=3e-3)) == ["epoch_3.pt", "epoch_latest.pt"]


def test_the_weights_of_a_finished_run_are_pretrained_ones(tmp_path, pairs):
    """`--resume FILE` of the package is `pretrained: FILE` here, for models of every kind of name."""
    first = tmp_path / "first"
    first.mkdir()
    run = train(first, lr=1e-2)
    settings = {"lr": 1e-9, "wd": 0, "pretrained": str(run / LATEST)}
    train(tmp_path, model=tiny.write_model(tmp_path), **settings)
    assert all(
        torch.allclose(value, weights(first)[name], atol=1e-6) for name, value in weights(tmp_path).items()
    )
    second = tmp_path / "second"
    second.mkdir()
    folder = shutil.copytree(first / "trained", tmp_path / "untrained")
    (folder / "open_clip_model.safetensors").unlink()
    train(second, model=f"local-dir:{folder}", **settings)
    assert all(
        torch.allclose(value, weights(first)[name], atol=1e-6) for name, value in weights(second).items()
    )
    train(second, model=f"local-dir:{folder}", lr=1e-9, wd=0)
    assert not all(torch.allclose(value, weights(first)[name]) for name, value in weights(second).items())
