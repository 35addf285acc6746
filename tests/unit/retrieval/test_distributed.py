"""Several processes train as one does, whatever they have of a batch."""

import time

import numpy as np
import pytest
import torch

from tests.unit import forks
from tests.unit.retrieval.tiny_corpus import make_corpus
from tests.unit.retrieval.tiny_training import Killed, logged, numbers, train_tiny
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.processes import ALONE, processes
from workflow_scripts.lib.retrieval import train as training
from workflow_scripts.lib.retrieval.data import Batch
from workflow_scripts.lib.retrieval.distributed import Shares, gather_embeddings, shares_of

pytestmark = pytest.mark.slow

# 9 videos, 4 a step: the last step of an epoch has one, so one process of two has none of it, and two of three.
EXACT = {"drop": 0.0, "input_drop": 0.0, "batch_size": 4, "epochs": 2, "hard_negative_start_epoch": 1,
         "length_buckets": 2, "lr": 3e-4, "hard_pool_size": 2}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    torch.set_num_threads(1)
    return make_corpus(tmp_path_factory.mktemp("distributed") / "c", {"train": 9, "val": 3})


def in_processes(world: int, work) -> list[int]:
    """Exit codes of forks that do `work(job)`; 9 for a kill."""

    def in_job(rank: int) -> None:
        with processes() as job:
            work(job)

    return forks.in_processes(world, in_job, {Killed: 9})


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_tiny(corpus, folder, **EXACT)
    return folder


def weights(folder):
    return torch.load(folder / "checkpoints/last.pt", weights_only=True)["model"]


def assert_same_training(one, other):
    for column in ("loss", "clip_nce", "clip_triplet", "frame_nce", "frame_triplet", "query_diverse", "lr"):
        np.testing.assert_allclose(numbers(one, column), numbers(other, column), atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(numbers(one, "grad_norm"), numbers(other, "grad_norm"), rtol=1e-4)
    expected = weights(other)
    for name, value in weights(one).items():
        # A softmax does not see its keys' bias: its gradient is rounding, of which Adam makes a whole step.
        tolerance = 1e-2 if name.endswith("key.bias") else 2e-5
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=0, msg=name)


@pytest.mark.parametrize(
    ("world", "changes"),
    [(2, {}), (2, {"accumulation": 2}), pytest.param(3, {}, marks=pytest.mark.slow)],
)
def test_several_processes_train_as_one_with_the_same_batches(corpus, alone, tmp_path, world, changes):
    assert (
        in_processes(world, lambda job: train_tiny(corpus, tmp_path, **EXACT, **changes, job=job))
        == [0] * world
    )
    assert len(logged(tmp_path)) == 6
    assert_same_training(tmp_path, alone)


def test_a_killed_training_goes_on_with_another_number_of_processes(corpus, alone, tmp_path, monkeypatch):
    real = training.train_step

    def step_or_die(state, *args, **kwargs):
        if state.step == 4:
            raise Killed
        return real(state, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(training, "train_step", step_or_die)
        codes = in_processes(
            2, lambda job: train_tiny(corpus, tmp_path, **EXACT, checkpoint_steps=2, job=job)
        )
    assert 9 in codes and set(codes) <= {3, 9}
    train_tiny(corpus, tmp_path, **EXACT, checkpoint_steps=2)
    assert_same_training(tmp_path, alone)


def test_dropout_differs_between_processes_and_negatives_do_not(corpus, tmp_path):
    """With dropout, each process drops on its own; the losses they compute are still one."""
    totals = [tmp_path / "0.pt", tmp_path / "1.pt"]

    def work(job):
        real, seen = training.train_step, []

        def step(state, *args, **kwargs):
            losses = real(state, *args, **kwargs)
            seen.append((losses["total"].item(), torch.rand(1).item()))
            return losses

        training.train_step = step
        train_tiny(corpus, tmp_path, **{**EXACT, "drop": 0.3, "epochs": 1}, job=job)
        torch.save(seen, totals[job.rank])

    assert in_processes(2, work) == [0, 0]
    first, second = (torch.load(file) for file in totals)
    assert [loss for loss, _ in first] == pytest.approx([loss for loss, _ in second], rel=1e-6)
    assert all(drawn != other for (_, drawn), (_, other) in zip(first, second, strict=True))


@pytest.mark.parametrize("failing", [0, 1])
def test_a_process_that_fails_ends_the_others_with_a_sentence(corpus, tmp_path, failing):
    def work(job):
        if job.rank == failing:
            real = training.train_step

            def step(state, *args, **kwargs):
                if state.step == 2:
                    raise UserError("a feature is missing")
                return real(state, *args, **kwargs)

            training.train_step = step
        train_tiny(corpus, tmp_path, **EXACT, job=job)

    codes = in_processes(2, work)
    assert codes[failing] == 2 and codes[1 - failing] == 3


def test_an_error_of_this_process_alone_keeps_its_words(tmp_path):
    def work(job):
        (tmp_path / str(job.rank)).touch()
        while len(list(tmp_path.iterdir())) < 2:  # one that ends while they meet is an error of the other's
            time.sleep(0.01)
        raise RuntimeError("CUDA out of memory")

    assert in_processes(2, work) == [1, 1]


def piece(videos: list[int]) -> Batch:
    """A share of a batch: videos with so many captions each."""
    owner = torch.repeat_interleave(torch.arange(len(videos)), torch.tensor(videos, dtype=torch.long))
    return Batch([], [], torch.arange(len(videos)), torch.arange(len(owner)), owner)


def test_one_process_gathers_nothing():
    shares = shares_of(piece([2, 1]), ALONE)
    assert (shares.videos, shares.queries, shares.owner.tolist()) == ([2], [3], [0, 0, 1])
    embeddings = torch.zeros(3, 4), torch.zeros(2, 5, 4), torch.zeros(2, 4)
    assert all(a is b for a, b in zip(gather_embeddings(*embeddings, shares, ALONE), embeddings, strict=True))


def test_uneven_shares_become_the_whole_batch_and_gradients_go_to_ones_own(tmp_path):
    pieces = [[3, 1], [2], []]

    def work(job):
        shares = shares_of(piece(pieces[job.rank]), job)
        assert shares == Shares([2, 1, 0], [4, 2, 0], shares.owner)
        assert shares.owner.tolist() == [0, 0, 0, 1, 2, 2]
        videos, queries = shares.videos[job.rank], shares.queries[job.rank]
        start = sum(shares.queries[: job.rank])
        query = (torch.arange(queries, dtype=torch.float32) + start)[:, None].repeat(1, 4).requires_grad_()
        clips = torch.full((videos, 5, 4), float(job.rank), requires_grad=True)
        frame = torch.full((videos, 4), 10.0 + job.rank, requires_grad=True)
        whole = gather_embeddings(query, clips, frame, shares, job)
        assert whole[0][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert whole[1].shape == (3, 5, 4) and whole[1][:, 2, 1].tolist() == [0, 0, 1]
        assert whole[2][:, 0].tolist() == [10, 10, 11]
        sum((part * (7 + k)).sum() for k, part in enumerate(whole)).backward()
        for k, part in enumerate((query, clips, frame)):
            assert part.grad.shape == part.shape and (part.grad == 7 + k).all()

    assert in_processes(3, work) == [0, 0, 0]
