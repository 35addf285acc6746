"""Shards that are filled in any order, by several processes, and go on after a kill with the same bytes."""

import errno
import json
import os
import resource
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.unit.forks import in_processes
from workflow_scripts.lib.command import NO_ROOM
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features import planned
from workflow_scripts.lib.features.index import Keys
from workflow_scripts.lib.features.planned import Plan, PlannedShard
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter

LENGTHS = np.array([3, 0, 2, 1, 0])
TAILS = {"video": (4,), "token": (2, 3)}
BATCHES = ([0, 1], [2, 4], [3], [5])  # rows; not in order, and over the borders of keys


def plan(kind="video", lengths=LENGTHS, model="test", source="frames", dtype="float16"):
    keys = Keys(np.arange(10, 10 + len(lengths)))
    return Plan(keys, np.asarray(lengths), TAILS[kind], np.dtype(dtype), {"model": model}, source)


def path_of(root: Path, kind="video") -> Path:
    return root / {"video": "FeatureData", "token": "TokenData"}[kind] / f"{kind}_shard_000.hdf5"


def values(rows, kind="video"):
    numbers = np.arange(LENGTHS.sum() * 100, dtype=np.float32).reshape(LENGTHS.sum(), -1)
    return numbers[rows, : int(np.prod(TAILS[kind]))].reshape(len(rows), *TAILS[kind])


def fill(root: Path, batches=BATCHES, finish=True, **changes) -> int:
    """What an extraction does, with two shards; returns how many batches had to be computed."""
    shards = {kind: PlannedShard(path_of(root, kind), plan(kind, **changes)) for kind in TAILS}
    for shard in shards.values():
        shard.prepare()
    computed = 0
    with shards["video"] as video, shards["token"] as token:
        missing = video.missing() | token.missing()
        for rows in map(np.array, batches):
            if missing[rows].any():
                computed += 1
                for kind, shard in shards.items():
                    shard.write(rows, values(rows, kind))
    for step in ("seal", "publish", "forget") if finish else ():
        for shard in shards.values():
            getattr(shard, step)()
    return computed


def files(root: Path) -> dict[str, bytes]:
    """All that is there in the end; nothing hidden may be left."""
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


@pytest.fixture
def quick(monkeypatch):
    """Commits after every batch, without waiting for the disk, which a kill of a process does not need."""
    monkeypatch.setattr(planned, "COMMIT_S", -1.0)
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """What an uninterrupted run leaves."""
    root = tmp_path_factory.mktemp("straight")
    fill(root)
    return files(root)


def test_the_shard_holds_what_was_written_and_nothing_else_is_left(tmp_path, straight):
    fill(tmp_path)
    assert files(tmp_path) == straight
    assert sorted(straight) == [
        f"{folder}/{kind}_shard_000.{ending}"
        for folder, kind in (("FeatureData", "video"), ("TokenData", "token"))
        for ending in ("hdf5", "index.arrow")
    ]
    for kind, tail in TAILS.items():
        reader = open_features(tmp_path, kind)
        ends = np.cumsum(LENGTHS)
        with h5py.File(path_of(tmp_path, kind)) as plain:
            assert len(plain["vid_10"].attrs) == 0 and set(plain) == set(reader)
            for video, (start, end) in enumerate(zip(ends - LENGTHS, ends, strict=True), 10):
                expected = values(np.arange(start, end), kind).astype(np.float16)
                assert plain[f"vid_{video}"].shape == (end - start, *tail)
                np.testing.assert_array_equal(plain[f"vid_{video}"][()], expected)
                np.testing.assert_array_equal(reader[f"vid_{video}"], expected)


def test_digest_and_checksums_are_those_of_a_shard_that_is_written_key_by_key(tmp_path):
    fill(tmp_path)
    other = tmp_path / "other" / "video_shard_000.hdf5"
    with ShardWriter(other, {"model": "test"}) as writer:
        for key, array in sorted(open_features(tmp_path, "video").items()):
            writer.write(key, np.asarray(array))
    with h5py.File(path_of(tmp_path)) as ours, h5py.File(other) as theirs:
        assert ours.attrs["digest"] == theirs.attrs["digest"]
        assert ours.attrs["encoder"] == theirs.attrs["encoder"]


def steps(monkeypatch, at: int, torn: bool) -> list[str]:
    """Kill this process at the step `at` of all that touch the disk, before it is done or in the middle of writing."""
    seen: list[str] = []

    def watch(owner, name):
        real = getattr(owner, name)

        def step(*args, **kwargs):
            if len(seen) == at:
                if torn and name == "pwrite":
                    real(args[0], args[1][: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            seen.append(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)

    watch(os, "pwrite"), watch(os, "fsync")
    for name in ("replace", "unlink", "mkdir", "write_text"):
        watch(Path, name)
    watch(planned, "new_file"), watch(planned, "reserve"), watch(planned, "set_digest")
    return seen


def killed(monkeypatch, root: Path, at: int, torn: bool) -> bool:
    """Run `fill` in a process of its own; whether it came to the step `at`."""

    def work(_):
        with monkeypatch.context() as patch:
            steps(patch, at, torn)
            fill(root)

    [code] = in_processes(1, work)
    assert code in (0, -signal.SIGKILL)
    return code != 0


@pytest.mark.slow
@pytest.mark.parametrize("torn", [False, True])
def test_a_kill_at_any_step_and_a_rerun_give_the_same_bytes(tmp_path, monkeypatch, quick, straight, torn):
    with monkeypatch.context() as patch:
        seen = steps(patch, at=-1, torn=False)
        fill(tmp_path / "all")
    assert len(seen) > 40
    computed = []
    for at, step in enumerate(seen):
        if torn and step != "pwrite":
            continue
        root = tmp_path / str(at)
        assert killed(monkeypatch, root, at, torn)
        computed.append(fill(root))
        assert files(root) == straight, f"killed at step {at}, {step}"
    # what was committed is not computed again
    forgetting = 0 if torn else 6  # removals at the end: both shards are published, and a rerun begins anew
    before = computed[: len(computed) - forgetting]
    fewest = 1 if torn else 0  # the last row is the last thing that pwrite writes
    assert before == sorted(before, reverse=True) and set(before) == set(range(fewest, len(BATCHES) + 1))


def test_a_second_kill_during_the_rerun(tmp_path, monkeypatch, quick, straight):
    for first, second in ((12, 3), (25, 9), (38, 30)):
        root = tmp_path / f"{first} {second}"
        assert killed(monkeypatch, root, first, torn=True)
        killed(monkeypatch, root, second, torn=True)
        fill(root)
        assert files(root) == straight


def test_a_kill_loses_what_was_not_committed(tmp_path, monkeypatch):
    shard = PlannedShard(path_of(tmp_path), plan())
    shard.prepare()

    def work(_):
        with shard:
            shard.write(np.array([0, 1]), values([0, 1]))
            shard.commit()
            shard.write(np.array([2]), values([2]))
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_processes(1, work) == [-signal.SIGKILL]
    with shard:
        assert shard.missing().tolist() == [False, False, True, True, True, True]


def test_several_processes_fill_one_shard(tmp_path, straight):
    fill(tmp_path, batches=(), finish=False)
    assert in_processes(2, lambda rank: fill(tmp_path, BATCHES[rank::2], finish=False)) == [0, 0]
    assert fill(tmp_path) == 0
    assert files(tmp_path) == straight


@pytest.mark.parametrize(
    "other",
    [
        {"model": "other"},
        {"source": "other frames"},
        {"dtype": "float32"},
        {"lengths": np.array([3, 0, 1, 2, 0])},
        {"lengths": np.array([3, 0, 2, 1])},
    ],
)
def test_progress_of_another_plan_is_not_taken_up(tmp_path, other):
    fill(tmp_path, BATCHES[:3], finish=False)
    assert fill(tmp_path, BATCHES, **other) == len(BATCHES)
    assert json.loads(open_features(tmp_path, "video").encoder) == {"model": other.get("model", "test")}


def test_the_same_keys_as_captions_are_another_plan():
    keys = Keys(np.arange(10, 15), np.arange(5, dtype=np.int32))
    with_captions = Plan(keys, LENGTHS, (4,), np.dtype("float16"), {"model": "test"}, "frames")
    assert with_captions.digest() != plan().digest()


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_shards_without_any_row(tmp_path, lengths):
    assert fill(tmp_path, batches=(), lengths=np.array(lengths, dtype=np.int64)) == 0
    reader = open_features(tmp_path, "video")
    assert [array.shape for array in reader.values()] == [(0, 4)] * len(lengths)


def test_rows_that_are_missing_are_counted_and_nothing_is_published(tmp_path):
    with pytest.raises(UserError, match=r"video_shard_000\.hdf5: 2 of 6 rows were not written"):
        fill(tmp_path, BATCHES[1:])
    assert not path_of(tmp_path).exists()
    assert fill(tmp_path) == 1


@pytest.mark.parametrize(
    ("value", "said"), [(np.nan, "NaN"), (-np.inf, "infinite"), (1e5, r"1e\+05 does not fit float16")]
)
def test_values_that_cannot_be_stored_name_the_key_and_what_was_done_is_kept(tmp_path, value, said):
    shard = PlannedShard(path_of(tmp_path), plan())
    shard.prepare()
    bad = values([2, 3])
    bad[1, 2] = value
    with shard, pytest.raises(UserError, match=rf"video_shard_000\.hdf5: vid_12: .*{said}"):
        shard.write(np.array([0, 1]), values([0, 1]))
        shard.write(np.array([2, 3]), bad)
    with shard:
        assert shard.missing().tolist() == [False, False, True, True, True, True]


def test_a_full_disk_keeps_what_was_done(tmp_path, monkeypatch, straight):
    real, left = os.pwrite, [3]

    def full(file, data, place):
        left[0] -= 1
        if left[0] >= 0:
            return real(file, data[: max(1, len(data) // 2)], place)  # and short writes before
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(planned, "COMMIT_S", -1.0)
    fill(tmp_path, BATCHES[:2], finish=False)
    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(os, "pwrite", full)
        fill(tmp_path)
    assert fill(tmp_path) == 2
    assert files(tmp_path) == straight


def test_rows_whose_flush_failed_do_not_count_as_done(tmp_path, monkeypatch):
    shard = PlannedShard(path_of(tmp_path), plan())
    shard.prepare()
    real, failing = os.fsync, [True]

    def fsync(file):
        if failing.pop() if failing else False:
            raise OSError(errno.EIO, "Input/output error")  # a second fsync would not tell
        real(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="Input/output"), shard:
        shard.write(np.array([0, 1]), values([0, 1]))
        shard.commit()
    with shard:
        assert shard.missing().all()


def test_an_encoder_in_any_script_and_the_unfinished_file_says_so(tmp_path):
    shard = PlannedShard(path_of(tmp_path), plan(model="모델 模型"))
    shard.prepare()
    with h5py.File(shard.path.with_name(".video_shard_000.hdf5.part")) as file:
        assert b"not finished" in file.attrs["digest"]
        assert json.loads(file.attrs["encoder"]) == {"model": "모델 模型"}


def test_an_unfinished_file_that_hdf5_cannot_open_is_named(tmp_path):
    fill(tmp_path, finish=False)
    shard = PlannedShard(path_of(tmp_path), plan())
    part = shard.path.with_name(".video_shard_000.hdf5.part")
    with part.open("r+b") as file:
        file.write(bytes(100))
    with pytest.raises(UserError, match=r"\.video_shard_000\.hdf5\.part: cannot be finished .*; delete it"):
        shard.seal()
    part.unlink()
    fill(tmp_path)
    assert len(open_features(tmp_path, "video")) == len(LENGTHS)


def test_no_room_for_the_layout_is_told_as_any_full_disk(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    shard = PlannedShard(path_of(tmp_path), plan(lengths=np.ones(1000, dtype=np.int64)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError) as error:
            shard.prepare()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert error.value.errno in NO_ROOM
    shard.prepare()


def test_a_second_command_that_makes_the_shard_otherwise_ends_the_first(tmp_path, straight):
    first = PlannedShard(path_of(tmp_path), plan(model="other"))
    first.prepare()
    with first:
        fill(tmp_path, BATCHES[:2], finish=False)  # of the second
        first.write(np.arange(6), values(range(6)))
    for _ in ("while it is made", "when it is done"):
        with pytest.raises(UserError, match=r"video_shard_000\.hdf5: another command is making this shard"):
            first.seal()
        fill(tmp_path)
    assert files(tmp_path) == straight
