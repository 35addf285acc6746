import fcntl
import os
from datetime import datetime
from pathlib import Path

import pytest

from tests.unit.status.diary import START, event, rule, start, write_benchmark, write_diary
from workflow_scripts.lib.status.estimate import pace, rule_left
from workflow_scripts.lib.status.overview import overview
from workflow_scripts.lib.status.record import run_file
from workflow_scripts.lib.status.state import read_run

FRAMES = Path("benchmarks-out/r/extract_frames")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def left(rules, events, now):
    """How long the first rule of a living run still takes, so many seconds after it began."""
    with write_diary(rules, events).open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        run = read_run("r")
    assert run.state == "running"
    return rule_left(run, run.rules[0], pace(run, run.rules[0].name), START + now)


def frames(jobs, **more):
    return [rule("extract_frames", "frames", jobs, **more)]


def finished(job, begin, end):
    return [start(job, "extract_frames", begin), event("finish", end, job)]


def test_nothing_finished_is_said_and_not_guessed():
    assert left(frames(3), [start(1, "extract_frames", 0)], 5).unknown == "no finished job to go by"
    assert left(frames(3), [], 5).seconds is None


def test_waiting_jobs_come_behind_the_running_one():
    # 10 s each: 4 s are left of the second, two more wait
    assert left(frames(4), [*finished(1, 0, 10), start(2, "extract_frames", 10)], 16).seconds == 24


def test_side_by_side_as_many_as_there_were():
    events = [start(1, "extract_frames", 0), *finished(2, 0, 10), event("finish", 10, 1)]
    assert left(frames(5, at_once=1), events, 10).seconds == 20  # 3 jobs on 2 places
    assert left(frames(7, at_once=1), events, 10).seconds == 30


def test_a_rule_that_has_not_begun_goes_by_earlier_runs_and_its_room():
    for shard, seconds in (("000", 10), ("001", 20)):
        write_benchmark(FRAMES / f"{shard}.tsv", seconds)
    (FRAMES / "002.tsv").write_text("")  # of a killed job
    found = left(frames(6, at_once=3), [], 0)
    assert found.seconds == 30 and found.by_earlier_run


def test_the_queue_of_a_cluster_is_no_work():
    measured = write_benchmark(FRAMES / "000.tsv", 10)
    events = [start(1, "extract_frames", 0, benchmark=measured), event("finish", 1000, 1)]
    assert left(frames(2), events, 1000).seconds == 10


def test_what_waits_in_the_queue_of_a_cluster_is_still_to_be_done(tmp_path):
    """Two of four submitted jobs run, 10 s each, of which 4 have gone: 6 s, and two rounds of two."""
    write_benchmark(FRAMES / "009.tsv", 10)
    logs = [tmp_path / f"{n}.log" for n in range(4)]
    events = [start(n, "extract_frames", 0, local=False, log=str(log)) for n, log in enumerate(logs)]
    assert left(frames(6, at_once=200), events, 500).unknown == "in the cluster's queue"
    for log in logs[:2]:
        log.write_text(f"begun {datetime.fromtimestamp(START + 500).astimezone().isoformat()} on node03\n")
    assert left(frames(6, at_once=200), events, 504).seconds == 26


def test_no_time_is_told_of_a_job_that_waits_in_the_queue(tmp_path):
    write_benchmark(FRAMES / "009.tsv", 600)
    write_diary(
        frames(1), [start(1, "extract_frames", 0, local=False, log=str(tmp_path / "none.log"))], local=False
    )
    with run_file("r").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        (job,) = overview(read_run("r"), START + 240).at_work
    assert (job.state, job.seconds, job.seconds_left) == ("queued", 240, None)


def test_jobs_of_this_run_count_more_than_earlier_ones():
    write_benchmark(FRAMES / "005.tsv", 1000)
    found = left(frames(2), finished(1, 0, 10), 10)
    assert found.seconds == 10 and not found.by_earlier_run


def test_a_job_that_tells_how_far_it_is(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("5 of 20 clips, 0 failed\n")
    os.utime(log, (START + 10, START + 10))
    # 5 in 10 s, so 15 in 30 s, of which 6 have gone since it was said
    assert left(frames(1), [start(1, "extract_frames", 0, log=str(log))], 16).seconds == pytest.approx(24)


def test_a_job_that_is_overdue_gets_no_invented_time():
    events = [*finished(1, 0, 10), start(2, "extract_frames", 10)]
    assert left(frames(2), events, 60).unknown == "longer than others took"
    assert left(frames(3), events, 60).seconds == 10  # the one that waits takes as long at least


def test_what_failed_for_good_takes_no_more_time():
    events = [*finished(1, 0, 10), start(2, "extract_frames", 10), event("fail", 12, 2)]
    assert left(frames(2), events, 20).seconds == 0


def test_a_next_run_does_what_failed():
    events = [*finished(1, 0, 10), start(2, "extract_frames", 10), event("fail", 12, 2), event("end", 12)]
    write_diary(frames(2), events)
    run = read_run("r")
    assert rule_left(run, run.rules[0], pace(run, run.rules[0].name), START + 500).seconds == 10
