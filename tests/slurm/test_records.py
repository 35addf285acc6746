"""The checkers themselves: what they must not let through."""

import pytest

from tests.slurm.records import Asked, complaints, parse, second_copies

LINE = (
    "JobId={id} JobName=9583 JobState=COMPLETED RunTime=00:01:37 TimeLimit=2-00:00:00 StartTime={start} EndTime={end} "
    "NumNodes={nodes} NumCPUs=4 NumTasks={tasks} CPUs/Task=4 ReqB:S:C:T=0:0:*:* TRES=cpu=4,mem=62.50G,node=1,billing=4 "
    "NtasksPerN:B:S:C=0:0:*:* JOB_GRES={gres}   Nodes=g1 CPU_IDs=0-3 Mem=64000 GRES= Comment=rule_{step}  StdIn=/dev/null"
)
ASKED = {"train": Asked(4, 64000), "train_clip": Asked(4, 64000, gpus=2)}


def line(id=1, start="2026-01-01T10:00:00", end="2026-01-01T10:05:00", **fields):
    fields = {"nodes": 1, "tasks": 1, "gres": "gpu:fake:2", "step": "train_clip"} | fields
    return LINE.format(id=id, start=start, end=end, **fields)


def test_a_job_that_got_what_it_asked_for():
    (job,) = parse(line() + "\n")
    assert (job.step, job.JobState, job.got) == ("train_clip", "COMPLETED", Asked(4, 64000, gpus=2))
    assert complaints([job], ASKED) == []


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ({"gres": "(null)"}, "gpus=0"),  # a rule whose GPU request is gone
        ({"gres": "gpu:fake:1"}, "gpus=1"),
        ({"tasks": 2}, "start 2 times on 1 nodes"),  # a profile that starts commands twice
        ({"nodes": 2}, "nodes=2"),
        ({"step": "evaluate_clip"}, "nobody has asked"),
        ({"step": "train_retrieval"}, "got"),  # the longest name that fits decides
    ],
)
def test_a_job_that_did_not(broken, said):
    (complaint,) = complaints(parse(line(**broken)), ASKED)
    assert said in complaint


def test_two_of_a_step_at_a_time():
    later = line(id=2, start="2026-01-01T10:05:00", end="2026-01-01T10:06:00")
    assert second_copies(parse(line() + "\n" + later)) == []
    within = line(id=2, start="2026-01-01T10:04:59", end="2026-01-01T10:06:00")
    assert len(second_copies(parse(line() + "\n" + within))) == 1
    assert second_copies(parse(line() + "\n" + within.replace("train_clip", "train_retrieval"))) == []
