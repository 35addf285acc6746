"""What a training says of itself: rows and curves that survive kills, Tensorboard, and wandb."""

import csv
import math
import shutil
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.unit.retrieval.tiny_corpus import make_corpus
from tests.unit.retrieval.tiny_training import Killed, logged, numbers, train_tiny
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.processes import Processes
from workflow_scripts.lib.retrieval import logs
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.logs import COLUMNS, CsvSink, Pace, TensorboardSink, TrainingLog
from workflow_scripts.lib.retrieval.state import TrainingState

pytestmark = pytest.mark.slow

TINY = {"batch_size": 2, "epochs": 2, "steps_per_epoch": 3, "length_buckets": 1}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("logs") / "자료", {"train": 9, "val": 2})


def rows_of(folder):
    with (folder / "training.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_a_row_every_few_steps_with_means_over_them(corpus, tmp_path):
    train_tiny(corpus, tmp_path / "each", **TINY, log_steps=1)
    train_tiny(corpus, tmp_path / "some", **TINY, log_steps=2)
    each, some = rows_of(tmp_path / "each/log"), rows_of(tmp_path / "some/log")
    assert [(row["step"], row["epoch"]) for row in some] == [("2", "1"), ("4", "2"), ("6", "2")]
    for place, row in enumerate(some):
        for name in ("loss", "clip_nce", "query_diverse", "grad_norm"):
            mean = sum(float(one[name]) for one in each[2 * place : 2 * place + 2]) / 2
            assert float(row[name]) == pytest.approx(mean)
        terms = [float(row[name]) for name in logs.TERMS]
        weighted = 0.05 * terms[0] + terms[1] + 0.04 * terms[2] + terms[3] + 0.001 * terms[4]
        assert float(row["loss"]) == pytest.approx(weighted, rel=1e-4)
        assert row["lr"] == each[2 * place + 1]["lr"]
        assert float(row["videos_per_s"]) > 0 and 0 <= float(row["data_wait"]) <= 1
        assert 0 < float(row["padding"]) < 1 and row["skipped"] == ""


def test_tensorboard_has_the_same_and_the_scores_of_epochs(corpus, tmp_path):
    state = train_tiny(corpus, tmp_path, **TINY, log_steps=2)
    found = scalars(tmp_path / "log")
    for name in ("loss", "frame_nce", "grad_norm", "lr", "videos_per_s", "data_wait", "padding"):
        expected = [(int(row["step"]), float(row[name])) for row in rows_of(tmp_path / "log")]
        assert found[f"train/{name}"] == [(step, pytest.approx(value, rel=1e-5)) for step, value in expected]
    for name in ("val_sumr", "val_r1", "train_loss"):
        assert found[f"epoch/{name}"] == [(row["step"], pytest.approx(row[name])) for row in state.curve]


def die_in_step(patch, step):
    real = training.train_step

    def step_or_die(state, *args, **kwargs):
        if state.step == step:
            raise Killed
        return real(state, *args, **kwargs)

    patch.setattr(training, "train_step", step_or_die)


def test_a_row_that_a_kill_falls_into_has_the_means_of_all_its_steps(corpus, tmp_path, monkeypatch):
    rows = {"log_steps": 4, "checkpoint_steps": 2}
    train_tiny(corpus, tmp_path / "straight", **TINY, **rows)
    with monkeypatch.context() as patch:
        die_in_step(patch, 3)
        with pytest.raises(Killed):
            train_tiny(corpus, tmp_path / "killed", **TINY, **rows)
    train_tiny(corpus, tmp_path / "killed", **TINY, **rows)
    assert [row["step"] for row in logged(tmp_path / "killed")] == ["4", "6"]
    assert logged(tmp_path / "killed") == logged(tmp_path / "straight")


def test_after_a_kill_no_row_is_there_twice_and_none_is_missing(corpus, tmp_path, monkeypatch):
    def kill(step):
        with monkeypatch.context() as patch:
            die_in_step(patch, step)
            patch.setattr(TensorboardSink, "close", lambda self: self._writer.flush())  # all that was written
            with pytest.raises(Killed):
                train_tiny(corpus, tmp_path, **TINY, checkpoint_steps=2)
        wait_for_another_second()

    for step in (3, 5):  # behind step 2's checkpoint, then behind that of the first epoch and step 4
        kill(step)
    with (tmp_path / "log/training.csv").open("a", encoding="utf-8") as file:
        file.write("6,2,0.73,0.")  # a row in the middle of which it was killed
    train_tiny(corpus, tmp_path, **TINY, checkpoint_steps=2)
    assert [row["step"] for row in rows_of(tmp_path / "log")] == list("123456")
    found = scalars(tmp_path / "log")
    assert [step for step, _ in found["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert [step for step, _ in found["epoch/val_sumr"]] == [3, 6]


def wait_for_another_second():
    """Tensorboard orders its files by their second."""
    now = int(time.time())
    while int(time.time()) == now:
        time.sleep(0.05)


def test_what_was_told_is_on_the_disk_before_the_checkpoint_is(corpus, tmp_path, monkeypatch):
    """A kill -9 takes what a writer still holds."""
    held = {"CsvSink": 0, "TensorboardSink": 0}
    at_checkpoints, groups = [], set()

    def spy(kind, name, note):
        real = getattr(kind, name)

        def noting(self, *args, **kwargs):
            note(kind.__name__, *args)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, name, noting)

    def write(sink, group, row):
        groups.add(group)
        held[sink] += 1

    for sink in (CsvSink, TensorboardSink):
        spy(sink, "write", write)
        spy(sink, "flush", lambda sink: held.update({sink: 0}))
    for save in ("save", "save_epoch"):
        spy(training.Checkpoints, save, lambda *_: at_checkpoints.append(dict(held)))
    train_tiny(corpus, tmp_path, **TINY, checkpoint_steps=2)
    assert groups == {"train", "epoch"}
    assert at_checkpoints == [{"CsvSink": 0, "TensorboardSink": 0}] * 5


def test_the_last_steps_have_a_row_however_few(corpus, tmp_path, monkeypatch):
    """Also when the training ends early, is killed between that row and its checkpoint, and is repeated."""
    few = {**TINY, "log_steps": 4, "checkpoint_steps": 3}
    train_tiny(corpus, tmp_path / "all", **few)
    assert [(row["step"], row["epoch"]) for row in rows_of(tmp_path / "all/log")] == [("4", "2"), ("6", "2")]
    each = tmp_path / "each"
    train_tiny(corpus, each, **{**few, "log_steps": 1})
    assert numbers(tmp_path / "all", "loss")[1] == pytest.approx(sum(numbers(each, "loss")[4:]) / 2)

    monkeypatch.setattr(training, "validate", lambda *_: {"val_sumr": 1.0, "val_r1": 1.0})
    early = tmp_path / "early"
    few |= {"epochs": 9, "patience": 1}

    def save_nothing(self, state, *, is_best):
        if state.epoch == 3:
            raise Killed
        real(self, state, is_best=is_best)

    real = training.Checkpoints.save_epoch
    with monkeypatch.context() as patch:
        patch.setattr(training.Checkpoints, "save_epoch", save_nothing)
        with pytest.raises(Killed):
            train_tiny(corpus, early, **few)
    for _ in range(2):
        assert train_tiny(corpus, early, **few).step == 9
        assert [row["step"] for row in rows_of(early / "log")] == ["4", "8", "9"]


@pytest.mark.parametrize(
    "rest",
    ["", "5,1,0.5", "x,y\n", "5,1" + ",0" * 40 + "\n", "5,1,2\n", "x" + ",0" * 13 + "\n", "\x00\ufffd"],
)
def test_half_rows_and_rows_behind_the_checkpoint_are_thrown_away(tmp_path, rest):
    file = tmp_path / "training.csv"
    row = dict.fromkeys(COLUMNS, "1")
    sink = CsvSink(file, 0)
    for step in (2, 4, 6):
        sink.write("train", row | {"step": step})
    sink.close()
    with file.open("a", encoding="utf-8") as handle:
        handle.write(rest)
    sink = CsvSink(file, 5)
    sink.write("train", row | {"step": 5})
    sink.write("epoch", {"step": 5, "val_sumr": 3})
    sink.close()
    assert [row["step"] for row in rows_of(tmp_path)] == ["2", "4", "5"]


def test_pace_is_that_since_another_moment():
    pace = Pace(10, 100, 3.0, 20.0, 5.0).since(Pace(5, 60, 1.0, 10.0, 4.0))
    assert pace == {"videos_per_s": 4.0, "data_wait": 0.1, "padding": 0.4}
    assert all(math.isfinite(value) for value in Pace().since(Pace()).values())


def test_validating_and_saving_are_no_time_of_training(monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr(logs.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(logs, "padding", lambda batch: {"frames": 0.25})
    log = TrainingLog(tmp_path / "log", TrainingState(None, None, None, None), 10)
    now[0] += 2
    log.count(None, videos=8, waited=1.0)
    with log.paused():
        now[0] += 100
    now[0] += 2
    log.count(None, videos=8, waited=1.0)
    assert log._pace.since(Pace()) == {"videos_per_s": 4.0, "data_wait": 0.25, "padding": 0.25}
    log.__exit__()


def test_only_the_first_process_writes(tmp_path):
    with TrainingLog(tmp_path / "log", TrainingState(None, None, None, None), 10, job=Processes(1, 2)):
        assert not (tmp_path / "log").exists()


def test_without_the_package_wandb_it_is_said_what_to_do(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="--wandb clips: the package wandb is not installed"):
        train_tiny(corpus, tmp_path, **TINY, wandb="clips")


def test_a_training_that_begins_anew_is_a_new_run_of_wandb(corpus, tmp_path, monkeypatch):
    """The old one would take no steps that it has already."""
    runs = []

    class Run:
        log = finish = lambda self, *_, **__: None

    def init(*, id, **_):
        runs.append(id)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, Settings=dict, errors=None))
    for _ in range(2):
        train_tiny(corpus, tmp_path, **TINY, wandb="clips")
    shutil.rmtree(tmp_path / "checkpoints")
    train_tiny(corpus, tmp_path, **TINY, wandb="clips")
    assert runs[0] == runs[1] != runs[2]


def test_wandb_gets_the_rows_offline_and_a_resumed_training_goes_on_with_its_run(
    corpus, tmp_path, monkeypatch
):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train_tiny(corpus, tmp_path, **TINY, wandb="clips")
    [run] = (tmp_path / "log/wandb").glob("offline-run-*")
    assert next(run.glob("*.wandb")).stat().st_size > 500
    name = (tmp_path / "log" / logs.WANDB_RUN).read_text()
    assert run.name.endswith(name)
    wait_for_another_second()
    train_tiny(corpus, tmp_path, **TINY, wandb="clips")
    assert {run.name.rsplit("-", 1)[1] for run in (tmp_path / "log/wandb").glob("offline-run-*")} == {name}


def test_what_wandb_refuses_is_said_in_a_sentence(corpus, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")

    def refuse(**_):
        raise wandb.errors.UsageError("No API key configured")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match=r"refuses \(No API key configured\).*WANDB_MODE=offline"):
        train_tiny(corpus, tmp_path, **TINY, wandb="clips")
