import shutil

import h5py
import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import make_corpus, small_config
from workflow_scripts.lib.checkpoints import FINISHED, differences, mark_finished
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.evaluate import retrieve, retrieve_zero_shot


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("training") / "c", {"train": 9, "val": 4})


@pytest.fixture
def run(folder, tmp_path):
    """Train in tmp_path/<name>; dropout is on, so that the state of the random generator matters."""
    splits = read_splits(folder / "features", ("train", "val", "test"), None)

    def train(name="checkpoints", *, seed=5, without_val=False, **changes):
        torch.manual_seed(seed)
        some = {
            "train": splits["train"],
            "val": splits["test" if without_val else "val"],
        }  # no video is of test
        videos, texts = (open_features(folder / "features", kind) for kind in ("video", "text"))
        config = small_config(drop=0.2, **changes)
        return training.train(
            config, videos, texts, some, tmp_path / name, seed=seed, device=torch.device("cpu")
        )

    return train


class Killed(BaseException):
    pass


def kill_at(monkeypatch, step):
    real = training.train_step

    def step_or_die(state, *args, **kwargs):
        if state.step == step:
            raise Killed
        return real(state, *args, **kwargs)

    monkeypatch.setattr(training, "train_step", step_or_die)


def test_a_killed_run_goes_on_to_the_same_curve_and_weights(run, monkeypatch, capsys):
    straight = run("straight", epochs=4)
    with monkeypatch.context() as patch:
        kill_at(patch, 7)  # 3 steps an epoch: in the middle of the third
        with pytest.raises(Killed):
            run("killed", epochs=4)
    torch.manual_seed(999)  # whatever another process would start with
    capsys.readouterr()
    resumed = run("killed", epochs=4)
    assert "resuming behind epoch 2" in capsys.readouterr().out
    assert resumed.curve == straight.curve
    assert (resumed.best_epoch, resumed.step) == (straight.best_epoch, straight.step)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_another_learning_rate_starts_anew_and_says_so(run, tmp_path, capsys):
    run(epochs=2)
    capsys.readouterr()
    again = run(epochs=2, lr=5e-3)
    output = capsys.readouterr().out
    assert "starts anew" in output
    assert "config.lr: 0.001 -> 0.005" in output
    assert again.curve == run("fresh", epochs=2, lr=5e-3).curve
    assert (tmp_path / "checkpoints.previous/last.pt").exists()


def test_a_finished_training_is_repeated_only_after_a_change_of_code(run, tmp_path, capsys):
    first = run(epochs=1)
    mark_finished(tmp_path / "checkpoints", "retrieval")
    capsys.readouterr()
    assert run(epochs=1).curve == first.curve
    assert "resuming behind epoch 1" in capsys.readouterr().out
    (tmp_path / "checkpoints" / FINISHED).write_text("the digest of other code")
    assert run(epochs=1).curve == first.curve
    assert "the code has changed" in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 half a checkpoint"])
def test_a_broken_checkpoint_is_named(run, tmp_path, content):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/last.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"last\.pt: the checkpoint cannot be read"):
        run(epochs=1)


def test_changed_features_start_anew(run, folder, tmp_path, capsys):
    run(epochs=1)
    shard = folder / "features/FeatureData/video_shard_000.hdf5"
    shutil.copy(shard, tmp_path / "kept.hdf5")
    with h5py.File(shard, "r+") as file:
        file.attrs["digest"] = "other"
    try:
        capsys.readouterr()
        run(epochs=1)
        assert "features.video.file 0: " in capsys.readouterr().out
    finally:
        shard.unlink()
        shutil.copy(tmp_path / "kept.hdf5", shard)


def test_training_learns_its_videos(run, folder):
    state = run(
        epochs=25, lr=1e-2, initializer_range=0.1, batch_size=9, patience=25, hard_negative_start_epoch=25
    )
    losses = [row["train_loss"] for row in state.curve]
    assert losses[-1] < 0.3 * losses[0]
    videos, texts = (open_features(folder / "features", kind) for kind in ("video", "text"))
    split = read_splits(folder / "features", ("train",), None)["train"]
    assert np.mean(retrieve(state.model, split, videos, texts, 0.7).rank == 1) > 0.9


def test_training_stops_when_validation_no_longer_improves(run, monkeypatch):
    monkeypatch.setattr(training, "validate", lambda *args: {"val_sumr": 100.0, "val_r1": 1.0})
    state = run(epochs=20, patience=3)
    assert (state.best_epoch, state.epoch) == (1, 5)  # the fourth epoch without improvement stops


def test_without_validation_videos_the_last_epoch_is_kept(run, capsys):
    state = run(epochs=3, without_val=True)
    assert (state.best_epoch, state.epoch) == (3, 3)
    assert "val_sumr" not in state.curve[0]
    assert "no validation videos" in capsys.readouterr().out


@pytest.mark.parametrize(
    "changes", [{"batch_size": 100, "hard_pool_size": 50}, {"batch_size": 1}, {"batch_size": 8}]
)
def test_any_batch_size_trains(run, changes):
    """More than there are videos; single ones; a last batch of one."""
    state = run(epochs=2, hard_negative_start_epoch=1, **changes)
    assert all(np.isfinite(row["train_loss"]) for row in state.curve)


def test_a_loss_that_is_not_a_number_is_explained(run):
    with pytest.raises(UserError, match="try a smaller `lr`"):
        run(epochs=3, lr=1e30)


def test_biases_and_layer_norms_do_not_decay(run):
    decaying, still = run(epochs=1).optimizer.param_groups
    assert (decaying["weight_decay"], still["weight_decay"]) == (0.01, 0)
    model = run("other", epochs=1).model
    names = [n for n, p in model.named_parameters() if p.ndim > 1]
    assert len(decaying["params"]) == len(names)
    assert not [name for name in names if name.endswith("bias") or "LayerNorm" in name]


def test_schedule_rises_then_falls_to_zero():
    factor = training.linear_schedule(steps=10, warmup=0.2)
    assert [round(factor(step), 3) for step in range(11)] == [
        0.5,
        1,
        1,
        0.875,
        0.75,
        0.625,
        0.5,
        0.375,
        0.25,
        0.125,
        0,
    ]
    assert training.linear_schedule(steps=4, warmup=0)(0) == 1


def test_differences_are_named():
    old, new = {"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 5}, "e": 4}
    assert differences(old, new) == ["a.c: 2 -> 5", "d: 3 -> None", "e: None -> 4"]


def test_blocks_give_the_ranks_of_one_block(run, folder, monkeypatch):
    model = run(epochs=1).model
    videos, texts, sentences = (
        open_features(folder / "features", kind) for kind in ("video", "text", "sentence")
    )
    split = read_splits(folder / "features", ("train",), None)["train"]
    whole = retrieve(model, split, videos, texts, 0.7)
    zero_shot = retrieve_zero_shot(split, videos, sentences)
    for name, size in (("BLOCK", 40), ("QUERIES", 5), ("VIDEOS", 2)):
        monkeypatch.setattr(f"workflow_scripts.lib.retrieval.evaluate.{name}", size)
    for one, many in (
        (whole, retrieve(model, split, videos, texts, 0.7)),
        (zero_shot, retrieve_zero_shot(split, videos, sentences)),
    ):
        np.testing.assert_array_equal(one.rank, many.rank)
        np.testing.assert_array_equal(one.top_videos, many.top_videos)
        np.testing.assert_allclose(one.top_scores, many.top_scores, atol=1e-5)


def test_zero_shot_is_the_cosine_with_the_mean_of_unit_length_frames(folder):
    videos, sentences = (open_features(folder / "features", kind) for kind in ("video", "sentence"))
    split = read_splits(folder / "features", ("val",), None)["val"]
    found = retrieve_zero_shot(split, videos, sentences)
    for row, key in enumerate(Keys(split.videos(), split.captions())):
        sentence = sentences[key][0]
        scores = []
        for video in split.unique_videos():
            frames = videos[f"vid_{video}"]
            mean = np.mean([frame / np.linalg.norm(frame) for frame in frames], axis=0)
            scores.append(mean @ sentence / np.linalg.norm(mean) / np.linalg.norm(sentence))
        own = scores[split.owner(slice(row, row + 1))[0]]
        assert found.rank[row] == 1 + sum(score > own for score in scores)
        np.testing.assert_allclose(found.top_scores[row], sorted(scores, reverse=True), atol=1e-4)
