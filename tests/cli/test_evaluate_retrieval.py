import dataclasses
import json
import sys

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus, small_config
from workflow_scripts import evaluate_retrieval
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.model_folder import write_model

SIZES = GMMFormerConfig(WIDTH, WIDTH, hidden_size=16, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Run the command on a corpus with an untrained model; returns metrics and ranks."""

    def run(splits, *, sizes=SIZES, texts="features", **more):
        folder = make_corpus(tmp_path / "c", splits, texts=texts, **more)
        torch.manual_seed(0)
        save_file(GMMFormer(sizes).state_dict(), folder / "weights.safetensors")
        write_model(folder / "model", folder / "weights.safetensors", sizes)
        (folder / "retrieval.yaml").write_text(freeze(small_config()), encoding="utf-8")
        options = {
            "config": "retrieval.yaml", "model": "model", "features": "features", "text-features": texts,
            "metrics": "metrics.json", "ranks": "ranks.parquet",
        }  # fmt: skip
        flags = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
        monkeypatch.setattr(sys, "argv", ["evaluate_retrieval", *flags, "--threads", "1"])
        evaluate_retrieval.main()
        return json.loads((folder / "metrics.json").read_text()), pq.read_table(
            folder / "ranks.parquet"
        ).to_pylist()

    return run


def test_metrics_follow_from_the_ranks(evaluate):
    metrics, ranks = evaluate({"train": 1, "val": 4, "test": 7})
    assert {row["split"] for row in ranks} == {"val", "test"}
    for name, rows, column in (
        ("val", [row for row in ranks if row["split"] == "val"], "rank"),
        ("test", [row for row in ranks if row["split"] == "test"], "rank"),
        ("zero_shot", [row for row in ranks if row["split"] == "test"], "zero_shot_rank"),
    ):
        found = metrics[name]
        assert found["queries"] == len(rows) == 2 * found["videos"]
        assert found["chance_r1"] == pytest.approx(100 / found["videos"])
        assert found["r5"] == pytest.approx(100 * sum(row[column] <= 5 for row in rows) / len(rows))
        assert set(found["by_language"]) == {"en", "ko"}
    for row in ranks:
        assert (row["rank"] == 1) == (row["top_videos"][0] == row["video"])
        assert row["top_scores"] == sorted(row["top_scores"], reverse=True)
        assert row["key"].startswith(f"vid_{row['video']}#")
    assert metrics["provenance"]["seed"] == 0
    assert (
        metrics["zero_shot"]["r1"] > 3 * metrics["zero_shot"]["chance_r1"]
    )  # captions are noisy means of frames


def test_an_empty_split_is_null(evaluate, capsys):
    metrics, ranks = evaluate({"train": 3, "val": 2})
    assert (metrics["test"], metrics["zero_shot"]) == (None, None)
    assert metrics["val"]["videos"] == 2
    assert {row["split"] for row in ranks} == {"val"}
    assert "test: no videos to search" in capsys.readouterr().out


def test_no_video_to_search_at_all(evaluate):
    metrics, ranks = evaluate({"train": 3})
    assert metrics["val"] is None
    assert ranks == []


def test_captions_of_another_encoder_have_no_baseline(evaluate, capsys):
    sizes = dataclasses.replace(SIZES, query_input_size=2 * WIDTH)
    metrics, ranks = evaluate({"test": 3}, sizes=sizes, texts="글")
    assert metrics["test"]["queries"] == 6
    assert metrics["zero_shot"] is None
    assert {row["zero_shot_rank"] for row in ranks} == {None}
    assert "frames and sentences are not known to be in one space" in capsys.readouterr().out


def test_features_of_another_width_than_the_model_s_are_named(evaluate):
    with pytest.raises(
        UserError, match=r"text_shard_000\.hdf5: .* vid_0#cap_0 .*expected rows of 12 numbers"
    ):
        evaluate({"test": 3}, texts="wide")


def test_without_sentence_embeddings_there_is_no_baseline(evaluate):
    metrics, ranks = evaluate({"test": 3}, sentences=False)
    assert metrics["zero_shot"] is None
    assert metrics["test"]["videos"] == 3
    assert ranks[0]["zero_shot_rank"] is None


def test_a_broken_model_folder_is_named(evaluate, tmp_path):
    evaluate({"test": 2})
    weights = tmp_path / "c/model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(UserError, match=r"model\.safetensors: the weights cannot be loaded"):
        evaluate_retrieval.main()
