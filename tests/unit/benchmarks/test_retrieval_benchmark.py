"""The benchmark of retrieval compares the same computation, and judges by what it measured; nothing here is timed."""

import copy
import sys

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import retrieval_agreement, retrieval_reference_training
from benchmarks.machine import measure
from benchmarks.retrieval_agreement import Disagreement, agreement, metrics_agree
from benchmarks.retrieval_contestants import CONTESTANTS, OURS, QUICK, REFERENCE, Ours, Theirs
from benchmarks.retrieval_data import corpus_folder
from benchmarks.retrieval_page import page
from benchmarks.retrieval_reference import Block, gaussian_window
from benchmarks.retrieval_reference_evaluation import ranks_of
from benchmarks.retrieval_reference_inputs import Files, segment_means
from benchmarks.retrieval_reference_training import BertAdam, Ranks, draw_ranks
from benchmarks.retrieval_shares import STAGES, shares
from benchmarks.retrieval_training import padding, training
from benchmarks.retrieval_verdict import judge
from workflow_scripts.lib.files import read_json

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    corpus_folder(folder, QUICK.sizes)
    return folder


# ------------------------------------------------------------------------------------------ the reference


def test_both_are_the_same_computation(cache):
    found = agreement(cache, QUICK)
    assert set(found) == {"scores", "embeddings", "losses", "gradients", "weights"}


@pytest.mark.parametrize(
    ("module", "name", "other", "tells"),
    [
        (retrieval_reference_training, "nce_loss", lambda scores, *_: scores.sum() * 0, "losses"),
        (Block, "forward", lambda self, x, mask=None: self.attn0(x, mask), "scores"),
        (BertAdam, "step", lambda self: None, "weights"),
        (
            retrieval_agreement,
            "_as_theirs",
            lambda n, order, q: Ranks(n.query.tolist(), n.video + 1),
            "losses",
        ),
        (Ours, "evaluate", lambda self, few: np.ones(QUICK.sizes.few * QUICK.sizes.captions, int), "scores"),
    ],
    ids=["a loss", "the model", "the optimizer", "other negatives", "ranks"],
)
def test_another_computation_is_found(cache, monkeypatch, module, name, other, tells):
    monkeypatch.setattr(module, name, other)
    with pytest.raises(Disagreement, match=tells):
        agreement(cache, QUICK)


def test_metrics_of_other_ranks_are_found():
    ranks = np.arange(1, 101)
    assert metrics_agree({OURS: ranks, REFERENCE: ranks[::-1]}, 100) == 0
    with pytest.raises(Disagreement, match="ours and reference"):
        metrics_agree({OURS: ranks, REFERENCE: np.minimum(ranks + 1, 100)}, 100)


def test_ours_and_the_reference_rank_the_same(cache):
    ours, theirs = (made(cache, QUICK, CPU).evaluate(few=False) for made in CONTESTANTS.values())
    assert len(ours) == QUICK.sizes.videos * QUICK.sizes.captions
    assert np.array_equal(ours, theirs)


def test_segments_are_means_of_their_rows_and_an_empty_one_is_its_first():
    rows = np.arange(5.0)[:, None]
    assert segment_means(rows, 2)[:, 0].tolist() == [0.5, 2.5]  # the last row is in none
    assert segment_means(rows[:2], 4)[:, 0].tolist() == [0, 0, 1, 1]


def test_a_window_is_largest_beside_its_centre():
    window = gaussian_window(8, 0.5, CPU)
    assert window.shape == (8, 8)
    assert torch.equal(window.max(dim=1).values, torch.ones(8))
    assert window.argmax(dim=1).tolist() == [0, 1, 2, 3, 3, 4, 5, 6]  # i / L among j / (L - 1)


def test_a_rank_is_that_of_the_caption_s_own_video():
    scores = np.array([[0.1, 0.9, 0.5], [0.1, 0.9, 0.5]])
    assert ranks_of(scores, ["vid_4#cap_0", "vid_6#cap_1"], [4, 5, 6]) == [3, 2]


def test_negatives_are_of_others():
    labels = [0, 0, 1, 2, 2, 2]
    for pool, most in ((None, 3), (1, 2)):
        draws = [draw_ranks(labels, 3, pool) for _ in range(200)]
        assert {rank for draw in draws for rank in draw.video.tolist()} == set(range(1, most))
        of_videos = [{draw.query[video] for draw in draws} for video in range(3)]
        assert of_videos == ([{0}] * 3 if pool else [set(range(4)), set(range(5)), set(range(3))])


def test_each_tensor_is_clipped_by_itself():
    model = nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.zero_(), model.bias.zero_()
    model.weight.grad, model.bias.grad = torch.full((1, 1), 1e6), torch.full((1,), 0.01)
    BertAdam(model, 1.0, 0.0, 1.0).step()
    assert model.weight.item() == pytest.approx(-0.1 / (0.001**0.5 + 1e-6))
    assert model.bias.item() == pytest.approx(-0.001 / (0.01 * 0.001**0.5 + 1e-6))


# ------------------------------------------------------------------------------------------ contestants


def test_both_read_the_same_videos_and_captions(cache):
    ours, theirs = (made(cache, QUICK, CPU) for made in (Ours, Theirs))
    videos = [3, 30, 7]
    our_batch, their_batch = ours.read(videos), theirs.read(videos)
    clips = torch.cat([part.clips for part in our_batch.videos])[our_batch.video_places]
    assert torch.allclose(clips[their_batch.order], their_batch.videos.clips)
    assert len(their_batch.labels) == len(our_batch.owner) == 3 * QUICK.sizes.captions
    for kind, share in padding(theirs, videos).items():
        assert 0 <= padding(ours, videos)[kind] < share


def test_a_step_changes_all_weights(cache):
    for made in CONTESTANTS.values():
        contestant = made(cache, QUICK, CPU)
        before = copy.deepcopy(contestant.model.state_dict())
        loss = contestant.step(contestant.read(range(QUICK.batch)))
        assert np.isfinite(loss)
        same = [
            name
            for name, weight in contestant.model.state_dict().items()
            if torch.equal(weight, before[name])
        ]
        # without a window, attention does not depend on the keys' bias
        assert all(name.endswith("attn0.self.key.bias") for name in same)


def test_parts_of_a_step_have_gradients(cache):
    for made in CONTESTANTS.values():
        contestant = made(cache, QUICK, CPU)
        batch = contestant.read(range(6))
        contestant.step(batch)
        parts = contestant.parts(batch)
        assert list(parts) == ["queries", "clips", "frames", "losses", "optimizer"]
        for part in ("queries", "clips", "frames"):
            contestant.model.zero_grad()
            parts[part]()
            with_gradient = {name for name, p in contestant.model.named_parameters() if p.grad is not None}
            assert with_gradient
            assert all(
                name.startswith((part[:-1].removesuffix("ie"), "query", "modular")) for name in with_gradient
            )


def test_the_files_of_the_reference_hold_the_numbers_of_ours(cache):
    folder = corpus_folder(cache, QUICK.sizes)
    files = Files(folder / "bigfile", QUICK.model, QUICK.sizes.captions)
    videos, texts, captions = Ours(cache, QUICK, CPU)._opened("test")
    assert captions.video_count == QUICK.sizes.videos
    assert np.array_equal(files.frames["vid_5"], videos["vid_5"])
    assert np.array_equal(files.texts["vid_5#cap_1"][...], texts["vid_5#cap_1"])


def test_training_compares_all_costs(cache):
    run = training(cache, QUICK, CPU, 1, 2)
    for costs in run["contestants"].values():
        assert costs["both"]["rounds"] == 2
        assert costs["both"]["cpu_s_lowest"] >= costs["step"]["cpu_s_lowest"]
    assert set(run["ratios"]) == {"step", "reading", "both"}


def test_shares_are_of_functions_that_ran(cache):
    for name, made in CONTESTANTS.items():
        contestant = made(cache, QUICK, CPU)
        ranks, stages = shares(lambda made=contestant: made.evaluate(few=True), STAGES[name])
        assert len(ranks) == QUICK.sizes.few * QUICK.sizes.captions
        assert min(stages.values()) >= 0
    with pytest.raises(RuntimeError, match="ranks_of: never called"):
        shares(lambda: None, {"ranks": [ranks_of]})


# ------------------------------------------------------------------------------------------ the verdict


def _result(step=0.6, memory=0.5, evaluation=0.35):
    """Made-up figures that just reach every target."""
    return {
        "training": [
            {"device": "CPU", "threads": threads, "ratios": {"step": {"cpu_s": ratio}}}
            for threads, ratio in ((1, step), (2, 9.0))
        ],
        "memory": [{"device": "CPU", "ratios": {"peak_mib": memory, "own_mib": 9.0}}],
        "evaluation": [
            {"device": "CPU", "videos": 2, "queries": 3, "ratios": {"cpu_s": evaluation}},
            {"device": "a GPU", "videos": 2, "queries": 3, "ratios": {"cpu_s": 9.0}},
        ],
    }


def test_targets_that_are_reached_pass():
    assert [row["passed"] for row in judge(_result())] == [True] * 3
    assert len(judge({"memory": _result()["memory"]})) == 1  # of what was measured


@pytest.mark.parametrize("missed", [{"step": 0.61}, {"memory": 0.51}, {"evaluation": 0.36}])
def test_a_target_that_is_missed_fails(missed):
    [row] = [row for row in judge(_result(**missed)) if not row["passed"]]
    assert [row["measured"]] == list(missed.values())


@pytest.mark.slow
def test_the_program_writes_its_results(tmp_path):
    out = tmp_path / "retrieval.json"
    command = ["-m", "benchmarks.retrieval", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    measure([sys.executable, *command], timeout_s=1000)
    result = read_json(out)
    assert len(result["verdict"]) == 3
    assert out.with_suffix(".md").read_text(encoding="utf-8") == page(result)
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
