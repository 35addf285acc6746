"""Processes that crash, hang or eat memory cost their item and nothing else."""

import os
import time

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Failure, Limits, Pool

HOSTILE = "tests.unit.frames.hostile"


def run(function, tasks, workers=2, timeout_s=30.0, memory_mb=2048):
    """{item: answer}; every item is answered once."""
    with Pool(f"{HOSTILE}:{function}", workers, Limits(timeout_s, memory_mb)) as pool:
        answers = [(item, answer) for item, answer, _ in pool.run(tasks)]
    assert len(dict(answers)) == len(answers)
    return dict(answers)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_every_item_is_answered_once():
    assert run("double", [((n,),) for n in range(200)]) == {n: 2 * n for n in range(200)}
    assert run("double", [((n, -n, n / 2),) for n in range(1, 90, 4)]) == {
        number: 2 * number for n in range(1, 90, 4) for number in (n, -n, n / 2)
    }
    assert run("double", []) == {}


def test_what_misbehaves_fails_and_the_rest_goes_on(tmp_path):
    what = ["fine 1", "crash", "hang", "eat", "exit", "crash once", "fine 2"]
    answers = run("misbehave", [((w,), str(tmp_path)) for w in what], timeout_s=4)
    assert answers.pop("crash") == Failure("crash", "ended by SIGSEGV")
    assert answers.pop("hang") == Failure("timeout", "no answer after 4 s")
    assert answers.pop("eat").reason == "out_of_memory"
    assert answers.pop("exit") == Failure("crash", "ended with exit code 3")
    assert answers == {w: w for w in ("fine 1", "fine 2", "crash once")}
    tries = {w: len(list(tmp_path.glob(f"{w}.*"))) for w in what}
    assert tries == {**dict.fromkeys(what, 2), "fine 1": 1, "fine 2": 1}  # failed ones got one more try


def test_an_item_does_not_condemn_those_of_its_task(tmp_path):
    what = ("fine 1", "crash", "fine 2", "hang", "fine 3")
    answers = run("misbehave", [(what, str(tmp_path))], workers=3, timeout_s=3)
    assert {w: a for w, a in answers.items() if w == a} == {w: w for w in what if "fine" in w}
    assert (answers["crash"].reason, answers["hang"].reason) == ("crash", "timeout")


def test_the_time_limit_is_that_of_all_items(tmp_path):
    what = ("fine", "hang")
    answers = run("misbehave", [(what, str(tmp_path))], workers=1, timeout_s=3)
    assert answers == {"fine": "fine", "hang": Failure("timeout", "no answer after 3 s")}
    tried = [int(file.name.rpartition(".")[2]) for file in tmp_path.glob("hang.*")]
    assert max(tried) - min(tried) > 5.9e9  # the first try had the time of two


def test_second_tries_run_side_by_side_each_in_a_process_of_its_own(tmp_path):
    folders = [tmp_path / str(n) for n in range(3)]
    for folder in folders:
        folder.mkdir()
    with Pool(f"{HOSTILE}:misbehave", 3, Limits(60)) as pool:
        answers = [answer for _, answer, _ in pool.run([(("meet",), str(f)) for f in folders])]
    assert answers == ["meet"] * 3
    pids = [file.read_text() for folder in folders for file in folder.iterdir()]
    assert len(set(pids)) == len(pids) == 6


def test_a_process_that_has_grown_is_replaced():
    tasks = [((megabytes,),) for megabytes in (1, 2, 3, 150, 4, 5)]  # MiB; 400 / 4 is when it is too much
    pids = run("grow", tasks, workers=1, memory_mb=400)
    assert len(pids) == 6
    assert pids[1] == pids[2] == pids[3] == pids[150] != pids[4] == pids[5]


def test_no_process_is_left(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        Pool(f"{HOSTILE}:misbehave", 2, Limits(60)) as pool,
    ):
        for _ in pool.run([(("hang",), str(tmp_path)), (("fine",), str(tmp_path))]):
            raise KeyboardInterrupt
    pids = [int(text) for file in tmp_path.iterdir() if (text := file.read_text())]
    assert pids
    deadline = time.monotonic() + 60
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def test_processes_that_cannot_start_are_told():
    with pytest.raises(UserError, match="did not start"):
        run("no_such_function", [((1,),)])


def test_what_no_item_is_to_blame_for_ends_all():
    with pytest.raises(UserError, match="no decoder here"):
        run("refuse", [((n,),) for n in range(3)])
    prepare = (f"{HOSTILE}:refuse", ())
    with (
        pytest.raises(UserError, match="no decoder here"),
        Pool(f"{HOSTILE}:double", 2, Limits(), prepare) as pool,
    ):
        list(pool.run([((1,),)]))


def test_memory_taken_before_the_first_task_is_not_counted():
    prepare = (f"{HOSTILE}:grow", (300,))
    with Pool(f"{HOSTILE}:grow", 1, Limits(memory_mb=200), prepare) as pool:
        assert [item for item, pid, _ in pool.run([((100,),)]) if isinstance(pid, int)] == [100]
