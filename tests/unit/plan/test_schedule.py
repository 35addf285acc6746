import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.plan.schedule import Task, schedule


def task(seconds, cores=1, gpus=0, after=(), priority=0):
    return Task("step", seconds, cores, gpus, tuple(after), priority)


def test_as_many_side_by_side_as_there_are_cores():
    tasks = [task(10) for _ in range(5)]
    assert [schedule(tasks, cores, 0).seconds for cores in (1, 2, 5, 9)] == [50, 30, 10, 10]


def test_the_longest_chain_goes_first():
    tasks = [task(3), task(3), task(1), task(5, after=[2])]  # the third begins a chain of 6
    made = schedule(tasks, 2, 0)
    assert made.starts == [0, 3, 0, 1] and made.seconds == made.chain == 6


def test_priority_goes_before_the_longest_chain():
    tasks = [task(1), task(9), task(2, after=[0], priority=1), task(9, after=[1])]
    assert schedule(tasks, 1, 0).starts == [18, 0, 19, 9]
    tasks[0] = task(1, priority=1)
    assert schedule(tasks, 1, 0).starts == [0, 3, 1, 12]


def test_a_task_waits_for_all_that_it_needs():
    tasks = [task(4), task(1), task(2, after=[0, 1, 1]), task(1, after=[2])]
    made = schedule(tasks, 8, 0)
    assert (made.starts[2], made.starts[3], made.seconds, made.chain) == (4, 6, 7, 7)


def test_gpus_are_a_limit_of_their_own():
    tasks = [task(10, gpus=1), task(10, gpus=1), task(10)]
    assert schedule(tasks, 8, 1).seconds == 20
    assert schedule(tasks, 1, 2).seconds == 30


def test_a_wide_task_does_not_keep_narrow_ones_waiting():
    tasks = [task(10, cores=3), task(20, cores=2), task(1)]
    made = schedule(tasks, 3, 0)
    assert made.starts[2] <= 10 and made.seconds == 30


def test_no_task_is_given_more_than_there_is():
    tasks = [task(7, cores=cores, gpus=gpus) for cores, gpus in ((1, 0), (2, 1), (4, 0), (3, 2)) * 5]
    made = schedule(tasks, 5, 2)
    for moment in made.starts:
        at_work = [
            t for t, start, end in zip(tasks, made.starts, made.ends, strict=True) if start <= moment < end
        ]
        assert sum(t.cores for t in at_work) <= 5 and sum(t.gpus for t in at_work) <= 2


def test_a_task_that_no_machine_holds_is_named():
    with pytest.raises(
        UserError, match=r"a job of step holds 8 cores and 1 GPU .* 4 cores and 0 GPUs; give more"
    ):
        schedule([task(1, cores=8, gpus=1)], 4, 0)
