"""The loader: with workers or without, the same batches; what goes wrong in a worker reaches the user."""

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus, small_config
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import CaptionedVideos, CaptionTable
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.retrieval.data import make_batch
from workflow_scripts.lib.retrieval.loader import Packed, Waiting, make_loader
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches, TrainingPlan

MODEL = GMMFormerConfig(WIDTH, WIDTH, hidden_size=8, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)
CPU = torch.device("cpu")
CHECKOUT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("loader") / "c", {"train": 11})


def videos_of(folder) -> CaptionedVideos:
    readers = (open_features(folder / "features", kind) for kind in ("video", "text"))
    return CaptionedVideos(*readers, CaptionTable(caption_table(folder / "features", "train")))


def loader_of(folder, workers=0, *, epochs=3, place=(0, 0), rank=0, world=1, dataset=None, **changes):
    batches = ShardEpochBatches(TrainingPlan(11, 4, 6, -1, epochs, seed=3), rank, world)
    batches.set(*place)
    config = small_config(**changes)
    return make_loader(dataset or videos_of(folder), batches, MODEL, config, CPU, workers, 2)


def flat(batch) -> list[torch.Tensor]:
    return [*(t for part in (*batch.videos, *batch.queries) for t in part), *batch[2:]]


def assert_same(one, other):
    assert [len(batch) for batch in one[:2]] == [len(batch) for batch in other[:2]]
    for a, b in zip(flat(one), flat(other), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)


@pytest.mark.slow
def test_workers_read_the_same_over_the_epochs_and_from_any_place_on(folder):
    alone = list(loader_of(folder))
    assert len(alone) == 6  # 2 + 2 of the shards, in three epochs
    for one, other in zip(alone, loader_of(folder, 2), strict=True):
        assert_same(one, other)
    for one, other in zip(alone[3:], loader_of(folder, 1, place=(1, 1)), strict=True):
        assert_same(one, other)


def test_a_process_without_videos_gets_an_empty_batch(folder):
    """The second step of the last shard has one video."""
    dataset = videos_of(folder)
    for workers in (0, 1):
        batches = ShardEpochBatches(TrainingPlan(11, 4, 6, -1, 2, seed=3), 2, 3)
        sizes = [len(positions) for positions in batches]
        loader = make_loader(dataset, batches, MODEL, small_config(), CPU, workers, 2)
        assert [len(batch.video_places) for batch in loader] == sizes
        assert 0 in sizes


@pytest.mark.parametrize("positions", [[], [3], [3, 0, 5, 1]])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_packed_batch_is_the_same_in_one_piece(folder, positions, parts):
    batch = make_batch(videos_of(folder).__getitems__(positions), MODEL, parts)
    found = Packed.of(batch).unpacked()
    assert_same(batch, found)
    assert len({tensor.untyped_storage().data_ptr() for tensor in flat(found)}) == 1


def test_a_batch_is_pinned_by_pytorch(folder, monkeypatch):
    """Without a GPU nothing can be pinned: looked at is which tensors PyTorch asks for."""
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append(tensor) or tensor.clone())
    batch = make_batch(videos_of(folder).__getitems__([3, 0, 5]), MODEL, 2)
    assert_same(pin_memory(batch), batch)
    assert len(asked) == len(flat(batch))
    asked.clear()
    packed = Packed.of(batch)
    assert_same(pin_memory(packed).unpacked(), batch)
    assert [tensor.data_ptr() for tensor in asked] == [packed.memory.data_ptr()]


def test_waiting_is_timed(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    waiting = Waiting(["a", "b"])
    assert (list(waiting), waiting.seconds) == (["a", "b"], 3)  # the end is waited for, too


def test_the_training_s_random_numbers_do_not_depend_on_the_loader(folder):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    list(loader_of(folder))
    assert torch.equal(torch.rand(3), expected)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the open files of Linux")
def test_a_batch_keeps_one_file_open_and_none_when_it_is_gone(folder):
    stream = iter(loader_of(folder, 1, epochs=60))
    kept = [next(stream)]
    before = open_files()
    kept += islice(stream, 20)
    assert open_files() - before <= 25
    kept.clear()
    for _ in islice(stream, 50):
        pass
    assert open_files() - before <= 3


class Fails:
    """In the place of a data set; what fails is what a disk or a damaged file gives."""

    def __init__(self, error):
        self.error = error

    def __getitems__(self, positions):
        raise self.error


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "error",
    [UserError("video_shard_000.hdf5: vid_3 is damaged; 다시"), PermissionError(13, "no", "shard.hdf5")],
)
def test_an_error_of_a_worker_comes_as_it_is(folder, workers, error):
    with pytest.raises(type(error)) as caught:
        next(iter(loader_of(folder, workers, dataset=Fails(error))))
    assert str(caught.value) == str(error)
    assert getattr(caught.value, "errno", None) == getattr(error, "errno", None)


@pytest.mark.slow
def test_an_error_of_the_code_keeps_its_traceback(folder):
    with pytest.raises(ZeroDivisionError, match="__getitems__"):
        next(iter(loader_of(folder, 1, dataset=Fails(ZeroDivisionError("1 / 0")))))


class Dies:
    def __getitems__(self, positions):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow  # PyTorch looks after its workers every five seconds
def test_a_killed_worker_is_one_sentence(folder):
    with pytest.raises(UserError, match=r"exited unexpectedly.*`workers`.*last checkpoint") as caught:
        next(iter(loader_of(folder, 1, dataset=Dies())))
    assert "\n" not in str(caught.value)


SCRIPT = """
import sys
from pathlib import Path
from tests.unit.retrieval.test_loader import loader_of
from workflow_scripts.lib.command import run_command

def main():
    stream = iter(loader_of(Path(sys.argv[1]), 2, epochs=100_000))
    for _ in range(4):  # from both workers, in turns: they have been started
        next(stream)
    print("reading", flush=True)
    for _ in stream:
        pass

if __name__ == "__main__":
    run_command(main)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_the_training(folder, tmp_path, how):
    script = tmp_path / "reads.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, script, folder],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "reading\n"
    # Ctrl-C reaches the whole group
    (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    if how == signal.SIGINT:
        # the training's own; not `Traceback`, of which numpy has two where it handles an error itself
        assert errors.splitlines().count("KeyboardInterrupt") == 1
    deadline = time.monotonic() + 120
    while of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert of_group(process.pid) == []


def of_group(group: int) -> list[int]:
    """Processes of a group that still run (Linux)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = status.read_text().rsplit(")", 1)[1].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(status.parent.name))
    return found


def test_a_missing_feature_is_named_by_a_worker_in_one_sentence(folder, tmp_path):
    root = tmp_path / "short"
    with ShardWriter(root / "TextData/text_shard_000.hdf5", {}, dtype="float32") as writer:
        writer.write("vid_0#cap_0", np.ones((2, WIDTH)))
    whole = videos_of(folder)
    dataset = CaptionedVideos(whole.videos, open_features(root, "text"), whole.captions)
    with pytest.raises(UserError, match=r"text_shard_000\.hdf5.*vid_\d+#cap_\d") as caught:
        next(iter(loader_of(folder, 1, dataset=dataset)))
    assert "Traceback" not in str(caught.value)
