import pytest

from benchmarks import dag, plan
from workflow_scripts.lib.errors import UserError

TOOK = {"train_clip": 100.0, "extract_frames": 20.0, "list_captions": 1.0}


def test_off_by_how_much_of_what_it_took():
    rows = plan.compare(TOOK | {"extract_frames": 26.0}, TOOK, "two pilots")
    assert [(row["measured"], row["where"], row["passed"]) for row in rows] == [
        (pytest.approx(6 / 121, abs=1e-3), "all steps", True),
        (0.3, "extract_frames", False),
    ]


def test_too_little_is_as_wrong_as_too_much_and_short_steps_count_in_the_sum():
    assert plan.compare(TOOK | {"train_clip": 70.0}, TOOK, "one")[1]["measured"] == 0.3
    short = plan.compare(TOOK | {"list_captions": 50.0}, TOOK, "one")
    assert not short[0]["passed"] and short[1]["measured"] == 0


def test_a_step_that_only_one_of_them_has_is_named():
    with pytest.raises(UserError, match="only one of plan and run: train_clip"):
        plan.compare({key: TOOK[key] for key in ("extract_frames", "list_captions")}, TOOK, "one")


def run(wall_s, cpu_s, others, peak=200.0, jobs=0):
    return {"jobs": jobs, "wall_s": wall_s, "cpu_s": cpu_s, "others": others, "peak_rss_mb": peak}


def test_wall_time_counts_on_a_machine_of_ones_own_and_cpu_time_on_a_shared_one():
    rows = dag.verdict({214: {"nothing done": run(11, 6, 0.0, jobs=9), "all done": run(30, 6, 0.6)}})
    assert [row["passed"] for row in rows if "seconds" in row["target"]] == [False, True]


def test_memory_may_grow_with_the_shards_but_not_faster():
    rows = dag.verdict(
        {2000: {"nothing done": run(50, 50, 0, 690, jobs=9), "all done": run(50, 50, 0, 2000)}}
    )
    assert [row["passed"] for row in rows if "MB" in row["target"]] == [True, False]


def test_a_finished_run_that_would_start_jobs_is_not_measured():
    with pytest.raises(UserError, match="214 shards, all done: 3 jobs were planned"):
        dag.verdict({214: {"all done": run(1, 1, 0, jobs=3)}})
