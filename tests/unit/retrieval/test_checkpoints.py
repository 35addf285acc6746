"""Trainings that are killed anywhere go on to the losses, the curve and the weights of one that was not."""

import shutil
from pathlib import Path

import h5py
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import make_corpus, small_config
from tests.unit.retrieval.tiny_training import Killed, logged, same_weights, train_tiny
from workflow_scripts.lib.checkpoints import FINISHED, differences, finished_by_other_code, mark_finished
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import checkpoints
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.model_folder import read_checkpoint_model
from workflow_scripts.lib.retrieval.state import TrainingState

pytestmark = pytest.mark.slow

# Shards of 4, 5 and, in the next pass, 4 videos again: epochs of 2, 3 (the last step with one video) and 2 steps.
SHARDS = {"train_shard_size": 5, "batch_size": 2, "epochs": 3, "checkpoint_steps": 3, "accumulation": 2, "patience": 9,
          "length_buckets": 2, "hard_negative_start_epoch": 1}  # fmt: skip

ONE = {"epochs": 2, "steps_per_epoch": 1}  # step an epoch, of four


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("checkpoints") / "c", {"train": 9, "val": 4})


@pytest.fixture(scope="module")
def straight(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    return train_tiny(corpus, folder, **SHARDS), logged(folder)


def die_in_step(monkeypatch, step):
    real = training.train_step

    def step_or_die(state, *args, **kwargs):
        if state.step == step:
            raise Killed
        return real(state, *args, **kwargs)

    monkeypatch.setattr(training, "train_step", step_or_die)


def die_in_validation(monkeypatch, epoch):
    real, seen = training.validate, []

    def validate(*args):
        seen.append(args)
        if len(seen) == epoch:
            raise Killed
        return real(*args)

    monkeypatch.setattr(training, "validate", validate)


def die_in_writing(monkeypatch, name, times):
    """While the file of this name is written for so many times, half of it being there."""
    real, seen = torch.save, []

    def save(content, file):
        real(content, file)
        seen.extend([file] * (name in file.name))
        if len(seen) == times:
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
            raise Killed

    monkeypatch.setattr(checkpoints.torch, "save", save)


KILLS = {
    "in the middle of an epoch": lambda patch: die_in_step(patch, 4),
    "in a validation": lambda patch: die_in_validation(patch, 2),
    "in writing last.pt": lambda patch: die_in_writing(patch, "last.pt", 2),
}
SLOW_KILLS = {
    "before the first checkpoint": lambda patch: die_in_step(patch, 1),
    "right behind a checkpoint": lambda patch: die_in_step(patch, 3),
    "in the last step": lambda patch: die_in_step(patch, 6),
    "in the first validation": lambda patch: die_in_validation(patch, 1),
    "in writing best.pt": lambda patch: die_in_writing(patch, "best.pt", 1),
    "in writing last.pt behind best.pt": lambda patch: die_in_writing(patch, "last.pt", 1),
}


@pytest.mark.parametrize(
    "place", [*KILLS, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_KILLS)]
)
def test_a_killed_run_goes_on_to_the_same_losses_curve_and_weights(
    corpus, straight, tmp_path, monkeypatch, place
):
    with monkeypatch.context() as patch:
        (KILLS | SLOW_KILLS)[place](patch)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path, **SHARDS)
    torch.manual_seed(999)  # whatever another process would start with
    state, rows = straight
    resumed = train_tiny(corpus, tmp_path, **SHARDS)
    assert len(rows) == 7 and logged(tmp_path) == rows
    assert resumed.curve == state.curve
    assert (resumed.best_epoch, resumed.step) == (state.best_epoch, state.step)
    assert same_weights(resumed.model.state_dict(), state.model.state_dict())


def test_a_kill_between_an_epochs_last_checkpoint_and_its_validation(corpus, straight, tmp_path, monkeypatch):
    changes = {**SHARDS, "checkpoint_steps": 1}
    with monkeypatch.context() as patch:
        die_in_validation(patch, 2)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path, **changes)
    assert train_tiny(corpus, tmp_path, **changes).curve == straight[0].curve
    assert logged(tmp_path) == straight[1]


def test_a_run_that_is_killed_again_and_again_arrives(corpus, straight, tmp_path, monkeypatch):
    for step in (1, 3, 4, 6):
        with monkeypatch.context() as patch:
            die_in_step(patch, step)
            with pytest.raises(Killed):
                train_tiny(corpus, tmp_path, **SHARDS)
    assert same_weights(
        train_tiny(corpus, tmp_path, **SHARDS).model.state_dict(), straight[0].model.state_dict()
    )
    assert logged(tmp_path) == straight[1]


def test_with_workers_it_is_the_same_and_a_resumed_run_may_have_another_number(
    corpus, straight, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        die_in_step(patch, 4)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path, **SHARDS, workers=2)
    resumed = train_tiny(corpus, tmp_path, **SHARDS, workers=1, prefetch=3)
    assert logged(tmp_path) == straight[1]
    assert same_weights(resumed.model.state_dict(), straight[0].model.state_dict())


def test_it_goes_on_where_the_checkpoint_is_and_says_so(corpus, tmp_path, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        die_in_step(patch, 4)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path, **SHARDS)
    capsys.readouterr()
    train_tiny(corpus, tmp_path, **SHARDS)
    said = capsys.readouterr().out
    assert "resuming behind epoch 1 and 1 steps" in said
    assert "step 4/7 (epoch 2)" in said and "step 3/7" not in said


def test_every_checkpoint_holds_everything_and_nothing_unsafe(corpus, tmp_path):
    state = train_tiny(corpus, tmp_path, epochs=5, steps_per_epoch=1, keep_epochs=2)
    names = {file.name for file in (tmp_path / "checkpoints").iterdir()}
    assert names == {"last.pt", "best.pt", "epoch_002.pt", "epoch_004.pt"}
    for name in names:
        content = torch.load(tmp_path / "checkpoints" / name, weights_only=True)
        assert set(content) == {
            "identity", "model_config", "model", "optimizer", "scaler", "progress", "sums",
        }  # fmt: skip
    best = torch.load(tmp_path / "checkpoints/best.pt", weights_only=True)
    assert best["progress"]["epoch"] == state.best_epoch
    assert max(state.curve, key=lambda row: row["val_sumr"])["epoch"] == state.best_epoch
    last = read_checkpoint_model(tmp_path / "checkpoints/last.pt")
    assert last.config == state.model.config and not last.training
    assert same_weights(last.state_dict(), state.model.state_dict())


def test_a_kept_checkpoint_can_be_gone_on_from(corpus, tmp_path):
    """Put in the place of the last one, it leads to the same end: it holds everything."""
    state = train_tiny(corpus, tmp_path, **ONE, keep_epochs=1)
    rows = logged(tmp_path)
    shutil.copy(tmp_path / "checkpoints/epoch_001.pt", tmp_path / "checkpoints/last.pt")
    again = train_tiny(corpus, tmp_path, **ONE, keep_epochs=1)
    assert logged(tmp_path) == rows and again.curve == state.curve
    assert same_weights(again.model.state_dict(), state.model.state_dict())


@pytest.fixture
def taken_up(corpus, tmp_path):
    """Says whether a checkpoint of a training that has not begun is taken up by one with some changes."""

    def with_changes(seed=5, **changes):
        splits = read_splits(corpus / "features", ("train", "val"), None)
        readers = [open_features(corpus / "features", kind) for kind in ("video", "text")]

        def found(config, seed):
            model = training.new_model(config, splits["train"], *readers, seed)
            state = TrainingState.new(model, config, total_steps=10)
            folder = checkpoints.Checkpoints(
                tmp_path / "checkpoints", checkpoints.identity(config, seed, splits, readers)
            )
            folder.resume(state, tmp_path / "log")
            return state, folder

        state, folder = found(small_config(), 5)
        state.step = 7
        folder.save(state)
        return found(small_config(**changes), seed)[0].step == 7

    return with_changes


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": 4}, "config.epochs: 3 -> 4"),
        ({"accumulation": 2}, "config.accumulation: 1 -> 2"),
        ({"seed": 6}, "seed: 5 -> 6"),
        ({"precision": "bf16"}, "config.precision: 'fp32' -> 'bf16'"),
        ({"clip_weight": 0.5}, "config.clip_weight: 0.7 -> 0.5"),  # chooses another epoch
    ],
)
def test_what_changes_the_weights_is_told(taken_up, capsys, change, said):
    assert not taken_up(**change)
    output = capsys.readouterr().out
    assert "starts anew" in output and said in output and "resuming" not in output


@pytest.mark.parametrize(
    "change",
    [
        {"workers": 7, "prefetch": 2}, {"checkpoint_steps": 1}, {"keep_epochs": 1}, {"log_steps": 7}, {"wandb": "p"},
        {"index": []}, {"bootstrap": 5}, {"compile": True},
    ],
)  # fmt: skip
def test_what_says_how_it_runs_changes_nothing(taken_up, change):
    assert taken_up(**change)


def test_another_learning_rate_starts_anew_and_keeps_what_was_there(corpus, tmp_path, capsys):
    train_tiny(corpus, tmp_path, **ONE)
    before = (tmp_path / "log/training.csv").read_text()
    again = train_tiny(corpus, tmp_path, **ONE, lr=5e-3)
    assert "config.lr: 0.001 -> 0.005" in capsys.readouterr().out
    assert again.curve == train_tiny(corpus, tmp_path / "fresh", **ONE, lr=5e-3).curve
    assert logged(tmp_path) == logged(tmp_path / "fresh")
    assert (tmp_path / "checkpoints.previous/last.pt").exists()
    assert (tmp_path / "log.previous/training.csv").read_text() == before


def test_changed_features_start_anew(corpus, tmp_path, capsys):
    shutil.copytree(corpus, tmp_path / "c")
    train_tiny(tmp_path / "c", tmp_path, **ONE)
    with h5py.File(tmp_path / "c/features/FeatureData/video_shard_000.hdf5", "r+") as file:
        file.attrs["digest"] = "other"
    capsys.readouterr()
    train_tiny(tmp_path / "c", tmp_path, **ONE)
    assert "features.video.file 0: " in capsys.readouterr().out


def test_a_finished_training_is_repeated_only_after_a_change_of_code(corpus, tmp_path, capsys):
    first = train_tiny(corpus, tmp_path, **ONE)
    mark_finished(tmp_path / "checkpoints", "retrieval")
    capsys.readouterr()
    assert train_tiny(corpus, tmp_path, **ONE).curve == first.curve
    assert "resuming behind epoch 2" in capsys.readouterr().out
    (tmp_path / "checkpoints" / FINISHED).write_text("the digest of other code")
    assert train_tiny(corpus, tmp_path, **ONE).curve == first.curve
    assert "the code has changed" in capsys.readouterr().out


def test_code_that_a_stage_shares_counts(tmp_path, monkeypatch):
    mark_finished(tmp_path, "retrieval")
    assert not finished_by_other_code(tmp_path, "retrieval")
    monkeypatch.setattr("workflow_scripts.lib.checkpoints.ALSO", {})
    assert finished_by_other_code(tmp_path, "retrieval")


@pytest.mark.parametrize(
    "content", [b"", b"no checkpoint", b"PK\x03\x04 half a checkpoint", b"\x80\x02.", b"\x80\x02]K\x01b."]
)
def test_a_broken_checkpoint_is_named(corpus, tmp_path, content):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt: the checkpoint cannot be read"):
        train_tiny(corpus, tmp_path, **ONE)
    assert (tmp_path / "checkpoints/last.pt").read_bytes() == content


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2]])
def test_a_file_of_another_program_is_kept(corpus, tmp_path, content, capsys):
    (tmp_path / "checkpoints").mkdir()
    torch.save(content, tmp_path / "checkpoints/last.pt")
    if isinstance(content, dict):
        train_tiny(corpus, tmp_path, **ONE)
        assert "starts anew" in capsys.readouterr().out
        assert torch.load(tmp_path / "checkpoints.previous/last.pt") == content
    else:
        with pytest.raises(UserError, match="no checkpoint of a training"):
            train_tiny(corpus, tmp_path, **ONE)


def test_checkpoints_without_the_last_one_are_not_deleted(corpus, tmp_path, capsys):
    train_tiny(corpus, tmp_path, **ONE, keep_epochs=1)
    (tmp_path / "checkpoints/last.pt").unlink()
    train_tiny(corpus, tmp_path, **ONE)
    assert "there is no last.pt" in capsys.readouterr().out
    assert (tmp_path / "checkpoints.previous/epoch_001.pt").exists()


def test_what_else_lies_in_the_folder_is_not_deleted(corpus, tmp_path):
    thesis = tmp_path / "checkpoints/thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    (thesis.parent / FINISHED).write_text("of checkpoints that somebody has deleted")
    train_tiny(corpus, tmp_path, **ONE)
    assert thesis.read_text() == "mine"
    assert not finished_by_other_code(thesis.parent, "retrieval")


def test_a_lost_best_checkpoint_is_told_before_the_training_and_not_behind_it(corpus, tmp_path):
    train_tiny(corpus, tmp_path, **ONE)
    (tmp_path / "checkpoints/best.pt").unlink()
    with pytest.raises(UserError, match=r"best\.pt: missing, and .*last\.pt says that epoch \d is the best"):
        train_tiny(corpus, tmp_path, **ONE)
    assert (tmp_path / "checkpoints/last.pt").exists()


@pytest.mark.parametrize("lost", ["sums", "optimizer"])
def test_a_checkpoint_that_lacks_something_is_named(corpus, tmp_path, lost):
    train_tiny(corpus, tmp_path, **ONE)
    last = tmp_path / "checkpoints/last.pt"
    content = torch.load(last, weights_only=True)
    del content[lost]
    torch.save(content, last)
    with pytest.raises(UserError, match=r"last\.pt: the checkpoint cannot be read \(KeyError\)"):
        train_tiny(corpus, tmp_path, **ONE)


def test_a_kill_while_a_training_is_set_aside_loses_nothing_of_it(corpus, tmp_path, monkeypatch):
    train_tiny(corpus, tmp_path, **ONE)
    before, real = (tmp_path / "log/training.csv").read_text(), Path.rename

    def rename_and_die(path, target):
        real(path, target)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", rename_and_die)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path, **ONE, lr=5e-3)
    train_tiny(corpus, tmp_path, **ONE, lr=5e-3)
    assert (tmp_path / "log.previous/training.csv").read_text() == before
    assert (tmp_path / "checkpoints.previous/last.pt").exists()


def test_differences_are_named():
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 4}
    assert differences(old, new) == ["a.c: 2 -> 5", "d: 3 -> None", "e: None -> 4"]
