import dataclasses
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus, small_config
from workflow_scripts import evaluate_retrieval
from workflow_scripts.lib.config import freeze
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.model_folder import write_model

SIZES = GMMFormerConfig(WIDTH, WIDTH, hidden_size=16, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Run the command on a corpus with an untrained model; returns metrics and ranks."""

    def run(splits, *, sizes=SIZES, texts="features", flags=(), weights="model", config=None, **more):
        folder = tmp_path / "c"
        if not folder.exists():
            make_corpus(folder, splits, texts=texts, **more)
            torch.manual_seed(0)
            model = GMMFormer(sizes)
            write_model(folder / "model", model.state_dict(), sizes)
            checkpoint = {
                "model_config": dataclasses.asdict(sizes),
                "model": model.state_dict(),
                "progress": {},
            }
            torch.save(checkpoint, folder / "checkpoint.pt")
        (folder / "retrieval.yaml").write_text(freeze(small_config(**(config or {}))), encoding="utf-8")
        options = {
            "config": "retrieval.yaml", weights: {"model": "model"}.get(weights, "checkpoint.pt"),
            "features": "features", "text-features": texts, "metrics": "metrics.json", "ranks": "ranks.parquet",
        }  # fmt: skip
        paths = [part for name, path in options.items() for part in (f"--{name}", str(folder / path))]
        monkeypatch.setattr(sys, "argv", ["evaluate_retrieval", *paths, *flags, "--threads", "1"])
        evaluate_retrieval.main()
        return json.loads((folder / "metrics.json").read_text()), pq.read_table(
            folder / "ranks.parquet"
        ).to_pylist()

    return run


def test_metrics_follow_from_the_ranks(evaluate):
    metrics, ranks = evaluate({"train": 1, "val": 4, "test": 7})
    assert {row["split"] for row in ranks} == {"val", "test"}
    val, test = ([row for row in ranks if row["split"] == split] for split in ("val", "test"))
    for found, rows, column in (
        (metrics["val"], val, "rank"),
        (metrics["test"], test, "rank"),
        (metrics["baselines"]["mean_pooled"], test, "zero_shot_rank"),
        (metrics["baselines"]["max_frame"], test, "max_frame_rank"),
    ):
        assert found["queries"] == len(rows) == 2 * found["videos"]
        assert found["chance_r1"] == pytest.approx(100 / found["videos"])
        assert found["r5"] == pytest.approx(100 * sum(row[column] <= 5 for row in rows) / len(rows))
        assert found["map"] == pytest.approx(100 * sum(1 / row[column] for row in rows) / len(rows))
        assert found["confidence"]["map"][0] <= found["map"] <= found["confidence"]["map"][1]
        assert set(found["by_language"]) == {"en", "ko"}
        assert found["video_to_text"]["captions"] == len(rows)
        assert found["moment_ratio"] is None
    for row in ranks:
        assert (row["rank"] == 1) == (row["top_videos"][0] == row["video"])
        assert row["top_scores"] == sorted(row["top_scores"], reverse=True)
        assert row["key"].startswith(f"vid_{row['video']}#")
        assert row["moment_ratio"] is None
    assert metrics["provenance"]["seed"] == 0
    zero_shot = metrics["baselines"]["mean_pooled"]
    assert zero_shot["r1"] > 3 * zero_shot["chance_r1"]  # captions are noisy means of frames
    assert "zero_shot" not in metrics


@pytest.mark.parametrize("longest", [2, 6, 99])
def test_captions_that_are_read_by_their_beginning_are_counted(evaluate, capsys, longest):
    sizes = dataclasses.replace(SIZES, max_desc_l=longest)
    metrics, ranks = evaluate({"train": 1, "val": 4, "test": 7}, sizes=sizes)
    texts = open_features(Path(sys.argv[sys.argv.index("--text-features") + 1]), "text")
    lengths = [len(texts[row["key"]]) for row in ranks if row["split"] == "test"]
    expected = sum(length > longest for length in lengths)
    assert metrics["test"]["captions_cut"] == expected and bool(expected) == (longest < 99)
    said = f"test: {expected} of {len(lengths)} captions have more than {longest} tokens"
    assert (said in capsys.readouterr().out) == bool(expected)


def test_a_checkpoint_gives_what_the_model_s_folder_gives(evaluate):
    metrics, ranks = evaluate({"test": 5})
    same, same_ranks = evaluate({"test": 5}, weights="checkpoint")
    assert same_ranks == ranks
    [model], [checkpoint] = (found.pop("provenance")["inputs_sha256"] for found in (metrics, same))
    assert (model.rpartition("/")[2], checkpoint.rpartition("/")[2]) == ("model.safetensors", "checkpoint.pt")
    assert same == metrics


def test_moments_are_taken_from_the_corpus(evaluate, tmp_path):
    evaluate({"val": 2, "test": 4})
    corpus = tmp_path / "c/corpus"
    captions = pq.read_table(corpus / "captions_000.parquet").to_pylist()
    for row in captions:
        if row["video"] > 2:
            row |= {"start_s": 1.0, "end_s": 2.0 if row["caption"] else 4.0}
    pq.write_table(pa.Table.from_pylist(captions, CAPTIONS), corpus / "captions_000.parquet")
    names = {"id": "", "path": "", "source": ""}
    videos = [
        {"index": index, "split": "val" if index < 2 else "test", "duration_s": 10.0, **names}
        for index in range(6)
    ]
    pq.write_table(pa.Table.from_pylist(videos, VIDEOS), corpus / "videos_000.parquet")
    flags = ["--corpus", str(corpus), "--frames", "--shards", "1"]
    metrics, ranks = evaluate({}, flags=flags)
    assert metrics["val"]["moment_ratio"] is None  # its captions are all of whole videos
    for found in (metrics["test"], *metrics["baselines"].values()):
        parts = {part["to"]: part["queries"] for part in found["moment_ratio"]}
        assert parts == {0.2: 3, 0.4: 3, 1: 2}
    assert {row["moment_ratio"] for row in ranks if row["video"] > 2} == {0.1, 0.3}
    assert {row["moment_ratio"] for row in ranks if row["video"] <= 2} == {1}


def test_without_bootstrap_there_are_no_intervals(evaluate):
    metrics, _ = evaluate({"test": 3}, config={"bootstrap": 0})
    assert metrics["test"]["confidence"] is None


def test_a_model_whose_windows_are_those_of_the_batch(evaluate):
    metrics, _ = evaluate({"test": 5}, sizes=dataclasses.replace(SIZES, window_length="batch"))
    assert metrics["test"]["queries"] == 10


def test_an_empty_split_is_null(evaluate, capsys):
    metrics, ranks = evaluate({"train": 3, "val": 2})
    assert (metrics["test"], metrics["baselines"]) == (None, None)
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
    assert metrics["baselines"] is None
    assert {(row["zero_shot_rank"], row["max_frame_rank"]) for row in ranks} == {(None, None)}
    assert "frames and sentences are not known to be in one space" in capsys.readouterr().out


def test_without_sentence_embeddings_there_is_no_baseline(evaluate):
    metrics, ranks = evaluate({"test": 3}, sentences=False)
    assert metrics["baselines"] is None
    assert metrics["test"]["videos"] == 3
    assert ranks[0]["zero_shot_rank"] is None


def test_features_of_another_width_than_the_model_s_are_named(evaluate):
    with pytest.raises(
        UserError, match=r"text_shard_000\.hdf5: .* vid_0#cap_0 .*expected rows of 12 numbers"
    ):
        evaluate({"test": 3}, texts="wide")


@pytest.mark.parametrize(
    "flags", [["--checkpoint", "x.pt"], ["--corpus", "x"], ["--shards", "1"], ["--frames", "x"]]
)
def test_flags_that_do_not_go_together_are_refused(evaluate, flags):
    with pytest.raises(SystemExit):
        evaluate({"test": 1}, flags=flags)
