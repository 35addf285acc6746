"""Processes that crash, hang or eat memory cost their task and nothing else."""

import os
import time

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Failure, Pool

HOSTILE = "tests.unit.frames.hostile"


def run(function, tasks, workers=2, timeout_s=30.0, memory_mb=2048):
    with Pool(f"{HOSTILE}:{function}", workers, timeout_s=timeout_s, memory_mb=memory_mb) as pool:
        return {task: answer for task, answer, _ in pool.run(tasks)}


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_task_is_answered_once():
    tasks = [(n,) for n in range(200)]
    assert run("double", tasks) == {(n,): 2 * n for n in range(200)}
    assert run("double", []) == {}


def test_what_misbehaves_fails_and_the_rest_goes_on(tmp_path):
    what = ["fine 1", "crash", "hang", "eat", "exit", "crash once", "fine 2"]
    answers = {task[0]: answer for task, answer in run(
        "misbehave", [(w, str(tmp_path)) for w in what], timeout_s=1.5
    ).items()}  # fmt: skip
    assert answers.pop("crash") == Failure("crash", "ended by SIGSEGV")
    assert answers.pop("hang") == Failure("timeout", "no answer after 1.5 s")
    assert answers.pop("eat").reason == "out_of_memory"
    assert answers.pop("exit") == Failure("crash", "ended with exit code 3")
    assert answers == {w: w for w in ("fine 1", "fine 2", "crash once")}
    tries = {w: len(list(tmp_path.glob(f"{w}.*"))) for w in what}
    assert tries == {**dict.fromkeys(what, 2), "fine 1": 1, "fine 2": 1}  # failed ones got one more try


def test_no_process_is_left(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Pool(f"{HOSTILE}:misbehave", 2, timeout_s=60, memory_mb=2048) as pool,
    ):
        for _ in pool.run([("hang", str(tmp_path)), ("fine", str(tmp_path))]):
            raise KeyboardInterrupt
    pids = [int(file.read_text()) for file in tmp_path.iterdir()]
    assert pids
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_processes_that_cannot_start_are_told():
    with pytest.raises(UserError, match="did not start"):
        run("no_such_function", [(1,)])
