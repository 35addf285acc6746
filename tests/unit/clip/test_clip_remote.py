"""Trainings whose folder is copied elsewhere while they run, and that go on from there. S3 is a stand-in of `aws`."""

import os
import shutil
import sys

import open_clip_train.main as program
import pytest
import torch

from tests.unit.clip import tiny_training as tiny
from tests.unit.clip.tiny_training import journal, train, weights
from workflow_scripts.lib.clip.remote import remote_copy
from workflow_scripts.lib.config import ClipConfig
from workflow_scripts.lib.errors import UserError

pytestmark = pytest.mark.slow

AWS = """#!{python}
import shutil, sys
from pathlib import Path

def local(name):
    return Path("{folder}", name[5:]) if name.startswith("s3://") else Path(name)

command, *words = sys.argv[2:]
if any("denied" in word for word in words):
    sys.exit("Access Denied")
places = [local(word) for word in words if word[0] not in "-*"]
if command == "ls":
    if not places[0].is_dir():
        sys.exit(1)
    for one in places[0].iterdir():
        print(f"PRE {{one.name}}/" if one.is_dir() else f"2026-01-01 00:00:00 {{one.stat().st_size}} {{one.name}}")
elif command == "cp":
    shutil.copyfile(*places)
elif command == "rm":
    shutil.rmtree(places[0], ignore_errors=True)
elif command == "mv":
    shutil.move(*places)
elif command == "sync":
    shutil.copytree(*places, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*epoch_latest.pt"))
"""


@pytest.fixture
def aws(tmp_path, monkeypatch):
    """A folder that stands for S3."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "aws").write_text(AWS.format(python=sys.executable, folder=tmp_path / "s3"))
    (programs / "aws").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return tmp_path / "s3"


@pytest.fixture(params=["a folder", "an address", "s3"])
def remote(request, tmp_path, aws):
    """The flags of a training that copies, and the folder of the copies."""
    flags = {"save_frequency": 1, "remote_sync_frequency": 1000}
    if request.param == "s3":
        return flags | {"remote_sync": "s3://bucket/clip/", "remote_sync_protocol": "s3"}, aws / "bucket/clip"
    folder = tmp_path / "remote"
    return flags | {"remote_sync": f"file://{folder}" if request.param == "an address" else folder}, folder


def lose(folder):
    shutil.rmtree(folder / "checkpoints")


def same_weights(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_a_lost_folder_goes_on_from_the_remote_copy(tmp_path, remote, capsys):
    flags, copies = remote
    model = tiny.write_model(tmp_path)
    one = train(tmp_path, flags, model=model, epochs=1)
    assert (copies / one.name / "checkpoints/epoch_1.pt").is_file()
    assert (copies / one.name / "curve.jsonl").is_file()
    lose(tmp_path)
    run = train(tmp_path, flags, model=model, epochs=2)
    assert run.name == one.name and len(journal(run)) == 4
    assert f"{one.name}/checkpoints/epoch_1.pt" in capsys.readouterr().out
    assert (copies / one.name / "checkpoints/epoch_2.pt").is_file()


def test_a_lost_finished_run_is_not_trained_again(tmp_path, remote, monkeypatch):
    flags, copies = remote
    model = tiny.write_model(tmp_path)
    run = train(tmp_path, flags, model=model)
    before = weights(tmp_path)
    lose(tmp_path)
    monkeypatch.setattr(program, "train_one_epoch", lambda *args, **kwargs: pytest.fail("trained again"))
    assert len(journal(train(tmp_path, flags, model=model))) == 2
    assert same_weights(weights(tmp_path), before)
    lose(tmp_path)
    (copies / run.name / "curve.jsonl").unlink()
    train(tmp_path, flags, model=model)
    assert (tmp_path / "curve.csv").read_text().splitlines() == [
        "step,epoch,train_loss,lr,logit_scale,val_loss"
    ]


def test_a_copy_that_was_cut_off_is_left_out(tmp_path, remote, capsys):
    flags, copies = remote
    settings = {"model": tiny.write_model(tmp_path), "epochs": 2}
    run = train(tmp_path, flags, **settings)
    found = weights(tmp_path)
    last = copies / run.name / "checkpoints/epoch_2.pt"
    whole = last.stat().st_size
    os.truncate(last, whole - 1)
    lose(tmp_path)
    train(tmp_path, flags, **settings)
    said = capsys.readouterr().out
    assert "epoch_2.pt is cut off" in said and "epoch_1.pt" in said.split("is cut off")[1]
    assert same_weights(weights(tmp_path), found) and last.stat().st_size == whole
    assert len((tmp_path / "curve.csv").read_text().splitlines()) == 1 + 4


def test_without_a_whole_copy_it_starts_anew(tmp_path, remote):
    flags, copies = remote
    model = tiny.write_model(tmp_path)
    run = train(tmp_path, flags, model=model)
    copy = copies / run.name / "checkpoints/epoch_1.pt"
    os.truncate(copy, 100)
    lose(tmp_path)
    train(tmp_path, flags, model=model)
    assert torch.load(copy, weights_only=True)["epoch"] == 1
    assert (copies / f"{run.name}.previous/checkpoints/epoch_1.pt").stat().st_size == 100


def test_copies_of_later_epochs_than_wanted_are_not_gone_on_from(tmp_path, remote, capsys):
    flags, copies = remote
    model = tiny.write_model(tmp_path)
    run = train(tmp_path, flags, model=model, epochs=2)
    lose(tmp_path)
    capsys.readouterr()
    train(tmp_path, flags, model=model, epochs=1)
    assert "checkpoints/epoch_1.pt" in capsys.readouterr().out
    lose(tmp_path)
    (copies / run.name / "checkpoints/epoch_1.pt").unlink()
    train(tmp_path, flags, model=model, epochs=1)
    assert "going on" not in capsys.readouterr().out
    assert [file.name for file in (copies / run.name / "checkpoints").iterdir()] == ["epoch_1.pt"]


@pytest.mark.parametrize("why", ["other code", "fewer epochs"])
def test_who_starts_anew_leaves_no_old_copy(tmp_path, remote, why):
    """The package copies no file over one of the same length."""
    flags, copies = remote
    model = tiny.write_model(tmp_path)
    run = train(tmp_path, flags, model=model, epochs=2)
    old = copies / run.name / "checkpoints/epoch_1.pt"
    if why == "other code":
        (run / "finished").write_text("of other code")
        old.write_bytes(bytes(old.stat().st_size))
    for wanted in (2, 1) if why == "other code" else (1,):
        train(tmp_path, flags, model=model, epochs=wanted)
        previous = copies / f"{run.name}.previous/checkpoints"
        assert (previous / "epoch_2.pt").is_file()
        assert old.read_bytes() == (run / "checkpoints/epoch_1.pt").read_bytes()


def test_a_last_copy_that_fails_is_an_error(tmp_path, monkeypatch):
    real, calls = program.remote_sync, []
    monkeypatch.setattr(
        program, "remote_sync", lambda *args: not calls.append(1) and len(calls) < 2 and real(*args)
    )
    flags = {"remote_sync": tmp_path / "remote"}
    with pytest.raises(UserError, match=r"clip\.remote_sync: the last copy failed"):
        train(tmp_path, flags)
    monkeypatch.setattr(program, "remote_sync", real)
    train(tmp_path, flags)


def test_a_first_copy_that_fails_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises((UserError, OSError)):
        train(tmp_path, {"remote_sync": tmp_path / "file"})


@pytest.mark.parametrize(
    ("place", "protocol", "said"),
    [
        ("s3://denied", "s3", r"`aws s3 ls s3://denied/.*` ended with 1: Access Denied"),
        ("nowhere://x", "fsspec", "nowhere://x cannot be reached .*nowhere"),
    ],
)
def test_a_place_that_cannot_be_looked_into(tmp_path, aws, place, protocol, said):
    """It is no reason to start anew."""
    with pytest.raises(UserError, match=rf"clip\.remote_sync: {said}"):
        train(tmp_path, {"remote_sync": place, "remote_sync_protocol": protocol})
    assert not list(tmp_path.glob("checkpoints/*/checkpoints/*"))


def test_s3_needs_its_program(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"clip\.remote_sync_protocol: `s3` calls the program `aws`"):
        remote_copy(ClipConfig(model="m", remote_sync="s3://b", remote_sync_protocol="s3"), "run")


def test_a_failed_training_leaves_no_process_that_copies(tmp_path, monkeypatch):
    started = []
    real = program.start_sync_process
    monkeypatch.setattr(
        program, "start_sync_process", lambda *args: started.append(real(*args)) or started[-1]
    )

    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(program, "train_one_epoch", broken)
    with pytest.raises(RuntimeError, match="broken"):
        train(tmp_path, {"remote_sync": tmp_path / "remote"})
    assert started[0].daemon, "it ends with this process"
    started[0].terminate()
