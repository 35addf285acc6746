"""The pipeline under a real SLURM, by what SLURM has on record. `make test-slurm`."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.csv
import pytest
import yaml

from tests.slurm import runs
from tests.slurm.records import Asked, complaints, second_copies
from tests.workflow.planning import ROOT

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(5400)]

# Two processes on a node, and two nodes with one each; threads, so that no more are at work than there are cores.
GPUS = {"train_clip": 2, "train_retrieval": 2} | dict.fromkeys(
    (
        "evaluate_clip", "extract_video_features", "extract_text_features", "evaluate_retrieval", "build_index",
        "train_captioner_stage1", "train_captioner_stage2", "generate_captions", "evaluate_captions",
    ),
    1,
)  # fmt: skip
NODES = {"train_retrieval": 2}
THREADS = {"make_demo_corpus": 2, "extract_frames": 2}
TWO_GPUS = ("train_clip: ?job(gpu=1,", "train_clip: ?job(gpu=2,")


@pytest.fixture(scope="module")
def finished(cluster, unlucky, tmp_path_factory):
    """The demo's steps; Snakemake was killed during a training and started again. The folder, and what both of them said."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "config.yaml").write_text(
        yaml.safe_dump(runs.small_config(), allow_unicode=True), encoding="utf-8"
    )
    (folder / "Snakefile").write_text(f'include: "{ROOT}/Snakefile"\n', encoding="utf-8")
    profile = runs.changed_profile(
        folder / "profile",
        TWO_GPUS,
        ("train_retrieval: ?job(gpu=1,", "train_retrieval: ?job(gpu=2, nodes=2,"),
    )
    threads = [f"{rule}={THREADS.get(rule, 1)}" for rule in runs.profile()["set-threads"]]
    arguments = ["all", "--set-threads", *threads]

    with runs.started(cluster, folder, "first.log", *arguments, profile=profile) as first:
        runs.wait_for(lambda: runs.running(cluster, folder, "train_retrieval"), first)
        first.send_signal(signal.SIGKILL)
    time.sleep(1)
    assert runs.running(cluster, folder, "train_retrieval")  # SLURM's jobs outlive Snakemake
    said = (folder / "second.log").read_text
    with runs.started(cluster, folder, "second.log", *arguments, profile=profile) as second:
        assert second.wait(timeout=1800) == 0, said()[-5000:]
    return folder, (folder / "first.log").read_text(), said()


def test_all_steps_ended_well(cluster, finished):
    folder, _, second = finished
    assert (folder / "results/demo/report/index.html").is_file()
    jobs = runs.jobs_of(cluster, folder)
    ended_well = {job.step for job in jobs if job.JobState == "COMPLETED"}
    others = [job for job in jobs if job.step not in ended_well]
    # one that had written its output, and was about to end, when the second run cancelled what the first had left
    left = re.search(r"left in SLURM's queue: jobs ([\d ]+)", second)[1].split()
    assert all(job.JobId in left and job.JobState == "CANCELLED" for job in others)
    assert not {job.step for job in others} & set(re.findall(r"^ *rule (\w+):", second, re.MULTILINE))


def test_every_job_got_the_cpus_memory_and_gpus_asked_for(cluster, finished):
    asked = runs.asked(THREADS, GPUS, NODES)
    # The steps of a group follow each other: as much as one of them needs.
    asked["tables"] = Asked(1, runs.memory("corpus_shard"))
    asked["texts"] = Asked(1, runs.memory("extract_text_features"), gpus=1)
    asked["report"] = Asked(1, runs.memory("build_report"))
    jobs = runs.jobs_of(cluster, finished[0])
    assert complaints(jobs, asked) == []
    assert {job.Partition for job in jobs if job.got.gpus} == {"gpu"}
    assert {job.Partition for job in jobs if not job.got.gpus} == {"cpu"}


def test_a_command_is_started_once_for_all_its_processes(finished):
    log = (finished[0] / "logs/demo/train_retrieval.log").read_text()
    assert re.findall(r"processes: (\d+)", log) == ["2"]


def test_short_steps_share_jobs(cluster, finished):
    steps = [job.step for job in runs.jobs_of(cluster, finished[0])]
    assert sum(step.startswith("tables") for step in steps) == 1
    assert sum(step.startswith("texts") for step in steps) == 1
    assert not any(step.startswith(("corpus_shard", "build_report")) for step in steps)


def test_a_killed_run_is_taken_up_without_second_copies(cluster, finished):
    folder, first, second = finished
    jobs = runs.jobs_of(cluster, folder)
    assert second_copies(jobs) == []
    assert [job.JobState for job in jobs if job.step == "train_retrieval"] == ["CANCELLED", "COMPLETED"]
    assert "killed run has left in SLURM's queue" in second
    done = set(re.findall(r"Finished jobid: \d+ \(Rule: (\w+)\)", first))
    assert {"make_demo_corpus", "train_clip", "extract_video_features"} <= done
    again = set(re.findall(r"^ *rule (\w+):", second, re.MULTILINE))
    assert "train_retrieval" in again and not again & {"make_demo_corpus", "train_clip"}


def test_two_nodes_train_as_one_process_does(finished, tmp_path):
    folder, _, second = finished
    command = next(line for line in second.splitlines() if "-m workflow_scripts.train_retrieval" in line)
    flags = command.split("-m workflow_scripts.train_retrieval ")[1].split(" >logs")[0]
    for key in ("checkpoints", "log-folder", "model", "curve"):
        flags = re.sub(rf"--{key} \S+", f"--{key} {tmp_path / key}", flags)
    alone = f"{sys.executable} -m workflow_scripts.train_retrieval {flags}"
    subprocess.run(alone, shell=True, cwd=folder, check=True, env=os.environ | runs.ENVIRONMENT)
    expected = pyarrow.csv.read_csv(tmp_path / "curve").to_pydict()
    together = pyarrow.csv.read_csv(folder / "results/demo/retrieval/curve.csv").to_pydict()
    assert together.keys() == expected.keys() and len(expected["train_loss"]) == 2
    for column in expected:
        np.testing.assert_allclose(together[column], expected[column], rtol=1e-4, err_msg=column)


def test_jobs_that_slurm_ends_are_tried_again_with_more(cluster, unlucky):
    folder, run = unlucky
    assert run.wait(timeout=1800) == 0, (folder / "run.log").read_text()[-5000:]
    jobs = runs.jobs_of(cluster, folder)
    by_step = {name: [job for job in jobs if job.step == name] for name in ("cancelled", "late", "large")}
    states = {name: [job.JobState for job in jobs] for name, jobs in by_step.items()}
    assert states["cancelled"] == ["CANCELLED", "COMPLETED"]
    assert states["late"] == ["TIMEOUT", "COMPLETED"]
    assert states["large"][-1] == "COMPLETED" and set(states["large"][:-1]) <= {
        "OUT_OF_MEMORY",
        "CANCELLED",
        "FAILED",
    }
    assert [job.TimeLimit for job in by_step["late"]] == ["00:02:00", "00:04:00"]
    assert [job.got.mem_mb for job in by_step["large"]] == [400, 800]


ONE_STEP = """
rule train_clip:
    output: "done.txt"
    resources: gpu=0, nodes=1
    shell: "touch {output}"
"""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([TWO_GPUS], None),
        ([("train_clip: ?job(gpu=1,", "train_clip: ?job(")], "gpus=0"),
        ([TWO_GPUS, ("tasks_per_gpu: 0", "tasks_per_gpu: 1")], "would start 2 times"),
    ],
)
def test_a_broken_profile_is_noticed(cluster, tmp_path, changes, said):
    profile = runs.changed_profile(tmp_path / "profile", *changes)
    (tmp_path / "Snakefile").write_text(ONE_STEP)
    with runs.started(cluster, tmp_path, "run.log", "--set-threads", "train_clip=1", profile=profile) as run:
        assert run.wait(timeout=300) == 0, (tmp_path / "run.log").read_text()[-5000:]
    asked = {"train_clip": Asked(1, runs.memory("train_clip"), gpus=2)}
    found = complaints(runs.jobs_of(cluster, tmp_path), asked)
    assert (found == []) if said is None else any(said in sentence for sentence in found)
