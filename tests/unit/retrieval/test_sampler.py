import itertools
import tracemalloc

import numpy as np
import pytest

from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan

WEBVID = TrainingPlan(10_700_000, 128, 1_000_000, -1, 100, seed=1)


def plan(videos=103, batch_size=8, shard_size=25, steps_per_epoch=-1, epochs=12, seed=5) -> TrainingPlan:
    return TrainingPlan(videos, batch_size, shard_size, steps_per_epoch, epochs, seed)


def steps(plan, epoch=0, first_step=0, rank=0, world=1) -> list[list[int]]:
    """Those from this place on, of all epochs."""
    batches = ShardEpochBatches(plan, rank, world)
    batches.set(epoch, first_step)
    return list(batches)


def by_epoch(plan, **place) -> list[list[list[int]]]:
    found = iter(steps(plan, **place))
    return [list(itertools.islice(found, plan.steps_in(epoch))) for epoch in range(plan.epochs)]


def positions(batches) -> list[int]:
    return [position for batch in batches for position in batch]


SIZES = [
    {},
    {"videos": 100},  # shards of one size
    {"videos": 101},  # a last shard of one video
    {"shard_size": None},
    {"shard_size": 1000},
    {"shard_size": 3},  # smaller than a batch
    {"batch_size": 1},
    {"batch_size": 1000},
    {"videos": 1},
    {"epochs": 3},  # less than a pass
    {"steps_per_epoch": 2},
    {"steps_per_epoch": 1, "shard_size": None},
    {"steps_per_epoch": 100},  # more than a shard has
]


@pytest.mark.parametrize("sizes", SIZES)
def test_the_arithmetic_is_what_happens(sizes):
    made = plan(**sizes)
    epochs = by_epoch(made)
    assert [len(epoch) for epoch in epochs] == [made.steps_in(epoch) for epoch in range(made.epochs)]
    assert [len(positions(epoch)) for epoch in epochs] == [made.samples_in(e) for e in range(made.epochs)]
    assert len(steps(made)) == made.total_steps == len(ShardEpochBatches(made))
    assert len(positions(steps(made))) == made.total_samples
    assert made.shards == -(-made.videos // (made.shard_size or made.videos))
    for epoch in epochs:
        assert all(len(batch) == made.batch_size for batch in epoch[:-1])
        assert 0 < len(epoch[-1]) <= made.batch_size


@pytest.mark.parametrize("sizes", SIZES)
def test_no_video_comes_twice_in_a_pass_and_all_come_unless_steps_are_cut(sizes):
    made = plan(**sizes)
    epochs = by_epoch(made)
    whole = made.steps_per_epoch in (-1, 100)
    for first in range(0, made.epochs - made.shards + 1, made.shards):
        seen = positions(itertools.chain(*epochs[first : first + made.shards]))
        assert len(set(seen)) == len(seen)
        assert set(seen) <= set(range(made.videos))
        assert (sorted(seen) == list(range(made.videos))) == whole


def test_an_epoch_is_of_neighbours_in_no_order():
    for number, epoch in enumerate(by_epoch(plan())):
        seen = positions(epoch)
        shard = plan().shard(number)
        assert sorted(seen) == list(shard)
        assert shard.start % 25 == 0
        assert seen != sorted(seen)


def test_seed_pass_and_epoch_change_the_order():
    def shards(seed, first):
        return [plan(videos=1000, epochs=200, seed=seed).shard(e).start for e in range(first, first + 40)]

    assert shards(1, 0) == shards(1, 0)
    assert sorted(shards(1, 0)) == sorted(shards(1, 40)) == sorted(shards(2, 0))
    assert len({str(shards(seed, first)) for seed in (1, 2) for first in (0, 40)}) == 4
    one = [plan(shard_size=None, seed=seed) for seed in (1, 2, -1, 2**70)]
    assert len({str(epoch) for made in one for epoch in by_epoch(made)}) == 4 * plan().epochs


def test_what_steps_leave_out_is_another_part_in_every_pass():
    epochs = by_epoch(plan(steps_per_epoch=2, epochs=100))
    assert set(positions(itertools.chain(*epochs))) == set(range(103))


@pytest.mark.parametrize("sizes", SIZES)
def test_a_run_goes_on_with_the_same_next_step(sizes):
    made = plan(**sizes)
    epochs = by_epoch(made)
    for epoch in range(made.epochs):
        for step in range(made.steps_in(epoch) + 1):
            rest = [*epochs[epoch][step:], *itertools.chain(*epochs[epoch + 1 :])]
            assert steps(made, epoch, step) == rest
    assert steps(made, made.epochs, 0) == []


@pytest.mark.parametrize("world", [1, 2, 3, 7])
@pytest.mark.parametrize("sizes", [{}, {"batch_size": 2}, {"videos": 1}, {"steps_per_epoch": 2}])
def test_the_processes_together_are_one(sizes, world):
    """One behind the other, they are its steps; where a step has fewer videos than processes, some have none."""
    made = plan(**sizes)
    of_ranks = [steps(made, rank=rank, world=world) for rank in range(world)]
    assert [positions(parts) for parts in zip(*of_ranks, strict=True)] == steps(made)
    for parts in zip(*of_ranks, strict=True):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_plan_is_told():
    assert WEBVID.describe().splitlines() == [
        "training on 10,700,000 videos, 128 a step",
        "an epoch: 7,813 steps, 1,000,000 videos of a training shard of 1,000,000",
        "the epoch of the last shard, of 700,000 videos: 5,469 steps, 700,000 videos",
        "a pass over the corpus (super-epoch): 11 epochs, 83,599 steps, 10,700,000 videos",
        "in all: 100 epochs, 757,860 steps, 97,000,000 videos; the learning-rate schedule ends with epoch 100 ="
        " 9.09 passes",
    ]
    cut = TrainingPlan(10_700_000, 128, 1_000_000, 7000, 100, seed=1).describe()
    assert "an epoch: 7,000 steps, 896,000 videos of a training shard of 1,000,000" in cut
    assert "steps_per_epoch 7,000 leaves 1,040,000 videos out of a pass, others in the next" in cut
    more = TrainingPlan(10_700_000, 128, 1_000_000, 8000, 100, seed=1).describe()
    assert "steps_per_epoch 8,000 leaves out none: no shard has more steps" in more
    one = TrainingPlan(600, 128, None, -1, 1, seed=1).describe()
    assert "a pass over the corpus (super-epoch): 1 epoch, 5 steps, 600 videos" in one


def test_totals_of_a_long_training_are_counted_and_not_walked_through():
    long = TrainingPlan(10_700_000, 128, 1_000, -1, 10**9, seed=1)
    passes = 10**9 // 10_700
    rest = sum(long.steps_in(epoch) for epoch in range(passes * 10_700, 10**9))
    assert long.total_steps == passes * (10_700 * 8) + rest


def test_one_shard_of_positions_is_held_at_a_time():
    batches = iter(ShardEpochBatches(TrainingPlan(10_000_000, 128, 10_000, 1, 50, seed=1)))
    next(batches)
    tracemalloc.start()
    try:
        assert len(list(batches)) == 49
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"videos": 0}, "videos is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shard_size": 0}, "shard_size is 0"),
        ({"steps_per_epoch": 0}, "steps_per_epoch is 0"),
        ({"steps_per_epoch": -2}, "steps_per_epoch is -2"),
        ({"epochs": -1}, "epochs is -1"),
    ],
)
def test_numbers_that_allow_no_step_are_refused(sizes, named):
    with pytest.raises(ValueError, match=named):
        plan(**sizes)


def test_places_that_do_not_exist_are_refused():
    batches = ShardEpochBatches(plan())
    for epoch, step in ((-1, 0), (13, 0), (0, 5), (12, 1), (0, -1)):
        with pytest.raises(ValueError, match=f"step {step} of epoch {epoch}"):
            batches.set(epoch, step)
    for rank, world in ((2, 2), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match="rank is"):
            ShardEpochBatches(plan(), rank, world)


def test_positions_are_plain_numbers():
    batch = next(iter(ShardEpochBatches(plan())))
    assert {type(position) for position in batch} == {int}
    assert not isinstance(batch, np.ndarray)
