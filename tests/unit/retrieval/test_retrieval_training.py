"""Whole trainings: what they learn, when they stop, and which batches they take."""

from functools import partial

import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import make_corpus
from tests.unit.retrieval.tiny_training import numbers, same_weights, train_tiny
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.processes import Processes
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.model_folder import read_checkpoint_model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("training") / "c", {"train": 9, "val": 4})


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("bert_adam", marks=pytest.mark.slow)])
def test_training_learns_its_videos(corpus, tmp_path, optimizer):
    state = train_tiny(
        corpus, tmp_path, epochs=25, lr=1e-2, initializer_range=0.1, batch_size=9, patience=25,
        hard_negative_start_epoch=25, length_buckets=1, drop=0.1, input_drop=0.1, optimizer=optimizer,
        val="test",  # of no videos: 25 validations take longer than 25 steps
    )  # fmt: skip
    losses = [row["train_loss"] for row in state.curve]
    assert losses[-1] < 0.3 * losses[0]
    videos, texts = (open_features(corpus / "features", kind) for kind in ("video", "text"))
    split = read_splits(corpus / "features", ("train",), None)["train"]
    assert np.mean(retrieve(state.model, split, videos, texts, 0.7).rank == 1) > 0.9


def test_the_seed_decides_and_nothing_else_that_is_random(corpus, tmp_path):
    few = {"epochs": 1, "steps_per_epoch": 1}
    one = train_tiny(corpus, tmp_path / "one", **few)
    torch.manual_seed(77)
    assert same_weights(
        one.model.state_dict(), train_tiny(corpus, tmp_path / "two", **few).model.state_dict()
    )
    other = train_tiny(corpus, tmp_path / "other", **few, seed=6)
    assert not same_weights(one.model.state_dict(), other.model.state_dict())


def scores(monkeypatch, sumrs):
    """Let validation find these, one an epoch."""
    left = iter(sumrs)
    monkeypatch.setattr(training, "validate", lambda *args: {"val_sumr": next(left), "val_r1": 1.0})


def test_training_stops_when_validation_no_longer_improves_and_keeps_the_best(corpus, tmp_path, monkeypatch):
    scores(monkeypatch, [50.0, 100.0, 100.0, 90.0, 99.0, 80.0, 300.0])
    few = {"steps_per_epoch": 1, "batch_size": 2, "epochs": 20, "patience": 3, "keep_epochs": 1}
    state = train_tiny(corpus, tmp_path, **few)
    assert (state.best_epoch, state.epoch) == (2, 6)  # the fourth epoch without improvement stops
    best, second = (
        read_checkpoint_model(tmp_path / "checkpoints" / name) for name in ("best.pt", "epoch_002.pt")
    )
    assert same_weights(best.state_dict(), second.state_dict())
    assert not same_weights(best.state_dict(), state.model.state_dict())


def test_a_training_that_has_stopped_stays_stopped(corpus, tmp_path, monkeypatch, capsys):
    few = {"steps_per_epoch": 1, "batch_size": 2, "epochs": 20, "patience": 1}
    scores(monkeypatch, [9.0, 1.0, 1.0])
    train_tiny(corpus, tmp_path, **few)
    capsys.readouterr()
    assert train_tiny(corpus, tmp_path, **few).epoch == 3
    assert "SumR has not improved for 2 epochs: stopping" in capsys.readouterr().out


def test_without_validation_videos_the_last_epoch_is_kept(corpus, tmp_path, capsys):
    state = train_tiny(
        corpus, tmp_path, epochs=3, patience=1, steps_per_epoch=1, val="test"
    )  # none is of test
    assert (state.best_epoch, state.epoch) == (3, 3)
    assert "val_sumr" not in state.curve[0]
    assert "no validation videos" in capsys.readouterr().out
    best = read_checkpoint_model(tmp_path / "checkpoints/best.pt")
    assert same_weights(best.state_dict(), state.model.state_dict())


@pytest.mark.parametrize(
    "changes", [{"batch_size": 100, "hard_pool_size": 50}, {"batch_size": 1}, {"batch_size": 8}]
)
def test_any_batch_size_trains(corpus, tmp_path, changes):
    """More than there are videos; single ones; a last batch of one."""
    state = train_tiny(corpus, tmp_path, epochs=1, hard_negative_start_epoch=0, **changes)
    assert all(np.isfinite(row["train_loss"]) for row in state.curve)


def test_epochs_are_those_of_the_plan_and_the_rate_falls_over_all_of_them(corpus, tmp_path, capsys):
    state = train_tiny(
        corpus, tmp_path, batch_size=2, train_shard_size=5, steps_per_epoch=2, epochs=3, warmup=0.0
    )
    assert [row["step"] for row in state.curve] == [2, 4, 6]
    np.testing.assert_allclose(numbers(tmp_path, "lr"), 1e-3 * np.arange(6, 0, -1) / 6)
    said = capsys.readouterr().out
    assert "training on 9 videos, 2 a step" in said and "a pass over the corpus" in said
    assert "parameters" in said and "step 3/6 (epoch 2)" in said


def test_hard_negatives_begin_with_their_epoch(corpus, tmp_path, monkeypatch):
    seen, real = [], training.train_step

    def step(state, *args, hard, **kwargs):
        seen.append((state.epoch, hard))
        return real(state, *args, hard=hard, **kwargs)

    monkeypatch.setattr(training, "train_step", step)
    train_tiny(corpus, tmp_path, batch_size=5, epochs=3, hard_negative_start_epoch=1)
    assert seen == [(0, False), (0, False), (1, True), (1, True), (2, True), (2, True)]


@pytest.mark.parametrize("log_steps", [1, 1000])
def test_a_training_that_diverges_is_told_before_a_checkpoint_of_it_is_written(corpus, tmp_path, log_steps):
    with pytest.raises(UserError, match="has diverged; try a smaller `lr`"):
        train_tiny(corpus, tmp_path, epochs=3, batch_size=2, lr=1e30, log_steps=log_steps, checkpoint_steps=2)
    for file in (tmp_path / "checkpoints").glob("*.pt"):
        assert np.isfinite(torch.load(file, weights_only=True)["sums"][0]["values"]).all()


def test_windows_of_the_batch_need_one_process(corpus, tmp_path):
    with pytest.raises(UserError, match=r"window_length: 'batch' depends on .* which 2 processes take apart"):
        train_tiny(corpus, tmp_path, window_length="batch", job=Processes(0, 2))
    train_tiny(corpus, tmp_path, window_length="batch", epochs=1, steps_per_epoch=1)


@pytest.mark.slow
def test_compiled_encoders_learn_the_same(corpus, tmp_path, monkeypatch):
    """Traced, with any number of rows, and recomputed; without making machine code, which takes minutes."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    few = {"drop": 0.0, "input_drop": 0.0, "batch_size": 5, "epochs": 2, "accumulation": 2}
    plain = train_tiny(corpus, tmp_path / "plain", **few)
    torch._dynamo.utils.counters.clear()
    compiled = train_tiny(corpus, tmp_path / "compiled", **few, compile=True)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 2
    np.testing.assert_allclose(
        numbers(tmp_path / "compiled", "loss"), numbers(tmp_path / "plain", "loss"), rtol=1e-4
    )
    assert compiled.model.state_dict().keys() == plain.model.state_dict().keys()
