import pytest

from workflow_scripts.lib.plan.timeline import OTHERS, SHOWN, cores_held


def test_cores_count_as_long_as_a_job_holds_them():
    held = cores_held([("frames", 0, 1.5, 4), ("frames", 1, 2, 2), ("report", 3, 4, 1)], 4, parts=4)
    assert held == {"frames": [4, 4, 0, 0], "report": [0, 0, 0, 1]}


def test_small_steps_are_counted_together():
    jobs = [(f"step {n}", 0, 10, n) for n in range(1, 10)]
    held = cores_held(jobs, 10)
    assert [*held] == ["step 9", "step 8", "step 7", "step 6", "step 5", OTHERS] and len(held) == SHOWN
    assert held[OTHERS] == pytest.approx([1 + 2 + 3 + 4] * 200)
    assert OTHERS not in cores_held(jobs[:SHOWN], 10)
