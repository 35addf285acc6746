import fcntl
import os

import pytest

from tests.unit.status.diary import START, event, rule, start, write_diary
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.status import state
from workflow_scripts.lib.status.state import read_run

RULES = [rule("extract_frames", "frames", 3, retries=1)]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def held():
    """Locks diaries as a living run does."""
    handles = []

    def hold(file):
        handles.append(file.open("a"))
        fcntl.flock(handles[-1], fcntl.LOCK_EX)

    yield hold
    for handle in handles:
        handle.close()


def states(run) -> dict[int, str]:
    return {key: job.state for key, job in run.jobs.items()}


def test_a_run_is_alive_as_long_as_its_lock_is_held(held):
    file = write_diary(RULES, [start(1, "extract_frames", 1, "000")])
    assert read_run("r").state == "killed" and states(read_run("r")) == {1: "cut off"}
    held(file)
    assert read_run("r").state == "running" and states(read_run("r")) == {1: "running"}


def test_asking_does_not_lock_out_the_run(held):
    file = write_diary(RULES, [])
    read_run("r")
    with file.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_run_that_ended_is_no_killed_one():
    write_diary(RULES, [start(1, "extract_frames", 1), event("finish", 2, 1), event("end", 3)])
    run = read_run("r")
    assert run.state == "ended" and states(run) == {1: "done"} and run.last - run.started == 3


def test_a_failed_job_waits_as_long_as_it_may_be_tried_again(held):
    once = [start(1, "extract_frames", 1), event("fail", 2, 1)]
    held(write_diary(RULES, once))
    assert states(read_run("r")) == {1: "waiting"}
    held(write_diary(RULES, [*once, start(1, "extract_frames", 3)], run="again"))
    assert states(read_run("again")) == {1: "running"}
    twice = [*once, start(1, "extract_frames", 3), event("fail", 4, 1)]
    held(write_diary(RULES, twice, run="lost"))
    assert states(read_run("lost")) == {1: "failed"}
    write_diary(RULES, [*once, event("end", 3)], run="ended")
    assert states(read_run("ended")) == {1: "failed"}


def test_a_job_in_the_queue_of_a_cluster_is_told_by_its_log(held, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("of an earlier run")
    os.utime(log, (0, 0))
    before = log.stat().st_mtime_ns
    job = start(1, "extract_frames", 1, local=False, log=str(log), log_before=before)
    fresh = start(2, "extract_frames", 1, local=False, log=str(tmp_path / "none.log"))
    held(write_diary(RULES, [job, fresh]))
    assert states(read_run("r")) == {1: "queued", 2: "queued"}
    log.write_text("of this one")
    assert states(read_run("r")) == {1: "running", 2: "queued"}


def test_a_job_of_a_cluster_began_when_its_log_says(held, tmp_path):
    log = tmp_path / "job.log"
    log.write_text("srun: a word before\nbegun 2023-11-15T00:13:20+02:00 on node03\nworking\n")
    jobs = [start(n, "extract_frames", 1, local=local, log=str(log)) for n, local in enumerate([False, True])]
    held(write_diary(RULES, jobs))
    assert [job.started for job in read_run("r").jobs.values()] == [START, START + 1]
    log.write_text("")
    assert read_run("r").jobs[0].started == START + 1


def test_how_many_ran_at_the_same_time():
    begun = [start(key, "extract_frames", key) for key in (1, 2)]
    write_diary(RULES, [*begun, event("finish", 3, 1), start(3, "extract_frames", 4)])
    assert read_run("r").most_at_once["extract_frames"] == 2
    write_diary(RULES, [start(key, "extract_frames", key, local=False) for key in (1, 2)])
    assert not read_run("r").most_at_once["extract_frames"]


def test_without_locks_the_process_tells_on_its_own_machine_only(monkeypatch):
    def refuse(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(state.fcntl, "flock", refuse)
    write_diary(RULES, [])
    assert read_run("r").state == "running"
    write_diary(RULES, [], run="gone", pid=2**22 + 1)
    assert read_run("gone").state == "killed"
    write_diary(RULES, [start(1, "extract_frames", 1)], run="elsewhere", host="node17.example")
    run = read_run("elsewhere")
    assert run.state == "unknown" and states(run) == {1: "running"}


def test_a_target_that_does_nothing_is_no_job():
    write_diary(RULES, [start(0, "all", 1), event("finish", 2, 0)])
    assert read_run("r").jobs == {}


def test_a_line_that_is_half_written_is_not_read():
    file = write_diary(RULES, [start(1, "extract_frames", 1)])
    with file.open("a") as handle:
        handle.write('{"event": "fini')
    assert states(read_run("r")) == {1: "cut off"}


def test_no_such_run_gets_a_sentence_with_the_others():
    write_diary(RULES, [], run="다른")
    with pytest.raises(UserError, match=r"results/r/run.jsonl is not there.*다른"):
        read_run("r")


@pytest.mark.parametrize("data", [b"", b"[1]\n", b'{"event": "run"}\n', b"not json\n", b"\xff\n"])
def test_a_broken_diary_gets_a_sentence(data):
    write_diary(RULES, []).write_bytes(data)
    with pytest.raises(UserError, match=r"run.jsonl: not what a run writes"):
        read_run("r")
