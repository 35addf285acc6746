"""train_clip: open_clip_train in this process, its resumption and its result."""

import csv
import subprocess
import sys
import time
from pathlib import Path

import open_clip
import open_clip_train.main as program
import psutil
import pytest
import torch
from safetensors.torch import load_file

from tests.unit.clip import pipeline
from tests.unit.clip.fake_corpus import write_configs
from workflow_scripts.lib.errors import UserError

pytestmark = pytest.mark.slow

WEIGHTS = "open_clip_model.safetensors"


def curve(folder, name="trained"):
    with (folder / f"{name}.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture
def folder():
    """The shared folder, with the config that the shared model was trained with."""
    folder = pipeline.trained()
    yield folder
    write_configs(folder)


def test_the_result_loads_with_its_tokenizer_and_has_learned(folder):
    model = open_clip.create_model(f"local-dir:{folder / 'trained'}", require_pretrained=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder / 'trained'}")
    assert model.encode_text(tokenizer(["빨간 사각형이 있다"])).shape == (1, 32)
    losses = [float(row["train_loss"]) for row in curve(folder) if row["train_loss"]]
    assert losses[-1] < losses[0]
    values = [(row["step"], row["epoch"]) for row in curve(folder) if row["val_loss"]]
    assert [float(epoch) for _, epoch in values] == [1, 2]


def test_running_again_keeps_the_model(folder):
    before = (folder / "trained" / WEIGHTS).read_bytes()
    pipeline.train(folder)
    assert (folder / "trained" / WEIGHTS).read_bytes() == before


@pytest.mark.parametrize("workers", [0, 1])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(folder, monkeypatch, workers):
    write_configs(folder, workers=workers)
    pipeline.train(folder, name="straight", checkpoints=f"straight-{workers}")
    real = program.train_one_epoch

    def stopped(model, data, loss, epoch, *args, **kwargs):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(model, data, loss, epoch, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(program, "train_one_epoch", stopped)
        with pytest.raises(KeyboardInterrupt):
            pipeline.train(folder, name="resumed", checkpoints=f"resumed-{workers}")
    assert not (folder / "resumed" / WEIGHTS).exists() or workers
    torch.rand(7)  # whatever else has happened in the process
    pipeline.train(folder, name="resumed", checkpoints=f"resumed-{workers}")
    assert curve(folder, "resumed") == curve(folder, "straight")
    one, other = (load_file(folder / name / WEIGHTS) for name in ("straight", "resumed"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_another_config_starts_anew_and_says_so(folder, capfd):
    pipeline.train(folder, name="first", checkpoints="shared-checkpoints")
    write_configs(folder, lr=5e-4)
    capfd.readouterr()
    pipeline.train(folder, name="second", checkpoints="shared-checkpoints")
    assert "starting anew" in capfd.readouterr().out
    assert len(list((folder / "shared-checkpoints").iterdir())) == 2
    assert (folder / "first" / WEIGHTS).read_bytes() != (folder / "second" / WEIGHTS).read_bytes()


def test_without_validation_pairs(folder, tmp_path):
    import json
    import shutil

    pairs = shutil.copytree(folder / "pairs", tmp_path / "pairs")
    for file in pairs.glob("*/counts.json"):
        counts = json.loads(file.read_text())
        counts["pairs"]["val"] = []
        file.write_text(json.dumps(counts))
    pipeline.train(folder, name="no-val", checkpoints="no-val-checkpoints", pairs=pairs)
    assert all(row["val_loss"] == "" for row in curve(folder, "no-val"))


def test_an_error_of_open_clip_train_is_one_here(folder, monkeypatch):
    monkeypatch.setattr(program, "main", lambda arguments: -1)
    with pytest.raises(UserError, match="open_clip_train stopped"):
        pipeline.train(folder, name="failed", checkpoints="failed-checkpoints")
    assert not (folder / "failed").exists()


def test_a_batch_that_cannot_be_filled_is_refused(folder):
    write_configs(folder, batch_size=1000)
    with pytest.raises(UserError, match=r"clip\.batch_size.*at most"):
        pipeline.train(folder, name="large", checkpoints="large-checkpoints")


@pytest.mark.parametrize("processes", [1, 2])
def test_kill_9_and_two_processes(folder, processes):
    """A real kill at the first checkpoint, and torchrun's two processes on the CPU."""
    write_configs(folder, epochs=16)
    launcher = [sys.executable]
    if processes > 1:
        launcher = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
        ]

    def start(name):
        name = f"{name}-{processes}"  # other tests share the folder
        checkpoints = folder / f"{name}-kill"
        flags = ["--config", folder / "clip.yaml", "--demo-model", folder / "demo_model", "--pairs", folder / "pairs",
                 "--shards", 2, "--checkpoints", checkpoints, "--model", folder / name,
                 "--curve", folder / f"{name}.csv", "--threads", 1, "--seed", 1]  # fmt: skip
        command = [*launcher, "-m", "workflow_scripts.train_clip", *map(str, flags)]
        return checkpoints, subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True)

    _, straight = start("straight")
    assert straight.wait(timeout=900) == 0
    checkpoints, killed = start("killed")
    while not list(checkpoints.glob("*/checkpoints/epoch_latest.pt")):
        assert killed.poll() is None
        time.sleep(0.01)
    workers = psutil.Process(killed.pid).children(recursive=True)
    assert workers or processes == 1
    killed.kill()
    killed.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1], "they outlive torchrun"
    assert not (folder / f"killed-{processes}").exists()
    _, again = start("killed")
    assert again.wait(timeout=900) == 0
    assert curve(folder, f"killed-{processes}") == curve(folder, f"straight-{processes}")
