import errno
import subprocess
import sys

import pytest

from workflow_scripts.lib import environment
from workflow_scripts.lib.errors import UserError

HOLD = """
import sys
from pathlib import Path
from workflow_scripts.lib.environment import hold_run_lock
hold_run_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_hold_the_same_lock_and_a_kill_frees_it(tmp_path):
    lock = tmp_path / ".snakemake" / "run.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="another snakemake is running in this folder"):
            environment.hold_run_lock(lock)
    finally:
        other.kill()
        other.communicate()
    environment.hold_run_lock(lock)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_warned_of(tmp_path, monkeypatch, capsys, number):
    def refuse(*_):
        raise OSError(number, "No locks available")

    monkeypatch.setattr(environment.fcntl, "flock", refuse)
    environment.hold_run_lock(tmp_path / "run.lock")
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and "run.lock" in said and "no locks" in said


def test_any_other_fault_is_not_hidden(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(environment.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output"):
        environment.hold_run_lock(tmp_path / "run.lock")
