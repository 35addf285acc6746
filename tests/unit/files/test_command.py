"""What a command says when the system refuses."""

import errno
import os
import subprocess
import sys

import pytest

from workflow_scripts.lib import command


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


def test_a_step_tells_its_cpu_time_with_that_of_its_processes(monkeypatch, capsys):
    monkeypatch.setattr(command, "end_with_run", lambda: None)
    monkeypatch.setenv(command.RUN_PID, "1")
    used = "import time\nwhile time.process_time() < 0.6: pass"

    def cpu_time(main):
        command.run_command(main)
        return float(command.CPU_TIME.findall(capsys.readouterr().out)[0])

    before = cpu_time(lambda: None)
    assert 0 < before <= sum(os.times()[:4]) + 0.1
    assert cpu_time(lambda: subprocess.run([sys.executable, "-c", used], check=True)) - before > 0.5


def test_a_command_given_by_hand_does_not(monkeypatch, capsys):
    monkeypatch.delenv(command.RUN_PID, raising=False)
    command.run_command(lambda: print("{}"))
    assert capsys.readouterr().out == "{}\n"
