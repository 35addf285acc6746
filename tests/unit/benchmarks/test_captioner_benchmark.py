"""The captioner's benchmark compares the same computations, and judges by what it measured; nothing here is timed."""

import sys

import numpy as np
import pytest
import torch

from benchmarks import captioner, captioner_trainer, captioner_training
from benchmarks.captioner_data import (
    QUICK,
    EncoderInTheLoop,
    corpus_folder,
    encoder_parameters,
    open_cache,
    open_captions,
    open_encoder,
)
from benchmarks.captioner_page import page
from benchmarks.captioner_trainer import overhead
from benchmarks.captioner_training import BUCKETS, CACHED, CACHING, IN_THE_LOOP, SHUFFLED, caching, padding
from workflow_scripts.lib.files import read_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return corpus_folder(tmp_path_factory.mktemp("cache"), QUICK)


def test_the_cache_holds_what_the_encoder_says(folder):
    loop, cached = EncoderInTheLoop(folder, open_encoder(folder, QUICK)), open_cache(folder)
    loop.encode([2, 0])
    assert set(loop) == {"vid_2", "vid_0"}
    for key, tokens in loop.items():
        assert tokens.shape == (QUICK.frames, 16, 32) and tokens.dtype == cached[key].dtype
        np.testing.assert_allclose(tokens, cached[key], atol=2e-3)


def test_captions_are_of_many_lengths_and_every_clip_has_some(folder):
    examples = open_captions(folder, QUICK)
    assert len(examples) == QUICK.captions
    assert sorted({example.video for example in examples.take(np.arange(QUICK.clips))}) == [0, 1, 2, 3]
    words = sorted(len(text.as_py().split()) for text in examples.texts)
    assert words[0] < words[-1] / 2


def test_all_costs_are_measured(folder):
    for run in caching(folder, QUICK, 2):
        assert set(run["costs"]) == {IN_THE_LOOP, CACHED, CACHING}
        assert {cost["rounds"] for cost in run["costs"].values()} == {2}
        assert run["encoder_parameters"] == encoder_parameters(folder) > 1000


def test_ten_epochs_pay_for_the_cache_once():
    from benchmarks.turns import Costs

    costs = {IN_THE_LOOP: Costs([8.0], [8.0]), CACHED: Costs([0.5], [1.0]), CACHING: Costs([5.0], [10.0])}
    saved = captioner_training._saved(costs)
    assert saved["epoch"] == {"cpu_s": 16, "wall_s": 8}
    assert saved["with_caching"] == {"cpu_s": 8, "wall_s": 4}


def test_other_tokens_in_the_cache_are_found(folder, monkeypatch):
    other = {f"vid_{video}": np.ones((QUICK.frames, 16, 32), np.float16) for video in range(QUICK.clips)}
    monkeypatch.setattr(captioner_training, "open_cache", lambda folder: other)
    with pytest.raises(AssertionError, match="other tokens"):
        caching(folder, QUICK, 1)


def test_the_trainer_and_the_loop_do_the_same(folder, monkeypatch):
    found = overhead(folder, QUICK, 1)
    assert found["steps"] == 4 and found["weights_off"] < 1e-6 and found["ratio"]["cpu_s"] > 0
    monkeypatch.setattr(captioner_trainer, "WARMUP", 0.9)  # both of them: still the same
    assert overhead(folder, QUICK, 1)["weights_off"] < 1e-6
    constant = torch.optim.lr_scheduler.ConstantLR
    monkeypatch.setattr(
        captioner_trainer, "get_cosine_schedule_with_warmup", lambda optimizer, *_: constant(optimizer)
    )
    with pytest.raises(AssertionError, match="the weights differ"):
        overhead(folder, QUICK, 1)


def test_batches_of_like_length_are_padded_less(folder):
    found = padding(folder, QUICK, 1)
    assert found["share"][BUCKETS] < found["share"][SHUFFLED]
    assert found["tokens"]["least"] < found["tokens"]["most"]


def _result(epoch=15.0, whole=6.0, trainer=1.1):
    """Made-up figures that just reach every target; the small language model's do not count."""
    run = {"encoder_parameters": 86e6, "language_model_parameters": 1e6, "epochs": 10}
    return {
        "setting": {"clips": 24, "frames": 8, "batch": 8},
        "caching": [
            {**run, "language_model": "tiny", "epoch": {"cpu_s": epoch}, "with_caching": {"cpu_s": whole}},
            {**run, "language_model": "small", "epoch": {"cpu_s": 2.0}, "with_caching": {"cpu_s": 1.0}},
        ],
        "trainer": {"steps": 60, "ratio": {"cpu_s": trainer}},
    }


def test_targets_that_are_reached_pass():
    assert [row["passed"] for row in captioner.judge(_result())] == [True] * 3


@pytest.mark.parametrize("missed", [{"epoch": 14.9}, {"whole": 5.9}, {"trainer": 1.11}])
def test_a_target_that_is_missed_fails(missed):
    [row] = [row for row in captioner.judge(_result(**missed)) if not row["passed"]]
    assert [row["measured"]] == list(missed.values())


@pytest.mark.slow
def test_the_program_writes_its_results(tmp_path, monkeypatch):
    out = tmp_path / "captioner.json"
    words = ["captioner", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    captioner.main()
    result = read_json(out)
    assert len(result["verdict"]) == 3 and len(result["caching"]) == 2
    assert out.with_suffix(".md").read_text(encoding="utf-8") == page(result)
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
