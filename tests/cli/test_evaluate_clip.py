"""make_demo_clip_model, pack_pairs and evaluate_clip on a small corpus."""

import json

import pytest

from tests.unit.clip import pipeline


def test_counts_say_what_was_packed_and_what_was_left_out():
    counts = [json.loads((pipeline.packed() / f"pairs/counts_{k:03d}.json").read_text()) for k in range(2)]
    # 8 training videos of which one has no frames, 2 validation videos; 4 captions each, 2 frames a training caption
    assert sum(one["train"] for one in counts) == 7 * 4 * 2
    assert sum(one["val"] for one in counts) == 2 * 4
    assert sum(one["captions_without_frames"] for one in counts) == 4


def test_the_demo_model_is_made_whole_and_tells_its_longest_caption(capsys):
    pipeline.make_model(pipeline.packed())
    assert "training captions; the longest takes" in capsys.readouterr().out
    assert (pipeline.packed() / "demo_model" / "open_clip_config.json").is_file()


def test_metrics_by_language_in_percent():
    folder = pipeline.trained()
    pipeline.run(
        "evaluate_clip", config=folder / "clip.yaml", model=folder / "trained", corpus=folder / "corpus",
        frames=folder / "frames", shards=pipeline.SHARDS, metrics=folder / "metrics.json", threads=1, seed=1,
    )  # fmt: skip
    metrics = json.loads((folder / "metrics.json").read_text())
    assert set(metrics["test"]) == {"en", "ko"}
    for found in metrics["test"].values():
        assert found["pairs"] == 4
        assert found["unique_texts"] == 2
        assert found["chance_r1"] == pytest.approx(50)
        assert found["t2i_r5"] == 100
    assert metrics["provenance"]["seed"] == 1
