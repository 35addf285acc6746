"""What a command says when the system refuses."""

import errno
import os
import platform
import resource
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
import torch
from safetensors.torch import save_file

from workflow_scripts.lib import command
from workflow_scripts.lib.errors import UserError


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EROFS, "error: /자료/x: Read-only file system; check who may"),
        (errno.EACCES, "error: /자료/x: Permission denied; check who may"),
        (errno.ENOTDIR, "error: /자료/x: Not a directory; give another place"),
        (errno.ENOSPC, "error: the disk is full"),
    ],
)
def test_what_a_user_can_mend_is_a_sentence(monkeypatch, code, words):
    monkeypatch.setattr(command, "end_with_run", lambda: None)

    def main():
        raise OSError(code, os.strerror(code), "/자료/x")

    with pytest.raises(SystemExit) as ended:
        command.run_command(main)
    assert str(ended.value).startswith(words)


def test_what_is_a_fault_of_the_program_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(command, "end_with_run", lambda: None)

    def main():
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    with pytest.raises(OSError, match="Bad file descriptor"):
        command.run_command(main)


def ends_with(main) -> str:
    with pytest.raises(SystemExit) as end:
        command.run_command(main)
    return end.value.code


@pytest.fixture
def small_files():
    """As on a full disk: nothing longer than a kilobyte can be written."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("write", [torch.save, save_file], ids=["torch", "safetensors"])
def test_a_disk_that_is_full_of_weights(tmp_path, small_files, write):
    weights = {"weight": torch.zeros(10_000)}
    assert "error: the disk is full" in ends_with(lambda: write(weights, tmp_path / "weights"))


def test_memory_of_a_gpu():
    def main():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    assert "Tried to allocate 2.00 GiB); have less computed at a time" in ends_with(main)


class Fails(torch.utils.data.Dataset):
    def __getitem__(self, index):
        raise UserError("a.hdf5: no key")

    def __len__(self):
        return 1


@pytest.mark.slow
def test_an_error_of_a_reader_process_is_its_sentence():
    loader = torch.utils.data.DataLoader(Fails(), num_workers=1)
    assert ends_with(lambda: list(loader)) == "error: a.hdf5: no key"


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        command.run_command(lambda: 1 / 0)


def test_a_step_tells_when_and_where_it_began(monkeypatch, capfd):
    monkeypatch.setattr(command, "end_with_run", lambda: None)
    monkeypatch.setenv(command.RUN_PID, "1")
    command.run_command(lambda: print("working"))
    first, second, _ = capfd.readouterr().out.splitlines()
    began = datetime.fromisoformat(command.BEGUN.search(first)[1])
    assert abs(datetime.now().astimezone() - began) < timedelta(minutes=1)
    assert first.endswith(f" on {platform.node()}") and second == "working"


def test_a_step_tells_its_cpu_time_with_that_of_its_processes(monkeypatch, capfd):
    monkeypatch.setattr(command, "end_with_run", lambda: None)
    monkeypatch.setenv(command.RUN_PID, "1")
    used = "import time\nwhile time.process_time() < 0.6: pass"

    def cpu_time(main):
        command.run_command(main)
        return float(command.CPU_TIME.findall(capfd.readouterr().out)[0])

    before = cpu_time(lambda: None)
    assert 0 < before <= sum(os.times()[:4]) + 0.1
    assert cpu_time(lambda: subprocess.run([sys.executable, "-c", used], check=True)) - before > 0.5


def test_a_command_given_by_hand_does_not(monkeypatch, capsys):
    monkeypatch.delenv(command.RUN_PID, raising=False)
    command.run_command(lambda: print("{}"))
    assert capsys.readouterr().out == "{}\n"
