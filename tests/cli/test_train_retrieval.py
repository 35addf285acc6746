import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus, small_config
from workflow_scripts import train_retrieval
from workflow_scripts.lib import command
from workflow_scripts.lib.config import RetrievalConfig, freeze, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.running import with_running_arguments


def flags_of(folder, config, texts="features") -> list[str]:
    (folder / "retrieval.yaml").write_text(freeze(config), encoding="utf-8")
    options = {
        "config": "retrieval.yaml", "features": "features", "text-features": texts, "checkpoints": "checkpoints",
        "model": "model", "curve": "curve.csv", "log-folder": "log",
    }  # fmt: skip
    flags = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
    return [*flags, "--threads", "1", "--seed", "3", "--workers", "0", "--log-steps", "1"]


@pytest.mark.slow
def test_writes_model_and_curve_of_a_corpus_in_a_folder_of_another_script(tmp_path):
    folder = make_corpus(tmp_path / "영상 자료", {"train": 6, "val": 2})
    command = [
        sys.executable,
        "-m",
        "workflow_scripts.train_retrieval",
        *flags_of(folder, small_config(epochs=2)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "kept epoch" in done.stdout
    sizes = json.loads((folder / "model/config.json").read_text())
    assert (sizes["visual_input_size"], sizes["hidden_size"], sizes["window_length"]) == (WIDTH, 16, 8)
    weights = load_file(folder / "model/model.safetensors")
    assert all(torch.isfinite(value).all() for value in weights.values())
    with (folder / "curve.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [(row["step"], row["epoch"]) for row in rows] == [("2", "1"), ("4", "2")]
    assert all(0 <= float(row["val_r1"]) <= 100 for row in rows)
    assert len((folder / "log/training.csv").read_text().splitlines()) == 1 + 4
    assert "in all: 2 epochs, 4 steps" in done.stdout and "processes: 1" in done.stdout


def test_captions_may_be_of_another_encoder(tmp_path, monkeypatch):
    folder = make_corpus(tmp_path / "c", {"train": 4, "val": 2}, texts="texts")
    flags = flags_of(folder, small_config(epochs=1), texts="texts")
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags])
    train_retrieval.main()
    sizes = json.loads((folder / "model/config.json").read_text())
    assert (sizes["visual_input_size"], sizes["query_input_size"]) == (WIDTH, 2 * WIDTH)


def test_no_training_videos_ends_with_a_sentence_and_no_model(tmp_path, monkeypatch):
    folder = make_corpus(tmp_path / "c", {"test": 3})
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags_of(folder, small_config())])
    with pytest.raises(UserError, match="no training video has features and a caption"):
        train_retrieval.main()
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--workers", "-1"), ("--log-steps", "0"), ("--prefetch", "0"), ("--keep-epochs", "-1")],
)
def test_flags_are_checked_as_the_section_is(tmp_path, monkeypatch, flag, value):
    folder = make_corpus(tmp_path / "c", {"train": 3})
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags_of(folder, small_config()), flag, value])
    with pytest.raises(UserError, match=f"{flag[2:].replace('-', '_')}: .*{value}"):
        train_retrieval.main()


def test_a_flag_that_is_not_given_leaves_the_section_as_it_is(tmp_path, monkeypatch):
    """A section that somebody wrote may hold what a frozen one does not."""
    section = {"workers": 0, "keep_epochs": 1, "log_steps": 3, "epochs": 1, "hidden_size": 16}
    (tmp_path / "retrieval.yaml").write_text(json.dumps(section))
    names = ("features", "text-features", "checkpoints", "model", "curve", "log-folder")
    flags = [part for name in names for part in (f"--{name}", name)]
    monkeypatch.setattr(sys, "argv", ["train_retrieval", "--config", "x", *flags, "--log-steps", "7"])
    arguments = train_retrieval.parse_arguments()
    config = load_section(RetrievalConfig, tmp_path / "retrieval.yaml")
    found = with_running_arguments(config, RetrievalConfig.RUNNING, arguments)
    assert found == config.model_copy(update={"log_steps": 7})


@pytest.mark.parametrize("threads", ["0", "-1", "two"])
def test_threads_are_at_least_one(tmp_path, monkeypatch, capsys, threads):
    folder = make_corpus(tmp_path / "c", {"train": 3})
    monkeypatch.setattr(
        sys, "argv", ["train_retrieval", *flags_of(folder, small_config()), "--threads", threads]
    )
    with pytest.raises(SystemExit):
        train_retrieval.main()
    assert f"--threads: '{threads}' is no whole number from 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "said"), [("curve.csv", r"curve\.csv: is a folder"), ("model", "model: holds other things")]
)
def test_a_place_that_cannot_be_written_to_is_told_before_the_training(tmp_path, monkeypatch, output, said):
    folder = make_corpus(tmp_path / "c", {"train": 3})
    (folder / output / "mine").mkdir(parents=True)
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags_of(folder, small_config(epochs=1))])
    with pytest.raises(UserError, match=said):
        train_retrieval.main()
    assert not (folder / "checkpoints").exists()


@pytest.mark.parametrize("output", ["checkpoints", "log"])
def test_a_file_in_the_place_of_a_folder_is_a_sentence(tmp_path, monkeypatch, output):
    folder = make_corpus(tmp_path / "c", {"train": 3})
    (folder / output).write_text("mine")
    monkeypatch.setattr(sys, "argv", ["train_retrieval", *flags_of(folder, small_config(epochs=1))])
    monkeypatch.setattr(command, "end_with_run", lambda: None)
    with pytest.raises(SystemExit, match=f"error: .*{output}"):
        command.run_command(train_retrieval.main)
    assert (folder / output).read_text() == "mine"


KILLED = """
import os, runpy, signal, sys
from workflow_scripts.lib.retrieval import train
at, real = int(sys.argv.pop(1)), train.train_step
def step_or_die(state, *args, **kwargs):
    if state.step == at and os.environ.get("RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(state, *args, **kwargs)
train.train_step = step_or_die
runpy.run_module("workflow_scripts.train_retrieval", run_name="__main__")
"""
# By seed 3: epochs of 1, 2 and 2 steps.
SHARDS = {"epochs": 3, "batch_size": 2, "train_shard_size": 3, "accumulation": 2, "drop": 0.2}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


def results(folder):
    weights = load_file(folder / "model/model.safetensors")
    with (folder / "log/training.csv").open(newline="") as handle:
        rows = [(row["step"], row["loss"], row["grad_norm"]) for row in csv.DictReader(handle)]
    return {name: value.tolist() for name, value in weights.items()}, rows, (folder / "curve.csv").read_text()


@pytest.mark.slow
def test_kill_9_in_the_middle_of_an_epoch_is_made_good(tmp_path):
    folders = [make_corpus(tmp_path / name, {"train": 7, "val": 2}) for name in ("straight", "killed")]
    straight, killed = (
        [*flags_of(folder, small_config(**SHARDS)), "--checkpoint-steps", "1", "--workers", "1"]
        for folder in folders
    )
    command = [sys.executable, "-m", "workflow_scripts.train_retrieval"]
    subprocess.run([*command, *straight], check=True)
    died = subprocess.run([sys.executable, "-c", KILLED, "2", *killed], check=False)
    assert died.returncode == -signal.SIGKILL
    again = subprocess.run([*command, *killed], check=True, capture_output=True, text=True)
    assert "resuming behind epoch 1 and 1 steps" in again.stdout
    assert results(folders[0]) == results(folders[1])


@pytest.mark.slow
def test_two_processes_of_torchrun_survive_the_kill_of_one(tmp_path):
    """The other one ends, too; the rerun goes on; the first one alone says what there is to say."""
    folder = make_corpus(tmp_path / "c", {"train": 7, "val": 2})
    flags = [*flags_of(folder, small_config(**SHARDS)), "--checkpoint-steps", "1"]
    program = tmp_path / "killed.py"
    program.write_text(KILLED, encoding="utf-8")
    died = subprocess.run(
        [sys.executable, *TORCHRUN, str(program), "2", *flags],
        check=False, timeout=900, env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert died.returncode != 0 and not (folder / "model").exists()
    again = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "workflow_scripts.train_retrieval", *flags],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert again.stdout.count("resuming behind epoch 1 and 1 steps") == 1
    assert again.stdout.count("kept epoch") == 1 and "processes: 2" in again.stdout
    steps = [step for step, _, _ in results(folder)[1]]
    assert steps == [str(step) for step in range(1, len(steps) + 1)]


@pytest.mark.slow
def test_an_error_ends_torchrun_with_its_sentence(tmp_path):
    folder = make_corpus(tmp_path / "c", {"train": 7, "val": 2}, without_features=(5,))
    flags = flags_of(folder, small_config(window_length="batch"))
    ended = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "workflow_scripts.train_retrieval", *flags],
        check=False, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert ended.returncode != 0 and "error: retrieval.window_length: 'batch'" in ended.stderr
    assert not (folder / "model").exists()
