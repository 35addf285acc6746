"""The tables of retrieval, from metrics that know much and metrics that know little."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.report.fake_run import FakeRun
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.report.retrieval import (
    COLUMNS,
    moment_table,
    shown_split,
    text_to_video,
    tiles,
    training_cost,
    video_to_text,
)
from workflow_scripts.lib.retrieval.evaluate import Retrieved
from workflow_scripts.lib.retrieval.results import RANKS, results

PLAIN = {
    "r1": 40.0,
    "r5": 80.0,
    "r10": 90.0,
    "r100": 100.0,
    "sumr": 310.0,
    "median_rank": 2.0,
    "map": 55.5,
}
FOUND = {**PLAIN, "queries": 80, "videos": 40, "chance_r1": 2.5, "confidence": None, "moment_ratio": None}
BACK = {**PLAIN, "queries": 40, "captions": 80, "chance_r1": 2.5}


def texts(row):
    return dict(zip(COLUMNS, (cell["text"] for cell in row["cells"]), strict=True))


def form(found):
    """The keys, at every depth."""
    if isinstance(found, dict):
        return {name: form(value) for name, value in found.items()}
    return [form(value) for value in found] if isinstance(found, list) else None


def bucket(start, queries, r1):
    return {"from": start, "to": start + 0.2, "queries": queries, **PLAIN, "r1": r1}


def test_the_fake_run_has_the_form_of_a_real_one(tmp_path):
    split = SimpleNamespace(
        video_count=2,
        languages=lambda: np.array([0, 1]),
        language_names=["en", "ko"],
        owner=lambda rows: np.array([0, 1])[rows],
    )
    ones = np.ones(2, dtype=np.int32)
    real = results(Retrieved(ones, ones, ones, ones), split, np.array([0.3, 0.4]), samples=2, seed=0)
    run = FakeRun(tmp_path, stages=("retrieval",))
    fake = run.collect()["retrieval"]
    assert fake["test"].pop("captions_cut")  # which is the model's alone
    assert form(fake["test"]) == form(fake["baselines"]["max_frame"]) == form(real)
    table = pq.read_schema(run.results / "retrieval" / "ranks.parquet")
    assert list(zip(table.names, table.types, strict=True)) == list(
        zip(RANKS.names, RANKS.types, strict=True)
    )


def test_methods_by_language_with_chance_last():
    found = {**FOUND, "by_language": {"en": PLAIN, "ko": PLAIN}}
    baselines = {"mean_pooled": FOUND, "max_frame": FOUND}
    test, val = text_to_video({"val": FOUND, "test": found, "baselines": baselines})
    assert [row["label"] for row in test["rows"]] == [
        "GMMFormer", "en", "ko", "Zero-shot, mean-pooled", "Zero-shot, max over frames", "Chance",
    ]  # fmt: skip
    assert [row["label"] for row in val["rows"]] == ["GMMFormer", "Chance"]


def test_chance_is_a_random_order():
    (group,) = text_to_video({"test": FOUND})
    chance = texts(group["rows"][-1])
    assert [chance[name] for name in ("r1", "r5", "r10", "r100")] == ["2.5%", "12.5%", "25.0%", "100.0%"]
    assert (chance["sumr"], chance["median_rank"]) == ("140.0", "20.5")
    assert chance["map"] == "10.7%"  # the 40th harmonic number, 4.2785, over 40


@pytest.mark.parametrize("empty", [None, {}, {"queries": 0, "videos": 0}])
def test_a_split_without_queries_has_no_table(empty):
    retrieval = {"test": empty, "val": empty, "baselines": None}
    assert text_to_video(retrieval) == video_to_text(retrieval) == tiles(retrieval) == []
    assert shown_split(retrieval) is None and moment_table(retrieval) is None


def test_intervals_stand_under_their_numbers_unless_they_are_points():
    confidence = {"r1": [35.04, 44.96], "r100": [99.99, 100.0], "sumr": [300.0, 320.0]}
    (group,) = text_to_video({"test": {**FOUND, "confidence": confidence}})
    cells = dict(zip(COLUMNS, group["rows"][0]["cells"], strict=True))
    assert {name: cell["interval"] for name, cell in cells.items() if cell["interval"]} == {
        "r1": "35.0–45.0",
        "sumr": "300.0–320.0",
    }


def test_the_other_direction_names_its_queries_and_what_they_search():
    found = {**FOUND, "video_to_text": BACK}
    test, val = video_to_text({"test": found, "val": found, "baselines": {"max_frame": found}})
    assert (test["queries"], test["captions"]) == (40, 80)
    assert [row["label"] for row in test["rows"]] == ["GMMFormer", "Zero-shot, max over frames", "Chance"]
    assert [row["label"] for row in val["rows"]] == ["GMMFormer", "Chance"]
    assert list(texts(val["rows"][-1]).values()) == ["2.5%", *["–"] * 6]


def test_buckets_of_moments_side_by_side():
    ours = {**FOUND, "moment_ratio": [bucket(0.0, 55, 50.0), bucket(0.8, 5, 90.0)]}
    other = {**FOUND, "moment_ratio": [bucket(0.0, 55, 10.0), bucket(0.8, 5, 0.0)]}
    table = moment_table({"test": ours, "baselines": {"mean_pooled": other, "max_frame": FOUND}})
    assert table["methods"] == ["GMMFormer", "Zero-shot, mean-pooled"]
    assert [(row["from"], row["to"], row["queries"], row["r1"]) for row in table["rows"]] == [
        (0, 20, 55, [50.0, 10.0]),
        (80, 100, 5, [90.0, 0.0]),
    ]
    assert table["unknown"] == 20


def test_no_moment_is_known():
    assert moment_table({"test": FOUND}) is None


@pytest.mark.parametrize(
    ("baselines", "tick", "note"),
    [
        ({"mean_pooled": FOUND, "max_frame": {**FOUND, "r1": 45.0}}, 45.0, "zero-shot 45.0%, chance 2.5%"),
        (None, None, "chance 2.5%"),
    ],
)
def test_the_tile_is_held_against_the_best_baseline(baselines, tick, note):
    (tile,) = tiles({"test": FOUND, "baselines": baselines})
    assert (tile["bar"], tile["tick"], tile["note"]) == (40.0, tick, note)


def log(tmp_path, text):
    file = tmp_path / "retrieval" / "log" / "training.csv"
    file.parent.mkdir(parents=True)
    file.write_text(text, encoding="utf-8")


def test_what_training_took(tmp_path):
    assert training_cost(tmp_path) is None
    log(tmp_path, "step,videos_per_s,data_wait,padding\n1,1,0.5,0.1\n2,400,0.1,\n3,500,0,0.2\n")
    assert training_cost(tmp_path) == pytest.approx({"videos_per_s": 400, "data_wait": 20, "padding": 15})


def test_a_log_that_is_none_is_named(tmp_path):
    log(tmp_path, "")
    with pytest.raises(UserError, match=r"training\.csv"):
        training_cost(tmp_path)
