"""The benchmark of features runs, compares like with like, and judges by what it measured; nothing here is timed."""

import sys

import numpy as np
import pytest

from benchmarks import features_bigfile, features_reading
from benchmarks.features_bigfile import CONVERTED, ORIGINAL, OURS, OriginalWay, bigfile
from benchmarks.features_data import bigfile_folder, item_lengths, item_values
from benchmarks.features_extraction import BARE as BARE_LOOP
from benchmarks.features_extraction import OURS as EXTRACTED
from benchmarks.features_opening import ALIGNED, READER, opening
from benchmarks.features_page import page
from benchmarks.features_reading import BARE, PLAIN, PLAIN_OURS, TAKE, Padded, reading
from benchmarks.features_verdict import judge
from benchmarks.features_writing import AS_THEY_COME, PLANNED, RAW, writing
from benchmarks.machine import measure
from benchmarks.turns import Costs, in_turns, speed
from workflow_scripts.lib.files import read_json


def test_turns_change_their_order_and_costs_are_of_one_thing():
    order = []
    costs = in_turns({"a": lambda: order.append("a") or 4, "b": lambda: order.append("b") or 1}, 3)
    assert "".join(order) == "abbaab"
    assert {name: len(cost.cpu_s) for name, cost in costs.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_the_median_of_those_of_the_rounds():
    costs = {"ours": Costs([1.0, 1.0, 4.0], [1.0] * 3), "other": Costs([2.0, 3.0, 4.0], [5.0] * 3)}
    assert speed(costs, "ours", "other", "cpu_s") == 2
    assert speed(costs, "ours", "other", "wall_s") == 5


def test_a_padded_batch_keeps_nothing_of_the_one_before():
    padded = Padded()
    for lengths in ([5, 2], [3, 4]):
        padded.fill([np.full((length, features_reading.WIDTH), length, np.float16) for length in lengths])
    assert [np.count_nonzero(row[:, 0]) for row in padded.array[:3]] == [3, 4, 0]


def test_items_are_the_same_each_time_and_differ():
    lengths = item_lengths(50)
    items = list(item_values(lengths, 4, "float32"))
    again = list(item_values(item_lengths(50), 4, "float32"))
    assert all(map(np.array_equal, items, again))
    assert [len(item) for item in items] == lengths.tolist()
    assert len({item.tobytes() for item in items}) == 50


def test_all_ways_of_reading_read_the_same(tmp_path, monkeypatch):
    found = reading(tmp_path, 60, 2, 1)
    assert {TAKE, PLAIN, PLAIN_OURS, BARE} < set(found["contestants"])
    # the maps' offsets are those of other items
    monkeypatch.setattr(features_reading, "item_lengths", lambda items: item_lengths(items)[::-1])
    with pytest.raises(RuntimeError, match="reads other values"):
        reading(tmp_path, 60, 2, 1)


@pytest.mark.parametrize("shuffled", [False, True])
def test_the_originals_way_reads_what_ours_reads(tmp_path, shuffled, monkeypatch):
    found = bigfile(tmp_path, 8, 20, shuffled, 1)
    assert set(found["contestants"]) == {ORIGINAL, OURS, CONVERTED}
    video = OriginalWay(bigfile_folder(tmp_path, 8, 20, shuffled) / "bigfile")["vid_7"]
    assert video.dtype == np.float64  # of Python floats
    monkeypatch.setattr(OriginalWay, "_frame", lambda *_: [0.0] * 8)
    with pytest.raises(RuntimeError, match="other values"):
        features_bigfile.bigfile(tmp_path, 8, 20, shuffled, 1)


@pytest.mark.slow  # fresh processes that import torch
def test_items_of_a_corpus_without_values_are_read(tmp_path):
    found = opening(tmp_path, 1000, 100, 1)["opened"]
    for name in (READER, ALIGNED):
        assert 0 < found[name]["open_s"] <= found[name]["open_and_first_s"]
        assert found[name]["imports_mib"] <= found[name]["peak_mib_first"] <= found[name]["peak_mib"]


def test_writers_write(tmp_path):
    assert {PLANNED, AS_THEY_COME, RAW} < set(writing(tmp_path, 40, 1)["contestants"])


def _result(**changed):
    """Made-up figures that reach every target, but for what is `changed`."""
    found = {
        "extraction": 0.96,
        "h5py": 10.0,
        "map": 0.7,
        "bigfile": 20.0,
        "seconds": 1.0,
        "mib": 500,
        "others": 0.0,
    } | changed

    def ratio(ours, other, times):
        return {"faster": ours, "than": other, "times": times, "of": "cpu_s"}

    opened = {
        "open_and_first_s": found["seconds"],
        "open_and_first_cpu_s": 0.9,
        "peak_mib_first": found["mib"],
        "own_mib_first": found["mib"],
    }
    return {
        "others_share_of_processors": found["others"],
        "extraction": [
            {
                "model": "a model",
                "precision": "fp32",
                "threads": 1,
                "counts": "cpu_s",
                "ratios": [ratio(EXTRACTED, BARE_LOOP, found["extraction"])],
            }
        ],
        "reading": {
            "width": 512,
            "ratios": [
                ratio(TAKE, PLAIN, found["h5py"]),
                ratio(TAKE, PLAIN_OURS, 20.0),
                ratio(TAKE, BARE, found["map"]),
            ],
        },
        "bigfile": [
            {
                "width": 512,
                "rows": "together",
                "ratios": [ratio(ours, ORIGINAL, found["bigfile"]) for ours in (OURS, CONVERTED)],
            }
        ],
        "opening": {"items": 1000, "opened": {READER: opened, ALIGNED: opened}},
    }


def test_targets_that_are_reached_pass():
    assert all(row["passed"] for row in judge(_result()))
    # wall times of a shared machine count for nothing
    assert all(row["passed"] for row in judge(_result(seconds=9.0, others=0.5)))


@pytest.mark.parametrize(
    ("figure", "value", "rows"),
    [
        ("extraction", 0.94, 1),
        ("h5py", 9.9, 1),
        ("map", 0.69, 1),
        ("bigfile", 19.9, 2),
        ("seconds", 1.01, 2),
        ("mib", 501, 2),
    ],
)
def test_a_target_that_is_missed_fails(figure, value, rows):
    failed = [row for row in judge(_result(**{figure: value})) if not row["passed"]]
    assert [row["measured"] for row in failed] == [value] * rows


@pytest.mark.slow
def test_the_program_writes_its_results(tmp_path):
    out = tmp_path / "features.json"
    command = ["-m", "benchmarks.features", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    measure([sys.executable, *command], timeout_s=1000)
    result = read_json(out)
    assert len(result["verdict"]) == 9
    assert out.with_suffix(".md").read_text(encoding="utf-8") == page(result)
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
