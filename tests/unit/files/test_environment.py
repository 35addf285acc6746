"""Steps end with the run that started them, on the machine where it runs."""

import os
import platform
import subprocess
import sys
import time

import pytest

from workflow_scripts.lib.environment import RUN_PID

STEP = """
import time
from workflow_scripts.lib.environment import end_with_run
end_with_run()
print("at work", flush=True)
time.sleep(60)
"""


def step(run):
    return subprocess.Popen(
        [sys.executable, "-c", STEP], env=os.environ | {RUN_PID: run}, stdout=subprocess.PIPE, text=True
    )


def test_a_step_ends_with_its_run():
    run = subprocess.Popen(["sleep", "60"])
    working = step(f"{platform.node()}:{run.pid}")
    assert working.stdout.readline() == "at work\n"
    run.kill()
    run.wait()
    assert "is gone" in working.communicate(timeout=30)[0]


@pytest.mark.parametrize("run", ["another-host:1", "another-host:999999999"])
def test_numbers_of_another_machine_mean_nothing_here(run):
    """As for the processes that srun starts on the other nodes of a training."""
    working = step(run)
    try:
        assert working.stdout.readline() == "at work\n"
        time.sleep(0.5)
        assert working.poll() is None
    finally:
        working.kill()
        working.communicate()


def test_a_step_does_not_begin_after_its_run():
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert "at work" not in step(f"{platform.node()}:{gone.pid}").communicate(timeout=30)[0]
