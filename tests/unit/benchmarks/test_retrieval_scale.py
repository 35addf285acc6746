"""The simulated run at scale judges by what it counted, and a small one holds; nothing here is timed."""

import copy
import subprocess
import sys

import pytest

from benchmarks.retrieval_scale import GROWTH_MIB, by_epoch, growth_mib, judge, training
from benchmarks.retrieval_scale_data import FRAMES, WIDTH, WORDS, many_videos
from benchmarks.retrieval_scale_training import Watched
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan

PLAN = TrainingPlan(100, 8, 30, 2, 5, seed=1)


def watched(plan=PLAN) -> Watched:
    batches = Watched(plan, every=3)
    list(batches)
    return batches


def run_of(plan=PLAN, **changes) -> dict:
    """What a training that kept its word tells."""
    batches = watched(plan)
    return {
        "plan": vars(plan),
        "announced": plan.describe().splitlines(),
        "steps_of_epochs": [plan.steps_in(epoch) for epoch in range(plan.epochs)],
        "steps": plan.total_steps,
        "rate_of_last_step": 1e-6,
        "rate_behind_it": 0.0,
        "passes": batches.passes,
        "memory": [{"epoch": epoch, "training": 400.0, "workers": [300.0, 301.0]} for epoch in range(8)],
        **changes,
    }


def missed(run) -> list[str]:
    return [row["target"] for row in judge(run, "a run") if not row["passed"]]


def test_what_was_taken_is_counted():
    assert watched().passes == [{"never": 42, "once": 58, "again": 0}]
    assert watched(TrainingPlan(100, 8, 30, -1, 8, seed=1)).passes == 2 * [
        {"never": 0, "once": 100, "again": 0}
    ]
    batches = Watched(PLAN, every=3)
    assert list(batches) == list(ShardEpochBatches(PLAN))
    assert [look["step"] for look in batches.memory] == [0, 3, 6, 9]


def test_own_memory_is_seen():
    program = """
import mmap
from benchmarks.retrieval_scale_training import anonymous_mib

before = anonymous_mib()["training"]
held = mmap.mmap(-1, 64 << 20, mmap.MAP_PRIVATE)
held.write(bytes(64 << 20))
print(anonymous_mib()["training"] - before)
"""  # pages of its own: an allocator may hand out what it holds already
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert float(run.stdout) > 60


@pytest.mark.parametrize("steps", [-1, 2])
def test_a_run_that_kept_its_word_passes(steps):
    assert missed(run_of(TrainingPlan(100, 8, 30, steps, 5, seed=1))) == []


def test_each_thing_that_does_not_hold_is_found():
    good = run_of()
    for change, target in (
        ({"steps": 11}, "announcements"),
        ({"steps_of_epochs": [2, 2, 2, 1, 2]}, "announcements"),
        ({"rate_behind_it": 1e-5}, "announcements"),
        ({"passes": [{"never": 42, "once": 57, "again": 1}]}, "come twice"),
        ({"announced": good["announced"][:3]}, "announcements"),
    ):
        assert any(target in name for name in missed({**copy.deepcopy(good), **change})), change
    whole = run_of(TrainingPlan(100, 8, 30, -1, 5, seed=1))
    whole["passes"] = [{"never": 1, "once": 99, "again": 0}]
    assert any("leaves out" in name for name in missed(whole))


def test_growth_is_looked_for_behind_the_first_epoch():
    looks = [
        {"epoch": 0, "training": 100.0, "workers": [1.0]},  # everything is being opened
        {"epoch": 1, "training": 400.0, "workers": []},  # no reader is there yet
        *({"epoch": e, "training": 400.0 + 10 * e, "workers": [300.0, 300.0 + 20 * e]} for e in range(1, 9)),
    ]
    found = growth_mib({"memory": looks})
    assert found == {"training": 60.0, "reader": 120.0}
    assert sum("grows" in name for name in missed(run_of(memory=looks))) == sum(
        mib > GROWTH_MIB for mib in found.values()
    )


def test_memory_is_told_by_epoch():
    looks = [
        {"epoch": 0, "training": 100.0, "workers": []},
        {"epoch": 1, "training": 400.0, "workers": [300.0, 310.0]},
        {"epoch": 1, "training": 410.0, "workers": [299.0]},
    ]
    assert by_epoch(looks) == [
        {"epoch": 0, "looks": 1, "training_mib": [100, 100], "reader_mib": None},
        {"epoch": 1, "looks": 2, "training_mib": [400, 410], "reader_mib": [299, 310]},
    ]


def test_many_videos_are_those_of_the_real_writers(tmp_path):
    root = many_videos(tmp_path, 25, 5, 10) / "features"
    splits = read_splits(root, ("train", "val", "test"), None)
    assert [splits[name].video_count for name in ("train", "val", "test")] == [25, 5, 0]
    videos, texts = open_features(root, "video"), open_features(root, "text")
    assert (videos["vid_29"].shape, texts["vid_0#cap_0"].shape) == ((FRAMES, WIDTH), (WORDS, WIDTH))
    assert len({videos[key].tobytes() for key in videos}) == 30


@pytest.mark.slow  # processes that import torch
def test_a_small_run_holds(tmp_path):
    root = many_videos(tmp_path, 1000, 100, 100) / "features"
    run = training(root, tmp_path / "run", 3, batch_size=32, train_shard_size=300, epochs=5)
    assert missed(run) == []
    assert run["losses"][-1] < run["losses"][0]
    assert any(len(look["workers"]) == 2 for look in run["memory"])


def test_too_few_videos_are_refused():
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.retrieval_scale", "--videos", "3"], capture_output=True, text=True
    )
    assert answer.returncode == 2
    assert "at least 1,000" in answer.stderr
