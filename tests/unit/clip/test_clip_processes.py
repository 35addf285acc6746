"""Several processes on one batch, started by torchrun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.unit.clip import tiny_training as tiny
from tests.unit.clip.pipeline import temporary_folder
from tests.unit.clip.tiny_training import (
    csv_data,
    journal,
    make_pairs,
    newest_run,
    options_of,
    tar_data,
    weights,
)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
LATE = """
import os, runpy, sys, time
while os.environ["RANK"] == "1" and not os.path.exists(os.environ["UNTIL"]):
    time.sleep(0.05)
runpy.run_module("workflow_scripts.train_clip", run_name="__main__")
"""
# the whole of the data is a batch, so that its order does not matter, and small differences stay small
EQUAL = {
    "batch_size": tiny.PAIRS, "epochs": 2, "aug_cfg": tiny.NO_CROPS, "opt": "timm/momentum", "momentum": 0.9, "wd": 0,
    "lr": 0.05,
}  # fmt: skip


@pytest.fixture(scope="module")
def pairs():
    return make_pairs(temporary_folder() / "pairs")


def start(
    folder, processes, model=None, program=("-m", "workflow_scripts.train_clip"), flags=None, **settings
):
    """Run train_clip with so many processes; returns the folder of the run's checkpoints."""
    folder.mkdir(exist_ok=True)
    settings["model"] = model or tiny.write_model(folder)
    launcher = [sys.executable]
    if processes > 1:
        launcher += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    flags = {
        **(flags or {}), "config": tiny.section(folder, **settings), "shards": 1, "checkpoints": folder / "checkpoints",
        "model": folder / "trained", "curve": folder / "curve.csv", "threads": 2, "seed": 1, "workers": 0,
        "log-every-n-steps": 1,
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    subprocess.run(
        [*launcher, *program, *words],
        cwd=ROOT, check=True, timeout=900, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    return newest_run(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"gather_with_grad": True},
        {"local_loss": True, "gather_with_grad": True},
        {"siglip": True, "loss_dist_impl": "gather"},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_two_processes_do_what_one_does(tmp_path, pairs, settings):
    settings = {**EQUAL, "data": csv_data(pairs), **settings}
    one = start(tmp_path / "one", 1, **settings)
    two = start(tmp_path / "two", 2, **settings)
    assert options_of(two)["world_size"] == "2" and options_of(two)["batch_size"] == "8"
    assert len(journal(two)) == len(journal(one)) == 2
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    start_of_all = tiny.initial_weights(
        tmp_path / "one", **({"init_logit_bias": -10} if "siglip" in settings else {})
    )
    assert set(alone) == set(together)
    for name, weight in alone.items():
        assert torch.allclose(weight, together[name], atol=1e-4, rtol=1e-3), name
    assert any(not torch.allclose(alone[name], start_of_all[name], atol=1e-2) for name in alone), (
        "it has moved"
    )


def test_without_gradients_of_others_two_processes_learn_something_else(tmp_path, pairs):
    """So the test above would see a dropped option."""
    settings = {**EQUAL, "data": csv_data(pairs)}
    start(tmp_path / "one", 1, **settings)
    start(tmp_path / "two", 2, **settings)
    alone, together = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert not all(torch.allclose(alone[name], together[name], atol=1e-4, rtol=1e-3) for name in alone)


def test_tars_of_two_processes_with_accumulation_and_checkpointing(tmp_path, pairs):
    settings = {"data": tar_data(pairs), "batch_size": 4, "accum_freq": 2, "grad_checkpointing": True}
    run = start(tmp_path, 2, epochs=2, ddp_static_graph=True, **settings)
    assert len(journal(run)) == 2 * 2 and options_of(run)["ddp_static_graph"] == "True"


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_run_goes_on_with_another_number_of_processes(tmp_path, pairs, before, after):
    model = tiny.write_model(tmp_path)
    settings = {"data": csv_data(pairs), "batch_size": 8, "model": model}
    run = start(tmp_path, before, epochs=1, **settings)
    assert start(tmp_path, after, epochs=2, **settings) == run
    assert len(journal(run)) == 4
    assert set(weights(tmp_path)) == set(tiny.initial_weights(tmp_path))


def test_the_first_process_decides_what_all_go_on_from(tmp_path, pairs, monkeypatch):
    """When the other one comes to it, the old checkpoint has been moved, and a new one may be there."""
    settings = {"data": csv_data(pairs), "batch_size": 8, "epochs": 1, "model": tiny.write_model(tmp_path)}
    flags = {"remote-sync": tmp_path / "remote"}
    run = start(tmp_path, 1, flags=flags, **settings)
    (run / "finished").write_text("of other code")
    late = tmp_path / "late.py"
    late.write_text(LATE)
    monkeypatch.setenv("UNTIL", f"{run}.previous")
    assert start(tmp_path, 2, program=[str(late)], flags=flags, **settings) == run
    assert len(journal(run)) == 2 and options_of(run)["world_size"] == "2"
